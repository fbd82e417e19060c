"""Weighted sums of spikes, one row of outputs at a time: every event adds rows of weights to sums held in registers.

Two kernels, for one block of output channels or several:
- `roll` for kernels of three taps along the last axis that read x - 1, x and x + 1: an event is read once and added to
  the three columns of outputs that see it, which then move on by one;
- `gather` for everything else: an output adds the events of each column that one of its taps reads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .merging import WORD, list_events
from .vectors import add_from, at, store, zeros


@njit(nogil=True, cache=True, error_model="numpy")
def roll(
    blocks, merged, active, weights, n_blocks, sums, rows, steps, slots, n_words, width, readers, events, start, onto
):  # fmt: skip
    """sums [steps, rows, X, lanes] = the sums over merged [rows, steps, slots, n_words, X]; added to sums if `onto`.

    weights is flat [n_blocks, n_words * 64, 3, lanes of a block], the taps in the order x - 1, x, x + 1 of the outputs
    they add to. Returns how many existing outputs the events reach.
    """
    n = 16 * len(blocks)
    lanes = n_blocks * n
    pitch = 3 * n
    reached = 0
    for j in range(rows):
        for t in range(steps):
            first = (j * steps + t) * slots * n_words * width
            reached += list_events(merged, first, active, j * n_words, slots, n_words, width, readers, events, start)
            for block in range(n_blocks):
                base = block * n_words * WORD * pitch
                out = (t * rows + j) * width * lanes + block * n
                left, here = zeros(sums, blocks), zeros(sums, blocks)
                for x in range(width):
                    right = zeros(sums, blocks)
                    for e in range(at(start, x), at(start, x + 1)):
                        row = base + np.int64(at(events, e)) * pitch
                        left = add_from(left, weights, row)
                        here = add_from(here, weights, row + n)
                        right = add_from(right, weights, row + 2 * n)
                    if x > 0:
                        if onto:
                            left = add_from(left, sums, out + (x - 1) * lanes)
                        store(left, sums, out + (x - 1) * lanes)
                    left, here = here, right
                if onto:
                    left = add_from(left, sums, out + (width - 1) * lanes)
                store(left, sums, out + (width - 1) * lanes)
    return reached


@njit(nogil=True, cache=True, error_model="numpy")
def gather(
    blocks, merged, active, weights, n_blocks, sums, rows, steps, slots, n_words, width, readers, events, start, onto,
    x_taps,
):  # fmt: skip
    """As `roll`, for outputs that read through tap k the column x_taps[x, k], nothing where that is -1.

    weights is flat [n_blocks, n_words * 64, taps, lanes of a block].
    """
    n = 16 * len(blocks)
    lanes = n_blocks * n
    outputs, taps = x_taps.shape
    pitch = taps * n
    reached = 0
    for j in range(rows):
        for t in range(steps):
            first = (j * steps + t) * slots * n_words * width
            reached += list_events(merged, first, active, j * n_words, slots, n_words, width, readers, events, start)
            for block in range(n_blocks):
                base = block * n_words * WORD * pitch
                out = (t * rows + j) * outputs * lanes + block * n
                for x in range(outputs):
                    total = zeros(sums, blocks)
                    for k in range(taps):
                        column = x_taps[x, k]
                        if column >= 0:
                            tap = base + k * n
                            for e in range(at(start, column), at(start, column + 1)):
                                total = add_from(total, weights, tap + np.int64(at(events, e)) * pitch)
                    if onto:
                        total = add_from(total, sums, out + x * lanes)
                    store(total, sums, out + x * lanes)
    return reached
