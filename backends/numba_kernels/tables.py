"""Weighted sums of many spikes: look up the sum of the weights of four channels at a time, whichever of them fire.

A merged word is sixteen groups of four bits, and for each there is a table of the 16 sums that its bits can make. The
work does not depend on how many spikes there are, and beyond some rate it is less than to add them one by one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .layouts import SpikeWeights, aligned
from .vectors import add_from, at, load, popcount, store, zeros

GROUPS = 16  # of four bits
MOST_BYTES = 4 << 20  # of the tables of a layer
LEAST_EVENTS = 1 << 16  # so few do not pay for the tables
# nanoseconds on the machine this was measured on (AVX-512, 48 KiB of L1 cache); only their ratios matter
_ADD, _ADD_FAR, _NEAR_BYTES = 0.34, 0.43, 1 << 16  # of a row of weights, and if they are more than so many bytes
_LIST, _COLUMN = 2.0, 5.0  # to list the events of a word, to begin a column
_LOOK_UP, _PASS = 0.36, 0.5  # to look up a sum and add it, to begin a word and tap


def dense_is_cheaper(
    events: int, events_of_a_column: float, weights: SpikeWeights, table_words: int, share: float, taps: int
) -> bool:
    """Whether tables are estimated to be faster than adding the weights of `events` spikes one by one.

    A column of inputs with all that merged words bring to it holds `events_of_a_column` events on average, each added
    through `taps` taps of the last axis, and `share` of its words have a tap inside the volume. The estimate depends on
    these numbers and the size of the weights only, so a run on the same spikes always decides alike.
    """
    listed, words = (max(1.0, n * share) for n in (weights.merging.words, table_words))
    table_bytes = table_words * GROUPS * 16 * taps * weights.lanes * weights.sum_type.itemsize
    if events < LEAST_EVENTS or table_bytes > MOST_BYTES or weights.sum_type != np.int16:
        return False
    vectors = max(1.0, weights.lanes * weights.sum_type.itemsize / 64)
    add = _ADD_FAR if weights.weights.nbytes > _NEAR_BYTES else _ADD
    by_events = events_of_a_column * taps * vectors * add + listed * _LIST + _COLUMN
    by_tables = words * taps * (GROUPS * vectors * _LOOK_UP + _PASS)
    return by_tables < by_events


def tables_of(weights: SpikeWeights, taps: int) -> np.ndarray:
    """Flat [n_blocks, words, taps, groups, 16, lanes of a block]: entry i of a table is the sum of the weights of the
    bits that are set in i. Taps in the order of `axis_taps`."""
    words = weights.merging.words
    w = weights.weights.reshape(weights.n_blocks, words, GROUPS, 4, taps, weights.block).astype(weights.sum_type)
    chosen = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(w.dtype)
    return aligned(np.einsum("ib,nwgbkl->nwkgil", chosen, w))


@njit(nogil=True, cache=True, error_model="numpy")
def look_up(
    blocks, merged, active, tables, n_blocks, sums, rows, steps, slots, n_words, width, readers, onto, x_taps
):  # fmt: skip
    """As `gather`, by tables. Returns how many existing outputs the events reach."""
    n = 16 * len(blocks)
    lanes = n_blocks * n
    outputs, taps = x_taps.shape
    entries = GROUPS * 16 * n
    reached = 0
    for j in range(rows):
        for t in range(steps):
            fresh = not onto
            for s in range(slots):
                for w in range(n_words):
                    if at(active, j * n_words + w) == 0:
                        continue
                    first = (((j * steps + t) * slots + s) * n_words + w) * width
                    for x in range(width):
                        reached += popcount(at(merged, first + x)) * at(readers, x)
                    for block in range(n_blocks):
                        out = (t * rows + j) * outputs * lanes + block * n
                        for k in range(taps):
                            table = ((block * n_words + w) * taps + k) * entries
                            _add_table(
                                blocks, merged, first, x_taps, k, tables, table, sums, out, lanes, fresh and k == 0
                            )
                    fresh = False
            if fresh:
                for i in range((t * rows + j) * outputs * lanes, (t * rows + j + 1) * outputs * lanes):
                    sums[i] = 0
    return reached


@njit(nogil=True, cache=True, error_model="numpy")
def _add_table(blocks, merged, first, x_taps, k, tables, table, sums, out, lanes, fresh):
    """Add to every output what the table of one word says of the column that it reads through tap k."""
    n = 16 * len(blocks)
    four = np.uint64(15)
    for x in range(len(x_taps)):
        to = out + x * lanes
        total = zeros(sums, blocks) if fresh else load(sums, sums, to, blocks)
        column = x_taps[x, k]
        if column >= 0:
            word = at(merged, first + column)
            for g in range(GROUPS):
                entry = np.int64(word >> np.uint64(4 * g) & four)
                total = add_from(total, tables, table + (16 * g + entry) * n)
        store(total, sums, to)
