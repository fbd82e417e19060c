"""How well a converted network stands in for its teacher: layer by layer, and at the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..tensor import Tensor
from .calibration import Scale
from .networks import Example, LayeredNetwork, SpikingNetwork, watch


@dataclass(frozen=True)
class LayerReport:
    """How well one spiking layer stands in for its teacher layer, over the calibration examples.

    scale       lambda, the activation that a rate of 1 stands for; the mean over channels where each has its own
    error       mean |lambda rate - activation| / lambda
    saturated   fraction of activations beyond lambda, which no rate can express
    rate        mean firing rate, spikes per neuron and step
    dead        fraction of neurons that fire in no example; a neuron is a channel at a position of a shape
    """

    name: str
    scale: float
    error: float
    saturated: float
    rate: float
    dead: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Both networks on the same examples.

    field_error     mean length of the difference of the two displacements, voxels
    relative_error  root mean square of that difference, relative to that of the teacher's displacement
    layers          see LayerReport
    """

    steps: int
    field_error: float
    relative_error: float
    layers: tuple[LayerReport, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


class _Tally:
    """The sums of one layer over examples."""

    def __init__(self, scale: Scale):
        self.scale = np.asarray(scale, np.float64)
        self.error = self.spikes = 0.0
        self.beyond = self.values = self.sites = 0
        self.fired: dict[tuple[int, ...], np.ndarray] = {}

    def add(self, activations: np.ndarray, spikes: np.ndarray, signed: np.ndarray) -> None:
        """activations [B, C, *S]; spikes [T, B, populations C, *S]; signed: their mean rate [B, C, *S]."""
        scale = self.scale.reshape(-1, *[1] * (activations.ndim - 2))
        self.error += float((np.abs(scale * signed - activations) / scale).sum())
        self.beyond += int((np.abs(activations) > scale).sum())
        self.values += activations.size
        self.spikes += float(spikes.sum(dtype=np.float64))
        self.sites += spikes.size
        fired = spikes.any(axis=(0, 1))
        self.fired[fired.shape] = fired | self.fired.get(fired.shape, np.zeros_like(fired))

    def report(self, name: str) -> LayerReport:
        neurons = sum(fired.size for fired in self.fired.values())
        alive = sum(int(fired.sum()) for fired in self.fired.values())
        return LayerReport(
            name,
            float(self.scale.mean()),
            self.error / self.values,
            self.beyond / self.values,
            self.spikes / self.sites,
            1 - alive / neurons,
        )


def compared(
    teacher: LayeredNetwork, spiking: SpikingNetwork, examples: Sequence[Example], scales: Mapping[str, Scale]
) -> Comparison:
    """Run both networks on `examples`, one at a time. Of the teacher, the activations of one example are in memory."""
    tallies = {name: _Tally(scale) for name, scale in scales.items()}
    length = squared = wanted = voxels = 0.0
    for i in range(len(examples)):
        example, activations = examples[i], dict[str, np.ndarray]()
        displacement = watch(teacher, example, activations.__setitem__)

        def see(name: str, spikes: np.ndarray, activations: dict[str, np.ndarray] = activations) -> None:
            if name in tallies:
                signed = spiking.signed(Tensor(spikes)).data.mean(axis=0)
                tallies[name].add(activations.pop(name), spikes, signed)

        difference = watch(spiking, example, see) - displacement
        lengths = (difference.astype(np.float64) ** 2).sum(axis=1)
        length += float(np.sqrt(lengths).sum())
        squared += float(lengths.sum())
        wanted += float((displacement.astype(np.float64) ** 2).sum())
        voxels += lengths.size
    layers = tuple(tally.report(name) for name, tally in tallies.items())
    relative = float(np.sqrt(squared / wanted)) if wanted else (0.0 if squared == 0 else float("inf"))
    return Comparison(spiking.config.steps, length / voxels, relative, layers)


def compare(
    teacher: LayeredNetwork, spiking: SpikingNetwork, examples: Sequence[Example], scales: Mapping[str, Scale]
) -> list[LayerReport]:
    """Run both networks on `examples` and report every layer."""
    return list(compared(teacher, spiking, examples, scales).layers)
