"""From packed spikes to lists of events: what one row of outputs reads, gathered in words of 64 bits and then by index.

An output sees, through each pair (kz, ky) of leading taps, the words of one input row. The words of several taps and
sources that fit into 64 bits are merged: fewer words are scanned, and the weights of what lies together lie together.
Bit b of merged word w is row w * 64 + b of the weights, see `Merging.rows`.

Listing the events of a column before anything is added costs one mispredicted branch a column instead of one a word.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numba import njit

from .vectors import COLUMNS, COMPRESSES, at, compress_bits, merge_columns, popcount, trailing_zeros

WORD = 64
MOST_WORDS = 1024  # an event is the index of its weights in 16 bits


@dataclass(frozen=True)
class Merging:
    """Which bits of which words of the sources make up the merged words.

    items   for each source [n, 5] int64: leading taps kz and ky, word of the position, merged word, bits to shift by
    rows    [words * 64, 3] int64: leading taps and channel of each bit, -1 where there is none
    """

    items: tuple[np.ndarray, ...]
    rows: np.ndarray

    @property
    def words(self) -> int:
        return len(self.rows) // WORD


@functools.lru_cache(maxsize=256)
def merging(channels: tuple[int, ...], word_bits: tuple[int, ...], phases: tuple[tuple[int, ...], ...]) -> Merging:
    """Merge sources of so many channels in words of so many bits, over two axes of leading taps.

    `phases` has for each axis those of the taps, see Geometry: what an output sees together is put together.
    """
    taps = sorted(np.ndindex(*map(len, phases)), key=lambda k: (phases[0][k[0]], phases[1][k[1]]))
    items: list[list[tuple[int, ...]]] = []
    rows: list[list[tuple[int, ...]]] = [[]]
    first = 0
    for count, bits in zip(channels, word_bits, strict=True):
        of_source = []
        for kz, ky in taps:
            for word, start in enumerate(range(0, count, bits)):
                used = range(first + start, first + min(start + bits, count))
                if len(rows[-1]) + len(used) > WORD:
                    rows.append([])
                of_source.append((kz, ky, word, len(rows) - 1, len(rows[-1])))
                rows[-1] += [(kz, ky, channel) for channel in used]
        items.append(of_source)
        first += count
    filled = [word + [(-1, -1, -1)] * (WORD - len(word)) for word in rows]
    return Merging(tuple(np.array(i, np.int64) for i in items), np.array(filled, np.int64).reshape(-1, 3))


@njit(nogil=True, cache=True, error_model="numpy")
def merge(
    words, size, levels, z_taps, y_taps, items, merged, active, n_words, fresh, first_row, rows, steps, level, slots
):  # fmt: skip
    """Merge the words of one source into merged [rows, steps, slots, n_words, X].

    words is flat [steps * levels, Z, Y, X, W], size = (Z, Y, X, W). Slot s of a step is its level `level` + s, which a
    source of fewer levels does not have. active [rows, n_words] says which merged words have a tap inside the volume;
    the others are neither written nor read. `fresh` forgets what was there before: set it for the first source.
    """
    depth, height, width, per_position = size
    for j in range(rows):
        z, y = divmod(first_row + j, len(y_taps))
        if fresh:
            active[j * n_words : (j + 1) * n_words] = 0
        for i in range(len(items)):
            at_z, at_y = z_taps[z, items[i, 0]], y_taps[y, items[i, 1]]
            if at_z < 0 or at_y < 0:
                continue
            word, target, shift = items[i, 2], items[i, 3], np.uint64(items[i, 4])
            first = active[j * n_words + target] == 0
            active[j * n_words + target] = 1
            for t in range(steps):
                for s in range(slots):
                    to = (((j * steps + t) * slots + s) * n_words + target) * width
                    row = merged[to : to + width]
                    if level + s < levels:
                        slot = t * levels + level + s
                        source = ((slot * depth + at_z) * height + at_y) * width * per_position
                        _put(words, source + word, per_position, shift, first, row)
                    elif first:
                        row[:] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def _put(words, start, step, shift, first, row):
    """row = words[start], words[start + step], ... shifted up; joined to what is there unless it is the first."""
    n = row.size
    done = 0
    if step == 1:
        for x in range(0, n - COLUMNS + 1, COLUMNS):
            merge_columns(words, start + x, shift, first, row, x)
        done = n // COLUMNS * COLUMNS
    for x in range(done, n):
        word = np.uint64(words[start + x * step]) << shift
        row[x] = word if first else row[x] | word


@njit(nogil=True, cache=True, error_model="numpy")
def list_events(merged, first, active, first_active, slots, n_words, width, readers, events, start):
    """List the set bits of the merged words [slots, n_words, width] from `first` on, column by column.

    The events of column x are events[start[x] : start[x + 1]], each the index of a row of weights. Returns how many
    outputs they reach, if events of column x reach readers[x] of them.
    """
    total = reached = 0
    for x in range(width):
        start[x] = total
        for s in range(slots):
            for w in range(n_words):
                if at(active, first_active + w):
                    word = at(merged, first + (s * n_words + w) * width + x)
                    if COMPRESSES:
                        total += compress_bits(word, w * WORD, events, total)
                    else:
                        total += _scan_bits(word, w * WORD, events, total)
        reached += (total - start[x]) * readers[x]
    start[width] = total
    return reached


@njit(nogil=True, cache=True, error_model="numpy")
def _scan_bits(word, first, events, index):
    """`compress_bits` on any processor. Four bits at a time, whether they are set or not: fewer surprising branches."""
    count = popcount(word)
    one = np.uint64(1)
    for i in range(index, index + count, 4):
        for k in range(4):
            events[i + k] = first + trailing_zeros(word)
            word &= word - one
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def count_bits(words, start, stop):
    """Number of set bits in words[start : stop]."""
    count = np.int64(0)
    for i in range(start, stop):
        count += popcount(np.uint64(words[i]))
    return count
