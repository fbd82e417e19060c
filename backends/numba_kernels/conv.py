"""Convolution and its two adjoints, with the sums of a tile held in vector registers.

Where most elements of the array that is summed over are zero, `.sparse_conv` does the work instead; where channels are
many and the kernel has three planes and rows, `.winograd`; where a group has few outputs, `.depthwise`; where the
kernel has one element, `.pointwise`.

The outputs are cut into strips of rows. For each strip, what its taps read is copied to a panel that fits the
second-level cache, in the layout of `..shifted_rows`; then tiles of outputs and positions (see `.simd`) pass over all
channels and taps of it. The gradient of the input is the same loop nest with other weights; the gradient of the weight
is a second one, whose tiles are pairs of an output and a tap and whose loop runs over positions.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .. import buffers
from ..shifted_rows import Reading, Sizes, as_volumes, forward_reading, gradient_readings, volume
from ..threads import for_ranges, share
from . import depthwise, pointwise, winograd
from .simd import (
    DOT_ROWS,
    DOT_VECTORS,
    ROWS,
    TILE_SUMS,
    VECTOR_BYTES,
    VECTORS,
    add_lanes,
    aligned_zeros,
    broadcast_rows,
    copy,
    lanes,
    multiply_add,
    multiply_add_rows,
    store,
    zeros,
)
from .sparse_conv import fits, sum_positions, sum_taps
from .steps import copy_to_steps
from .strips import Strips, pack, strips_of, tiled

__all__ = ["conv_backward_input", "conv_backward_weight", "conv_forward"]

PANEL = 2**18  # elements of a panel: 1 MiB in float32
STRIP = 1536  # output positions of a strip, if the panel allows
PARTS = 8  # pieces in which the weight gradient sums over positions, whatever the number of threads
# Convolution by events: time of another way / time by events of 32->32 channels, kernel 3, 40x48x56, one thread of
# AVX-512, where this fraction of the elements is not zero. 16 and 64 channels, 32^3 and 64^3 cross 1 within 0.05 of it.
#                                      5 %   12.8 %   20 %   30 %   40 %   50 %   70 %
#   sum over taps, directly            3.6     2.4     1.8    1.3   0.95    0.8   0.55
#   sum over taps, by pairs            2.3     1.5     1.1    0.8    0.6    0.5   0.35
#   gradient of the weight             4.3     3.2     2.5    1.9    1.5    1.3    1.0
EVENTS_OF_SUM = 0.35
EVENTS_BESIDE_PAIRS = 0.22
EVENTS_OF_GRADIENT = 0.65
SMALLEST = 2**24  # products below which a convolution is over before the events are listed
SAMPLE = 4096  # elements from which the fraction is judged
# Planes and rows by pairs: direct time / time by pairs, kernel 3, 40x48x56, measured as above
#   4->32 0.95   8->8 1.05   32->8 1.25   16->16 1.3   24->24 1.5   32->32 1.55   64->64 1.75
# and 32->32 channels of 12^3 1.0, 16^3 1.0, 20^3 1.15, 24^3 1.35; 64->64 of 12^3 1.05, 16^3 1.3
PAIRED_TYPES = (np.float32,)  # whose error is accepted to grow (see .winograd); float64 is for checks: the direct sum
PAIRED_CHANNELS = 5  # inputs * outputs / (inputs + outputs): products saved to elements transformed
PAIRED_OUTPUTS = 2**13  # of a channel, below which the transform of the weights outweighs what it saves


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
    w = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    start = np.zeros(w.shape[:2], x.dtype) if bias is None else bias.reshape(w.shape[:2])
    out = buffers.empty((len(x), len(weight), *reading.count), x.dtype)
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
    parts = gradient_readings(input_shape[2:], weight.shape[2:], stride, padding, dilation, g.shape[2:])
    dx = buffers.empty((*input_shape[:2], *volume(input_shape[2:])), g.dtype)
    if sum(math.prod(part.reading.count) for part in parts) < math.prod(input_shape[2:]):
        dx[...] = 0  # some elements are read by no tap
    start = np.zeros((groups, weight.shape[1]), g.dtype)
    adjoint = weight.reshape(groups, -1, weight.shape[1], math.prod(weight.shape[2:])).swapaxes(1, 2)
    for part in parts:
        _sum_taps(g, adjoint[..., part.taps], start, part.reading, dx, part.first, volume(stride))
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
    if pointwise.fits_gradient(reading, x, n_out):
        return pointwise.sum_positions(g, x, groups).reshape(groups * n_out, n_in, *kernel_shape)
    few_events = groups == 1 and _few_events(x, EVENTS_OF_GRADIENT, reading, n_out)
    x, g = (np.ascontiguousarray(as_volumes(a)) for a in (x, g))
    if few_events and (grad := sum_positions(g, x, reading)) is not None:
        return grad.reshape(n_out, n_in, *kernel_shape)
    if depthwise.fits_gradient(reading, n_out):
        return depthwise.sum_positions(g, x, reading, groups).reshape(groups * n_out, n_in, *kernel_shape)
    strips = _strips(reading, n_in)
    offsets = np.pad(strips.offsets, (0, DOT_VECTORS), mode="edge")
    parts = min(PARTS, len(x) * len(strips.places))
    blocks = (-(-n_out // DOT_ROWS), -(-n_in * n_taps // DOT_VECTORS))
    sums = np.zeros((parts, groups, *blocks, TILE_SUMS), x.dtype)

    def body(start: int, stop: int) -> None:
        _sum_positions(x, g, strips, offsets, sums, start, stop)

    for_ranges(body, parts, share(g.size * n_in * n_taps // parts))
    tiles = sums.sum(axis=0)[..., : DOT_ROWS * DOT_VECTORS].reshape(groups, *blocks, DOT_ROWS, DOT_VECTORS)
    matrices = tiles.swapaxes(2, 3).reshape(groups, blocks[0] * DOT_ROWS, blocks[1] * DOT_VECTORS)
    return matrices[:, :n_out, : n_in * n_taps].reshape(groups * n_out, n_in, *kernel_shape)


def _sum_taps(
    a: np.ndarray, weights: np.ndarray, start: np.ndarray, reading: Reading, out: np.ndarray, first: Sizes, step: Sizes
) -> None:
    """Write to out[:, :, first::step] start [groups, O/groups] plus the sums that weights [groups, O/groups, C/groups,
    taps] make of a [B, C, *S]."""
    if set(step) == {1} and pointwise.fits(reading, a):
        pointwise.sum_taps(a, weights[..., 0], start, out)
        return
    whole = len(weights) == 1 and set(step) == {1}
    by_pairs = whole and a.dtype in PAIRED_TYPES and _many_pairs(reading, len(a), *weights.shape[1:3])
    largest = EVENTS_BESIDE_PAIRS if by_pairs else EVENTS_OF_SUM
    few_events = whole and _few_events(a, largest, reading, weights.shape[1])
    if few_events and np.isfinite(weights).all():  # an infinite weight makes something of a zero
        sum_taps(as_volumes(a), weights[0], start[0], reading, out)
        return
    if by_pairs and winograd.sum_taps(a, weights[0], start[0], reading, out):
        return
    if set(step) == {1} and depthwise.fits(reading, weights.shape[1]):
        depthwise.sum_taps(a, weights, start, reading, out)
        return
    strips = _strips(reading, a.shape[1] // len(weights))
    w, start = tiled(weights.reshape(*weights.shape[:2], -1)), tiled(start[..., None])
    a = np.ascontiguousarray(as_volumes(a))

    def body(begin: int, end: int) -> None:
        _write_sums(a, strips, w, start, out, first, step, begin, end)

    tasks = len(a) * len(strips.places)
    for_ranges(body, tasks, share(out.size * weights[0, 0].size // tasks))


def _few_events(a: np.ndarray, largest: float, reading: Reading, n_out: int) -> bool:
    """Whether to go by events: at most this fraction of `a` [B, C, *S] is not zero, judged by a sample, and the sum is
    large, its outputs fill a vector and its taps a window."""
    large = a.size * len(reading.distance) * n_out >= SMALLEST
    if not (large and n_out >= VECTOR_BYTES // a.itemsize and fits(reading)):
        return False
    sample = a.flat[:: a.size // SAMPLE | 1]  # an odd step, so that it does not walk along one column
    return np.count_nonzero(sample) <= largest * sample.size


def _many_pairs(reading: Reading, batch: int, n_out: int, n_in: int) -> bool:
    """Whether planes and rows can be paired, and what this saves outweighs the transforms."""
    channels, outputs = n_in * n_out / (n_in + n_out), batch * math.prod(reading.count)
    return channels >= PAIRED_CHANNELS and outputs >= PAIRED_OUTPUTS and winograd.fits(reading)


def _strips(reading: Reading, channels: int) -> Strips:
    """Whole planes if several fit STRIP and PANEL, else parts of one."""
    n_rows = reading.count[1]
    reach_planes, reach_rows, _ = reading.reach
    _, plane, row = reading.pitch
    panel_rows = PANEL // (row * channels * len(reading.origin))
    planes = min(STRIP // (plane * row), panel_rows // plane - reach_planes)
    if planes > 1:
        rows = n_rows
    else:
        planes, rows = 1, max(1, min(STRIP // row, panel_rows // (1 + reach_planes) - reach_rows))
    return strips_of(reading, planes, rows, channels)


@njit(nogil=True, cache=True, error_model="numpy")
def _write_sums(a, strips, weights, start, out, first, step, task, stop):
    """out[b, o, first + step * i] = start[o] + sum over j of weights[o, j] * panel[offsets[j] + position of i]."""
    groups, blocks, _ = weights.shape
    n_in, n_out = a.shape[1] // groups, out.shape[1] // groups
    source, target = a.ravel(), out.ravel()
    width = VECTORS * lanes(a)
    sums_pitch = strips.longest + width
    sums = aligned_zeros(ROWS * sums_pitch, a)
    pitch, panel = _panel(strips, n_in, width, a)
    for t in range(task, stop):
        b, strip = divmod(t, len(strips.places))
        z0, y0, planes, rows = strips.places[strip]
        positions = ((planes - 1) * strips.extent[1] + rows) * strips.extent[2]
        for group in range(groups):
            channel = (b * groups + group) * n_in
            pack(source, a.shape, channel, n_in, strips.origin, strips.step, strips.extent, z0, y0, pitch, panel)
            for block in range(blocks):
                for position in range(0, positions, width):
                    tile = broadcast_rows(start[group, block], 0)
                    for j in range(len(strips.offsets)):
                        at = position + strips.offsets[j]
                        tile = multiply_add(tile, panel, at, weights[group, block], j * ROWS)
                    store(tile, sums, position, sums_pitch)
                for r in range(min(ROWS, n_out - block * ROWS)):
                    o = group * n_out + block * ROWS + r
                    for z in range(planes):
                        for y in range(rows):
                            at = r * sums_pitch + (z * strips.extent[1] + y) * strips.extent[2]
                            to = (b * out.shape[1] + o) * out.shape[2] + first[0] + (z0 + z) * step[0]
                            to = (to * out.shape[3] + first[1] + (y0 + y) * step[1]) * out.shape[4] + first[2]
                            if step[2] == 1:
                                copy(target, to, sums, at, strips.columns)
                            else:
                                copy_to_steps(target, to, step[2], sums, at, strips.columns)


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_positions(x, g, strips, offsets, sums, part, stop):
    """sums[part, group, tile of o and j] = sum over the positions q of a part of g[o, q] * panel[offsets[j] + q]."""
    parts, groups, o_blocks, j_blocks, _ = sums.shape
    n_in, n_out = x.shape[1] // groups, g.shape[1] // groups
    source, g_source = x.ravel(), g.ravel()
    n = lanes(x)
    pitch, panel = _panel(strips, n_in, n, x)
    g_pitch = (strips.places[:, 2].max() * strips.extent[1] * strips.extent[2] // n + 1) * n
    g_panel = aligned_zeros(o_blocks * DOT_ROWS * g_pitch, g)
    g_origin = np.zeros((1, 3), np.int64)
    n_units = len(x) * len(strips.places)
    for p in range(part, stop):
        for unit in range(n_units * p // parts, n_units * (p + 1) // parts):
            b, strip = divmod(unit, len(strips.places))
            z0, y0, planes, rows = strips.places[strip]
            positions = ((planes - 1) * strips.extent[1] + rows) * strips.extent[2]
            for group in range(groups):
                channel = (b * groups + group) * n_in
                pack(source, x.shape, channel, n_in, strips.origin, strips.step, strips.extent, z0, y0, pitch, panel)
                g_extent = (planes, strips.extent[1] if planes > 1 else rows, strips.extent[2])
                channel = (b * groups + group) * n_out
                pack(g_source, g.shape, channel, n_out, g_origin, (1, 1, 1), g_extent, z0, y0, g_pitch, g_panel)
                totals = sums[p, group].ravel()
                for block in range(o_blocks):
                    g_rows = block * DOT_ROWS * g_pitch
                    for j in range(j_blocks):
                        tile = zeros(x)
                        for q in range(0, positions, n):
                            tile = multiply_add_rows(
                                tile, g_panel, g_rows + q, g_pitch, panel, q, offsets, j * DOT_VECTORS
                            )
                        add_lanes(tile, totals, (block * j_blocks + j) * TILE_SUMS)


@njit(nogil=True, cache=True, error_model="numpy")
def _panel(strips, channels, overshoot, like):
    """Elements of a channel in the panel, and a panel for so many channels that may be read past the last position."""
    pitch = len(strips.origin) * strips.extent[0] * strips.extent[1] * strips.extent[2]
    length = max(channels * pitch, strips.offsets.max() + strips.longest + overshoot)
    return pitch, aligned_zeros(length, like)
