"""Layers on packed spikes, executed event by event: only the weights of spikes that are there are touched.

Rows of outputs are worked on a chunk at a time, so that what passes from one kernel to the next stays in the cache:
merge the words that the rows see, list the events, add up their weights, run the neurons over all steps. Whatever is
counted is counted on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .. import numpy_kernels, threads
from ..packed import Executed, Packed, word_type
from ..shifted_rows import Sizes
from .analog_sums import add_dense, lay_out
from .firing import add_scaled, fill_rows, fire
from .layouts import (
    ALIGNMENT,
    LINE_LANES,
    AnalogWeights,
    Way,
    aligned_bytes,
    analog_weights,
    blocks_of,
    empty,
    neurons,
    once_for,
    padded,
    padded_lanes,
)
from .merging import MOST_WORDS, WORD
from .planes import Plane
from .read_out import read_rows
from .rooms import Room
from .spike_sums import SpikeSums, bound_of, spike_bytes, spike_sums, sum_elements

_CHUNK_BYTES = 1536 << 10  # of scratch a thread works in, if a row needs no more: part of the L2 cache
_MOST_ROWS = 64  # of a chunk
_REGIONS = 16  # at most, that a piece of scratch is cut into
_POSITIONS = {16: 12, 32: 8, 48: 5, 64: 4}  # neighbouring outputs of a dense sum held in registers, by lanes
_ROOM = 4 * max(lanes * positions for lanes, positions in _POSITIONS.items())  # bytes


_Run: TypeAlias = Callable[[int, int], tuple[int, int]]  # (first row, rows) -> (outputs reached, spikes)


def spiking_layer(
    layer: Any,
    frames: tuple[Packed, ...],
    raised: tuple[Packed, ...],
    rates: tuple[Packed, ...],
    analog: tuple[np.ndarray, ...],
    out: np.ndarray | None = None,
    scratch: np.ndarray | None = None,
) -> tuple[np.ndarray, Executed]:
    """See numpy_kernels.spiking_layer. Grouped convolutions run there."""
    geometry, steps = layer.geometry, layer.dynamics.steps
    shape = (*(s.words.shape[1:-1] for s in (*frames, *rates)), *(a.shape[1:] for a in analog))[0]
    fine = all(_compiled(geometry, sources) for sources in (frames, rates))
    if not (fine and (not raised or _compiled(layer.raised.geometry, raised))):
        return numpy_kernels.spiking_layer(layer, frames, raised, rates, analog, out, scratch)
    plane = Plane(geometry, shape)
    of_frames, still = _sums_of_frames(layer, plane, frames, raised), []
    if rates:
        still = [spike_sums(layer, plane, layer.rates, rates, 1, bound_of(layer.rates, geometry, rates, 1))]
    sums = [*of_frames, *still]
    dense = [_dense_sums(layer, plane, analog)] if layer.analog else []
    numbers = once_for(layer, "neurons", lambda: neurons(layer))
    dynamics, channels, lanes = layer.dynamics, len(layer.bias), padded_lanes(len(layer.bias))
    block = min(lanes, LINE_LANES)
    n_words = lanes // block
    if out is None:
        out = np.empty((steps * dynamics.levels, *plane.out_shape, n_words), word_type(channels))
    words, state = out.reshape(-1), np.empty(0, layer.bias.dtype)
    varies = bool(still or dense)

    def bytes_for(rows: int, slots: int) -> int:
        constant = aligned_bytes(varies * rows * plane.columns * lanes * 4)
        return constant + sum(part.bytes_for(rows, slots) for part in (*sums, *dense))

    def prepare(room: Room, rows: int, slots: int) -> _Run:
        constant, pitch = numbers.bias, 0
        if varies:
            constant, pitch = room.take(rows * plane.columns * lanes, state.dtype), lanes
        still_sums = [part.sums(room, rows) for part in still]
        still_runs = [part.prepare(room, rows, slots, to) for part, to in zip(still, still_sums, strict=True)]
        dense_runs = [part.prepare(room, rows, constant) for part in dense]
        values = np.empty(0, np.int16) if state.dtype == np.int32 else state
        if of_frames:
            values = of_frames[0].sums(room, rows)
        frames_runs = [part.prepare(room, rows, slots, values) for part in of_frames]
        leak, blocks, positions = state.dtype.type(dynamics.leak), blocks_of(block), plane.rows * plane.columns
        decay = (0,) * (0 if not dynamics.leaks else 1 if leak == 1 else 2)

        def run(first: int, rows: int) -> tuple[int, int]:
            count, synops = rows * plane.columns, 0
            if varies:
                fill_rows(blocks, constant, numbers.bias, count)
            for still_run, to in zip(still_runs, still_sums, strict=True):
                synops += still_run(first, rows)
                add_scaled(constant, to, numbers.rate_factor, count)
            for dense_run in dense_runs:
                dense_run(first, rows)
            for frames_run in frames_runs:
                synops += frames_run(first, rows)
            spikes = fire(
                blocks, state, values, bool(of_frames), numbers.factor, numbers.scaled, constant, pitch,
                leak, dynamics.shift, decay,
                numbers.thresholds, dynamics.levels, numbers.amount, numbers.initial, numbers.reset_to, dynamics.hard,
                words, n_words, positions, first * plane.columns, count, steps,
            )  # fmt: skip
            return synops, spikes

        return run

    reached, spikes = _in_chunks(prepare, bytes_for, plane, max((part.slots for part in sums), default=1), scratch)
    table_adds = sum(part.table_adds for part in sums) * channels
    return out, Executed(sum(part.events for part in sums), reached * channels, spikes, table_adds)


def _sums_of_frames(
    layer: Any, plane: Plane, frames: tuple[Packed, ...], raised: tuple[Packed, ...]
) -> list[SpikeSums]:
    """Those of the frames, and those that are added to them."""
    if not frames:
        return []
    steps = layer.dynamics.steps
    bound = bound_of(layer.frames, layer.geometry, frames, steps)
    if not raised:
        return [spike_sums(layer, plane, layer.frames, frames, steps, bound)]
    bound += bound_of(layer.raised, layer.raised.geometry, raised, steps)
    below = Plane(layer.raised.geometry, raised[0].words.shape[1:-1])
    return [
        spike_sums(layer, plane, layer.frames, frames, steps, bound),
        spike_sums(layer, below, layer.raised, raised, steps, bound, onto=True),
    ]


def read_out(
    operation: Any, sources: tuple[Packed, ...], out: np.ndarray | None = None, scratch: np.ndarray | None = None
) -> tuple[np.ndarray, Executed]:
    """See numpy_kernels.read_out. Grouped convolutions run there."""
    geometry, synapses, channels = operation.geometry, operation.synapses, len(operation.bias)
    if not _compiled(geometry, sources):
        return numpy_kernels.read_out(operation, sources, out, scratch)
    plane = Plane(geometry, sources[0].words.shape[1:-1])
    piles = plane.joins(channels)
    bound = bound_of(synapses, geometry, sources, 1)
    part = spike_sums(operation, plane, synapses, sources, 1, bound, way="pile" if piles else None)
    if out is None:
        out = np.empty((channels, *plane.out_shape), np.float32)
    values, factor, bias = out.reshape(channels, -1), synapses.factor, operation.bias

    def prepare(room: Room, rows: int, slots: int) -> _Run:
        sums = part.sums(room, rows)
        add_up = part.prepare(room, rows, slots, sums)
        y_taps, x_taps = (plane.y_taps, plane.x_taps) if piles else plane.one_tap
        height, width = (plane.size[1], plane.width) if piles else (len(y_taps), plane.columns)
        totals = np.empty(plane.columns, np.int32 if part.weights.sum_type.kind == "i" else np.float32)

        def run(first: int, rows: int) -> tuple[int, int]:
            reached = add_up(first, rows)
            begin = plane.rows_in(part.way, first, rows)[0] if piles else first
            read_rows(
                sums, begin, height, width, part.weights.lanes, y_taps, x_taps, factor, bias, totals, values,
                first, rows,
            )  # fmt: skip
            return reached, 0

        return run

    reached, _ = _in_chunks(prepare, part.bytes_for, plane, part.slots, scratch)
    return out, Executed(part.events, reached * channels, 0, part.table_adds * channels)


def layer_scratch(operation: Any, in_shape: Sizes) -> int:
    """See numpy_kernels.layer_scratch. For as many threads as there are processors, whatever the limit is now: the
    memory may be planned under another limit than it is used under."""
    geometry = operation.geometry
    if geometry.groups > 1:
        return 0
    plane = Plane(geometry, in_shape)
    channels = len(operation.bias)
    if hasattr(operation, "synapses"):
        way: Way = "pile" if plane.joins(channels) else plane.way
        leading = plane.kernel[1] * plane.kernel[2] if way == "pile" else 1
        least = _least_bytes(plane, operation.synapses, 1, padded_lanes(channels * leading), way)
    else:
        lanes = padded_lanes(channels)
        least = aligned_bytes(plane.columns * lanes * 4)
        if operation.frames:
            least += _least_bytes(plane, operation.frames, operation.dynamics.steps, lanes, plane.way)
        if operation.raised:
            raised = operation.raised.geometry
            below = Plane(raised, tuple(raised.source_shape(plane.out_shape)))
            least += _least_bytes(below, operation.raised, operation.dynamics.steps, lanes, below.way)
        if operation.rates:
            least += _least_bytes(plane, operation.rates, 1, lanes, plane.way)
        if operation.analog:
            inputs = plane.kernel[0] * plane.kernel[1] * operation.analog.weight.shape[1]
            least += _dense_bytes(plane, lanes, inputs, 1)
    return threads.CORES * aligned_bytes(max(_CHUNK_BYTES, least))


def _least_bytes(plane: Plane, synapses: Any, steps: int, lanes: int, way: Way) -> int:
    """Scratch for one row and one slot of spikes, whatever their sources, sums of four bytes included."""

    def of(way: Way, taps: int) -> int:
        # any two words that follow each other hold more than one word's bits, or they would be one
        words = 2 * (taps * synapses.weight.shape[1] // WORD) + 2
        return spike_bytes(way, plane, steps, words, 1, 1) + aligned_bytes(
            4 * sum_elements(way, plane, steps, lanes, 1)
        )

    gathered = of("gather", plane.kernel[0] * plane.kernel[1])
    return gathered if way == "gather" else max(gathered, of(way, plane.kernel[0]))


# -------------------------------------------------------------------------------------------------- rows at a time


def _in_chunks(
    prepare: Callable[[Room, int, int], _Run],
    bytes_for: Callable[[int, int], int],
    plane: Plane,
    slots: int,
    scratch: np.ndarray | None,
) -> tuple[int, int]:
    """Run chunks of rows that together cover the plane, and add up the two numbers that each run returns.

    bytes_for(rows, slots) is what a chunk of so many rows takes if so many slots of a step are summed at a time, of
    `slots` that there are; prepare(room, rows, slots) makes the run of chunks of at most so many rows.
    """
    least = bytes_for(1, 1)
    if scratch is None:
        scratch = empty(threads.limit.get() * aligned_bytes(max(_CHUNK_BYTES, least)), np.uint8)
    most = min(threads.limit.get(), scratch.nbytes // least)  # as many threads as there is scratch for
    if most < 1:
        raise ValueError(f"scratch must have at least {least} bytes, not {scratch.nbytes}; see layer_scratch")
    each = min(scratch.nbytes // most, max(_CHUNK_BYTES, least)) // ALIGNMENT * ALIGNMENT
    while slots > 1 and bytes_for(1, slots) > each:
        slots = -(-slots // 2)
    one, two = bytes_for(1, slots), bytes_for(2, slots)
    share = -(-plane.rows // most)
    chunk = min(_MOST_ROWS, share, 1 + (each - one) // (two - one + _REGIONS * ALIGNMENT))
    free = [scratch[i * each : (i + 1) * each] for i in range(most)]
    done: list[tuple[int, int]] = []

    def body(start: int, stop: int) -> None:
        run = prepare(Room(free.pop()), chunk, slots)
        done.extend(run(first, min(chunk, stop - first)) for first in range(start, stop, chunk))

    threads.for_ranges(body, plane.rows, share)
    return sum(a for a, _ in done), sum(b for _, b in done)


# ------------------------------------------------------------------------------------------- sums of real numbers


@dataclass(frozen=True)
class _DenseSums:
    """The weighted sums of real numbers."""

    plane: Plane
    weights: AnalogWeights
    factor: np.ndarray
    sources: tuple[tuple[np.ndarray, Sizes], ...]  # flat values, (C, Z, Y, X)
    channels: int

    def bytes_for(self, rows: int, slots: int) -> int:
        return _dense_bytes(self.plane, self.weights.block, self.weights.inputs, rows)

    def prepare(self, room: Room, rows: int, out: np.ndarray) -> Callable[[int, int], None]:
        """run(first row, rows) adds the sums of these rows, times the factor, to out [rows, columns, lanes]."""
        plane, weights = self.plane, self.weights
        positions = _POSITIONS[weights.block]
        pitch, step, spacing, origin = _laid_pitch(plane, positions)
        laid = room.take(rows * weights.inputs * pitch, np.float32)
        vectors = room.take(_ROOM // 4, np.float32)
        blocks, neighbours = blocks_of(weights.block), (0,) * positions

        def run(first: int, rows: int) -> None:
            channel = 0
            for values, size in self.sources:
                lay_out(
                    values, size, plane.z_taps, plane.y_taps, laid, self.channels, channel, pitch, spacing, origin,
                    first, rows,
                )  # fmt: skip
                channel += size[0]
            add_dense(
                blocks, neighbours, laid, weights.inputs, pitch, step, plane.kernel[2],
                plane.dilation, weights.weights, weights.n_blocks, self.factor, rows, plane.columns, out, vectors,
            )  # fmt: skip

        return run


def _laid_pitch(plane: Plane, positions: int) -> tuple[int, int, int, int]:
    """How rows of real numbers are laid out: their length, the step of the outputs, the distance of neighbouring
    inputs and where the first one lies."""
    reach = (plane.kernel[2] - 1) * plane.dilation
    whole = -(-plane.columns // positions) * positions
    if plane.transposed:
        return whole + reach, 1, plane.stride, reach - plane.padding
    return (whole - 1) * plane.stride + reach + 1, plane.stride, 1, plane.padding


def _dense_bytes(plane: Plane, lanes: int, inputs: int, rows: int) -> int:
    positions = _POSITIONS[min(lanes, LINE_LANES)]
    return aligned_bytes(4 * rows * inputs * _laid_pitch(plane, positions)[0]) + aligned_bytes(_ROOM)


def _dense_sums(layer: Any, plane: Plane, analog: tuple[np.ndarray, ...]) -> _DenseSums:
    synapses = layer.analog
    weights = once_for(layer, "analog", lambda: analog_weights(synapses.weight, plane.transposed))
    factor = once_for(layer, "analog factor", lambda: padded(synapses.factor, padded_lanes(len(synapses.factor))))
    sources = tuple((np.ascontiguousarray(a).reshape(-1), (len(a), *plane.size)) for a in analog)
    return _DenseSums(plane, weights, factor, sources, sum(len(a) for a in analog))


# ----------------------------------------------------------------------------------------------------------- the rest


def _compiled(geometry: Any, sources: tuple[Packed, ...]) -> bool:
    """Whether the kernels here can run spikes of these sources."""
    leading = int(np.prod(geometry.kernel[:-1]))
    channels = sum(source.channels for source in sources)
    return geometry.groups == 1 and 2 * (leading * channels // WORD) + 2 <= MOST_WORDS
