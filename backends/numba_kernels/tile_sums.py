"""Convolutions of real numbers in registers, as those of `.conv`, from memory that is given and to where it is wanted.

The outputs are cut into strips of rows; what the taps of a strip read is copied to a panel, and tiles of outputs and
positions pass over all channels and taps of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..shifted_rows import Reading, Sizes, forward_reading
from ..threads import for_ranges, share
from .layouts import aligned_bytes, once_for
from .simd import ROWS, VECTOR_BYTES, VECTORS, broadcast_rows, multiply_add, store
from .strips import Strips, pack, strips_of, tiled

_PANEL = 2**17  # elements of a panel, if a row of outputs needs no more: 512 KiB
_STRIP = 1536  # output positions of a strip, if the panel allows
_WIDTH = VECTORS * VECTOR_BYTES // 4  # positions of a tile


def room_bytes(operation: Any, shape: Sizes, channels: int) -> int:
    """Bytes that a thread needs for a source of so many channels."""
    strips = _strips(_reading(operation.geometry, tuple(shape)), channels)
    return aligned_bytes(4 * (_panel_length(strips, channels) + ROWS * _sums_pitch(strips)))


def add_tiles(
    operation: Any, x: np.ndarray, first_channel: int, out: np.ndarray, rooms: list[np.ndarray], begin: bool, end: bool
) -> None:
    """Write to out [T, O, *S'] the sums that the weights from `first_channel` on make of x [T, C, *S].

    They are added to what is there unless `begin`; with `end`, the total is multiplied by factor and added to bias.
    rooms are float32, each of `room_bytes`; as many threads work as there are.
    """
    steps, channels, *shape = x.shape
    reading = _reading(operation.geometry, tuple(shape))
    strips = _strips(reading, channels)
    weights = once_for(operation, ("tiles", first_channel), lambda: _weights(operation, first_channel, channels))
    flat, volumes = np.ascontiguousarray(x).reshape(-1), (steps, channels, *reading.size)
    target = out.reshape(steps, len(operation.bias), -1)
    length, pitch = _panel_length(strips, channels), _sums_pitch(strips)
    factor, bias = operation.synapses.factor, operation.bias

    def body(start: int, stop: int) -> None:
        room = rooms.pop()
        panel, sums = room[:length], room[length : length + ROWS * pitch]
        _write(
            flat, volumes, strips, weights, factor, bias, target, reading.count, panel, sums, pitch, begin, end,
            start, stop,
        )  # fmt: skip
        rooms.append(room)

    tasks = steps * len(strips.places)
    for_ranges(body, tasks, max(-(-tasks // len(rooms)), share(weights.size * strips.longest)))


def _weights(operation: Any, first_channel: int, channels: int) -> np.ndarray:
    """Of one source: [blocks of outputs, sums * ROWS], those of a tile side by side."""
    weight = operation.synapses.weight[:, first_channel : first_channel + channels].astype(np.float32)
    return tiled(weight.reshape(1, len(weight), -1))[0]


def _reading(geometry: Any, shape: Sizes) -> Reading:
    return forward_reading(shape, geometry.kernel, geometry.stride, geometry.padding, geometry.dilation)


def _strips(reading: Reading, channels: int) -> Strips:
    """Rows of one plane: as many as STRIP and PANEL allow."""
    reach_planes, reach_rows, _ = reading.reach
    row = reading.pitch[2]
    panel_rows = _PANEL // (row * channels * len(reading.origin))
    rows = max(1, min(_STRIP // row, panel_rows // (1 + reach_planes) - reach_rows))
    return strips_of(reading, 1, rows, channels)


def _sums_pitch(strips: Strips) -> int:
    return strips.longest + _WIDTH


def _panel_length(strips: Strips, channels: int) -> int:
    """Elements, the last tile reading past the last position."""
    pitch = len(strips.origin) * math.prod(strips.extent)
    return max(channels * pitch, int(strips.offsets.max()) + strips.longest + _WIDTH)


@njit(nogil=True, cache=True, error_model="numpy")
def _write(
    source, shape, strips, weights, factor, bias, out, count, panel, sums, sums_pitch, begin, end, start, stop
):  # fmt: skip
    """Strips start to stop - 1 of all steps; see `add_tiles`."""
    channels, n_out, columns = shape[1], out.shape[1], count[2]
    pitch = len(strips.origin) * strips.extent[0] * strips.extent[1] * strips.extent[2]
    width = sums_pitch - strips.longest
    zeros = np.zeros(16, np.float32)
    panel[:] = 0  # also before and after the columns of the source, where `pack` does not write
    for task in range(start, stop):
        t, strip = divmod(task, len(strips.places))
        z0, y0, _, rows = strips.places[strip]
        pack(source, shape, t * channels, channels, strips.origin, strips.step, strips.extent, z0, y0, pitch, panel)
        positions = rows * strips.extent[2]
        for block in range(len(weights)):
            for position in range(0, positions, width):
                tile = broadcast_rows(zeros, 0)
                for j in range(len(strips.offsets)):
                    tile = multiply_add(tile, panel, position + strips.offsets[j], weights[block], j * ROWS)
                store(tile, sums, position, sums_pitch)
            for r in range(min(ROWS, n_out - block * ROWS)):
                o = block * ROWS + r
                for y in range(rows):
                    at = (z0 * count[1] + y0 + y) * columns
                    row = sums[r * sums_pitch + y * strips.extent[2] :]
                    _finish(row[:columns], out[t, o, at : at + columns], factor[o], bias[o], begin, end)


@njit(nogil=True, cache=True, error_model="numpy")
def _finish(sums, out, factor, bias, begin, end):
    if begin and end:
        for x in range(len(out)):
            out[x] = sums[x] * factor + bias
    elif end:
        for x in range(len(out)):
            out[x] = (out[x] + sums[x]) * factor + bias
    elif begin:
        for x in range(len(out)):
            out[x] = sums[x]
    else:
        for x in range(len(out)):
            out[x] += sums[x]
