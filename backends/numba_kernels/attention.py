"""Sums of spike attention on packed spikes: coincidences by AND and popcount, products by adding rows.

Coincidences need the positions of a channel side by side in a word, and neurons write the channels of a position side
by side: blocks of 64 positions by 64 channels are turned over first, in six rounds of exchanges of halves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from ..buffers import empty
from ..packed import Executed, Packed, head_masks
from ..threads import for_ranges
from . import layouts
from .vectors import GROUP, add, add_from, at, load, popcount, store, subtract, trailing_zeros, zeros

BITS = 64  # positions of a word of a column
_BLOCKS = (1, 2, 4)  # groups of lanes added at a time: more lanes take several passes over the spikes
_TILE = 256  # positions whose sums stay in the cache while every head is added


def coincidences(x: Packed, y: Packed, heads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Executed]:
    """See numpy_kernels.coincidences."""
    slots = len(x.words)
    (first, n), (second, _) = _flat(x), _flat(y)
    both = np.empty((slots, heads, x.channels // heads, y.channels // heads), np.int32)
    of_x, of_y = np.empty((slots, x.channels), np.int32), np.empty((slots, y.channels), np.int32)
    n_words = -(-n // BITS)

    def body(start: int, stop: int) -> None:
        columns_x = np.empty((x.channels, n_words), np.uint64)
        columns_y = np.empty((y.channels, n_words), np.uint64)
        for slot in range(start, stop):
            _turn(first[slot], 8 * x.words.itemsize, n, columns_x, of_x[slot])
            _turn(second[slot], 8 * y.words.itemsize, n, columns_y, of_y[slot])
            _count_both(columns_x.ravel(), columns_y.ravel(), n_words, both[slot])

    for_ranges(body, slots)
    events = int(of_x.sum(dtype=np.int64) + of_y.sum(dtype=np.int64))
    return both, of_x, of_y, Executed(events, int(both.sum(dtype=np.int64)))


def add_rows(
    q: Packed, matrix: np.ndarray, product: Sequence[int], sign: Sequence[int], rows: np.ndarray
) -> tuple[np.ndarray, Executed]:
    """See numpy_kernels.add_rows."""
    slots, n_products, channels, width = matrix.shape
    n_outputs, n_out = rows.shape[1:]
    heads = n_out // width
    blocks, lanes = _lanes(width)
    words, n = _flat(q)
    weights = _padded(matrix, lanes).reshape(slots, -1)
    starts = _padded(rows.reshape(slots, n_outputs, heads, width), lanes).reshape(slots, -1)
    masks = head_masks(channels, heads).astype(np.uint64)
    out = empty((slots, n_outputs, n, n_out), np.int32)
    reads, signs = np.array(product, np.int64), np.array(sign, np.int64)

    def body(start: int, stop: int) -> None:
        for slot in range(start // n, -(-stop // n)):
            first, last = max(start - slot * n, 0), min(stop - slot * n, n)
            _add(
                blocks, words[slot], masks, 8 * q.words.itemsize, weights[slot], channels, lanes, starts[slot],
                reads, signs, out[slot].reshape(-1), n, width, first, last,
            )  # fmt: skip

    if n:
        for_ranges(body, slots * n, _TILE)
    for h in np.flatnonzero(reads < 0):
        out[:, h] = rows[:, h, None]
    events = int(np.bitwise_count(q.words).sum(dtype=np.int64))
    shape = (slots, n_outputs, *q.words.shape[1:-1], n_out)
    return out.reshape(shape), Executed(events, events * width * n_products)


def _flat(packed: Packed) -> tuple[np.ndarray, int]:
    """Words [slots, positions * W] in 64 bits, one compiled kernel for all widths, and how many positions there are."""
    words = np.ascontiguousarray(packed.words, np.uint64)
    n = math.prod(words.shape[1:-1])
    return words.reshape(len(words), n * words.shape[-1]), n


def _lanes(width: int) -> tuple[tuple[int, ...], int]:
    """The tuple whose length is that of a vector in groups, and the lanes of a row in whole vectors."""
    groups = -(-width // GROUP)
    size = next((n for n in _BLOCKS if n >= groups), _BLOCKS[-1])
    return (0,) * size, -(-groups // size) * size * GROUP


def _padded(rows: np.ndarray, lanes: int) -> np.ndarray:
    """rows int32 [..., width] with zeros up to `lanes`, where no vector crosses a line of the cache."""
    padded = layouts.empty(math.prod(rows.shape[:-1]) * lanes, np.int32).reshape(*rows.shape[:-1], lanes)
    padded[..., : rows.shape[-1]] = rows
    padded[..., rows.shape[-1] :] = 0
    return padded


@njit(nogil=True, cache=True, error_model="numpy")
def _turn(words, bits, n, columns, spikes):
    """columns [C, J]: bit i of word j of row c is channel c of position 64 j + i; spikes [C]: how many.

    words is flat [n, W], of `bits` bits each. A square of bits is transposed as in Warren, Hacker's Delight, 7-3.
    """
    channels, n_columns = columns.shape
    width = len(words) // max(n, 1)
    square = np.empty(BITS, np.uint64)
    spikes[:] = 0
    for column in range(n_columns):
        begin = column * BITS
        height = min(BITS, n - begin)
        for w in range(width):
            for i in range(height):
                square[i] = at(words, (begin + i) * width + w)
            square[height:] = 0
            half, mask = 32, np.uint64(0xFFFFFFFF)
            while half:
                shift = np.uint64(half)
                for start in range(0, BITS, 2 * half):
                    for i in range(start, start + half):
                        swapped = ((square[i] >> shift) ^ square[i + half]) & mask
                        square[i + half] ^= swapped
                        square[i] ^= swapped << shift
                half >>= 1
                mask ^= mask << np.uint64(half)
            for i in range(min(bits, channels - w * bits)):
                columns[w * bits + i, column] = square[i]
                spikes[w * bits + i] += popcount(square[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _count_both(x, y, n_words, out):
    """out [heads, Dx, Dy]: the bits that are set in a row of x, flat [heads * Dx, n_words], and in one of y as well."""
    heads, dx, dy = out.shape
    for head in range(heads):
        for c in range(dx):
            row = (head * dx + c) * n_words
            for d in range(dy):
                other = (head * dy + d) * n_words
                total = 0
                for w in range(n_words):
                    total += popcount(at(x, row + w) & at(y, other + w))
                out[head, c, d] = total


@njit(nogil=True, cache=True, error_model="numpy")
def _add(
    blocks, words, masks, bits, weights, channels, lanes, starts, reads, signs, out, n, width, first, last
):  # fmt: skip
    """Positions first to last - 1 of out, flat [outputs, n, heads * width] = starts + sign * sums of rows of weights.

    words is flat [n, W]; masks [heads, W] picks the channels of a head; weights is flat [P, channels, lanes], starts
    flat [outputs, heads, lanes].
    """
    step = GROUP * len(blocks)
    heads, n_words = masks.shape
    n_out = heads * width
    room = np.empty(step, np.int32)
    for tile in range(first, last, _TILE):
        for p in range(len(weights) // (channels * lanes)):
            for head in range(heads):
                for lane in range(0, width, step):
                    whole = lane + step <= width
                    for i in range(tile, min(tile + _TILE, last)):
                        total = zeros(weights, blocks)
                        for w in range(n_words):
                            word = at(words, i * n_words + w) & masks[head, w]
                            row = p * channels + w * bits
                            while word:
                                total = add_from(total, weights, (row + trailing_zeros(word)) * lanes + lane)
                                word &= word - np.uint64(1)
                        for h in range(len(reads)):
                            if reads[h] != p:
                                continue
                            start = load(weights, starts, (h * heads + head) * lanes + lane, blocks)
                            result = add(start, total) if signs[h] > 0 else subtract(start, total)
                            to = (h * n + i) * n_out + head * width + lane
                            if whole:
                                store(result, out, to)
                            else:
                                store(result, room, 0)
                                out[to : to + width - lane] = room[: width - lane]
