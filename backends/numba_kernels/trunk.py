"""Convolutions of real numbers at every step and of the spikes that they cause: which loops run which.

real numbers    tiles of outputs and positions in registers; planes or rows of outputs where an output has few inputs
spikes          a row of weights for each spike and tap; tables of sums where channels are few and positions alone; of
                groups, which have few inputs, planes or rows of outputs of spikes that are unpacked first
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import numpy_kernels, threads
from ..packed import Executed, Packed
from ..shifted_rows import Sizes
from .layouts import empty
from .octet_sums import fits, write_octets
from .plane_sums import reading_of, write_planes
from .row_convolution import add_rows_of, reached
from .spike_sums import events_of
from .tap_sums import add_spikes
from .tile_sums import add_tiles, room_bytes
from .unpacking import unpack_step


def convolve_spikes(
    operation: Any,
    sources: tuple[Packed, ...],
    steps: int,
    out: np.ndarray | None = None,
    scratch: np.ndarray | None = None,
) -> tuple[np.ndarray, Executed]:
    """See numpy_kernels.convolve_spikes. Several sources of a grouped convolution run there."""
    geometry, shape = operation.geometry, sources[0].words.shape[1:-1]
    if geometry.groups > 1 and len(sources) > 1:
        return numpy_kernels.convolve_spikes(operation, sources, steps, out, scratch)
    out = _result(operation, steps, shape, out)
    if geometry.groups > 1:
        return out, _grouped(operation, sources[0], steps, out, scratch)
    if fits(operation, sources, steps):
        write_octets(operation, sources[0], steps, out)
        events = events_of(sources[0])
        return out, Executed(events, events * len(operation.bias))
    first = events = connections = 0
    for i, source in enumerate(sources):
        connections += add_spikes(operation, source, first, steps, out, i == 0, i == len(sources) - 1)
        first += source.channels
        events += events_of(source)
    return out, Executed(events, connections * len(operation.bias))


def convolve_reals(
    operation: Any, sources: tuple[np.ndarray, ...], out: np.ndarray | None = None, scratch: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """See numpy_kernels.convolve_reals. Several sources of a grouped convolution run there."""
    geometry, (steps, _, *shape) = operation.geometry, sources[0].shape
    if geometry.groups > 1 and len(sources) > 1:
        return numpy_kernels.convolve_reals(operation, sources, out, scratch)
    out = _result(operation, steps, tuple(shape), out)
    reading = reading_of(geometry, tuple(shape), len(operation.bias))
    if reading is not None:
        write_planes(operation, sources[0], reading, out)
        return out, reached(sources[0], geometry, len(operation.bias))
    by_rows = _by_rows(geometry)
    rooms = [] if by_rows else _rooms(operation, tuple(shape), tuple(x.shape[1] for x in sources), scratch)
    first, total = 0, 0
    for i, x in enumerate(sources):
        begin, end = i == 0, i == len(sources) - 1
        if by_rows:
            add_rows_of(operation, x, first, out, begin, end)
        else:
            add_tiles(operation, x, first, out, rooms, begin, end)
        first += x.shape[1]
        total += reached(x, geometry, len(operation.bias))
    return out, total


def convolve_scratch(operation: Any, in_shape: Sizes, channels: tuple[int, ...], spiking: bool) -> int:
    """See numpy_kernels.convolve_scratch. For as many threads as there are processors, see `layer_scratch`."""
    grouped = operation.geometry.groups > 1
    if spiking:
        return 4 * channels[0] * math.prod(in_shape) if grouped and len(channels) == 1 else 0
    if _by_rows(operation.geometry):
        return 0
    return threads.CORES * max(room_bytes(operation, in_shape, n) for n in channels)


def _by_rows(geometry: Any) -> bool:
    return geometry.transposed or geometry.groups > 1


def _grouped(operation: Any, source: Packed, steps: int, out: np.ndarray, scratch: np.ndarray | None) -> Executed:
    shape, levels = (source.channels, *source.words.shape[1:-1]), len(source.words) // steps
    if scratch is None:
        scratch = empty(4 * math.prod(shape), np.uint8)
    values = scratch[: 4 * math.prod(shape)].view(np.float32).reshape(1, *shape)
    reading = reading_of(operation.geometry, shape[1:], len(operation.bias))
    events = synops = 0
    for t in range(steps):
        events += unpack_step(source.words[t * levels : (t + 1) * levels], source.channels, values[0])
        if reading is None:
            add_rows_of(operation, values, 0, out[t : t + 1])
        else:
            write_planes(operation, values, reading, out[t : t + 1])
        synops += reached(values, operation.geometry, len(operation.bias), units=True)
    return Executed(events, synops)


def _result(operation: Any, steps: int, shape: Sizes, out: np.ndarray | None) -> np.ndarray:
    if out is not None:
        return out
    return np.empty((steps, len(operation.bias), *operation.geometry.output_shape(shape)), np.float32)


def _rooms(operation: Any, shape: Sizes, channels: tuple[int, ...], scratch: np.ndarray | None) -> list[np.ndarray]:
    """Memory for each thread."""
    each = max(room_bytes(operation, shape, n) for n in channels)
    count = threads.limit.get()
    if scratch is None:
        scratch = empty(count * each, np.uint8)
    count = max(1, min(count, scratch.nbytes // each))
    return [scratch[i * each : (i + 1) * each].view(np.float32) for i in range(count)]
