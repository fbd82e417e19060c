"""Dense convolution and its two adjoints, with the sums of a tile held in vector registers.

The work is cut into strips of output rows. For each strip the part of the input that its taps read is copied to a
panel that fits the second-level cache, in the layout of `..shifted_rows`; then tiles of outputs and positions (see
`.simd`) pass over all channels and taps. The gradient of the input is the same loop nest with other weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from ..shifted_rows import Reading, Sizes, as_volumes, forward_reading, gradient_readings, volume
from ..threads import for_ranges
from .simd import (
    DOT_ROWS,
    DOT_VECTORS,
    ROWS,
    TILE_SUMS,
    VECTORS,
    add_lanes,
    broadcast_rows,
    clear,
    copy,
    lanes,
    multiply_add,
    multiply_add_rows,
    store,
    zeros,
)

__all__ = ["conv_backward_input", "conv_backward_weight", "conv_forward"]

PANEL = 2**18  # elements of the panel of a strip: 1 MiB in float32
STRIP = 1536  # output positions of a strip, if the panel allows
PARTS = 8  # pieces into which the positions are split for the weight gradient, whatever the number of threads


def conv_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """See numpy_kernels.conv_forward."""
    reading = forward_reading(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    out = np.empty((len(x), len(weight), *reading.count), x.dtype)
    w = weight.reshape(groups, len(weight) // groups, -1)
    start = np.zeros(w.shape[:2], x.dtype) if bias is None else bias.reshape(w.shape[:2])
    _sum_taps(x, w, start, reading, out, (0, 0, 0), (1, 1, 1))
    return out.reshape(*out.shape[:2], *reading.count[-weight.ndim + 2 :])


def conv_backward_input(
    g: np.ndarray,
    weight: np.ndarray,
    input_shape: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """See numpy_kernels.conv_backward_input."""
    dx = np.zeros((*input_shape[:2], *volume(input_shape[2:])), g.dtype)
    start = np.zeros((groups, weight.shape[1]), g.dtype)
    adjoint = weight.reshape(groups, -1, weight.shape[1], math.prod(weight.shape[2:])).swapaxes(1, 2)
    for part in gradient_readings(input_shape[2:], weight.shape[2:], stride, padding, dilation, g.shape[2:]):
        w = adjoint[..., part.taps].reshape(groups, weight.shape[1], -1)
        _sum_taps(g, w, start, part.reading, dx, part.first, volume(stride))
    return dx.reshape(input_shape)


def conv_backward_weight(
    g: np.ndarray,
    x: np.ndarray,
    kernel_shape: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """See numpy_kernels.conv_backward_weight."""
    reading = forward_reading(x.shape[2:], kernel_shape, stride, padding, dilation)
    n_in, n_out, n_taps = x.shape[1] // groups, g.shape[1] // groups, math.prod(kernel_shape)
    strips = _Strips.of(reading, n_in)
    x, g = (np.ascontiguousarray(as_volumes(a)) for a in (x, g))
    offsets = np.pad(strips.offsets, (0, DOT_VECTORS), mode="edge")
    n_units = len(x) * len(strips.places)
    parts = min(PARTS, n_units)
    blocks = (-(-n_out // DOT_ROWS), -(-n_in * n_taps // DOT_VECTORS))
    sums = np.zeros((parts, groups, *blocks, TILE_SUMS), x.dtype)

    def body(start: int, stop: int) -> None:
        _sum_positions(x, reading.origin, reading.step, g, strips.places, strips.extent, offsets, sums, start, stop)

    for_ranges(body, parts)
    tiles = sums.sum(axis=0)[..., : DOT_ROWS * DOT_VECTORS].reshape(groups, *blocks, DOT_ROWS, DOT_VECTORS)
    matrices = tiles.swapaxes(2, 3).reshape(groups, blocks[0] * DOT_ROWS, blocks[1] * DOT_VECTORS)
    return matrices[:, :n_out, : n_in * n_taps].reshape(groups * n_out, n_in, *kernel_shape)


@dataclass(frozen=True)
class _Strips:
    """How the outputs of a reading are cut into pieces whose inputs fit the cache."""

    places: np.ndarray  # [strips, 4]: first plane, first row, planes, rows
    extent: Sizes  # of the panel that holds the inputs of the largest strip
    offsets: np.ndarray  # [channels * taps] in this panel

    @classmethod
    def of(cls, reading: Reading, channels: int) -> _Strips:
        n_planes, n_rows, _ = reading.count
        _, plane, row = reading.pitch
        reach_planes, reach_rows, _ = reading.reach
        panel_rows = PANEL // (row * channels * len(reading.origin))
        planes = min(STRIP // (plane * row), panel_rows // plane - reach_planes)
        if planes > 1 or n_rows * row < STRIP:
            planes, rows = min(max(planes, 1), n_planes), n_rows
        else:
            planes, rows = 1, min(STRIP // row, panel_rows // (1 + reach_planes) - reach_rows)
            rows = min(max(rows, 1), n_rows)
        places = np.array([(z, y, dz, dy) for z, dz in _cuts(n_planes, planes) for y, dy in _cuts(n_rows, rows)])
        extent = reading.extent(*places[:, 2:].max(axis=0).tolist())
        size = len(reading.origin) * math.prod(extent)
        offsets = np.add.outer(size * np.arange(channels), reading.offsets(extent)).ravel()
        return cls(places, extent, offsets)


def _cuts(n: int, longest: int) -> list[tuple[int, int]]:
    """(start, length) of the fewest nearly equal pieces of range(n) that are not longer than that."""
    pieces = -(-n // longest)
    bounds = [n * i // pieces for i in range(pieces + 1)]
    return [(a, b - a) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _sum_taps(
    a: np.ndarray, weights: np.ndarray, start: np.ndarray, reading: Reading, out: np.ndarray, first: Sizes, step: Sizes
) -> None:
    """Write to out[:, :, first::step] start [groups, O/groups] plus the sums that weights [groups, O/groups, C/groups * taps] make of
    a [B, C, *S]."""
    if not math.prod(out.shape):
        return
    strips = _Strips.of(reading, a.shape[1] // len(weights))
    a, w, start = np.ascontiguousarray(as_volumes(a)), _tiled(weights), _tiled(start[..., None])

    def body(begin: int, end: int) -> None:
        _write_sums(
            a,
            reading.origin,
            reading.step,
            w,
            start,
            strips.places,
            strips.extent,
            strips.offsets,
            out,
            reading.count,
            first,
            step,
            begin,
            end,
        )

    for_ranges(body, len(a) * len(strips.places))


def _tiled(weights: np.ndarray) -> np.ndarray:
    """[groups, blocks of outputs, sums * ROWS] of weights [groups, outputs, sums]: those of a tile side by side."""
    groups, n_out, n_sums = weights.shape
    blocks = -(-n_out // ROWS)
    padded = np.zeros((groups, blocks * ROWS, n_sums), weights.dtype)
    padded[:, :n_out] = weights
    return np.ascontiguousarray(padded.reshape(groups, blocks, ROWS, n_sums).swapaxes(2, 3)).reshape(groups, blocks, -1)


@njit(nogil=True, cache=True, error_model="numpy")
def _aligned_zeros(n, like):
    """n zeros of the type of the array `like`, from a multiple of 64 bytes on."""
    buffer = np.zeros(n + 64 // like.itemsize, like.dtype)
    start = -buffer.ctypes.data % 64 // like.itemsize
    return buffer[start : start + n]


@njit(nogil=True, cache=True, error_model="numpy")
def _pack(a, first, channels, size, origin, step, z0, y0, planes, rows, extent, pitch, panel):
    """Lay out `channels` volumes of this size, which begin at a[first], from plane z0 and row y0 on.

    So many planes and rows of every phase, zeros up to the extent and to the pitch of a channel."""
    n_planes, n_rows, n_columns = size
    for c in range(channels):
        at = c * pitch
        for phase in range(len(origin)):
            oz, oy, ox = origin[phase]
            begin = max(0, -(ox // step[2]))
            end = max(begin, min(extent[2], -((ox - n_columns) // step[2])))
            for i in range(extent[0]):
                z = oz + (z0 + i) * step[0]
                for j in range(extent[1]):
                    y = oy + (y0 + j) * step[1]
                    if i < planes and j < rows and 0 <= z < n_planes and 0 <= y < n_rows:
                        source = first + ((c * n_planes + z) * n_rows + y) * n_columns + ox
                        for k in range(begin):
                            panel[at + k] = 0
                        if step[2] == 1:
                            copy(panel, at + begin, a, source + begin, end - begin)
                        else:
                            for k in range(begin, end):
                                panel[at + k] = a[source + k * step[2]]
                        for k in range(end, extent[2]):
                            panel[at + k] = 0
                    else:
                        clear(panel, at, extent[2])
                    at += extent[2]
        clear(panel, at, (c + 1) * pitch - at)


@njit(nogil=True, cache=True, error_model="numpy")
def _write_sums(a, origin, a_step, weights, start, places, extent, offsets, out, count, first, step, begin, end):
    """out[b, o, first + step * i] = start[o] + sum over c, k of weights[o, c, k] * a[b, c, what tap k reads for i]."""
    groups, blocks, _ = weights.shape
    n_in, n_out = a.shape[1] // groups, out.shape[1] // groups
    size = a.shape[2:]
    flat, line = a.ravel(), out.ravel()
    width = VECTORS * lanes(a)
    longest = ((places[:, 2].max() - 1) * extent[1] + places[:, 3].max()) * extent[2] + width
    sums = _aligned_zeros(ROWS * longest, a)
    pitch = len(origin) * extent[0] * extent[1] * extent[2]
    panel = _aligned_zeros(max(n_in * pitch, offsets.max() + longest), a)
    for task in range(begin, end):
        b, strip = divmod(task, len(places))
        z0, y0, planes, rows = places[strip]
        positions = ((planes - 1) * extent[1] + rows) * extent[2]
        for group in range(groups):
            source = (b * groups + group) * n_in * size[0] * size[1] * size[2]
            _pack(flat, source, n_in, size, origin, a_step, z0, y0, extent[0], extent[1], extent, pitch, panel)
            for block in range(blocks):
                for position in range(0, positions, width):
                    tile = broadcast_rows(start[group, block], 0)
                    for j in range(len(offsets)):
                        tile = multiply_add(tile, panel, position + offsets[j], weights[group, block], j * ROWS)
                    store(tile, sums, position, longest)
                for r in range(min(ROWS, n_out - block * ROWS)):
                    o = group * n_out + block * ROWS + r
                    for z in range(planes):
                        for y in range(rows):
                            at = r * longest + (z * extent[1] + y) * extent[2]
                            to = ((b * out.shape[1] + o) * out.shape[2] + first[0] + (z0 + z) * step[0]) * out.shape[3]
                            to = (to + first[1] + (y0 + y) * step[1]) * out.shape[4] + first[2]
                            if step[2] == 1:
                                copy(line, to, sums, at, count[2])
                            else:
                                for x in range(count[2]):
                                    line[to + x * step[2]] = sums[at + x]


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_positions(x, origin, step, g, places, extent, offsets, grad, part, last):
    """grad[part, group, o, j] = sum over the positions of a part of g[b, o] * what tap and channel j read of x."""
    parts, groups, o_blocks, j_blocks, _ = grad.shape
    n_rows = o_blocks * DOT_ROWS
    n_in, n_out = x.shape[1] // groups, g.shape[1] // groups
    n = lanes(x)
    pitch = len(origin) * extent[0] * extent[1] * extent[2]
    longest = ((places[:, 2].max() - 1) * extent[1] + places[:, 3].max()) * extent[2] + n
    g_extent = (places[:, 2].max(), extent[1], extent[2])
    g_pitch = (g_extent[0] * g_extent[1] * g_extent[2] + n + 15) // 16 * 16
    panel = _aligned_zeros(max(n_in * pitch, offsets.max() + longest), x)
    g_panel = _aligned_zeros(n_rows * g_pitch, x)
    n_units = len(x) * len(places)
    one = np.zeros((1, 3), np.int64)
    for p in range(part, last):
        for unit in range(n_units * p // parts, n_units * (p + 1) // parts):
            b, strip = divmod(unit, len(places))
            z0, y0, planes, rows = places[strip]
            positions = ((planes - 1) * extent[1] + rows) * extent[2]
            for group in range(groups):
                _pack(
                    x.ravel(),
                    (b * groups + group) * n_in * x.shape[2] * x.shape[3] * x.shape[4],
                    n_in,
                    x.shape[2:],
                    origin,
                    step,
                    z0,
                    y0,
                    extent[0],
                    extent[1],
                    extent,
                    pitch,
                    panel,
                )
                _pack(
                    g.ravel(),
                    (b * groups + group) * n_out * g.shape[2] * g.shape[3] * g.shape[4],
                    n_out,
                    g.shape[2:],
                    one,
                    (1, 1, 1),
                    z0,
                    y0,
                    planes,
                    rows,
                    g_extent,
                    g_pitch,
                    g_panel,
                )
                totals = grad[p, group].ravel()
                for block in range(o_blocks):
                    for j in range(j_blocks):
                        tile = zeros(x)
                        for q in range(0, positions, n):
                            tile = multiply_add_rows(
                                tile,
                                g_panel,
                                block * DOT_ROWS * g_pitch + q,
                                g_pitch,
                                panel,
                                q,
                                offsets,
                                j * DOT_VECTORS,
                            )
                        add_lanes(tile, totals, (block * j_blocks + j) * TILE_SUMS)
