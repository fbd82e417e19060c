"""Convolution with a kernel of one element: products of matrices, whose operands are read where they are.

A channel is then one long row, and each output of a position reads only that position: the tiles of `.conv`, without
the copies of what the taps read. The last tile of a strip begins so early that it ends with it, and what it computes
a second time is the same.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..shifted_rows import Reading
from ..threads import for_ranges, share
from .simd import (
    DOT_ROWS,
    DOT_VECTORS,
    ROWS,
    TILE_SUMS,
    VECTOR_BYTES,
    VECTORS,
    add_lanes,
    broadcast_rows,
    lanes,
    multiply_add,
    multiply_add_rows,
    store_rows,
    zeros,
)
from .strips import cuts, tiled

STRIP = 2**15  # elements of all rows of a strip: 128 KiB in float32
PARTS = 8  # pieces in which the weight gradient sums over the batch, whatever the number of threads


def fits(reading: Reading, like: np.ndarray) -> bool:
    """Whether each output reads one element, its own, and a row fills a tile."""
    return _one_to_one(reading) and math.prod(reading.count) >= VECTORS * _lanes(like)


def fits_gradient(reading: Reading, like: np.ndarray, n_out: int) -> bool:
    """Likewise for the gradient of the weight, whose tiles take whole vectors of at least DOT_ROWS outputs."""
    return _one_to_one(reading) and math.prod(reading.count) % _lanes(like) == 0 and n_out >= DOT_ROWS


def sum_taps(a: np.ndarray, weights: np.ndarray, start: np.ndarray, out: np.ndarray) -> None:
    """Write to out [B, O, *S] start [groups, O/groups] plus the sums that weights [groups, O/groups, C/groups] make of
    a [B, C, *S]."""
    a, rows = np.ascontiguousarray(a).reshape(*a.shape[:2], -1), out.reshape(*out.shape[:2], -1)
    w, start = tiled(weights), tiled(start[..., None])
    strips = np.array(cuts(a.shape[2], max(STRIP // (weights.shape[1] + weights.shape[2]), VECTORS * _lanes(a) * 2)))

    def body(begin: int, end: int) -> None:
        _write_products(a, strips, w, start, rows, begin, end)

    for_ranges(body, len(a) * len(strips), share(weights.size * a.shape[2] // len(strips)))


def sum_positions(g: np.ndarray, x: np.ndarray, groups: int) -> np.ndarray:
    """The gradient of the weight [O, C/groups] for that of the outputs, g [B, O, *S], and x [B, C, *S]."""
    g, x = (np.ascontiguousarray(a).reshape(*a.shape[:2], -1) for a in (g, x))
    n_out, n_in = g.shape[1] // groups, x.shape[1] // groups
    n = _lanes(x)
    strips = np.array(cuts(x.shape[2] // n, max(STRIP // (n_in + n_out) // n, 1))) * n
    outputs = np.minimum(np.arange(0, n_out, DOT_ROWS), n_out - DOT_ROWS)
    channels = np.minimum(np.arange(-(-n_in // DOT_VECTORS) * DOT_VECTORS), n_in - 1)
    sums = np.zeros((min(PARTS, len(x)), groups, len(outputs), len(channels) // DOT_VECTORS, TILE_SUMS), x.dtype)

    def body(begin: int, end: int) -> None:
        _sum_products(x, g, strips, outputs, channels * x.shape[2], sums, begin, end)

    for_ranges(body, len(sums), share(g.size * n_in // len(sums)))
    tiles = sums.sum(axis=0)[..., : DOT_ROWS * DOT_VECTORS].reshape(groups, *sums.shape[2:4], DOT_ROWS, DOT_VECTORS)
    grad = np.empty((groups, n_out, n_in), x.dtype)
    grad[:, np.add.outer(outputs, np.arange(DOT_ROWS))] = tiles.swapaxes(2, 3).reshape(
        groups, len(outputs), DOT_ROWS, -1
    )[..., :n_in]
    return grad.reshape(groups * n_out, n_in)


def _one_to_one(reading: Reading) -> bool:
    return (
        len(reading.distance) == 1
        and reading.step == (1, 1, 1)
        and not reading.origin.any()
        and reading.size == reading.count
    )


def _lanes(like: np.ndarray) -> int:
    return VECTOR_BYTES // like.itemsize


@njit(nogil=True, cache=True, error_model="numpy")
def _write_products(a, strips, weights, start, out, first, stop):
    """Strips first..stop of the batch: out[b, o, p] = start[o] + sum over c of weights[o, c] * a[b, c, p]."""
    groups, blocks, _ = weights.shape
    _, channels, positions = a.shape
    n_in, n_out = channels // groups, out.shape[1] // groups
    source, target, width = a.ravel(), out.ravel(), VECTORS * lanes(a)
    for item in range(first, stop):
        b, strip = divmod(item, len(strips))
        begin, length = strips[strip]
        for group in range(groups):
            read = (b * groups + group) * n_in * positions + begin
            write = (b * groups + group) * n_out * positions + begin
            for tile_start in range(0, length, width):
                at = min(tile_start, length - width)
                for block in range(blocks):
                    tile = broadcast_rows(start[group, block], 0)
                    for c in range(n_in):
                        tile = multiply_add(tile, source, read + c * positions + at, weights[group, block], c * ROWS)
                    o = block * ROWS
                    store_rows(tile, target, write + o * positions + at, positions, n_out - o)


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_products(x, g, strips, outputs, offsets, sums, first, stop):
    """sums[part, group, tile of o and c] = sum over the items b of a part and positions p of g[b, o, p] x[b, c, p]."""
    parts, groups, o_blocks, c_blocks, _ = sums.shape
    batch, channels, positions = x.shape
    n_in, n_out = channels // groups, g.shape[1] // groups
    source, g_source, n = x.ravel(), g.ravel(), lanes(x)
    for part in range(first, stop):
        for b in range(batch * part // parts, batch * (part + 1) // parts):
            for group in range(groups):
                totals = sums[part, group].ravel()
                for begin, length in strips:
                    read = (b * groups + group) * n_in * positions + begin
                    for block in range(o_blocks):
                        g_read = ((b * groups + group) * n_out + outputs[block]) * positions + begin
                        for c in range(c_blocks):
                            tile = zeros(x)
                            for p in range(0, length, n):
                                tile = multiply_add_rows(
                                    tile, g_source, g_read + p, positions, source, read + p, offsets, c * DOT_VECTORS
                                )
                            add_lanes(tile, totals, (block * c_blocks + c) * TILE_SUMS)
