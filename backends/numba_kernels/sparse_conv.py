"""Convolution of an array that is mostly zeros, and the gradient of its weight: work for each event, none for zeros.

An event is an element that is not zero: a spike, a rate, what a surrogate of compact support let through of a gradient.
The events of the planes that a plane of outputs reads are listed while they are needed. An event at position p then
does to one plane of outputs (or gathers from one plane of the gradient), for each tap (ky, kx) of one plane of the
kernel and a block of outputs:

    sum over taps:           out[p - (ky, kx)] += value * weight[ky, kx]
    gradient of the weight:  sum[ky, kx] += value * g[p - (ky, kx)]

The weights or the sums are a window in registers (see `.simd`) while the events of a channel in a few rows pass, and
the rows of outputs that these meet stay in the first-level cache. There the outputs lie channel-last, in a frame wide
enough that no event needs to know whether its taps leave the volume.

Only stride 1: the phases of a larger stride would each need their list of events, which costs more than it saves.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.np.numpy_support import from_dtype

from ..shifted_rows import Reading, Sizes
from ..threads import for_ranges
from .simd import (
    LANES,
    REGISTERS,
    add_window,
    aligned_zeros,
    clear,
    copy,
    gather_window,
    lanes,
    load_window,
    lowest_bit,
    nonfinite_bits,
    nonzero_bits,
    scatter_window,
    transpose,
    window_zeros,
)

FRAME = 2**18  # elements of a frame: 1 MiB in float32
NEAR = 10 * 2**10  # elements of the rows that the events of a channel meet in one go: 40 KiB in float32
PARTS = 8  # pieces in which the weight gradient sums over frames, whatever the number of threads
WIDEST = REGISTERS - 4  # vectors of a window, so that its operands have registers too


def fits(reading: Reading) -> bool:
    """Whether windows hold the taps: no stride, no dilation within a plane, and not too many taps in a row."""
    planes, rows, columns = (len(np.unique(d)) for d in reading.distance.T)
    compact = (rows, columns) == tuple(r + 1 for r in reading.reach[1:])
    whole = planes * rows * columns == len(reading.distance)
    return set(reading.step) == {1} and compact and whole and columns <= WIDEST


def sum_taps(a: np.ndarray, weights: np.ndarray, start: np.ndarray, reading: Reading, out: np.ndarray) -> None:
    """Write to out [B, O, *count] start [O] plus the sums that weights [O, C, taps] make of a [B, C, D, H, W]."""
    frames = _frames(reading, a.dtype, len(weights))
    a = np.ascontiguousarray(a)
    w = _arranged(weights[..., _nearest_first(reading)], frames)
    initial = np.pad(start, (0, frames.blocks * frames.block - len(start)))

    def body(begin: int, end: int) -> None:
        _scatter(a, w, initial, frames.numbers, *frames.window, out, begin, end)

    for_ranges(body, len(a) * len(frames.numbers.places))


def sum_positions(g: np.ndarray, x: np.ndarray, reading: Reading) -> np.ndarray | None:
    """Gradient [O, C, taps] of the weights that made of x [B, C, D, H, W] what has the gradient g [B, O, *count].

    None where g holds infinities or what is not a number: their products with the zeros of x count, too.
    """
    frames = _frames(reading, x.dtype, g.shape[1])
    parts = min(PARTS, len(x) * len(frames.numbers.places))
    sums, finite = np.zeros((parts, *frames.arrangement(x.shape[1])), g.dtype), np.zeros(parts, np.bool_)

    def body(begin: int, end: int) -> None:
        _gather(x, g, frames.numbers, *frames.window, sums, finite, begin, end)

    for_ranges(body, parts)
    if not finite.all():
        return None
    grad = np.empty((g.shape[1], x.shape[1], len(reading.distance)), g.dtype)
    grad[..., _nearest_first(reading)] = _rearranged(sums.sum(axis=0), frames, g.shape[1])
    return grad


class _Numbers(NamedTuple):
    """What the loops need to know of the frames. A frame is a part of one plane of the outputs."""

    places: np.ndarray  # [frames, 3]: plane of the outputs, first row, rows
    planes: np.ndarray  # [planes of the kernel]: distance of what each reads from the plane of the outputs
    origin: int  # first row of the input that the first row of the outputs reads
    reach: int  # rows of the input that an output reads, less one
    origin_column: int  # the same for columns
    columns: int  # of the outputs
    left: int  # columns of the frame before the outputs
    width: int  # columns of the frame
    rows: int  # rows of the largest frame
    near: int  # rows of the input whose events pass in one go
    slots: int  # planes of the input from the first to the last that a plane of the outputs reads


class _Frames(NamedTuple):
    """The frames of a reading, and the shape of its windows."""

    numbers: _Numbers
    taps: tuple[int, int, int]  # planes, rows and columns of the kernel
    window: tuple[tuple, tuple, tuple]  # for the compiler: tuples as long as a window has rows, columns and vectors
    block: int  # outputs in a window
    blocks: int  # that cover all outputs

    def arrangement(self, channels: int) -> Sizes:
        """[blocks, planes, windows in a plane, channels, vectors side by side] of the weights, or of their gradient."""
        planes, rows, columns = self.taps
        window_rows = len(self.window[0])
        return self.blocks, planes, rows // window_rows, channels, window_rows * columns * self.block


def _nearest_first(reading: Reading) -> np.ndarray:
    """The taps in the order in which windows hold them."""
    return np.lexsort(reading.distance.T[::-1])


def _frames(reading: Reading, dtype: np.dtype, n_out: int) -> _Frames:
    size, count, origin = reading.size, reading.count, reading.origin[0].tolist()
    planes = np.unique(reading.distance[:, 0])
    _, reach_rows, reach_columns = reading.reach
    rows, columns = reach_rows + 1, reach_columns + 1
    n_lanes = LANES[from_dtype(dtype)]
    vectors = -(-n_out // n_lanes)
    blocks = -(-vectors // max(1, WIDEST // (rows * columns)))
    vectors = -(-vectors // blocks)
    window_rows = rows if rows * columns * vectors <= WIDEST else 1
    block = vectors * n_lanes
    left = max(0, reach_columns + origin[2])
    width = left + max(count[2], size[2] - origin[2])
    pieces = -(-count[1] // max(1, FRAME // (width * block) - 2 * reach_rows))
    bounds = [count[1] * i // pieces for i in range(pieces + 1)]
    places = [(z, y, end - y) for z in range(count[0]) for y, end in itertools.pairwise(bounds)]
    numbers = _Numbers(
        places=np.array(places),
        planes=planes + origin[0],
        origin=origin[1],
        reach=reach_rows,
        origin_column=origin[2],
        columns=count[2],
        left=left,
        width=width,
        rows=max(n for _, _, n in places) + 2 * reach_rows,
        near=max(1, NEAR // (width * block) - reach_rows),
        slots=int(np.ptp(planes)) + 1,
    )
    window = ((0,) * window_rows, (0,) * columns, (0,) * vectors)
    return _Frames(numbers, (len(planes), rows, columns), window, block, blocks)


def _arranged(weights: np.ndarray, frames: _Frames) -> np.ndarray:
    """Weights [O, C, taps] in the arrangement of the windows."""
    n_out, channels, _ = weights.shape
    planes, rows, columns = frames.taps
    window_rows = len(frames.window[0])
    padded = np.zeros((frames.blocks * frames.block, *weights.shape[1:]), weights.dtype)
    padded[:n_out] = weights
    split = padded.reshape(frames.blocks, frames.block, channels, planes, rows // window_rows, window_rows * columns)
    return np.ascontiguousarray(split.transpose(0, 3, 4, 2, 5, 1)).reshape(frames.arrangement(channels))


def _rearranged(sums: np.ndarray, frames: _Frames, n_out: int) -> np.ndarray:
    """The inverse of `_arranged`."""
    blocks, planes, windows, channels, _ = sums.shape
    split = sums.reshape(blocks, planes, windows, channels, -1, frames.block).transpose(0, 5, 3, 1, 2, 4)
    return split.reshape(blocks * frames.block, channels, -1)[:n_out]


@njit(nogil=True, cache=True, error_model="numpy")
def _list(a, b, plane, width, position, value, starts, at):
    """List the events of one plane of a[b] from index `at` on, channel by channel.

    Those of the rows r to s of channel c are starts[c, r] : starts[c, s], with their positions row * width + column in
    the frame and their values.
    """
    n, e = lanes(a), at  # lanes divide 64, the bits of a word
    for c in range(a.shape[1]):
        for r in range(a.shape[3]):
            starts[c, r] = e
            row = a[b, c, plane, r]
            for begin in range(0, row.size, 64):
                end = min(begin + 64, row.size)
                bits = np.uint64(0)
                vectors = (end - begin) // n
                for v in range(vectors):
                    bits |= nonzero_bits(row, begin + v * n) << np.uint64(v * n)
                for i in range(begin + vectors * n, end):
                    bits |= np.uint64(row[i] != 0) << np.uint64(i - begin)
                while bits:
                    i = begin + lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    position[e], value[e] = r * width + i, row[i]
                    e += 1
        starts[c, a.shape[3]] = e


@njit(nogil=True, cache=True, error_model="numpy")
def _lists(a, numbers):
    """Room for the events of the planes that a frame reads: positions, values, starts [slots, C, rows + 1], and which
    plane of which item each slot holds."""
    size = a.shape[1] * a.shape[3] * a.shape[4]
    position, value = np.empty(numbers.slots * size, np.int32), np.empty(numbers.slots * size, a.dtype)
    starts = np.empty((numbers.slots, a.shape[1], a.shape[3] + 1), np.int64)
    return position, value, starts, np.full(numbers.slots, -1)


@njit(nogil=True, cache=True, error_model="numpy")
def _hold(a, b, z, numbers, position, value, starts, held):
    """List what the frames of plane z read of a[b], unless it is listed already."""
    size = a.shape[1] * a.shape[3] * a.shape[4]
    for plane in z + numbers.planes:
        if 0 <= plane < a.shape[2]:
            slot = plane % numbers.slots
            if held[slot] != b * a.shape[2] + plane:
                held[slot] = b * a.shape[2] + plane
                _list(a, b, plane, numbers.width, position, value, starts[slot], slot * size)


@njit(nogil=True, cache=True, error_model="numpy")
def _scatter(a, weights, start, numbers, rows, columns, vectors, out, task, stop):
    """Write frames of the outputs: start plus the sums over the taps."""
    blocks, planes, windows, channels, length = weights.shape
    flat, block, one = weights.ravel(), len(vectors) * lanes(out), (0,)
    pitch = numbers.width * block
    frame = aligned_zeros(numbers.rows * pitch, out)
    position, value, starts, held = _lists(a, numbers)
    for t in range(task, stop):
        b, place = divmod(t, len(numbers.places))
        z, y, n = numbers.places[place]
        _hold(a, b, z, numbers, position, value, starts, held)
        row_begin, row_end = _rows_read(a, numbers, y, n)
        for k in range(blocks):
            clear(frame, 0, pitch)
            initial = load_window(start, k * block, one, one, vectors)
            for p in range(numbers.width):
                add_window(initial, frame, p * block)
            for r in range(1, n + 2 * numbers.reach):
                copy(frame, r * pitch, frame, 0, pitch)
            for row in range(row_begin, row_end, numbers.near):
                for p in range(planes):
                    plane = z + numbers.planes[p]
                    if 0 <= plane < a.shape[2]:
                        for w in range(windows):
                            move = _move(numbers, y, w * len(rows))
                            for c in range(channels):
                                events = starts[plane % numbers.slots, c]
                                at = (((k * planes + p) * windows + w) * channels + c) * length
                                window = load_window(flat, at, rows, columns, vectors)
                                for e in range(events[row], events[min(row + numbers.near, row_end)]):
                                    to = (position[e] + move) * block
                                    scatter_window(window, value[e], frame, to, pitch, columns)
            _from_frame(frame, out, numbers, block, b, k, z, y, n)


@njit(nogil=True, cache=True, error_model="numpy")
def _gather(a, g, numbers, rows, columns, vectors, sums, finite, part, stop):
    """sums[part] = gradient of the weights in their arrangement, over a part of the frames of g."""
    parts, blocks, planes, windows, channels, length = sums.shape
    block = len(vectors) * lanes(g)
    pitch = numbers.width * block
    frame = aligned_zeros(numbers.rows * pitch, g)
    position, value, starts, held = _lists(a, numbers)
    totals = aligned_zeros(blocks * planes * windows * channels * length, g)
    n_frames = len(g) * len(numbers.places)
    for t in range(part, stop):
        finite[t] = True
        clear(totals, 0, totals.size)
        for unit in range(n_frames * t // parts, n_frames * (t + 1) // parts):
            b, place = divmod(unit, len(numbers.places))
            z, y, n = numbers.places[place]
            _hold(a, b, z, numbers, position, value, starts, held)
            row_begin, row_end = _rows_read(a, numbers, y, n)
            for k in range(blocks):
                _to_frame(g, frame, numbers, block, b, k, z, y, n)
                clear(frame, (n + numbers.reach) * pitch, numbers.reach * pitch)  # a frame before may have been larger
                finite[t] &= _finite(frame, numbers.reach * pitch, (n + numbers.reach) * pitch)
                for row in range(row_begin, row_end, numbers.near):
                    for p in range(planes):
                        plane = z + numbers.planes[p]
                        if 0 <= plane < a.shape[2]:
                            for w in range(windows):
                                move = _move(numbers, y, w * len(rows))
                                for c in range(channels):
                                    events = starts[plane % numbers.slots, c]
                                    window = window_zeros(g, rows, columns, vectors)
                                    for e in range(events[row], events[min(row + numbers.near, row_end)]):
                                        at = (position[e] + move) * block
                                        window = gather_window(window, value[e], frame, at, pitch, columns)
                                    at = (((k * planes + p) * windows + w) * channels + c) * length
                                    add_window(window, totals, at)
        sums[t].ravel()[:] = totals


@njit(nogil=True, cache=True, error_model="numpy")
def _rows_read(a, numbers, y, n):
    """First and last rows of the input that the rows y to y + n of the outputs read."""
    begin = y + numbers.origin
    return max(0, begin), min(a.shape[3], begin + n + numbers.reach)


@njit(nogil=True, cache=True, error_model="numpy")
def _move(numbers, y, row):
    """What leads from the position of an event to its tap in this row of the kernel, in a frame from row y on."""
    return (numbers.reach - numbers.origin - y - row) * numbers.width + numbers.left - numbers.origin_column


@njit(nogil=True, cache=True, error_model="numpy")
def _finite(a, begin, end):
    """Whether all of a[begin:end] are finite; the vectors of the array fill this range."""
    bits = np.uint64(0)
    for i in range(begin, end, lanes(a)):
        bits |= nonfinite_bits(a, i)
    return bits == 0


@njit(nogil=True, cache=True, error_model="numpy")
def _to_frame(a, frame, numbers, block, b, k, z, y, n):
    """Copy block k of the channels of a[b] to the frame that begins at row y of plane z."""
    source, pitch, n_lanes = a.ravel(), a.shape[2] * a.shape[3] * a.shape[4], lanes(a)
    channels = min(block, a.shape[1] - k * block)
    squares = channels // n_lanes * n_lanes, numbers.columns // n_lanes * n_lanes
    for r in range(n):
        row, to = _line(a, numbers, block, b, k, z, y, r)
        for c in range(0, squares[0], n_lanes):
            for x in range(0, squares[1], n_lanes):
                transpose(source, row + c * pitch + x, pitch, frame, to + x * block + c, block)
        for c in range(channels):
            for x in range(squares[1] if c < squares[0] else 0, numbers.columns):
                frame[to + x * block + c] = source[row + c * pitch + x]


@njit(nogil=True, cache=True, error_model="numpy")
def _from_frame(frame, a, numbers, block, b, k, z, y, n):
    """Copy the frame to where `_to_frame` takes it from."""
    target, pitch, n_lanes = a.ravel(), a.shape[2] * a.shape[3] * a.shape[4], lanes(a)
    channels = min(block, a.shape[1] - k * block)
    squares = channels // n_lanes * n_lanes, numbers.columns // n_lanes * n_lanes
    for r in range(n):
        row, at = _line(a, numbers, block, b, k, z, y, r)
        for c in range(0, squares[0], n_lanes):
            for x in range(0, squares[1], n_lanes):
                transpose(frame, at + x * block + c, block, target, row + c * pitch + x, pitch)
        for c in range(channels):
            for x in range(squares[1] if c < squares[0] else 0, numbers.columns):
                target[row + c * pitch + x] = frame[at + x * block + c]


@njit(nogil=True, cache=True, error_model="numpy")
def _line(a, numbers, block, b, k, z, y, r):
    """Index of row y + r of plane z in block k of the channels of a[b], and of row r in the frame."""
    row = (((b * a.shape[1] + k * block) * a.shape[2] + z) * a.shape[3] + y + r) * a.shape[4]
    return row, ((numbers.reach + r) * numbers.width + numbers.left) * block
