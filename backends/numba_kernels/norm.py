"""Normalisation over batch and space, per channel: one pass for the sums, one for the result."""

from __future__ import annotations

import numpy as np
from numba import njit

from .. import buffers
from ..threads import for_ranges, share

_LANES = 32  # independent partial sums, so that additions need not wait for each other


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See numpy_kernels.norm. Sums are relative to the first element of each channel: offsets cost no digits."""
    lines = _lines(x)
    origin = lines[0, :, 0].astype(np.float64)
    first, second = _sums(lines, lines, (origin, origin)) / (x.size // x.shape[1])
    return origin + first, np.maximum(second - first**2, 0)


def batch_norm_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float
) -> np.ndarray:
    """See numpy_kernels.norm."""
    lines = _lines(x)
    out = buffers.empty(lines.shape, x.dtype)
    scale = gamma / np.sqrt(variance + epsilon)
    numbers = np.stack([mean, scale, beta]).astype(x.dtype)
    for_ranges(lambda a, b: _normalise(lines, numbers, out, a, b), *_lines_and_share(lines))
    return out.reshape(x.shape)


def batch_norm_backward(
    grad: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    training: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See numpy_kernels.norm."""
    grads, lines = _lines(grad), _lines(x)
    inverse = 1 / np.sqrt(variance + epsilon)
    sum_g, sum_gz = _sums(grads, lines, (np.zeros(len(mean)), mean.astype(np.float64)))
    sum_gz *= inverse
    n = x.size // x.shape[1] if training else np.inf
    # gamma inverse (g - <g> - (x - mean) inverse <g z>)
    numbers = np.stack([mean, gamma * inverse, sum_g / n, inverse * sum_gz / n]).astype(x.dtype)
    out = buffers.empty(lines.shape, x.dtype)
    for_ranges(lambda a, b: _normalise_adjoint(grads, lines, numbers, out, a, b), *_lines_and_share(lines))
    return out.reshape(x.shape), sum_gz.astype(gamma.dtype), sum_g.astype(gamma.dtype)


def _lines(x):
    """[B, C, *S] as [B, C, voxels]."""
    return np.ascontiguousarray(x).reshape(*x.shape[:2], -1)


def _lines_and_share(lines):
    """How many lines there are, and how many are worth a thread."""
    return lines.shape[0] * lines.shape[1], share(lines.shape[2])


def _sums(first, second, centres):
    """Per channel of two [B, C, voxels]: (sum of d, sum of d e), d = first - centres[0], e = second - centres[1]."""
    sums = np.empty((*first.shape[:2], 2))
    for_ranges(lambda a, b: _sum_products(first, second, np.stack(centres), sums, a, b), *_lines_and_share(first))
    return sums.sum(axis=0).T


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_products(first, second, centres, sums, start, stop):
    """See `_sums`, for the lines start..stop of B * C."""
    partial = np.empty((2, _LANES))
    for item in range(start, stop):
        b, c = item // first.shape[1], item % first.shape[1]
        p, q = first[b, c], second[b, c]
        whole = len(p) - len(p) % _LANES
        partial[:] = 0
        for i in range(0, whole, _LANES):
            for lane in range(_LANES):
                d = p[i + lane] - centres[0, c]
                partial[0, lane] += d
                partial[1, lane] += d * (q[i + lane] - centres[1, c])
        for i in range(whole, len(p)):
            d = p[i] - centres[0, c]
            partial[0, 0] += d
            partial[1, 0] += d * (q[i] - centres[1, c])
        sums[b, c, 0] = partial[0].sum()
        sums[b, c, 1] = partial[1].sum()


@njit(nogil=True, cache=True, error_model="numpy")
def _normalise(lines, numbers, out, start, stop):
    for item in range(start, stop):
        b, c = item // lines.shape[1], item % lines.shape[1]
        mean, scale, beta = numbers[0, c], numbers[1, c], numbers[2, c]
        for i in range(lines.shape[2]):
            out[b, c, i] = (lines[b, c, i] - mean) * scale + beta


@njit(nogil=True, cache=True, error_model="numpy")
def _normalise_adjoint(grads, lines, numbers, out, start, stop):
    for item in range(start, stop):
        b, c = item // lines.shape[1], item % lines.shape[1]
        mean, scale, mean_g, slope = numbers[0, c], numbers[1, c], numbers[2, c], numbers[3, c]
        for i in range(lines.shape[2]):
            out[b, c, i] = scale * (grads[b, c, i] - mean_g - (lines[b, c, i] - mean) * slope)
