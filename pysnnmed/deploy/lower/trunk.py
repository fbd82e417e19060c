"""What lowerings of networks with a membrane trunk share: real numbers at every step, the neurons that fire on them,
convolutions of either, attention.

Neurons charge with gain x + bias: both go into the weights of the convolution that makes the current, or into an affine
map of their own where the trunk itself is the current. What one spike stands for, 1 or 1 / D, goes into the weights
that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...decomposition import Axis, Outputs
from ...neurons import Neuron
from ...nn import BatchNorm
from ..operations import (
    Add,
    Attend,
    Convolve,
    Enlarge,
    Fire,
    Gate,
    Geometry,
    MeanSteps,
    ReadOut,
    Repeat,
    Synapses,
)
from ..quantize import float_dynamics
from ..values import Spikes
from .cells import canonical, membrane
from .collected import Collected
from .real import Connections

SPIKES = ".spikes"  # what follows the name of a layer in that of the spikes that it reads


class TrunkBuilder(Collected):
    """Operations of a membrane trunk. Every method returns the name of the value that it adds."""

    def mean_of(self, name: str, connections: Connections, source: str) -> str:
        """The convolution of the mean over all steps: real numbers that stay."""
        if isinstance(self.values[source], Spikes):
            synapses = self._synapses(connections, source, over_time=True)
            synapses = replace(synapses, factor=synapses.factor / np.float32(self.steps))
            return self.add(ReadOut(name, connections.geometry, synapses, connections.bias.astype(np.float32)))
        return self.convolve(name, connections, self.add(MeanSteps(f"{name}.mean", source)))

    def affine(self, name: str, scale: np.ndarray, shift: np.ndarray, source: str) -> str:
        """scale x + shift for each channel of real numbers."""
        n, ones = len(self.example), (1,) * len(self.example)
        geometry = Geometry(ones, ones, (0,) * n, ones, groups=len(scale))
        bias, factor = (array.astype(np.float32) for array in (shift, scale))
        synapses = Synapses((source,), np.ones((len(scale), 1, *ones), np.float32), factor)
        return self.add(Convolve(name, geometry, synapses, bias))

    def norm(self, name: str, norm: BatchNorm, source: str) -> str:
        """A batch norm of the trunk itself, which no convolution can take."""
        return self.affine(name, *norm_numbers(norm), source)

    def fire(self, name: str, source: str, neuron: Neuron) -> str:
        """The spikes of neurons whose input is the real numbers of `source`."""
        cell = canonical(name, neuron)
        if cell.gain != 1 or cell.bias != 0:
            n = self.values[source].channels
            source = self.affine(f"{name}.current", np.full(n, cell.gain), np.full(n, cell.bias), source)
        return self.fire_on(name, source, neuron)

    def fire_on(self, name: str, source: str, neuron: Neuron) -> str:
        """The same where `source` is their current, gain and bias included: see `current_of`."""
        cell = canonical(name, neuron)
        self._worth[name] = cell.unit
        dynamics = float_dynamics(membrane(cell), self.steps, self.values[source].channels)
        return self.add(Fire(name, source, dynamics))

    def attend(
        self,
        name: str,
        operands: Sequence[str],
        outputs: Outputs,
        heads: int,
        axis: Axis,
        factor: np.ndarray,
        bias: np.ndarray,
        mean: bool = False,
    ) -> str:
        """Sums of maps times V, or their means over the tokens, times `factor` [outputs C], plus `bias`."""
        query, key, value = operands
        factor, bias = factor.astype(np.float32), bias.astype(np.float32)
        return self.add(Attend(name, query, key, value, outputs, heads, axis, mean, factor, bias))

    def gate(
        self,
        name: str,
        counted: Sequence[str],
        value: str,
        heads: int,
        axis: Axis,
        neuron: Neuron,
        norm: BatchNorm | None = None,
    ) -> str:
        """The spikes of `value` where neurons fire that see the sum of others, or, with a norm, that of their mean."""
        cell = canonical(name, neuron)
        gates = heads if axis == "token" else self.values[value].channels
        scale, shift = (np.ones(gates), np.zeros(gates)) if norm is None else norm_numbers(norm)
        factor, bias = (a.astype(np.float32) for a in (scale * cell.gain, shift * cell.gain + cell.bias))
        dynamics = float_dynamics(membrane(cell), self.steps, gates)
        mean = norm is not None
        return self.add(Gate(name, tuple(counted), value, heads, axis, mean, factor, bias, dynamics))

    def sum(self, name: str, *terms: str) -> str:
        return self.add(Add(name, terms))

    def larger(self, name: str, source: str, like: str, linear: bool, align_corners: bool = False) -> str:
        """Twice the size along every axis, which `like` has."""
        if linear:
            return self.add(Enlarge(name, source, like, 1.0, align_corners))
        self._worth[name] = self._worth.get(source, 1.0)
        return self.add(Repeat(name, source, 2))


def current_of(connections: Connections, name: str, neuron: Neuron) -> Connections:
    """The convolution that makes the current of neurons, with their gain and bias in it."""
    cell = canonical(name, neuron)
    if cell.gain == 1 and cell.bias == 0:
        return connections
    gain = np.float32(cell.gain)
    return replace(
        connections, weight=connections.weight * gain, bias=(connections.bias * gain + cell.bias).astype(np.float32)
    )


def norm_numbers(norm: BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """(scale, shift) [C] of a batch norm in inference: norm(x) = scale x + shift."""
    return norm.scale, norm.beta.data - norm.running_mean.data * norm.scale
