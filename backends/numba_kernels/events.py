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

from .. import numpy_kernels, taps, threads
from ..packed import Executed, Packed, word_type
from ..shifted_rows import Sizes
from .analog_sums import add_dense, lay_out
from .firing import add_scaled, fill_rows, fire
from .layouts import (
    ALIGNMENT,
    LINE_LANES,
    AnalogWeights,
    SpikeWeights,
    aligned_bytes,
    analog_weights,
    blocks_of,
    empty,
    neurons,
    once_for,
    padded,
    padded_lanes,
    spike_weights,
)
from .merging import MOST_WORDS, WORD, count_bits, merge, merging
from .read_out import read_rows
from .row_sums import gather, pile, roll
from .tables import GROUPS, dense_is_cheaper, look_up, tables_of

_CHUNK_BYTES = 1536 << 10  # of scratch a thread works in, if a row needs no more: part of the L2 cache
_MOST_ROWS = 64  # of a chunk
_REGIONS = 16  # at most, that a piece of scratch is cut into
_GRAIN = 1 << 16  # words a thread counts at least
_POSITIONS = {16: 12, 32: 8, 48: 5, 64: 4}  # neighbouring outputs of a dense sum held in registers, by lanes
_ROOM = 4 * max(lanes * positions for lanes, positions in _POSITIONS.items())  # bytes


_Run: TypeAlias = Callable[[int, int], tuple[int, int]]  # (first row, rows) -> (outputs reached, spikes)


def spiking_layer(
    layer: Any,
    frames: tuple[Packed, ...],
    rates: tuple[Packed, ...],
    analog: tuple[np.ndarray, ...],
    out: np.ndarray | None = None,
    scratch: np.ndarray | None = None,
) -> tuple[np.ndarray, Executed]:
    """See numpy_kernels.spiking_layer. Grouped convolutions run there."""
    shape = (*(s.words.shape[1:-1] for s in (*frames, *rates)), *(a.shape[1:] for a in analog))[0]
    parts = [(layer.frames, frames, layer.dynamics.steps), (layer.rates, rates, 1)]
    if not _compiled(layer.geometry, [sources for _, sources, _ in parts]):
        return numpy_kernels.spiking_layer(layer, frames, rates, analog, out, scratch)
    plane = _Plane(layer.geometry, shape)
    sums = [_spike_sums(layer, plane, synapses, sources, steps) for synapses, sources, steps in parts if synapses]
    dense = [_dense_sums(layer, plane, analog)] if layer.analog else []
    of_frames = sums[0] if layer.frames else None
    still = sums[1:] if layer.frames else sums
    numbers = once_for(layer, "neurons", lambda: neurons(layer))
    dynamics, channels, lanes = layer.dynamics, len(layer.bias), padded_lanes(len(layer.bias))
    block = min(lanes, LINE_LANES)
    n_words = lanes // block
    if out is None:
        out = np.empty((dynamics.steps * dynamics.levels, *plane.out_shape, n_words), word_type(channels))
    words, state = out.reshape(-1), np.empty(0, layer.bias.dtype)
    varies = bool(still or dense)

    def bytes_for(rows: int, slots: int) -> int:
        constant = aligned_bytes(varies * rows * plane.columns * lanes * 4)
        return constant + sum(part.bytes_for(rows, slots) for part in (*sums, *dense))

    def prepare(room: _Room, rows: int, slots: int) -> _Run:
        constant, pitch = numbers.bias, 0
        if varies:
            constant, pitch = room.take(rows * plane.columns * lanes, state.dtype), lanes
        still_runs = [(part.prepare(room, rows, slots), part.factor) for part in still]
        dense_runs = [part.prepare(room, rows, constant) for part in dense]
        values = np.empty(0, np.int16) if state.dtype == np.int32 else state
        frames_run = of_frames.prepare(room, rows, slots) if of_frames else None
        leak, blocks, positions = state.dtype.type(dynamics.leak), blocks_of(block), plane.rows * plane.columns
        decay = (0,) * (0 if not dynamics.leaks else 1 if leak == 1 else 2)

        def run(first: int, rows: int) -> tuple[int, int]:
            count, synops, sums = rows * plane.columns, 0, values
            if varies:
                fill_rows(blocks, constant, numbers.bias, count)
            for part_run, factor in still_runs:
                sums, reached = part_run(first, rows)
                synops += reached
                add_scaled(constant, sums, factor, count)
            for dense_run in dense_runs:
                dense_run(first, rows)
            if frames_run:
                sums, reached = frames_run(first, rows)
                synops += reached
            spikes = fire(
                blocks, state, sums, frames_run is not None, numbers.factor, numbers.scaled, constant, pitch,
                leak, dynamics.shift, decay,
                numbers.thresholds, dynamics.levels, numbers.amount, numbers.initial, numbers.reset_to, dynamics.hard,
                words, n_words, positions, first * plane.columns, count, dynamics.steps,
            )  # fmt: skip
            return synops, spikes

        return run

    reached, spikes = _in_chunks(prepare, bytes_for, plane, max((part.slots for part in sums), default=1), scratch)
    table_adds = sum(part.table_adds for part in sums) * channels
    return out, Executed(sum(part.events for part in sums), reached * channels, spikes, table_adds)


