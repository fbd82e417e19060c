"""Convolutions of packed spikes: for each spike that an output sees through a tap, a row of weights is added."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from .. import taps
from ..packed import Packed
from ..shifted_rows import Sizes
from ..threads import for_ranges, share
from .layouts import LINE_LANES, aligned, blocks_of, once_for, padded_lanes
from .octets import BITS, octets
from .vectors import GROUP, add_from, at, popcount, store, trailing_zeros, zeros

_TILE = 64  # columns whose sums are turned over together


def add_spikes(
    operation: Any, source: Packed, first_channel: int, steps: int, out: np.ndarray, begin: bool, end: bool
) -> int:
    """See tile_sums.add_tiles, for spikes of so many steps; returns the outputs that they reach, channels aside."""
    n_out, shape = len(operation.bias), source.words.shape[1:-1]
    size, count, z_taps, y_taps, x_taps = _places(operation.geometry, shape)
    weights = once_for(operation, ("taps", first_channel), lambda: _weights(operation, first_channel, source.channels))
    lanes = padded_lanes(n_out)
    block = min(lanes, LINE_LANES)
    words = octets(source.words).reshape(len(source.words), *size, -1)
    target, factor, bias = out.reshape(steps, n_out, *count), operation.synapses.factor, operation.bias
    like = np.empty(0, np.int32 if weights.dtype.kind == "i" else np.float32)
    rows, tiles = count[0] * count[1], -(-count[2] // _TILE)
    reached: list[int] = []

    def body(start: int, stop: int) -> None:
        done = _add(
            blocks_of(block), like, words, z_taps, y_taps, x_taps, weights, source.channels, lanes // block, factor,
            bias, target, begin, end, start, stop,
        )  # fmt: skip
        reached.append(done)

    # every fourth input or fewer fire
    most = min(count[2], _TILE) * source.channels * z_taps.shape[1] * y_taps.shape[1] * x_taps.shape[1] * lanes // 4
    for_ranges(body, steps * rows * tiles, share(most))
    return sum(reached)


def _places(geometry: Any, shape: Sizes) -> tuple[Sizes, Sizes, np.ndarray, np.ndarray, np.ndarray]:
    """Shape of inputs and of outputs, with three axes, and what an output reads along each: all as one row, where an
    output reads its own position alone."""
    if taps.one_to_one(geometry):
        n = math.prod(shape)
        return (1, 1, n), (1, 1, n), *(taps.axis_taps(m, 1, 1, 0, 1, False, m) for m in (1, 1, n))
    size, count, axes = taps.axes(geometry, shape)
    return size, count, *(taps.axis_taps(*axis) for axis in axes)


def _weights(operation: Any, first_channel: int, channels: int) -> np.ndarray:
    """[O, C, *K] -> flat [blocks of lanes, taps, C, lanes of a block]."""
    weight = operation.synapses.weight[:, first_channel : first_channel + channels]
    lanes = padded_lanes(len(weight))
    block = min(lanes, LINE_LANES)
    rows = weight.reshape(len(weight), channels, -1).transpose(2, 1, 0)
    laid = np.zeros((*rows.shape[:2], lanes), weight.dtype)
    laid[..., : len(weight)] = rows
    return aligned(np.moveaxis(laid.reshape(*rows.shape[:2], -1, block), 2, 0))


@njit(nogil=True, cache=True, error_model="numpy")
def _add(
    blocks, like, words, z_taps, y_taps, x_taps, weights, channels, n_blocks, factor, bias, out, begin, end, start, stop
):  # fmt: skip
    """Tiles of columns start to stop - 1 of out [T, O, Z, Y, X]; how many outputs the spikes of words [T * levels, Z,
    Y, X, bytes] reach there."""
    steps, n_out, depth, height, columns = out.shape
    lanes, n_words, levels = GROUP * len(blocks), words.shape[4], len(words) // steps
    nz, ny, nx = z_taps.shape[1], y_taps.shape[1], x_taps.shape[1]
    tiles = -(-columns // _TILE)
    sums = np.empty(_TILE * lanes, like.dtype)
    reached = 0
    for task in range(start, stop):
        row, tile = divmod(task, tiles)
        t, z, y = row // (depth * height), row // height % depth, row % height
        first = tile * _TILE
        count = min(_TILE, columns - first)
        for block in range(n_blocks):
            for i in range(count):
                total = zeros(like, blocks)
                for kz in range(nz):
                    for ky in range(ny):
                        at_z, at_y = z_taps[z, kz], y_taps[y, ky]
                        if at_z < 0 or at_y < 0:
                            continue
                        for kx in range(nx):
                            at_x = x_taps[first + i, kx]
                            if at_x < 0:
                                continue
                            of_tap = (((block * nz + kz) * ny + ky) * nx + kx) * channels
                            for level in range(levels):
                                here = words[t * levels + level, at_z, at_y, at_x]
                                for w in range(n_words):
                                    word = at(here, w)
                                    if block == 0:
                                        reached += popcount(word)
                                    of_word = of_tap + w * BITS
                                    while word:
                                        total = add_from(total, weights, (of_word + trailing_zeros(word)) * lanes)
                                        word &= word - np.uint64(1)
                store(total, sums, i * lanes)
            for lane in range(min(lanes, n_out - block * lanes)):
                o = block * lanes + lane
                target, scale, shift = out[t, o, z, y], factor[o], bias[o]
                for i in range(count):
                    sum_ = np.float32(sums[np.uint64(i * lanes + lane)])
                    if not begin:
                        sum_ += target[first + i]
                    target[first + i] = sum_ * scale + shift if end else sum_
    return reached
