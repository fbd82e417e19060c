"""The scale of every layer: a percentile of its activations on training examples.

Two passes over the examples, in any order, one example and one layer at a time; what is kept between them are counts:
512 KiB for a layer, or 64 KiB for each channel where every channel has a scale of its own. The counts are whole
numbers, so that neither the order of the examples nor how they are batched changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from ..errors import ParameterError
from .networks import Example, LayeredNetwork, watch

Convention: TypeAlias = Literal["positive", "all"]
Granularity: TypeAlias = Literal["layer", "channel"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
Scale: TypeAlias = float | np.ndarray
BLOCK = 1 << 16  # values looked at together


class PercentileSketch:
    """Percentile of many values in two passes over batches, independent of their order, without keeping them.

    First pass `widen` finds the largest value, second pass `count` fills equal bins from 0 to it; `percentile`
    interpolates inside the bin, so its error is below maximum / bins: 2^16 bins for all values together, 2^13 for each
    of `channels`, which are axis 1 of the values. Convention "positive": only strictly positive values count. "all":
    the magnitudes of all values count, those of the zeros of a ReLU too.
    """

    BINS = 1 << 16
    CHANNEL_BINS = 1 << 13

    def __init__(self, convention: Convention = "positive", channels: int | None = None) -> None:
        if convention not in CONVENTIONS:
            raise ParameterError(f"calibrate: the convention must be {' or '.join(CONVENTIONS)}, not {convention!r}")
        self.convention, self.channels = convention, channels
        self.bins = self.BINS if channels is None else self.CHANNEL_BINS
        self.maxima = np.zeros(channels or 1)
        self.zeros = np.zeros(channels or 1, np.int64)  # that the convention counts
        self.counts = np.zeros((channels or 1, self.bins), np.int64)  # of positive magnitudes

    @property
    def maximum(self) -> float:
        """The largest value seen."""
        return float(self.maxima.max())

    def widen(self, values: np.ndarray) -> None:
        """First pass."""
        for row, block in self._blocks(values):
            self.maxima[row] = max(self.maxima[row], float(block.max()))

    def count(self, values: np.ndarray) -> None:
        """Second pass."""
        for row, block in self._blocks(values):
            positive = block[block > 0]
            if self.convention == "all":
                self.zeros[row] += block.size - positive.size
            if positive.size:
                bins = (positive * (self.bins / self.maxima[row])).astype(np.int64)
                self.counts[row] += np.bincount(np.minimum(bins, self.bins - 1), minlength=self.bins)

    def percentile(self, p: float) -> Scale:
        """The p-th percentile, for each channel if there are `channels`.

        Where it is 0 although something is positive, because most of "all" are 0, the maximum: no scale is 0. Where
        nothing is positive, 1: the layer is silent whatever its scale.
        """
        found = np.array([self._percentile_of(row, p) for row in range(len(self.counts))])
        return float(found[0]) if self.channels is None else found.astype(np.float32)

    def _percentile_of(self, row: int, p: float) -> float:
        cumulative = self.zeros[row] + np.cumsum(self.counts[row])
        if cumulative[-1] == self.zeros[row]:
            return 1.0
        target = p / 100 * cumulative[-1]
        if target <= self.zeros[row]:
            return float(self.maxima[row])
        i = int(np.searchsorted(cumulative, target))
        below = cumulative[i - 1] if i else self.zeros[row]
        inside = (target - below) / max(self.counts[row, i], 1)
        return float((i + inside) * self.maxima[row] / self.bins)

    def _blocks(self, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(row, values >= 0) a block at a time, so that no temporary has the size of a volume."""
        if self.channels is None:
            maps = [(0, values)]
        else:
            maps = [(c, sample[c]) for sample in values for c in range(self.channels)]
        for row, one in maps:
            flat = one.reshape(-1)
            for start in range(0, flat.size, BLOCK):
                block = flat[start : start + BLOCK]
                yield row, np.abs(block) if self.convention == "all" else np.maximum(block, 0)


def calibrate(
    teacher: LayeredNetwork,
    examples: Sequence[Example],
    percentile: float = 99.0,
    convention: Convention = "positive",
    granularity: Granularity = "layer",
    common: bool = True,
) -> dict[str, Scale]:
    """lambda of every layer: the percentile of its activations over `examples`. -> {layer name: lambda, or [C]}

    `examples` are inputs of the teacher, from the training set; they are asked for twice, one at a time, and may load
    each when asked. Sources whose rates are averaged get one in `common`. The teacher must be in evaluation mode. See
    PercentileSketch for convention and memory.
    """
    if not 0 < percentile <= 100:
        raise ParameterError(f"calibrate: the percentile must be in (0, 100], not {percentile}")
    if granularity not in GRANULARITIES:
        raise ParameterError(f"calibrate: the granularity must be {' or '.join(GRANULARITIES)}, not {granularity!r}")
    if not len(examples):
        raise ParameterError("calibrate: needs at least one example")
    sketches = {
        layer.name: PercentileSketch(convention, layer.out_channels if granularity == "channel" else None)
        for layer in teacher.config.layers()
    }
    for look in (PercentileSketch.widen, PercentileSketch.count):

        def see(name: str, x: np.ndarray, look: Callable[[PercentileSketch, np.ndarray], None] = look) -> None:
            if name in sketches:
                look(sketches[name], x)

        for i in range(len(examples)):
            watch(teacher, examples[i], see)
    scales = {name: sketch.percentile(percentile) for name, sketch in sketches.items()}
    return _in_common(scales, list(teacher.config.layers())) if common else scales


def _in_common(scales: Mapping[str, Scale], layers: Sequence) -> dict[str, Scale]:
    """The same scales, but one for all sources of a layer that averages them: else their rates could not be averaged.

    Until nothing changes, because a source may be averaged in several places.
    """
    common, before = dict(scales), None
    while before is None or any(np.any(common[name] != before[name]) for name in common):
        before = dict(common)
        for layer in layers:
            if layer.average:
                largest = np.max(np.stack([np.asarray(common[s], np.float64) for s in layer.sources]), axis=0)
                value = float(largest) if largest.ndim == 0 else largest.astype(np.float32)
                common.update(dict.fromkeys(layer.sources, value))
    return common
