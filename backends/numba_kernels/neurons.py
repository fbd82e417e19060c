"""Spiking neurons over time: one pass per block of neurons with the loop over time inside, so v stays in the cache.

A block is a fixed range of neurons, whatever the number of threads, and its sums are added up in the order of the
blocks: the result does not depend on the threads. The equations stand with the reference, `numpy_kernels.neurons`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..numpy_kernels.neurons import lif_backward as _reference_backward
from ..threads import for_ranges

_BLOCK = 4096  # neurons per block: the rows in use fit the first-level cache
_GRAIN = 8  # blocks a thread takes at least
_ATAN, _SIGMOID, _PIECEWISE_QUADRATIC = 0, 1, 2  # Surrogate.code


def lif_forward(
    x: np.ndarray,
    v0: np.ndarray,
    steps: int,
    beta: float,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    strict: bool,
    keep_h: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    number = x.dtype.type
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    n = rows.shape[1]
    s = np.empty((steps, n), x.dtype)
    h = np.empty((steps if keep_h else 1, n), x.dtype)  # without keep_h one row, overwritten at each step
    v_last = v0.astype(x.dtype).reshape(-1)
    options = number(beta), number(v_threshold), number(v_reset), bool(soft), bool(strict)
    for_ranges(lambda a, b: _forward(rows, v_last, s, h, *options, a, b), _n_blocks(n), _GRAIN)
    shape = (steps, *x.shape[1:])
    return s.reshape(shape), h.reshape(shape) if keep_h else None, v_last.reshape(v0.shape)


def lif_backward(
    g_s: np.ndarray,
    g_v_last: np.ndarray | None,
    h: np.ndarray,
    v0: np.ndarray,
    beta: float,
    v_threshold: float,
    v_reset: float,
    soft: bool,
    strict: bool,
    detach_reset: bool,
    surrogate: Any,
    constant: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    code = getattr(surrogate, "code", -1)
    if code not in (_ATAN, _SIGMOID, _PIECEWISE_QUADRATIC):
        recurrence = beta, v_threshold, v_reset, soft, strict
        return _reference_backward(g_s, g_v_last, h, v0, *recurrence, detach_reset, surrogate, constant)
    number, steps = h.dtype.type, len(h)
    spikes = np.ascontiguousarray(g_s).reshape(steps, -1)
    potentials = np.ascontiguousarray(h).reshape(steps, -1)
    first = np.ascontiguousarray(v0, h.dtype).reshape(-1)
    n = len(first)
    g_x = (np.zeros if constant else np.empty)((1 if constant else steps, n), h.dtype)
    g_v0 = np.zeros(n, h.dtype) if g_v_last is None else g_v_last.astype(h.dtype).reshape(-1)
    sums = np.empty((_n_blocks(n), 2))
    options = number(beta), number(v_threshold), number(v_reset), bool(soft), bool(strict), bool(detach_reset)
    arrays = spikes, potentials, first, g_x, g_v0, sums
    for_ranges(
        lambda a, b: _backward(*arrays, *options, code, number(surrogate.alpha), bool(constant), a, b),
        _n_blocks(n),
        _GRAIN,
    )
    g_beta, g_threshold = sums.sum(axis=0).astype(h.dtype)
    return g_x.reshape(-1, *h.shape[1:]), g_v0.reshape(v0.shape), np.asarray(g_beta), np.asarray(g_threshold)


def _n_blocks(n: int) -> int:
    return -(-n // _BLOCK)


@njit(nogil=True, cache=True, error_model="numpy")
def _forward(x, v, s, h, beta, v_threshold, v_reset, soft, strict, first_block, last_block):
    """Run blocks of neurons over time; v [N] holds v[-1] before and v[T-1] after."""
    for block in range(first_block, last_block):
        start, stop = block * _BLOCK, min((block + 1) * _BLOCK, v.size)
        for t in range(s.shape[0]):
            x_row, h_row = x[min(t, x.shape[0] - 1)], h[min(t, h.shape[0] - 1)]
            for i in range(start, stop):
                u = v[i] * beta + x_row[i]
                fired = u > v_threshold if strict else u >= v_threshold
                h_row[i] = u
                s[t, i] = fired
                after = u - v_threshold if soft else v_reset
                v[i] = after if fired else u


@njit(nogil=True, cache=True, error_model="numpy")
def _backward(
    g_s, h, v0, g_x, g_v, sums,
    beta, v_threshold, v_reset, soft, strict, detach_reset, code, alpha, constant, first_block, last_block,
):  # fmt: skip
    """Go back through time block by block; g_v [N] holds the gradient of v[T-1] before and that of v[-1] after."""
    zero = v_threshold - v_threshold  # of the type of the arrays, as every number in the loop must be
    derivative = np.empty(_BLOCK, h.dtype)
    of_beta = np.empty(_BLOCK, h.dtype)
    of_threshold = np.empty(_BLOCK, h.dtype)
    for block in range(first_block, last_block):
        start, stop = block * _BLOCK, min((block + 1) * _BLOCK, v0.size)
        of_beta[:] = zero
        of_threshold[:] = zero
        for t in range(h.shape[0] - 1, -1, -1):
            _surrogate(h[t, start:stop], v_threshold, code, alpha, derivative)
            x_row = 0 if constant else t
            for i in range(start, stop):
                u, later = h[t, i], g_v[i]
                fired = u > v_threshold if strict else u >= v_threshold
                reset_by_spike = -v_threshold if soft else v_reset - u
                g_spike = g_s[t, i] + (zero if detach_reset else later * reset_by_spike)
                through_spike = g_spike * derivative[i - start]
                through_reset = later if soft or not fired else zero
                of_threshold[i - start] += through_spike + (later if soft and fired else zero)
                g_h = through_spike + through_reset
                if t > 0:
                    before = h[t - 1, i]
                    fired_before = before > v_threshold if strict else before >= v_threshold
                    after = before - v_threshold if soft else v_reset
                    before = after if fired_before else before
                else:
                    before = v0[i]
                of_beta[i - start] += g_h * before
                g_x[x_row, i] = g_h + (g_x[x_row, i] if constant else zero)
                g_v[i] = g_h * beta
        sums[block, 0] = of_beta[: stop - start].astype(np.float64).sum()
        sums[block, 1] = -of_threshold[: stop - start].astype(np.float64).sum()


@njit(nogil=True, cache=True, error_model="numpy")
def _surrogate(h, v_threshold, code, alpha, out):
    """out[i] = ds/dh at h[i], by the formula numbered `code`: one loop per formula, so that each is vectorised."""
    one = alpha / alpha
    if code == _ATAN:
        peak, slope = alpha / (one + one), h.dtype.type(np.pi / 2) * alpha
        for i in range(h.size):
            z = slope * (h[i] - v_threshold)
            out[i] = peak / (one + z * z)
    elif code == _SIGMOID:
        for i in range(h.size):
            e = np.exp(-abs(alpha * (h[i] - v_threshold)))
            out[i] = alpha * e / ((one + e) * (one + e))
    else:
        for i in range(h.size):
            out[i] = max(alpha - alpha * alpha * abs(h[i] - v_threshold), one - one)
