"""Convolutions of size 1 of packed spikes: for each spike of a position, a row of weights is added."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..packed import Executed, Packed
from ..threads import for_ranges
from .layouts import LINE_LANES, aligned, blocks_of, once_for, padded_lanes
from .vectors import GROUP, add_from, at, popcount, store, trailing_zeros, zeros

_TILE = 64  # positions whose sums are turned over together
_GRAIN = 2**10  # positions a thread works on at least


def is_point(geometry: Any) -> bool:
    """Whether an output reads its own position alone."""
    same = set(geometry.kernel) == {1} == set(geometry.stride) and not any(geometry.padding)
    return same and geometry.groups == 1 and not any(geometry.output_padding)


def add_points(operation: Any, source: Packed, steps: int, out: np.ndarray) -> Executed:
    """See numpy_kernels.convolve_spikes, for a geometry that `is_point`."""
    n_out, n = len(operation.bias), math.prod(source.words.shape[1:-1])
    weights = once_for(operation, "points", lambda: _weights(operation.synapses.weight))
    lanes = padded_lanes(n_out)
    block = min(lanes, LINE_LANES)
    words = np.ascontiguousarray(source.words).reshape(len(source.words), -1)
    target, factor, bias = out.reshape(steps, n_out, n), operation.synapses.factor, operation.bias
    like = np.empty(0, np.int32 if weights.dtype.kind == "i" else np.float32)
    counts: list[int] = []

    def body(start: int, stop: int) -> None:
        while start < stop:
            t, first = divmod(start, n)
            last = min(n, first + stop - start)
            spikes = _add(
                blocks_of(block), like, words, 8 * source.words.itemsize, len(words) // steps, weights,
                source.channels, lanes // block, factor, bias, target[t], t, first, last,
            )  # fmt: skip
            counts.append(spikes)
            start += last - first

    for_ranges(body, steps * n, _GRAIN)
    events = sum(counts)
    return Executed(events, events * n_out)


def _weights(weight: np.ndarray) -> np.ndarray:
    """[O, C, *1] -> flat [blocks of lanes, C, lanes of a block]."""
    lanes = padded_lanes(len(weight))
    block = min(lanes, LINE_LANES)
    laid = np.zeros((weight.shape[1], lanes), weight.dtype)
    laid[:, : len(weight)] = weight.reshape(len(weight), -1).T
    return aligned(np.moveaxis(laid.reshape(weight.shape[1], -1, block), 1, 0))


@njit(nogil=True, cache=True, error_model="numpy")
def _add(
    blocks, like, words, bits, levels, weights, channels, n_blocks, factor, bias, out, t, first, last
):  # fmt: skip
    """Positions first to last - 1 of out [O, N] of step t; the spikes there. words is flat [T * levels, N * W]."""
    lanes = GROUP * len(blocks)
    n_out, n = out.shape
    n_words = words.shape[1] // n
    sums = np.empty(_TILE * lanes, like.dtype)
    spikes = 0
    for begin in range(first, last, _TILE):
        count = min(_TILE, last - begin)
        for block in range(n_blocks):
            for i in range(count):
                total = zeros(like, blocks)
                for level in range(levels):
                    row = words[t * levels + level]
                    for w in range(n_words):
                        word = at(row, (begin + i) * n_words + w)
                        if block == 0:
                            spikes += popcount(word)
                        of_word = block * channels + w * bits
                        while word:
                            total = add_from(total, weights, (of_word + trailing_zeros(word)) * lanes)
                            word &= word - np.uint64(1)
                store(total, sums, i * lanes)
            for lane in range(min(lanes, n_out - block * lanes)):
                o = block * lanes + lane
                target, scale, shift = out[o, begin : begin + count], factor[o], bias[o]
                for i in range(count):
                    target[i] = np.float32(sums[np.uint64(i * lanes + lane)]) * scale + shift
    return spikes
