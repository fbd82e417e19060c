"""From an analog network to a spiking one: fold batch norm, calibrate thresholds, rescale weights, report the error.

The aim of conversion is that the firing rate of every layer is its activation in units of a layer constant lambda:
rate = clip(a / lambda, 0, 1). With spikes of amplitude 1 and threshold 1 that holds if

    w' = w * lambda_in / lambda_out        b' = b / lambda_out

where lambda_in is the constant of the source each input channel comes from, 1 for the images (weight and threshold
balancing, Diehl et al. 2015; per-connection scaling over concatenations). lambda is a percentile of the strictly
positive activations on training images. Neurons start at half a threshold, which rounds the rate instead of flooring
it, do not leak, and are reset by subtraction, so that no charge is lost: then a constant current x gives
|rate - clip(x, 0, 1)| <= 1 / (2 T).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .errors import ParameterError
from .nn import fold_batch_norm
from .tensor import Tensor, no_grad

Example = tuple[Tensor, ...]


class LayeredNetwork(Protocol):
    """What conversion needs of a network: a table of layers, units by name, a head, an observable forward."""

    config: Any
    head: Any

    def unit(self, name: str) -> Any: ...

    def __call__(self, *example: Tensor, observe: Callable[[str, Tensor], None] | None = None) -> Tensor: ...


class PercentileSketch:
    """Percentile of many values in two passes over batches, independent of their order, without keeping them.

    First pass `widen` finds the largest value, second pass `count` fills 2^16 equal bins; `percentile` interpolates
    inside the bin, so its error is below maximum / 65536. Convention: only strictly positive values count.
    """

    BINS = 1 << 16

    def __init__(self) -> None:
        self.maximum = 0.0
        self.counts = np.zeros(self.BINS, np.int64)

    def widen(self, values: np.ndarray) -> None:
        self.maximum = max(self.maximum, float(values.max(initial=0.0)))

    def count(self, values: np.ndarray) -> None:
        if self.maximum > 0:
            positive = values[values > 0]
            bins = np.minimum((positive * (self.BINS / self.maximum)).astype(np.int64), self.BINS - 1)
            self.counts += np.bincount(bins, minlength=self.BINS)

    def percentile(self, p: float) -> float:
        """The p-th percentile of the positive values; 1 if there were none (the layer is silent whatever its scale)."""
        total = self.counts.sum()
        if total == 0:
            return 1.0
        cumulative = np.cumsum(self.counts)
        target = p / 100 * total
        i = int(np.searchsorted(cumulative, target))
        below = cumulative[i - 1] if i else 0
        return float((i + (target - below) / max(self.counts[i], 1)) * self.maximum / self.BINS)


def observed(network: LayeredNetwork, example: Example, names: Container[str]) -> dict[str, np.ndarray]:
    """Run `network` and return what its layers called `names` gave, {name: array}."""
    seen: dict[str, np.ndarray] = {}

    def observe(name: str, x: Tensor) -> None:
        if name in names:
            seen[name] = x.data

    with no_grad():
        network(*example, observe=observe)
    return seen


def calibrate(teacher: LayeredNetwork, examples: Sequence[Example], percentile: float = 99.0) -> dict[str, float]:
    """lambda of every layer: the percentile of its positive activations over `examples`. -> {layer name: lambda}

    `examples` are inputs of the teacher, from the training set. The teacher must be in evaluation mode.
    """
    if not 0 < percentile <= 100:
        raise ParameterError(f"calibrate: the percentile must be in (0, 100], not {percentile}")
    if not examples:
        raise ParameterError("calibrate: needs at least one example")
    sketches = {layer.name: PercentileSketch() for layer in teacher.config.layers()}
    for look in (PercentileSketch.widen, PercentileSketch.count):
        for example in examples:
            for name, activations in observed(teacher, example, sketches).items():
                look(sketches[name], activations)
    scales = {name: sketch.percentile(percentile) for name, sketch in sketches.items()}
    for layer in teacher.config.layers():
        if layer.average:  # rates can be averaged only if they stand for the same activation
            common = max(scales[source] for source in layer.sources)
            scales.update(dict.fromkeys(layer.sources, common))
    return scales


def transfer(teacher: LayeredNetwork, spiking: LayeredNetwork, scales: dict[str, float]) -> None:
    """Write the teacher's folded and rescaled weights into `spiking`; `scales` are the lambdas of `calibrate`."""
    channels = teacher.config.channels()

    def input_scale(sources: Iterable[str]) -> np.ndarray:
        return np.concatenate([np.full(channels[s], scales.get(s, 1.0), np.float32) for s in sources])

    for layer in teacher.config.layers():
        unit, target = teacher.unit(layer.name), spiking.unit(layer.name).conv
        folded = fold_batch_norm(unit.conv, unit.norm)
        per_input, out = input_scale(layer.sources[:1] if layer.average else layer.sources), scales[layer.name]
        axes = (
            (-1,) + (1,) * (folded.weight.ndim - 1) if layer.transposed else (1, -1) + (1,) * (folded.weight.ndim - 2)
        )
        target.weight.data = (folded.weight.data * per_input.reshape(axes) / out).astype(target.weight.dtype)
        target.bias.data = (folded.bias.data / out).astype(target.bias.dtype)
        last = layer.name
    w = np.moveaxis(teacher.head.weight.data, 1, -1) * input_scale([last])
    spiking.head.weight.data = np.moveaxis(w, -1, 1).astype(spiking.head.weight.dtype)
    spiking.head.bias.data = teacher.head.bias.data.copy()


@dataclass(frozen=True)
class LayerReport:
    """How well one spiking layer stands in for its teacher layer, over the calibration examples.

    scale       lambda, the activation that a rate of 1 stands for
    error       mean |lambda rate - activation| / lambda
    saturated   fraction of activations above lambda, which no rate can express
    rate        mean firing rate, spikes per neuron and step
    """

    name: str
    scale: float
    error: float
    saturated: float
    rate: float


def compare(
    teacher: LayeredNetwork, spiking: LayeredNetwork, examples: Sequence[Example], scales: dict[str, float]
) -> list[LayerReport]:
    """Run both networks on `examples` and report every layer."""
    sums = {name: np.zeros(4) for name in scales}
    for example in examples:
        activations, spikes = (observed(network, example, scales) for network in (teacher, spiking))
        for name, scale in scales.items():
            a, rate = activations[name], spikes[name].mean(axis=0)
            sums[name] += (np.abs(scale * rate - a).sum() / scale, (a > scale).sum(), rate.sum(), rate.size)
    return [
        LayerReport(name, scales[name], error / n, saturated / n, rate / n)
        for name, (error, saturated, rate, n) in ((name, map(float, row)) for name, row in sums.items())
    ]


def convert(
    teacher: LayeredNetwork, spiking: LayeredNetwork, examples: Sequence[Example], percentile: float = 99.0
) -> list[LayerReport]:
    """Turn `teacher` into `spiking`, a network of the same configuration: calibrate, transfer, compare.

    The neurons of `spiking` are left as they are: those of `SpikeReg` start at half a threshold.
    """
    if teacher.config != spiking.config:
        raise ParameterError(
            f"convert: both networks must share one configuration, not {teacher.config} and {spiking.config}"
        )
    scales = calibrate(teacher, examples, percentile)
    transfer(teacher, spiking, scales)
    return compare(teacher, spiking, examples, scales)
