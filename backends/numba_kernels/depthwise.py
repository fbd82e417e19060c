"""Convolution of groups with few outputs, plane by plane: depthwise convolution above all.

The tiles of `.conv` hold several outputs of a group, and are mostly empty where a group has one. Here a tile is a block
of neighbouring rows of one output, each a vector of its columns; it reads the planes of its group where they are, and
zeros beyond their edges (see `.masked`). Kernels of three rows and columns have loops of their own, for what a tile
reads of a row then serves three of its rows. The gradient of their weight keeps a vector of sums for each tap, while
three rows of the gradient of an output pass over each row that they have read.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from ..shifted_rows import Reading, as_volumes
from ..threads import for_ranges, share
from .masked import (
    MASKED,
    PLANE_ROWS,
    WINDOW,
    WINDOW_TAPS,
    broadcast_plane_rows,
    load_plane_row,
    load_taps,
    multiply_add_row_window,
    multiply_add_tap,
    multiply_add_window,
    store_plane_rows,
    store_taps,
)
from .simd import VECTOR_BYTES, lanes

# Time of `.conv` / time here for a group of 8 channels of 128x128, float32, one thread of AVX-512, by its outputs:
#                                      1     2     4     8
#   sum over taps, kernel 3x3         3.6   2.2   1.3   0.8
#   gradient of the weight, 3x3       2.2   1.3   0.8   0.8
OUTPUTS = 4  # of a group at most
OUTPUTS_OF_GRADIENT = 2
OUTPUTS_OF_OTHERS = 2  # for kernels that are not of three rows and columns
PARTS = 8  # pieces in which the weight gradient sums over the batch, whatever the number of threads


class Windows(NamedTuple):
    """The taps of a reading as windows of WINDOW rows and columns."""

    first: np.ndarray  # [windows, 3]: distance of the first tap of a window from the output
    taps: np.ndarray  # [windows, WINDOW_TAPS]: which tap of the reading each one is, row by row


def fits(reading: Reading, n_out: int) -> bool:
    """Whether groups of so many outputs are summed faster here. Neighbours must read neighbours."""
    if not MASKED or n_out > OUTPUTS or set(reading.step) != {1}:
        return False
    return n_out <= OUTPUTS_OF_OTHERS or _windows(reading) is not None


def fits_gradient(reading: Reading, n_out: int) -> bool:
    """Likewise for the gradient of the weight."""
    near = MASKED and n_out <= OUTPUTS_OF_GRADIENT and set(reading.step) == {1}
    return near and _windows(reading) is not None


def sum_taps(a: np.ndarray, weights: np.ndarray, start: np.ndarray, reading: Reading, out: np.ndarray) -> None:
    """Write to out [B, O, *count] start [groups, O/groups] plus the sums that weights [groups, O/groups, C/groups,
    taps] make of a [B, C, *S]."""
    a, windows = np.ascontiguousarray(as_volumes(a)), _windows(reading)
    start, nothing = np.ascontiguousarray(start).ravel(), np.zeros(a.shape[4], a.dtype)
    if windows is None:
        write, first, w = _write_sums, _distances(reading), np.ascontiguousarray(weights)
    else:
        write, first, w = _write_window_sums, windows.first, np.ascontiguousarray(weights[..., windows.taps])

    def body(begin: int, end: int) -> None:
        write(a, w, start, first, nothing, out, begin, end)

    for_ranges(body, out.shape[0] * out.shape[1], share(math.prod(out.shape[2:]) * weights[0, 0].size))


def sum_positions(g: np.ndarray, x: np.ndarray, reading: Reading, groups: int) -> np.ndarray:
    """The gradient of the weight [O, C/groups, taps] for that of the outputs, g [B, O, *count], and x [B, C, *S]."""
    g, x = (np.ascontiguousarray(as_volumes(a)) for a in (g, x))
    n_out, n_in, windows = g.shape[1], x.shape[1] // groups, _windows(reading)
    sums = np.zeros((min(PARTS, len(x)), n_out, n_in, *windows.taps.shape, VECTOR_BYTES // x.itemsize), x.dtype)
    nothing = np.zeros(g.shape[4], x.dtype)

    def body(begin: int, end: int) -> None:
        _sum_window_products(g, x, windows.first, nothing, sums, begin, end)

    for_ranges(body, len(sums), share(g.size * n_in * windows.taps.size // len(sums)))
    grad = np.empty((n_out, n_in, windows.taps.size), x.dtype)
    grad[..., windows.taps] = sums.sum(axis=(0, 5))
    return grad


def _distances(reading: Reading) -> np.ndarray:
    """[taps, 3] from an output to what the tap reads."""
    return reading.origin[0] + reading.distance


@lru_cache(maxsize=1024)
def _windows(reading: Reading) -> Windows | None:
    """The taps as windows, None if they are not."""
    distance = _distances(reading)
    if len(distance) % WINDOW_TAPS:
        return None
    taps = np.lexsort(distance.T[::-1]).reshape(-1, WINDOW, WINDOW)
    first = distance[taps[:, 0, 0]]
    rows, columns = np.indices((WINDOW, WINDOW))
    within = np.stack([np.zeros_like(rows), rows, columns], axis=-1)
    if not np.array_equal(distance[taps], first[:, None, None] + within):
        return None
    return Windows(first, taps.reshape(-1, WINDOW_TAPS))


@njit(nogil=True, cache=True, error_model="numpy")
def _write_sums(a, weights, start, distance, nothing, out, first, stop):
    """Planes first..stop of B * O: out[b, o, i] = start[o] + sum over taps k and the channels c of the group of o of
    weights[o, c, k] a[b, c, i + distance[k]]."""
    _, n_out, n_in, n_taps = weights.shape
    source, target, w = a.ravel(), out.ravel(), weights.ravel()
    _, _, n_planes, n_rows, n_columns = a.shape
    _, outputs, planes, rows, columns = out.shape
    for item in range(first, stop):
        b, o = item // outputs, item % outputs
        channel = (b * (outputs // n_out) + o // n_out) * n_in
        for z in range(planes):
            to = (item * planes + z) * rows * columns
            for y in range(0, rows, PLANE_ROWS):
                for x in range(0, columns, lanes(a)):
                    tile = broadcast_plane_rows(start, o)
                    for c in range(n_in):
                        for k in range(n_taps):
                            plane = z + distance[k, 0]
                            if 0 <= plane < n_planes:
                                at = ((channel + c) * n_planes + plane) * n_rows * n_columns
                                row, column, j = y + distance[k, 1], x + distance[k, 2], (o * n_in + c) * n_taps + k
                                tile = multiply_add_tap(tile, source, at, row, column, n_rows, n_columns, nothing, w, j)
                    store_plane_rows(tile, target, to, y, x, rows, columns)


@njit(nogil=True, cache=True, error_model="numpy")
def _write_window_sums(a, weights, start, distance, nothing, out, first, stop):
    """The same for weights [groups, O/groups, C/groups, windows, WINDOW_TAPS] and the distance of each window."""
    _, n_out, n_in, n_windows, _ = weights.shape
    source, target, w = a.ravel(), out.ravel(), weights.ravel()
    _, _, n_planes, n_rows, n_columns = a.shape
    _, outputs, planes, rows, columns = out.shape
    for item in range(first, stop):
        b, o = item // outputs, item % outputs
        channel = (b * (outputs // n_out) + o // n_out) * n_in
        for z in range(planes):
            to = (item * planes + z) * rows * columns
            for y in range(0, rows, PLANE_ROWS):
                for x in range(0, columns, lanes(a)):
                    tile = broadcast_plane_rows(start, o)
                    for c in range(n_in):
                        for k in range(n_windows):
                            plane = z + distance[k, 0]
                            if 0 <= plane < n_planes:
                                at = ((channel + c) * n_planes + plane) * n_rows * n_columns
                                row, column = y + distance[k, 1], x + distance[k, 2]
                                j = ((o * n_in + c) * n_windows + k) * WINDOW_TAPS
                                tile = multiply_add_window(
                                    tile, source, at, row, column, n_rows, n_columns, nothing, w, j
                                )
                    store_plane_rows(tile, target, to, y, x, rows, columns)


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_window_products(g, x, distance, nothing, sums, first, stop):
    """sums[part, o, c, window, k] = lane by lane, sum over the items b of a part and the outputs i of
    g[b, o, i] x[b, c, i + distance of tap k of the window], c being the channels of the group of o."""
    parts, n_out, n_in, n_windows, _, n_lanes = sums.shape
    source, g_source = x.ravel(), g.ravel()
    batch, channels, n_planes, n_rows, n_columns = x.shape
    _, _, planes, rows, columns = g.shape
    outputs = n_out // (channels // n_in)
    for part in range(first, stop):
        totals = sums[part].ravel()
        for b in range(batch * part // parts, batch * (part + 1) // parts):
            for o in range(n_out):
                for c in range(n_in):
                    channel = b * channels + o // outputs * n_in + c
                    for k in range(n_windows):
                        dz, dy, dx = distance[k]
                        to = ((o * n_in + c) * n_windows + k) * WINDOW_TAPS * n_lanes
                        tile = load_taps(totals, to)
                        for z in range(max(0, -dz), min(planes, n_planes - dz)):
                            g_at = ((b * n_out + o) * planes + z) * rows * columns
                            at = (channel * n_planes + z + dz) * n_rows * n_columns
                            for column in range(0, columns, n_lanes):
                                before = load_plane_row(g_source, g_at, -dy - 1, column, rows, columns, nothing)
                                earlier = load_plane_row(g_source, g_at, -dy - 2, column, rows, columns, nothing)
                                for row in range(n_rows):
                                    now = load_plane_row(g_source, g_at, row - dy, column, rows, columns, nothing)
                                    tile = multiply_add_row_window(
                                        tile, now, before, earlier, source, at + row * n_columns, column + dx, n_columns
                                    )
                                    earlier = before
                                    before = now
                        store_taps(tile, totals, to)