def read_out(
    operation: Any, sources: tuple[Packed, ...], out: np.ndarray | None = None, scratch: np.ndarray | None = None
) -> tuple[np.ndarray, Executed]:
    """See numpy_kernels.read_out. Grouped convolutions run there."""
    if not _compiled(operation.geometry, [sources]):
        return numpy_kernels.read_out(operation, sources, out, scratch)
    plane = _Plane(operation.geometry, sources[0].words.shape[1:-1])
    part = _spike_sums(operation, plane, operation.synapses, sources, 1, _joins(operation, plane))
    channels = len(operation.bias)
    if out is None:
        out = np.empty((channels, *plane.out_shape), np.float32)
    values, factor, bias = out.reshape(channels, -1), operation.synapses.factor, operation.bias

    def prepare(room: _Room, rows: int, slots: int) -> _Run:
        add_up = part.prepare(room, rows, slots)
        y_taps, x_taps = (plane.y_taps, plane.x_taps) if part.joined else plane.one_tap
        height = plane.size[1] if part.joined else len(y_taps)
        totals = np.empty(plane.columns, np.int32 if part.weights.sum_type.kind == "i" else np.float32)

        def run(first: int, rows: int) -> tuple[int, int]:
            sums, reached = add_up(first, rows)
            begin = part.rows_in(first, rows)[0]
            read_rows(
                sums,
                begin,
                height,
                part.columns,
                part.weights.lanes,
                y_taps,
                x_taps,
                factor,
                bias,
                totals,
                values,
                first,
                rows,
            )
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
    plane = _Plane(geometry, in_shape)
    channels = len(operation.bias)
    lanes = padded_lanes(channels)
    leading = int(np.prod(plane.kernel[:2]))
    if hasattr(operation, "synapses"):
        if _joins(operation, plane):
            lanes = padded_lanes(channels * plane.kernel[1] * plane.kernel[2])
        spiking = [(operation.synapses, 1)]
        least = 0
    else:
        spiking = [
            (part, steps)
            for part, steps in ((operation.frames, operation.dynamics.steps), (operation.rates, 1))
            if part
        ]
        least = aligned_bytes(plane.columns * lanes * 4)
        if operation.analog:
            inputs = leading * operation.analog.weight.shape[1]
            least += _dense_bytes(plane, lanes, inputs, 1)
    for synapses, steps in spiking:
        width = max(plane.width, plane.columns)
        ways = ((leading, False), (plane.kernel[0], True)) if plane.rolls else ((leading, False),)
        # any two words that follow each other hold more than one word's bits, or they would be one
        most = ((2 * (merged * synapses.weight.shape[1] // WORD) + 2, rolls) for merged, rolls in ways)
        least += max(_spike_bytes(steps, words, lanes, plane.width, width, 1, 1, rolls) for words, rolls in most)
    return threads.CORES * aligned_bytes(max(_CHUNK_BYTES, least))


# ------------------------------------------------------------------------------------------------- where things lie


class _Plane:
    """The positions of a convolution, with three axes, as rows of columns, and which of them see each other."""

    def __init__(self, geometry: Any, shape: Sizes):
        self.out_shape = geometry.output_shape(tuple(shape))
        self.size, outputs, axes = taps.axes(geometry, shape)
        self.width, self.columns, self.rows = self.size[2], outputs[2], outputs[0] * outputs[1]
        self.kernel, self.transposed = tuple(axis[1] for axis in axes), bool(geometry.transposed)
        self.z_taps, self.y_taps, self.x_taps = (taps.axis_taps(*axis) for axis in axes)
        self.readers = taps.axis_readers(*axes[2])
        # rows of outputs that see a row of inputs, on average
        self.seen_by_rows = float(taps.axis_readers(*axes[0]).mean() * taps.axis_readers(*axes[1]).mean())
        self.stride, self.padding, self.dilation = axes[2][2:5]
        self.rolls = all(axis[1:6] == (3, 1, 1, 1, False) for axis in axes[1:])

    @property
    def one_tap(self) -> tuple[np.ndarray, np.ndarray]:
        """Along y and x, every sum read where it lies."""
        y, x = ((n, 1, 1, 0, 1, False, n) for n in (len(self.y_taps), self.columns))
        return taps.axis_taps(*y), taps.axis_taps(*x)

    @property
    def own_rows(self) -> np.ndarray:
        """Every row of inputs read where it lies."""
        return taps.axis_taps(self.size[1], 1, 1, 0, 1, False, self.size[1])


class _Room:
    """Aligned arrays taken one after another from a piece of memory."""

    def __init__(self, memory: np.ndarray):
        self.memory, self.used = memory, 0

    def take(self, count: int, dtype: Any) -> np.ndarray:
        n = count * np.dtype(dtype).itemsize
        array = self.memory[self.used : self.used + n].view(dtype)
        self.used += aligned_bytes(n)
        return array


def _in_chunks(
    prepare: Callable[[_Room, int, int], _Run],
    bytes_for: Callable[[int, int], int],
    plane: _Plane,
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
        run = prepare(_Room(free.pop()), chunk, slots)
        done.extend(run(first, min(chunk, stop - first)) for first in range(start, stop, chunk))

    threads.for_ranges(body, plane.rows, share)
    return sum(a for a, _ in done), sum(b for _, b in done)


# -------------------------------------------------------------------------------------------------- sums of the parts


def _spike_bytes(
    steps: int,
    words: int,
    lanes: int,
    width: int,
    columns: int,
    rows: int,
    slots: int,
    rolls: bool,
    sum_bytes: int = 4,
) -> int:
    rows_in = rows + 2 * rolls
    sizes = (
        sum_bytes * (steps * rows + 2 * rolls) * columns * lanes,
        8 * steps * rows_in * slots * words * width,
        rows_in * words,
        2 * (slots * words * WORD * width + WORD),
        8 * (width + 1),
    )
    return sum(map(aligned_bytes, sizes))


@dataclass(frozen=True)
class _SpikeSums:
    """The weighted sums of spikes: of each of `steps` steps, over the levels of their sources."""

    plane: _Plane
    weights: SpikeWeights
    factor: np.ndarray
    sources: tuple[tuple[np.ndarray, Sizes, int], ...]  # flat words, (Z, Y, X, words of a position), levels
    steps: int
    slots: int
    joined: bool
    rolls: bool
    events: int
    tables: np.ndarray | None  # to use them instead of the weights

    @property
    def table_adds(self) -> int:
        """Sums that are looked up for each output channel."""
        if self.tables is None:
            return 0
        plane, x_taps = self.plane, self.plane.x_taps
        in_z, in_y, words = plane.z_taps >= 0, plane.y_taps >= 0, 0
        for bits in self.weights.merging.rows.reshape(-1, WORD, 3):
            seen = {(kz, ky) for kz, ky, _ in bits.tolist() if kz >= 0}
            words += int(np.logical_or.reduce([in_z[:, kz, None] & in_y[:, ky] for kz, ky in seen]).sum())
        return self.steps * self.slots * words * int((x_taps >= 0).sum()) * GROUPS

    @property
    def columns(self) -> int:
        return self.plane.width if self.joined else self.plane.columns

    def rows_in(self, first: int, rows: int) -> tuple[int, int]:
        """The rows of inputs that are merged for these rows of outputs: the first of them, and how many."""
        if not self.rolls:
            return first, rows
        begin = max(first - 1, 0)
        return begin, min(first + rows + 1, self.plane.rows) - begin

    def bytes_for(self, rows: int, slots: int) -> int:
        weights = self.weights
        slots = min(slots, self.slots)
        sizes = self.steps, weights.merging.words, weights.lanes, self.plane.width, self.columns
        return _spike_bytes(*sizes, rows, slots, self.rolls, weights.sum_type.itemsize)

    def prepare(self, room: _Room, rows: int, slots: int) -> Callable[[int, int], tuple[np.ndarray, int]]:
        """run(first row, rows) -> (sums [steps, rows, columns, lanes], outputs reached); `slots` slots at a time.

        If joined, the sums are those of `pile`.
        """
        plane, weights, steps, rolls = self.plane, self.weights, self.steps, self.rolls
        slots, n_words, width = min(slots, self.slots), weights.merging.words, plane.width
        sums = room.take((steps * rows + 2 * rolls) * self.columns * weights.lanes, weights.sum_type)
        rows_in = rows + 2 * rolls
        merged = room.take(steps * rows_in * slots * n_words * width, np.uint64)
        active = room.take(rows_in * n_words, np.uint8)
        events = room.take(slots * n_words * WORD * width + WORD, np.uint16)
        start = room.take(width + 1, np.int64)
        blocks = blocks_of(weights.block)
        sources = list(zip(self.sources, weights.merging.items, strict=True))
        y_taps = plane.own_rows if rolls else plane.y_taps

        def run(first: int, rows: int) -> tuple[np.ndarray, int]:
            reached = 0
            begin, rows_in = self.rows_in(first, rows)
            for level in range(0, self.slots, slots):
                count = min(slots, self.slots - level)
                for i, ((words, size, levels), items) in enumerate(sources):
                    merge(
                        words, size, levels, plane.z_taps, y_taps, items, merged, active, n_words, i == 0,
                        begin, rows_in, steps, level, count,
                    )  # fmt: skip
                if self.tables is not None:
                    reached += look_up(
                        blocks, merged, active, self.tables, weights.n_blocks, sums, rows, steps, count,
                        n_words, width, plane.readers, level > 0, plane.x_taps,
                    )  # fmt: skip
                elif self.joined:
                    reached += pile(
                        blocks, merged, active, weights.weights, sums, begin, rows_in, first, rows, len(y_taps), count,
                        n_words, width, plane.readers, events, start, level > 0,
                    )  # fmt: skip
                elif rolls:
                    reached += roll(
                        blocks, merged, active, weights.weights, weights.n_blocks, sums, begin, rows_in,
                        first, rows, len(y_taps), steps, count, n_words, width, plane.readers, events, start, level > 0,
                    )  # fmt: skip
                else:
                    reached += gather(
                        blocks, merged, active, weights.weights, weights.n_blocks, sums, rows, steps, count,
                        n_words, width, plane.readers, events, start, level > 0, plane.x_taps,
                    )  # fmt: skip
            return sums, reached

        return run


def _spike_sums(
    owner: Any, plane: _Plane, synapses: Any, sources: tuple[Packed, ...], steps: int, joined: bool = False
) -> _SpikeSums:
    levels = [len(source.words) // steps for source in sources]
    slots = max(levels)
    channels = tuple(source.channels for source in sources)
    word_bits = tuple(8 * source.words.dtype.itemsize for source in sources)
    rolls = plane.rolls

    def weights_for(rolls: bool) -> SpikeWeights:
        bound = slots * synapses.slot_bound() if synapses.weight.dtype.kind == "i" else 0
        key = (id(synapses), channels, slots, rolls)
        return once_for(owner, key, lambda: spike_weights(synapses.weight, channels, word_bits, bound, rolls, joined))

    weights = weights_for(rolls)
    factor = once_for(
        owner, (id(synapses), "factor"), lambda: padded(synapses.factor, padded_lanes(len(synapses.factor)))
    )
    laid = tuple(
        (np.ascontiguousarray(source.words).reshape(-1), (*plane.size, source.words.shape[-1]), n)
        for source, n in zip(sources, levels, strict=True)
    )
    events = sum(map(_events, sources))
    # of a row of outputs, on average: the share of its leading taps inside the volume, and the events of a column
    share = plane.seen_by_rows * plane.size[0] * plane.size[1] / (plane.rows * plane.kernel[0] * plane.kernel[1])
    per_column = events * plane.seen_by_rows / (steps * slots * plane.rows * plane.width)
    tables, words = None, merging(channels, word_bits, plane.kernel[:2]).words
    if not joined and dense_is_cheaper(events, per_column, weights, words, share, plane.kernel[2]):
        rolls, weights = False, weights_for(False)
        tables = once_for(owner, (id(synapses), channels, slots, "tables"), lambda: tables_of(weights, plane.kernel[2]))
    return _SpikeSums(plane, weights, factor, laid, steps, slots, joined, rolls, events, tables)


@dataclass(frozen=True)
class _DenseSums:
    """The weighted sums of real numbers."""

    plane: _Plane
    weights: AnalogWeights
    factor: np.ndarray
    sources: tuple[tuple[np.ndarray, Sizes], ...]  # flat values, (C, Z, Y, X)
    channels: int

    def bytes_for(self, rows: int, slots: int) -> int:
        return _dense_bytes(self.plane, self.weights.block, self.weights.inputs, rows)

    def prepare(self, room: _Room, rows: int, out: np.ndarray) -> Callable[[int, int], None]:
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


def _laid_pitch(plane: _Plane, positions: int) -> tuple[int, int, int, int]:
    """How rows of real numbers are laid out: their length, the step of the outputs, the distance of neighbouring
    inputs and where the first one lies."""
    reach = (plane.kernel[2] - 1) * plane.dilation
    whole = -(-plane.columns // positions) * positions
    if plane.transposed:
        return whole + reach, 1, plane.stride, reach - plane.padding
    return (whole - 1) * plane.stride + reach + 1, plane.stride, 1, plane.padding


def _dense_bytes(plane: _Plane, lanes: int, inputs: int, rows: int) -> int:
    positions = _POSITIONS[min(lanes, LINE_LANES)]
    return aligned_bytes(4 * rows * inputs * _laid_pitch(plane, positions)[0]) + aligned_bytes(_ROOM)


def _dense_sums(layer: Any, plane: _Plane, analog: tuple[np.ndarray, ...]) -> _DenseSums:
    synapses = layer.analog
    weights = once_for(layer, "analog", lambda: analog_weights(synapses.weight, plane.transposed))
    factor = once_for(layer, "analog factor", lambda: padded(synapses.factor, padded_lanes(len(synapses.factor))))
    sources = tuple((np.ascontiguousarray(a).reshape(-1), (len(a), *plane.size)) for a in analog)
    return _DenseSums(plane, weights, factor, sources, sum(len(a) for a in analog))


# ----------------------------------------------------------------------------------------------------------- the rest


def _compiled(geometry: Any, parts: list[tuple[Packed, ...]]) -> bool:
    """Whether the kernels here can run it."""
    leading = int(np.prod(geometry.kernel[:-1]))
    channels = max((sum(source.channels for source in sources) for sources in parts), default=0)
    return geometry.groups == 1 and 2 * (leading * channels // WORD) + 2 <= MOST_WORDS


def _joins(operation: Any, plane: _Plane) -> bool:
    """Whether all outputs of a plane that a column of inputs reaches fit into one vector of few lanes."""
    return plane.rolls and len(operation.bias) * plane.kernel[1] * plane.kernel[2] <= LINE_LANES


def _events(source: Packed) -> int:
    """Set bits of all words."""
    words = np.ascontiguousarray(source.words).reshape(-1)
    if words.nbytes % 8 == 0:
        words = words.view(np.uint64)
    counts: list[int] = []
    threads.for_ranges(lambda a, b: counts.append(count_bits(words, a, b)), len(words), _GRAIN)
    return sum(counts)
