"""Spiking neurons over time: the reference kernels, in place on chunks of neurons that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import buffers

_CHUNK = 16384  # neurons per chunk: a handful of float32 rows of this length fit the second-level cache
_POTENTIALS = 1 << 20  # and as many potentials over time at most, where they are needed


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
    """Charge, fire and reset a neuron with one membrane `steps` times.

        h[t] = beta v[t-1] + x[t];  s[t] = firing(h[t], v_threshold);
        v[t] = h[t] - amount s[t] (soft) or, where s[t] != 0, v_reset (hard)

    x [T, ...] with T = steps, or [1, ...] for a current constant over time; v0 [...] = v[-1]; `firing` is a spike
    function, see pysnnmed.neurons.firing. -> (s [T, ...], v[T-1] [...]), of the type of x.
    """
    rows = x.reshape(len(x), -1)
    s, v_last = buffers.empty((steps, *x.shape[1:]), x.dtype), buffers.empty(v0.shape, x.dtype)
    s_rows, v_row, first = s.reshape(steps, -1), v_last.reshape(-1), _row_of(v0)
    for chunk in _chunks(v_last.size):
        v = v_row[chunk]
        v[...] = first[chunk]
        for t in range(steps):
            _charge(v, beta, rows, t, chunk)
            s_rows[t, chunk] = firing(v, v_threshold)
            _reset(v, s_rows[t, chunk], amount, v_reset, soft)
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
    """Backpropagation through time of `lif_forward`, which keeps nothing: h is computed again, chunk by chunk.

    x [T, ...] or [1, ...] and v0 [...] are those of the forward pass; g_s [T, ...] and g_v_last [...] (None: zero) are
    the gradients of the spikes and of the final membrane; `detach_reset` leaves the s of the reset without gradient.
    -> (g_x of the shape of x, summed over time if that is constant; g_v0 [...], None unless `initial`; g_beta [];
    g_threshold []; g_amount [], these three None unless `learnable`).

    With the derivatives d and d' of `firing` for h[t] and v_threshold, and the gradient g_v of v[t], step t of the way
    back is
        g_spike = g_s[t] + g_v dv/ds,   dv/ds = -amount (soft), v_reset - h[t] (hard), 0 (detached)
        g_h     = g_spike d + g_v dv/dh,   dv/dh = 1 (soft), [s[t] = 0] (hard)
        g_x[t]  = g_h,   g_beta += g_h v[t-1],   g_threshold += g_spike d',   g_amount -= g_v s[t] (soft)
        g_v    <- beta g_h
    """
    steps, dtype = len(g_s), x.dtype
    g_spikes, rows, first = g_s.reshape(steps, -1), x.reshape(len(x), -1), _row_of(v0)
    n = v0.size
    g_x, g_v0 = buffers.empty(x.shape, dtype), buffers.empty(v0.shape, dtype) if initial else None
    g_rows = g_x.reshape(rows.shape)
    g_last = np.broadcast_to(np.zeros((), dtype), n) if g_v_last is None else _row_of(g_v_last)
    sums = np.zeros(3)  # of beta, v_threshold, amount
    for chunk in _chunks(n, _POTENTIALS // steps):
        g_v, v = g_last[chunk].astype(dtype), first[chunk].astype(dtype)
        h = np.empty((steps, len(v)), dtype)
        for t in range(steps):
            _charge(v, beta, rows, t, chunk)
            h[t] = v
            _reset(v, firing(v, v_threshold).astype(dtype), amount, v_reset, soft)
        for t in reversed(range(steps)):
            u, g_spike = h[t], g_spikes[t, chunk]
            if not detach_reset:
                g_spike = g_spike + g_v * (-amount if soft else v_reset - u)
            if learnable:
                sums[1] += (g_spike * firing.threshold_derivative(u, v_threshold)).sum(dtype=np.float64)
                if soft:
                    sums[2] -= (g_v * firing(u, v_threshold)).sum(dtype=np.float64)
            if not soft:
                g_v[firing(u, v_threshold) != 0] = 0
            g_v += g_spike * firing.derivative(u, v_threshold)
            if learnable:
                before = first[chunk]
                if t:
                    before = h[t - 1].copy()
                    _reset(before, firing(before, v_threshold).astype(dtype), amount, v_reset, soft)
                sums[0] += (g_v * before).sum(dtype=np.float64)
            if t == steps - 1 or len(rows) > 1:
                g_rows[_row(rows, t), chunk] = g_v
            else:
                g_rows[0, chunk] += g_v
            g_v *= beta
        if g_v0 is not None:
            g_v0.reshape(-1)[chunk] = g_v
    if not learnable:
        return g_x, g_v0, None, None, None
    g_beta, g_threshold, g_amount = sums.astype(dtype)
    return g_x, g_v0, np.asarray(g_beta), np.asarray(g_threshold), np.asarray(g_amount)


def _charge(v: np.ndarray, beta: float, rows: np.ndarray, t: int, chunk: slice) -> None:
    """v <- h[t]."""
    v *= beta
    v += rows[_row(rows, t), chunk]


def _reset(h: np.ndarray, s: np.ndarray, amount: float, v_reset: float, soft: bool) -> None:
    """h <- v[t]."""
    if soft:
        h -= s if amount == 1 else amount * s  # a pass less in the usual case
    else:
        h[np.abs(s) > 0] = v_reset  # not s != 0: a potential that is not a number stays one


def _row_of(values: np.ndarray) -> np.ndarray:
    """values [...] -> [N], without a copy where they are one number in memory."""
    uniform = values.size > 0 and not any(values.strides)
    return np.broadcast_to(values.reshape(-1)[:1], values.size) if uniform else values.reshape(-1)


def _row(rows: np.ndarray, t: int) -> int:
    """The row of step t, of which there is one for all steps if the current is constant."""
    return t if len(rows) > 1 else 0


def _chunks(n: int, most: int = _CHUNK) -> Iterator[slice]:
    size = max(1, min(_CHUNK, most))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
