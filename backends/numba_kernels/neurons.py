"""Spiking neurons over time: one pass per block of neurons with the loop over time inside, so v stays in the cache.

A block is a fixed range of neurons, whatever the number of threads, and its sums are added up in the order of the
blocks: the result does not depend on the threads. The equations stand with the reference, `numpy_kernels.neurons`.

Each step is several short loops over rows in the cache, not one: with many arrays in a loop the compiler gives up
proving that they do not overlap, and vectorises nothing. The step that most networks take, spikes 0 and 1 with a soft
reset, is one loop of few arrays instead, in which what the other functions compute in turn stays in registers; so is
its way back with ATan, and with other surrogates it is two. Numbers in the loops have the type of the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .. import buffers
from ..numpy_kernels.neurons import lif_backward as _reference_backward
from ..numpy_kernels.neurons import lif_forward as _reference_forward
from ..threads import for_ranges, share
from .exponential import exp_of_negative

_BLOCK = 2048  # neurons per block: the rows in use fit the first-level cache
_POTENTIALS = 1 << 17  # and on the way back as many potentials over time at most, to stay in the second-level cache
# Surrogate.code
_ATAN, _SIGMOID, _PIECEWISE_QUADRATIC, _FAST_SIGMOID, _SOFT_SIGN, _GAUSSIAN, _EXPONENTIAL, _RECTANGLE, _CONSTANT = (
    range(9)
)
_STRAIGHT_THROUGH = -2  # in its place
# codes of the spike functions, pysnnmed.neurons.firing
_AT_LEAST, _ABOVE, _TERNARY_AT_LEAST, _TERNARY_ABOVE, _HALF_UP, _HALF_EVEN = range(6)


def lif_forward(
    x: np.ndarray,
    v0: np.ndarray,
    steps: int,
    beta: float,
    v_threshold: float,
    amount: float,
    v_reset: float,
    soft: bool,
    firing: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """See numpy_kernels.neurons.lif_forward. A spike function without compiled formulas runs there."""
    codes = _codes(firing)
    if codes is None:
        return _reference_forward(x, v0, steps, beta, v_threshold, amount, v_reset, soft, firing)
    number = x.dtype.type
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    s, v_last = buffers.empty((steps, *x.shape[1:]), x.dtype), buffers.empty(v0.shape, x.dtype)
    arrays = rows, _first(v0, x.dtype), v_last.reshape(-1), s.reshape(steps, -1)
    numbers = number(beta), number(v_threshold), number(amount), number(v_reset), bool(soft), codes[0], number(codes[1])
    for_ranges(lambda a, b: _forward(*arrays, *numbers, a, b), -(-v_last.size // _BLOCK), share(8 * steps * _BLOCK))
    return s, v_last


def lif_backward(
    g_s: np.ndarray,
    g_v_last: np.ndarray | None,
    x: np.ndarray,
    v0: np.ndarray,
    beta: float,
    v_threshold: float,
    amount: float,
    v_reset: float,
    soft: bool,
    firing: Any,
    detach_reset: bool,
    learnable: bool,
    initial: bool,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """See numpy_kernels.neurons.lif_backward. A spike function without compiled formulas runs there."""
    codes = _codes(firing)
    if codes is None:
        recurrence = beta, v_threshold, amount, v_reset, soft, firing
        return _reference_backward(g_s, g_v_last, x, v0, *recurrence, detach_reset, learnable, initial)
    number, steps = x.dtype.type, len(g_s)
    g_spikes = np.ascontiguousarray(g_s).reshape(steps, -1)
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    g_x, g_v0 = buffers.empty(x.shape, x.dtype), buffers.empty(v0.shape if initial else (0,), x.dtype)
    if len(rows) < steps:
        g_x[...] = 0
    n = rows.shape[1]
    g_last = np.zeros(1, x.dtype) if g_v_last is None else _first(g_v_last, x.dtype)
    size = max(64, min(_BLOCK, _POTENTIALS // steps))
    n_blocks = -(-n // size)
    sums = np.empty((n_blocks, 3))
    spike, levels, surrogate, alpha = codes
    arrays = g_spikes, g_last, rows, _first(v0, x.dtype), g_x.reshape(rows.shape), g_v0.reshape(-1), sums
    numbers = number(beta), number(v_threshold), number(amount), number(v_reset), number(levels), number(alpha)
    flags = spike, surrogate, bool(soft), bool(detach_reset), bool(learnable)
    for_ranges(lambda a, b: _backward(*arrays, *numbers, *flags, size, a, b), n_blocks, share(16 * steps * size))
    g_start = g_v0 if initial else None
    if not learnable:
        return g_x, g_start, None, None, None
    g_beta, g_threshold, g_amount = sums.sum(axis=0).astype(x.dtype)
    return g_x, g_start, np.asarray(g_beta), np.asarray(g_threshold), np.asarray(g_amount)


def _codes(firing: Any) -> tuple[int, float, int, float] | None:
    """The formulas of a spike function by number, None if one of them is not compiled here."""
    codes = getattr(firing, "codes", None)
    return codes if codes is not None and codes[2] in (_STRAIGHT_THROUGH, *range(_CONSTANT + 1)) else None


def _first(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """values [...] -> [N], or [1] where it is one number in memory, which is not worth an array."""
    uniform = values.size > 0 and not any(values.strides)
    return np.asarray(values.reshape(-1)[:1] if uniform else np.ascontiguousarray(values).reshape(-1), dtype)


@njit(nogil=True, cache=True, error_model="numpy")
def _copy_block(values, a, b, out):
    """out = values[a:b], of an array [N] or of one number [1] that stands for all."""
    if values.size == 1:
        value = values[0]
        for i in range(out.size):  # Numba does not vectorise the assignment to a slice
            out[i] = value
    else:
        part = values[a:b]
        for i in range(out.size):
            out[i] = part[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _forward(x, v0, v, s, beta, v_threshold, amount, v_reset, soft, spike, levels, first_block, last_block):
    """Run blocks of neurons over time from v0 [N] or [1]; v [N] receives v[T-1]."""
    for block in range(first_block, last_block):
        a, b = block * _BLOCK, min((block + 1) * _BLOCK, v.size)
        row = v[a:b]
        _copy_block(v0, a, b, row)
        for t in range(s.shape[0]):
            current, spikes = x[min(t, x.shape[0] - 1), a:b], s[t, a:b]
            if soft and spike == _AT_LEAST:
                _step(current, row, spikes, beta, v_threshold, amount)
            else:
                _charge(current, row, beta)
                _spikes(row, v_threshold, spike, levels, spikes)
                _reset(row, spikes, amount, v_reset, soft)


@njit(nogil=True, cache=True, error_model="numpy")
def _step(x, v, s, beta, v_threshold, amount):
    """`_charge`, `_spikes` of _AT_LEAST and the soft `_reset` in one loop; v: v[t-1] before, v[t] after."""
    for i in range(v.size):
        h = v[i] * beta + x[i]
        spikes = h >= v_threshold
        s[i] = spikes
        v[i] = h - (amount if spikes else amount - amount)


@njit(nogil=True, cache=True, error_model="numpy")
def _step_keeping_h(x, v, h, beta, v_threshold, amount):
    """As `_step`, but the result is h."""
    for i in range(v.size):
        h[i] = v[i] * beta + x[i]
        v[i] = h[i] - (amount if h[i] >= v_threshold else amount - amount)


@njit(nogil=True, cache=True, error_model="numpy")
def _charge(x, v, beta):
    for i in range(v.size):
        v[i] = v[i] * beta + x[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _reset(h, s, amount, v_reset, soft):
    if soft:
        for i in range(h.size):
            h[i] -= amount * s[i]
    else:
        for i in range(h.size):
            h[i] = v_reset if abs(s[i]) > 0 else h[i]  # a potential that is not a number stays one


@njit(nogil=True, cache=True, error_model="numpy")
def _spikes(h, v_threshold, spike, levels, s):
    """s = the spikes at each h, by the spike function numbered `spike`: one loop per function, each vectorised."""
    zero = v_threshold - v_threshold
    if spike == _AT_LEAST:
        for i in range(h.size):
            s[i] = h[i] >= v_threshold
    elif spike == _ABOVE:
        for i in range(h.size):
            s[i] = h[i] > v_threshold
    elif spike == _TERNARY_AT_LEAST:
        for i in range(h.size):
            s[i] = (h[i] >= v_threshold) - (-h[i] >= v_threshold)
    elif spike == _TERNARY_ABOVE:
        for i in range(h.size):
            s[i] = (h[i] > v_threshold) - (-h[i] > v_threshold)
    elif spike == _HALF_EVEN:
        for i in range(h.size):
            s[i] = min(max(np.rint(h[i] / v_threshold), zero), levels)
    else:
        half = h.dtype.type(0.5 if spike == _HALF_UP else 0)
        for i in range(h.size):
            s[i] = min(max(np.floor(h[i] / v_threshold + half), zero), levels)


@njit(nogil=True, cache=True, error_model="numpy")
def _backward(
    g_s, g_last, x, v0, g_x, g_v0, sums,
    beta, v_threshold, amount, v_reset, levels, alpha,
    spike, surrogate, soft, detach_reset, learnable,
    size, first_block, last_block,
):  # fmt: skip
    """Go forward and back through time block by block, from g_last [N] or [1]; g_v0 [N], empty if unwanted."""
    s, slope, slope_threshold = np.empty(size, x.dtype), np.empty(size, x.dtype), np.empty(size, x.dtype)
    h, g_spike, before = np.empty((g_s.shape[0], size), x.dtype), np.empty(size, x.dtype), np.empty(size, x.dtype)
    of_beta, of_threshold, of_amount = np.empty(size, x.dtype), np.empty(size, x.dtype), np.empty(size, x.dtype)
    g = np.empty(size, x.dtype)  # gradient of v[t]
    constant = x.shape[0] < g_s.shape[0]
    plain = soft and spike == _AT_LEAST and surrogate != _STRAIGHT_THROUGH
    plain = plain and detach_reset and not learnable and not constant
    for block in range(first_block, last_block):
        a, b = block * size, min((block + 1) * size, x.shape[1])
        n = b - a
        _copy_block(g_last, a, b, g[:n])
        _copy_block(v0, a, b, before[:n])
        if plain:
            for t in range(h.shape[0]):
                _step_keeping_h(x[t, a:b], before[:n], h[t, :n], beta, v_threshold, amount)
            for t in range(h.shape[0] - 1, -1, -1):
                if surrogate == _ATAN:
                    _step_back_atan(g_s[t, a:b], h[t, :n], g[:n], g_x[t, a:b], beta, v_threshold, alpha)
                else:
                    _surrogate(h[t, :n], v_threshold, surrogate, alpha, slope[:n])
                    _step_back(g_s[t, a:b], slope[:n], g[:n], g_x[t, a:b], beta)
            if g_v0.size:
                g_v0[a:b] = g[:n]
            continue
        for t in range(h.shape[0]):
            _charge(x[0 if constant else t, a:b], before[:n], beta)
            h[t, :n] = before[:n]
            _spikes(before[:n], v_threshold, spike, levels, s[:n])
            _reset(before[:n], s[:n], amount, v_reset, soft)
        of_beta[:] = 0
        of_threshold[:] = 0
        of_amount[:] = 0
        for t in range(h.shape[0] - 1, -1, -1):
            h_row, g_row = h[t, :n], g[:n]
            of_v_threshold = slope_threshold[: n if learnable else 0]
            _slopes(h_row, v_threshold, spike, levels, surrogate, alpha, slope[:n], of_v_threshold)
            _spike_back(g_s[t, a:b], h_row, g_row, g_spike[:n], amount, v_reset, soft, detach_reset)
            if learnable or not soft:
                _spikes(h_row, v_threshold, spike, levels, s[:n])
            if learnable:
                _add_product(g_spike[:n], slope_threshold[:n], of_threshold)
                if soft:
                    _add_product(g_row, s[:n], of_amount)
            _reset_back(s[:n], slope[:n], g_spike[:n], g_row, soft)
            if learnable:
                if t > 0:
                    before[:n] = h[t - 1, :n]
                    _spikes(h[t - 1, :n], v_threshold, spike, levels, s[:n])
                    _reset(before[:n], s[:n], amount, v_reset, soft)
                else:
                    _copy_block(v0, a, b, before[:n])
                _add_product(g_row, before[:n], of_beta)
            _charge_back(g_row, g_x[0 if constant else t, a:b], beta, constant)
        if g_v0.size:
            g_v0[a:b] = g[:n]
        sums[block, 0] = of_beta[:n].astype(np.float64).sum()
        sums[block, 1] = of_threshold[:n].astype(np.float64).sum()
        sums[block, 2] = -of_amount[:n].astype(np.float64).sum()


@njit(nogil=True, cache=True, error_model="numpy")
def _step_back(g_s, slope, g, g_x, beta):
    """The way back of `_step` with a detached reset; g: gradient of v[t] before, v[t-1] after."""
    for i in range(g.size):
        g_h = g[i] + g_s[i] * slope[i]
        g_x[i] = g_h
        g[i] = g_h * beta


@njit(nogil=True, cache=True, error_model="numpy")
def _step_back_atan(g_s, h, g, g_x, beta, v_threshold, alpha):
    """As `_step_back`, with the slopes of ATan computed in the same loop."""
    one = alpha / alpha
    peak, slope = alpha / (one + one), h.dtype.type(np.pi / 2) * alpha
    for i in range(g.size):
        z = slope * (h[i] - v_threshold)
        g_h = g[i] + g_s[i] * (peak / (one + z * z))
        g_x[i] = g_h
        g[i] = g_h * beta


@njit(nogil=True, cache=True, error_model="numpy")
def _spike_back(g_s, h, g, g_spike, amount, v_reset, soft, detach_reset):
    """g_spike: gradient of s[t], of which g_s comes from outside and the rest through the reset, from g of v[t]."""
    if detach_reset:
        for i in range(g.size):
            g_spike[i] = g_s[i]
    elif soft:
        for i in range(g.size):
            g_spike[i] = g_s[i] - g[i] * amount
    else:
        for i in range(g.size):
            g_spike[i] = g_s[i] + g[i] * (v_reset - h[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_product(x, y, out):
    for i in range(x.size):
        out[i] += x[i] * y[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _reset_back(s, slope, g_spike, g, soft):
    """g: gradient of v[t] before, of h[t] after."""
    if soft:
        for i in range(g.size):
            g[i] += g_spike[i] * slope[i]
    else:
        for i in range(g.size):
            g[i] = g_spike[i] * slope[i] + (g[i] if s[i] == 0 else s[i] - s[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _charge_back(g, g_x, beta, constant):
    """g: gradient of h[t] before, of v[t-1] after."""
    for i in range(g.size):
        g_x[i] = g_x[i] + g[i] if constant else g[i]
        g[i] *= beta


@njit(nogil=True, cache=True, error_model="numpy")
def _slopes(h, v_threshold, spike, levels, surrogate, alpha, of_h, of_threshold):
    """The derivatives of the spike function at each h, for h and, unless `of_threshold` is empty, for v_threshold."""
    if surrogate == _STRAIGHT_THROUGH:
        zero, one = v_threshold - v_threshold, v_threshold / v_threshold
        for i in range(h.size):
            u = h[i] / v_threshold
            of_h[i] = one / v_threshold if zero <= u <= levels else zero
        for i in range(of_threshold.size):
            of_threshold[i] = -(h[i] / v_threshold) * of_h[i]
    elif spike in (_TERNARY_AT_LEAST, _TERNARY_ABOVE):
        down = -h
        _surrogate(down, v_threshold, surrogate, alpha, down)
        _surrogate(h, v_threshold, surrogate, alpha, of_h)
        for i in range(of_threshold.size):
            of_threshold[i] = down[i] - of_h[i]
        for i in range(h.size):
            of_h[i] += down[i]
    else:
        _surrogate(h, v_threshold, surrogate, alpha, of_h)
        for i in range(of_threshold.size):
            of_threshold[i] = -of_h[i]


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
            e = exp_of_negative(-abs(alpha * (h[i] - v_threshold)))
            out[i] = alpha * e / ((one + e) * (one + e))
    elif code == _PIECEWISE_QUADRATIC:
        for i in range(h.size):
            out[i] = max(alpha - alpha * alpha * abs(h[i] - v_threshold), one - one)
    elif code in (_FAST_SIGMOID, _SOFT_SIGN):
        peak = one if code == _FAST_SIGMOID else alpha / (one + one)
        for i in range(h.size):
            q = one + alpha * abs(h[i] - v_threshold)
            out[i] = peak / (q * q)
    elif code == _GAUSSIAN:
        peak = alpha / h.dtype.type(np.sqrt(np.pi))
        for i in range(h.size):
            z = alpha * (h[i] - v_threshold)
            out[i] = peak * exp_of_negative(-z * z)
    elif code == _EXPONENTIAL:
        peak = alpha / (one + one)
        for i in range(h.size):
            out[i] = peak * exp_of_negative(-alpha * abs(h[i] - v_threshold))
    elif code == _RECTANGLE:
        half = one / (alpha + alpha)
        for i in range(h.size):
            out[i] = alpha if abs(h[i] - v_threshold) < half else one - one
    else:
        out[:] = alpha
