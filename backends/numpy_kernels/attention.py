"""Sums of spike attention on packed spikes, plainly: unpack the bits, multiply matrices of float64, which are exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..packed import Executed, Packed, unpack

__all__ = ["add_rows", "coincidences"]


def coincidences(x: Packed, y: Packed, heads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Executed]:
    """How often two channels of a head fire at the same position, for spikes x and y [slots, *S, W] of one shape.

    -> X^T Y int32 [slots, heads, Cx / heads, Cy / heads], and the spikes of each channel, int32 [slots, Cx] and
    [slots, Cy]. The events are the spikes of both; the SynOps, the coincidences.
    """
    slots = len(x.words)
    first, second = (unpack(p.words, p.channels).reshape(slots, heads, p.channels // heads, -1) for p in (x, y))
    both = np.matmul(first.astype(np.float64), second.astype(np.float64).swapaxes(-1, -2)).astype(np.int32)
    of_x, of_y = (a.sum(axis=-1, dtype=np.int32).reshape(slots, -1) for a in (first, second))
    events = int(of_x.sum(dtype=np.int64) + of_y.sum(dtype=np.int64))
    return both, of_x, of_y, Executed(events, int(both.sum(dtype=np.int64)))


def add_rows(
    q: Packed, matrix: np.ndarray, product: Sequence[int], sign: Sequence[int], rows: np.ndarray
) -> tuple[np.ndarray, Executed]:
    """Each spike of q adds a row of a matrix to the sums at its position.

    q           [slots, *S, W] of C channels
    matrix      int32 [slots, P, C, D]: one matrix for each of P products; the channels of a head add to the D sums of
                that head, of which O / D make the O sums of a position
    product     for each of H outputs, the product that it reads, or -1 for none
    sign        1 or -1 for each output
    rows        int32 [slots, H, O], where the sums of an output start

    -> rows + sign * sums, int32 [slots, H, *S, O], and what was done: SynOps are the numbers added, D for each spike
    and product. No sum may leave int32.
    """
    slots, n_products, channels, width = matrix.shape
    shape, n_out = q.words.shape[1:-1], rows.shape[-1]
    heads = n_out // width
    spikes = unpack(q.words, channels).reshape(slots, 1, heads, channels // heads, -1).astype(np.float64)
    by_head = matrix.reshape(slots, n_products, heads, channels // heads, width).astype(np.float64)
    sums = np.matmul(spikes.swapaxes(-1, -2), by_head)  # [slots, P, heads, N, D]
    sums = sums.transpose(0, 1, 3, 2, 4).reshape(slots, n_products, spikes.shape[-1], n_out).astype(np.int32)
    out = np.empty((slots, len(product), sums.shape[2], n_out), np.int32)
    for h, (p, s) in enumerate(zip(product, sign, strict=True)):
        out[:, h] = rows[:, h, None] + (s * sums[:, p] if p >= 0 else 0)
    events = int(spikes.sum())
    return out.reshape(slots, len(product), *shape, n_out), Executed(events, events * width * n_products)
