"""Normalisation over batch and space, per channel: one pass for the sums, one for the result."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..threads import for_ranges

_LANES = 32  # independent partial sums, so that additions need not wait for each other


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See numpy_kernels.norm. Sums are relative to the first element of each channel: offsets cost no digits."""
    lines = _lines(x)
    sums = np.empty((*lines.shape[:2], 2))
    origin = lines[0, :, 0].astype(np.float64)
    for_ranges(lambda a, b: _sum_powers(lines, origin, sums, a, b), lines.shape[0] * lines.shape[1])
    first, second = sums.sum(axis=0).T / (x.size // x.shape[1])
    return origin + first, np.maximum(second - first**2, 0)


def batch_norm_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float
) -> np.ndarray:
    """See numpy_kernels.norm."""
    lines = _lines(x)
    out = np.empty(lines.shape, x.dtype)
    scale = gamma / np.sqrt(variance + epsilon)
    numbers = np.stack([mean, scale, beta]).astype(x.dtype)
    for_ranges(lambda a, b: _normalise(lines, numbers, out, a, b), lines.shape[0] * lines.shape[1])
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
    sums = np.empty((*lines.shape[:2], 2))
    centre = mean.astype(x.dtype)
    for_ranges(lambda a, b: _sum_products(grads, lines, centre, sums, a, b), lines.shape[0] * lines.shape[1])
    sum_g, sum_gx = sums.sum(axis=0).T
    sum_gz = sum_gx * inverse
    n = x.size // x.shape[1] if training else np.inf
    # gamma inverse (g - <g> - (x - mean) inverse <g z>)
    numbers = np.stack([mean, gamma * inverse, sum_g / n, inverse * sum_gz / n]).astype(x.dtype)
    out = np.empty(lines.shape, x.dtype)
    for_ranges(lambda a, b: _normalise_adjoint(grads, lines, numbers, out, a, b), lines.shape[0] * lines.shape[1])
    return out.reshape(x.shape), sum_gz.astype(gamma.dtype), sum_g.astype(gamma.dtype)


def _lines(x):
    """[B, C, *S] as [B, C, voxels]."""
    return np.ascontiguousarray(x).reshape(*x.shape[:2], -1)


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_powers(lines, origin, sums, start, stop):
    """sums[b, c] = (sum of x - origin, sum of (x - origin)^2) for the lines start..stop of B * C."""
    partial = np.empty((2, _LANES))
    for item in range(start, stop):
        b, c = item // lines.shape[1], item % lines.shape[1]
        line = lines[b, c]
        whole = len(line) - len(line) % _LANES
        partial[:] = 0
        for i in range(0, whole, _LANES):
            for lane in range(_LANES):
                d = line[i + lane] - origin[c]
                partial[0, lane] += d
                partial[1, lane] += d * d
        for i in range(whole, len(line)):
            d = line[i] - origin[c]
            partial[0, 0] += d
            partial[1, 0] += d * d
        sums[b, c, 0] = partial[0].sum()
        sums[b, c, 1] = partial[1].sum()


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_products(grads, lines, centre, sums, start, stop):
    """sums[b, c] = (sum of g, sum of g (x - centre)) for the lines start..stop of B * C."""
    partial = np.empty((2, _LANES))
    for item in range(start, stop):
        b, c = item // lines.shape[1], item % lines.shape[1]
        line, grad = lines[b, c], grads[b, c]
        whole = len(line) - len(line) % _LANES
        partial[:] = 0
        for i in range(0, whole, _LANES):
            for lane in range(_LANES):
                g = np.float64(grad[i + lane])
                partial[0, lane] += g
                partial[1, lane] += g * (line[i + lane] - centre[c])
        for i in range(whole, len(line)):
            g = np.float64(grad[i])
            partial[0, 0] += g
            partial[1, 0] += g * (line[i] - centre[c])
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
