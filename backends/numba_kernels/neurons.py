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
    """See numpy_kernels.neurons.lif_forward."""
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
    learnable: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """See numpy_kernels.neurons.lif_backward. A surrogate without a compiled formula runs there."""
    code = getattr(surrogate, "code", -1)
    if code not in (_ATAN, _SIGMOID, _PIECEWISE_QUADRATIC):
        recurrence = beta, v_threshold, v_reset, soft, strict
        return _reference_backward(g_s, g_v_last, h, v0, *recurrence, detach_reset, surrogate, constant, learnable)
    number, steps = h.dtype.type, len(h)
    spikes = np.ascontiguousarray(g_s).reshape(steps, -1)
    potentials = np.ascontiguousarray(h).reshape(steps, -1)
    first = np.ascontiguousarray(v0, h.dtype).reshape(-1)
    n = len(first)
    g_x = (np.zeros if constant else np.empty)((1 if constant else steps, n), h.dtype)
    g_v0 = np.zeros(n, h.dtype) if g_v_last is None else g_v_last.astype(h.dtype).reshape(-1)
    sums = np.empty((_n_blocks(n), 2))
    arrays = spikes, potentials, first, g_x, g_v0, sums
    numbers = number(beta), number(v_threshold), number(v_reset), code, number(surrogate.alpha)
    flags = bool(soft), bool(strict), bool(detach_reset), bool(constant), bool(learnable)
    for_ranges(lambda a, b: _backward(*arrays, *numbers, *flags, a, b), _n_blocks(n), _GRAIN)
    g_x, g_v0 = g_x.reshape(-1, *h.shape[1:]), g_v0.reshape(v0.shape)
    if not learnable:
        return g_x, g_v0, None, None
    g_beta, g_threshold = sums.sum(axis=0).astype(h.dtype)
    return g_x, g_v0, np.asarray(g_beta), np.asarray(g_threshold)


def _n_blocks(n: int) -> int:
    return -(-n // _BLOCK)


@njit(nogil=True, cache=True, error_model="numpy")
def _forward(x, v, s, h, beta, v_threshold, v_reset, soft, strict, first_block, last_block):
    """Run blocks of neurons over time; v [N] holds v[-1] before and v[T-1] after."""
    for block in range(first_block, last_block):
        a, b = block * _BLOCK, min((block + 1) * _BLOCK, v.size)
        for t in range(s.shape[0]):
            x_row, h_row = x[min(t, x.shape[0] - 1), a:b], h[min(t, h.shape[0] - 1), a:b]
            _step(x_row, v[a:b], s[t, a:b], h_row, beta, v_threshold, v_reset, soft, strict)


@njit(nogil=True, cache=True, error_model="numpy")
def _step(x, v, s, h, beta, v_threshold, v_reset, soft, strict):
    """Charge, fire, reset. A loop over rows of its own, because the compiler vectorises this one and not a nest."""
    for i in range(v.size):
        u = v[i] * beta + x[i]
        fired = u > v_threshold if strict else u >= v_threshold
        after = u - v_threshold if soft else v_reset
        h[i] = u
        s[i] = fired
        v[i] = after if fired else u


@njit(nogil=True, cache=True, error_model="numpy")
def _backward(
    g_s, h, v0, g_x, g, sums,
    beta, v_threshold, v_reset, code, alpha,
    soft, strict, detach_reset, constant, learnable,
    first_block, last_block,
):  # fmt: skip
    """Go back through time block by block; g [N] holds the gradient of v[T-1] before and that of v[-1] after.

    Each step is several short loops over rows in the cache, not one: with many arrays in a loop the compiler gives up
    proving that they do not overlap, and vectorises nothing.
    """
    through_spike, before = np.empty(_BLOCK, h.dtype), np.empty(_BLOCK, h.dtype)
    of_beta, of_threshold = np.empty(_BLOCK, h.dtype), np.empty(_BLOCK, h.dtype)
    for block in range(first_block, last_block):
        a, b = block * _BLOCK, min((block + 1) * _BLOCK, v0.size)
        of_beta[:] = 0
        of_threshold[:] = 0
        for t in range(h.shape[0] - 1, -1, -1):
            h_row, g_row, g_x_row = h[t, a:b], g[a:b], g_x[0 if constant else t, a:b]
            _surrogate(h_row, v_threshold, code, alpha, through_spike)
            _spike_back(g_s[t, a:b], h_row, g_row, through_spike, v_threshold, v_reset, soft, detach_reset)
            if learnable:
                _add_threshold_gradient(h_row, g_row, through_spike, v_threshold, soft, strict, of_threshold)
            _reset_back(h_row, through_spike, g_row, v_threshold, soft, strict)
            if learnable:
                if t > 0:
                    _membrane(h[t - 1, a:b], v_threshold, v_reset, soft, strict, before)
                else:
                    before[: b - a] = v0[a:b]
                for i in range(b - a):
                    of_beta[i] += g_row[i] * before[i]
            _charge_back(g_row, g_x_row, beta, constant)
        sums[block, 0] = of_beta[: b - a].astype(np.float64).sum()
        sums[block, 1] = of_threshold[: b - a].astype(np.float64).sum()


@njit(nogil=True, cache=True, error_model="numpy")
def _spike_back(g_s, h, g, through_spike, v_threshold, v_reset, soft, detach_reset):
    """through_spike: surrogate derivative before, gradient reaching h[t] through s[t] after; g: gradient of v[t]."""
    if detach_reset:
        for i in range(g.size):
            through_spike[i] *= g_s[i]
    else:
        for i in range(g.size):
            through_spike[i] *= g_s[i] + g[i] * (-v_threshold if soft else v_reset - h[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_threshold_gradient(h, g, through_spike, v_threshold, soft, strict, of_threshold):
    zero = v_threshold - v_threshold  # of the type of the arrays, as every number in these loops must be
    for i in range(g.size):
        fired = h[i] > v_threshold if strict else h[i] >= v_threshold
        of_threshold[i] -= through_spike[i] + (g[i] if soft and fired else zero)


@njit(nogil=True, cache=True, error_model="numpy")
def _reset_back(h, through_spike, g, v_threshold, soft, strict):
    """g: gradient of v[t] before, of h[t] after."""
    zero = v_threshold - v_threshold
    for i in range(g.size):
        fired = h[i] > v_threshold if strict else h[i] >= v_threshold
        g[i] = through_spike[i] + (g[i] if soft or not fired else zero)


@njit(nogil=True, cache=True, error_model="numpy")
def _charge_back(g, g_x, beta, constant):
    """g: gradient of h[t] before, of v[t-1] after."""
    for i in range(g.size):
        g_x[i] = g_x[i] + g[i] if constant else g[i]
        g[i] *= beta


@njit(nogil=True, cache=True, error_model="numpy")
def _membrane(h, v_threshold, v_reset, soft, strict, out):
    """out = the membrane after the reset, from the potential before it."""
    for i in range(h.size):
        fired = h[i] > v_threshold if strict else h[i] >= v_threshold
        after = h[i] - v_threshold if soft else v_reset
        out[i] = after if fired else h[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _surrogate(h, v_threshold, code, alpha, out):
    """out = ds/dh at each h, by the formula numbered `code`: one loop per formula, so that each is vectorised."""
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
