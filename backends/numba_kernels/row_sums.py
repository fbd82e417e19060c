"""Weighted sums of spikes, one row of outputs at a time: every event adds rows of weights to sums held in registers.

Four kernels:
- `roll` for kernels of three taps along each of the last two axes that read y - 1, y, y + 1 and x - 1, x, x + 1: an
  event is read once and added to the nine columns of three rows of outputs that see it, which then move on by one;
- `pile` for the same and few output channels, with all nine taps side by side in one vector: an event is added once,
  and whoever reads the sums puts them together;
- `spread` for transposed kernels of four taps and stride 2 along each of the last two axes, what a kernel of three taps
  makes of positions that are repeated: an event is read once for each pair of the four rows of outputs that see it;
- `gather` for everything else: an output adds the events of each column that one of its taps reads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .merging import WORD, list_events
from .vectors import add_from, at, store, zeros


@njit(nogil=True, cache=True, error_model="numpy")
def roll(
    blocks, merged, active, weights, n_blocks, sums, begin, rows_in, first, rows, height, steps, slots, n_words, width,
    readers, events, start, onto,
):  # fmt: skip
    """sums [steps, rows, X, lanes] = the sums over merged [rows_in, steps, slots, n_words, X]; added to sums if `onto`.

    The sums are those of the rows of outputs from `first` on; merged are the rows of inputs from `begin` on, all that
    these rows see. `height` rows are a plane.

    weights is flat [n_blocks, n_words * 64, 3, 3, lanes of a block], the taps in the order of the outputs that they add
    to: y - 1, y, y + 1, and x - 1, x, x + 1. Behind the sums is room for a row that nobody reads: there go the sums of
    rows outside. Returns how many existing outputs the events reach.
    """
    n = 16 * len(blocks)
    lanes = n_blocks * n
    pitch = 9 * n
    row_size = width * lanes
    reached = 0
    for j in range(rows_in):
        row = begin + j
        above, here, below = _read_by(row, first, rows, height)
        for t in range(steps):
            words = (j * steps + t) * slots * n_words * width
            listed = list_events(merged, words, active, j * n_words, slots, n_words, width, readers, events, start)
            reached += listed * (np.int64(above) + np.int64(here) + np.int64(below))
            to, nowhere = (t * rows + row - first) * row_size, steps * rows * row_size
            for block in range(n_blocks):
                base = block * n_words * WORD * pitch
                to_above = (to - row_size if above else nowhere) + block * n
                to_here = (to if here else nowhere) + block * n
                to_below = (to + row_size if below else nowhere) + block * n
                # a row of outputs is met from the row above it first, if there is one
                onto_here, onto_below = here and (onto or row % height > 0), below and onto
                a0, a1 = zeros(sums, blocks), zeros(sums, blocks)
                b0, b1 = zeros(sums, blocks), zeros(sums, blocks)
                c0, c1 = zeros(sums, blocks), zeros(sums, blocks)
                for x in range(width):
                    a2, b2, c2 = zeros(sums, blocks), zeros(sums, blocks), zeros(sums, blocks)
                    for e in range(at(start, x), at(start, x + 1)):
                        w = base + np.int64(at(events, e)) * pitch
                        a0 = add_from(a0, weights, w)
                        a1 = add_from(a1, weights, w + n)
                        a2 = add_from(a2, weights, w + 2 * n)
                        b0 = add_from(b0, weights, w + 3 * n)
                        b1 = add_from(b1, weights, w + 4 * n)
                        b2 = add_from(b2, weights, w + 5 * n)
                        c0 = add_from(c0, weights, w + 6 * n)
                        c1 = add_from(c1, weights, w + 7 * n)
                        c2 = add_from(c2, weights, w + 8 * n)
                    if x > 0:
                        left = (x - 1) * lanes
                        _put(a0, sums, to_above + left, above)
                        _put(b0, sums, to_here + left, onto_here)
                        _put(c0, sums, to_below + left, onto_below)
                    a0, a1, b0, b1, c0, c1 = a1, a2, b1, b2, c1, c2
                last = (width - 1) * lanes
                _put(a0, sums, to_above + last, above)
                _put(b0, sums, to_here + last, onto_here)
                _put(c0, sums, to_below + last, onto_below)
    return reached


@njit(nogil=True, cache=True, error_model="numpy")
def spread(
    blocks, merged, active, weights, n_blocks, sums, begin, rows_in, first, rows, height, steps, slots, n_words, width,
    readers, events, start, onto,
):  # fmt: skip
    """As `roll`, where an input at (y, x) meets the outputs 2 y - 1 to 2 y + 2 and 2 x - 1 to 2 x + 2; `height` rows of
    inputs are a plane.

    weights is flat [n_blocks, n_words * 64, 4, 4, lanes of a block], the taps in the order of these outputs.
    """
    n = 16 * len(blocks)
    lanes = n_blocks * n
    pitch = 16 * n
    row_size = 2 * width * lanes
    nowhere = steps * rows * row_size
    reached = 0
    for j in range(rows_in):
        row = begin + j
        y = row % height
        out = 2 * row - first  # the second of the four rows
        for t in range(steps):
            words = (j * steps + t) * slots * n_words * width
            listed = list_events(merged, words, active, j * n_words, slots, n_words, width, readers, events, start)
            for pair in range(2):
                upper = out - 1 + 2 * pair
                has_upper = 0 <= upper < rows and (pair == 1 or y > 0)
                has_lower = 0 <= upper + 1 < rows and (pair == 0 or y + 1 < height)
                reached += listed * (np.int64(has_upper) + np.int64(has_lower))
                if not (has_upper or has_lower):
                    continue
                # a row of outputs is met from the row above it first, if there is one
                onto_upper = onto or pair == 0
                onto_lower = onto or (pair == 0 and y > 0)
                for block in range(n_blocks):
                    base = block * n_words * WORD * pitch + pair * 8 * n
                    to_upper = ((t * rows + upper) * row_size if has_upper else nowhere) + block * n
                    to_lower = ((t * rows + upper + 1) * row_size if has_lower else nowhere) + block * n
                    a0, a1 = zeros(sums, blocks), zeros(sums, blocks)
                    b0, b1 = zeros(sums, blocks), zeros(sums, blocks)
                    for x in range(width):
                        a2, a3 = zeros(sums, blocks), zeros(sums, blocks)
                        b2, b3 = zeros(sums, blocks), zeros(sums, blocks)
                        for e in range(at(start, x), at(start, x + 1)):
                            w = base + np.int64(at(events, e)) * pitch
                            a0 = add_from(a0, weights, w)
                            a1 = add_from(a1, weights, w + n)
                            a2 = add_from(a2, weights, w + 2 * n)
                            a3 = add_from(a3, weights, w + 3 * n)
                            b0 = add_from(b0, weights, w + 4 * n)
                            b1 = add_from(b1, weights, w + 5 * n)
                            b2 = add_from(b2, weights, w + 6 * n)
                            b3 = add_from(b3, weights, w + 7 * n)
                        here = 2 * x * lanes
                        if x > 0:
                            _put(a0, sums, to_upper + here - lanes, onto_upper)
                            _put(b0, sums, to_lower + here - lanes, onto_lower)
                        _put(a1, sums, to_upper + here, onto_upper)
                        _put(b1, sums, to_lower + here, onto_lower)
                        a0, a1, b0, b1 = a2, a3, b2, b3
                    last = (2 * width - 1) * lanes
                    _put(a0, sums, to_upper + last, onto_upper)
                    _put(b0, sums, to_lower + last, onto_lower)
    return reached


@njit(inline="always")
def _read_by(row, first, rows, height):
    """Whether the rows of outputs above, beside and below a row of inputs see it and are among the `rows` from `first`
    on; `height` rows are a plane."""
    y = row % height
    above = y > 0 and first < row <= first + rows
    here = first <= row < first + rows
    below = y + 1 < height and first <= row + 1 < first + rows
    return above, here, below


@njit(inline="always")
def _put(total, sums, index, onto):
    """sums[index : index + lanes] = total; += if `onto`."""
    if onto:
        store(add_from(total, sums, index), sums, index)
    else:
        store(total, sums, index)


@njit(nogil=True, cache=True, error_model="numpy")
def pile(
    blocks, merged, active, weights, sums, begin, rows_in, first, rows, height, slots, n_words, width, readers, events,
    start, onto,
):  # fmt: skip
    """sums [rows_in, X, lanes] = for each column of inputs, what it brings to the outputs around it; see `roll`.

    weights is flat [n_words * 64, lanes], merged has one step. Returns how many outputs of the rows of outputs from
    `first` on the events reach.
    """
    n = 16 * len(blocks)
    reached = 0
    for j in range(rows_in):
        row = begin + j
        above, here, below = _read_by(row, first, rows, height)
        words = j * slots * n_words * width
        listed = list_events(merged, words, active, j * n_words, slots, n_words, width, readers, events, start)
        reached += listed * (np.int64(above) + np.int64(here) + np.int64(below))
        for x in range(width):
            total = zeros(sums, blocks)
            for e in range(at(start, x), at(start, x + 1)):
                total = add_from(total, weights, np.int64(at(events, e)) * n)
            _put(total, sums, (j * width + x) * n, onto)
    return reached


@njit(nogil=True, cache=True, error_model="numpy")
def gather(
    blocks, merged, active, weights, n_blocks, sums, rows, steps, slots, n_words, width, readers, events, start, onto,
    x_taps,
):  # fmt: skip
    """sums [steps, rows, X, lanes] = the sums over merged [rows, steps, slots, n_words, X]; added to sums if `onto`.

    An output reads through tap k the column x_taps[x, k], nothing where that is -1.
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
