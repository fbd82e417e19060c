"""The weighted sums of spikes, a chunk of rows of outputs at a time: merge words, then meet the outputs in some way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import threads
from ..packed import Packed
from ..shifted_rows import Sizes
from .layouts import (
    SpikeWeights,
    Way,
    aligned_bytes,
    blocks_of,
    once_for,
    spike_weights,
)
from .merging import WORD, count_bits, merge, merging
from .planes import Plane, most_rows_in
from .rooms import Room
from .row_sums import gather, pile, roll, spread
from .tables import GROUPS, dense_is_cheaper, look_up, tables_of

_GRAIN = 1 << 16  # words a thread counts at least
_ROWS = {"roll": roll, "spread": spread}


def spike_bytes(way: Way, plane: Plane, steps: int, words: int, rows: int, slots: int) -> int:
    """Bytes of scratch, sums not included, for chunks of so many rows, `slots` slots of a step at a time."""
    rows_in, width = most_rows_in(way, rows), plane.width
    sizes = (
        8 * steps * rows_in * slots * words * width,
        rows_in * words,
        2 * (slots * words * WORD * width + WORD),
        8 * (width + 1),
    )
    return sum(map(aligned_bytes, sizes))


def sum_elements(way: Way, plane: Plane, steps: int, lanes: int, rows: int) -> int:
    """Elements of the sums of a chunk, with room for what nobody reads; see .row_sums."""
    columns = plane.width if way == "pile" else plane.columns
    return (steps * rows + 2 * (way != "gather")) * columns * lanes


@dataclass(frozen=True)
class SpikeSums:
    """The weighted sums of spikes: of each of `steps` steps, over the levels of their sources.

    sources     flat words, (Z, Y, X, words of a position), levels
    onto        whether they are added to the sums of another, which has as many steps
    tables      of the sums of weights, where these are to be used instead; gathers
    """

    plane: Plane
    weights: SpikeWeights
    sources: tuple[tuple[np.ndarray, Sizes, int], ...]
    steps: int
    slots: int
    way: Way
    onto: bool
    events: int
    tables: np.ndarray | None

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

    def bytes_for(self, rows: int, slots: int) -> int:
        weights = self.weights
        sizes = self.steps, weights.merging.words, rows, min(slots, self.slots)
        return spike_bytes(self.way, self.plane, *sizes) + (0 if self.onto else aligned_bytes(self._sum_bytes(rows)))

    def sums(self, room: Room, rows: int) -> np.ndarray:
        """Where to add up chunks of at most so many rows: [steps, rows, columns, lanes], flat, and what nobody reads.

        If they are piled, the columns are those of the inputs, see `pile`.
        """
        return room.take(self._sum_bytes(rows) // self.weights.sum_type.itemsize, self.weights.sum_type)

    def _sum_bytes(self, rows: int) -> int:
        weights = self.weights
        return sum_elements(self.way, self.plane, self.steps, weights.lanes, rows) * weights.sum_type.itemsize

    def prepare(self, room: Room, rows: int, slots: int, sums: np.ndarray) -> Callable[[int, int], int]:
        """run(first row, rows) -> outputs reached, with their sums in `sums`; `slots` slots at a time."""
        plane, weights, steps, way = self.plane, self.weights, self.steps, self.way
        slots, n_words, width = min(slots, self.slots), weights.merging.words, plane.width
        rows_in = most_rows_in(way, rows)
        merged = room.take(steps * rows_in * slots * n_words * width, np.uint64)
        active = room.take(rows_in * n_words, np.uint8)
        events = room.take(slots * n_words * WORD * width + WORD, np.uint16)
        start = room.take(width + 1, np.int64)
        blocks = blocks_of(weights.block)
        sources = list(zip(self.sources, weights.merging.items, strict=True))
        y_taps = plane.merged_taps(way)

        def run(first: int, rows: int) -> int:
            reached = 0
            begin, rows_in = plane.rows_in(way, first, rows)
            for level in range(0, self.slots, slots):
                count, onto = min(slots, self.slots - level), self.onto or level > 0
                for i, ((words, size, levels), items) in enumerate(sources):
                    merge(
                        words, size, levels, plane.z_taps, y_taps, items, merged, active, n_words, i == 0,
                        begin, rows_in, steps, level, count,
                    )  # fmt: skip
                if self.tables is not None:
                    reached += look_up(
                        blocks, merged, active, self.tables, weights.n_blocks, sums, rows, steps, count,
                        n_words, width, plane.readers, onto, plane.x_taps,
                    )  # fmt: skip
                elif way == "pile":
                    reached += pile(
                        blocks, merged, active, weights.weights, sums, begin, rows_in, first, rows, len(y_taps), count,
                        n_words, width, plane.readers, events, start, onto,
                    )  # fmt: skip
                elif way == "gather":
                    reached += gather(
                        blocks, merged, active, weights.weights, weights.n_blocks, sums, rows, steps, count,
                        n_words, width, plane.readers, events, start, onto, plane.x_taps,
                    )  # fmt: skip
                else:
                    reached += _ROWS[way](
                        blocks, merged, active, weights.weights, weights.n_blocks, sums, begin, rows_in,
                        first, rows, len(y_taps), steps, count, n_words, width, plane.readers, events, start, onto,
                    )  # fmt: skip
            return reached

        return run


def bound_of(synapses: Any, geometry: Any, sources: tuple[Packed, ...], steps: int) -> int:
    """The largest magnitude of a sum of whole numbers over the slots of a step."""
    if synapses.weight.dtype.kind != "i":
        return 0
    return max(len(source.words) // steps for source in sources) * synapses.slot_bound(geometry)


def spike_sums(
    owner: Any,
    plane: Plane,
    synapses: Any,
    sources: tuple[Packed, ...],
    steps: int,
    bound: int,
    *,
    way: Way | None = None,
    onto: bool = False,
) -> SpikeSums:
    """The sums of synapses of the operation `owner` over sources; whatever is added up together stays within `bound`.

    `way` is that of the plane, unless it is given.
    """
    levels = [len(source.words) // steps for source in sources]
    slots = max(levels)
    channels = tuple(source.channels for source in sources)
    word_bits = tuple(8 * source.words.dtype.itemsize for source in sources)
    way = way or plane.way

    def weights_for(way: Way) -> SpikeWeights:
        key = (id(synapses), channels, bound, way)
        return once_for(
            owner,
            key,
            lambda: spike_weights(synapses.weight, channels, word_bits, plane.phases, bound, way),
        )

    weights = weights_for(way)
    laid = tuple(
        (np.ascontiguousarray(source.words).reshape(-1), (*plane.size, source.words.shape[-1]), n)
        for source, n in zip(sources, levels, strict=True)
    )
    events = sum(map(events_of, sources))
    # of a row of outputs, on average: the share of its leading taps inside the volume, and the events of a column
    share = plane.seen_by_rows * plane.size[0] * plane.size[1] / (plane.rows * plane.kernel[0] * plane.kernel[1])
    per_column = events * plane.seen_by_rows / (steps * slots * plane.rows * plane.width)
    tables, words = None, merging(channels, word_bits, plane.phases[:2]).words
    if way != "pile" and dense_is_cheaper(events, per_column, weights, words, share, plane.kernel[2]):
        way, weights = "gather", weights_for("gather")
        key = (id(synapses), channels, bound, "tables")
        tables = once_for(owner, key, lambda: tables_of(weights, plane.kernel[2]))
    return SpikeSums(plane, weights, laid, steps, slots, way, onto, events, tables)


def events_of(source: Packed) -> int:
    """Set bits of all words."""
    words = np.ascontiguousarray(source.words).reshape(-1)
    if words.nbytes % 8 == 0:
        words = words.view(np.uint64)
    counts: list[int] = []
    threads.for_ranges(lambda a, b: counts.append(count_bits(words, a, b)), len(words), _GRAIN)
    return sum(counts)
