"""Spiking neurons over time: the reference kernels, in place on chunks of neurons that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

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
    s = np.empty((steps, rows.shape[1]), x.dtype)
    v_last = v0.astype(x.dtype).reshape(-1)
    for chunk in _chunks(len(v_last)):
        v = v_last[chunk]
        for t in range(steps):
            _charge(v, beta, rows, t, chunk)
            s[t, chunk] = firing(v, v_threshold)
            _reset(v, s[t, chunk], amount, v_reset, soft)
    return s.reshape(steps, *x.shape[1:]), v_last.reshape(v0.shape)


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Backpropagation through time of `lif_forward`, which keeps nothing: h is computed again, chunk by chunk.

    x [T, ...] or [1, ...] and v0 [...] are those of the forward pass; g_s [T, ...] and g_v_last [...] (None: zero) are
    the gradients of the spikes and of the final membrane; `detach_reset` leaves the s of the reset without gradient.
    -> (g_x of the shape of x, summed over time if that is constant; g_v0 [...]; g_beta []; g_threshold [];
    g_amount []), the last three None unless `learnable`.

    With the derivatives d and d' of `firing` for h[t] and v_threshold, and the gradient g_v of v[t], step t of the way
    back is
        g_spike = g_s[t] + g_v dv/ds,   dv/ds = -amount (soft), v_reset - h[t] (hard), 0 (detached)
        g_h     = g_spike d + g_v dv/dh,   dv/dh = 1 (soft), [s[t] = 0] (hard)
        g_x[t]  = g_h,   g_beta += g_h v[t-1],   g_threshold += g_spike d',   g_amount -= g_v s[t] (soft)
        g_v    <- beta g_h
    """
    steps, dtype = len(g_s), x.dtype
    g_spikes, rows, first = g_s.reshape(steps, -1), x.reshape(len(x), -1), v0.reshape(-1)
    n = len(first)
    g_x = np.zeros(x.shape, dtype)
    g_rows = g_x.reshape(rows.shape)
    g_v0 = np.zeros(n, dtype) if g_v_last is None else g_v_last.astype(dtype).reshape(-1)
    sums = np.zeros(3)  # of beta, v_threshold, amount
    for chunk in _chunks(n, _POTENTIALS // steps):
        g_v, v = g_v0[chunk], first[chunk].astype(dtype)
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
            g_rows[_row(rows, t), chunk] += g_v
            g_v *= beta
    g_v0 = g_v0.reshape(v0.shape)
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


def _row(rows: np.ndarray, t: int) -> int:
    """The row of step t, of which there is one for all steps if the current is constant."""
    return t if len(rows) > 1 else 0


def _chunks(n: int, most: int = _CHUNK) -> Iterator[slice]:
    size = max(1, min(_CHUNK, most))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
