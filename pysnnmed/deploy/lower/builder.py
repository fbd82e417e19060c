"""Layers in the words of a network, as operations of a program.

    I = gain (sum over the sources of value conv(w, what arrives) + b) + neuron bias

What arrives of a source are its spikes and those of the layers beside it, see `Builder.beside`; `value` is what one
spike or unit of it stands for: 1, or 1 / D of normalised integer spikes, divided by T where the source is
read as a rate, divided by the number of sources where these are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ...errors import ProgramError
from ...neurons import Neuron
from ..operations import EXACT_IN_FLOAT32, ReadOut, Synapses
from ..quantize import LIMITS
from ..values import Sizes, Spikes
from .cells import canonical, membranes
from .collected import Collected, Weights
from .real import Connections, Part, RealLayer
from .whole import in_whole_numbers, quantize_within


class Builder(Collected):
    """Layers whose neurons see spikes, rates and images. Which numbers fit depends on no shape of the inputs.

    beside      {layer: earlier layers whose spikes are added to its own by whoever reads it}, through the same weights
    """

    def __init__(self, inputs: Mapping[str, int], example: Sizes, multiple: int, weights: Weights, steps: int):
        super().__init__(inputs, example, multiple, weights, steps)
        self.beside: dict[str, tuple[str, ...]] = {}
        self._signed: set[str] = set()  # layers with an opposite population

    def spiking_layer(
        self,
        name: str,
        connections: Connections,
        neuron: Neuron,
        *,
        frames: Sequence[str] = (),
        rates: Sequence[str] = (),
        analog: Sequence[str] = (),
        average: bool = False,
        opposite: Neuron | None = None,
    ) -> str:
        """A layer that sees its sources step by step, as firing rates, or as real numbers in [0, 1]. -> its name

        The input channels are those of `frames`, `rates` and `analog` in this order; with `average`, the mean of all
        sources. `opposite` is a second population of neurons on the same currents, the upper half of the channels,
        whose spikes count against those of the first. Raises ProgramError, naming the layer, for neurons that no
        program has.
        """
        cells = [canonical(name, kind) for kind in (neuron, opposite) if kind is not None]
        gain = cells[0].gain
        weight = np.concatenate([connections.weight * np.float32(cell.gain / gain) for cell in cells])
        bias = np.concatenate([connections.bias * np.float64(cell.gain) + cell.bias for cell in cells])
        every = replace(connections, weight=weight)
        value, parts = self._parts(name, every, average, frames=frames, rates=rates, analog=analog)
        layer = RealLayer(name, every.geometry, membranes(name, cells), self.steps, bias, value * gain, parts)
        if self.weights == "float32":
            self.add(layer.in_float32())
        else:
            for operation in in_whole_numbers(layer, LIMITS[self.weights], self.values):
                self.add(operation)
        self._worth[name] = cells[0].unit
        if opposite is not None:
            self.analog_channels[name] = len(connections.bias)
            self._signed.add(name)
        return name

    def read_out(self, name: str, connections: Connections, sources: Sequence[str], gain: float = 1.0) -> str:
        """gain times a convolution of the firing rates of the sources, real numbers. -> the name"""
        value, parts = self._parts(name, connections, False, rates=sources)
        weight, factor = parts["rates"].weight, np.full(len(connections.bias), value * gain / self.steps)
        if self.weights != "float32":
            slots = max(v.slots for s in parts["rates"].sources if isinstance(v := self.values[s], Spikes))
            weight, scale = quantize_within(weight, LIMITS[self.weights], EXACT_IN_FLOAT32 // slots)
            factor *= scale
        bias = (connections.bias * np.float64(gain)).astype(np.float32)
        synapses = Synapses(parts["rates"].sources, weight, factor.astype(np.float32))
        return self.add(ReadOut(name, connections.geometry, synapses, bias))

    def _parts(
        self, name: str, connections: Connections, average: bool, **sources: Sequence[str]
    ) -> tuple[float, dict[str, Part]]:
        """What one unit of a sum is worth in all parts, and the parts there are by name, each with its weights."""
        seen = {part: names for part, names in sources.items() if names}
        terms = {source: (source, *self.beside.get(source, ())) for names in seen.values() for source in names}
        worths = [self._worth.get(term, 1.0) for summed in terms.values() for term in summed]
        common = max(worths)
        plain, several = set(worths) == {common}, average or len(seen) > 1 or len(worths) > len(terms)
        several = several or bool(self._signed & terms.keys())
        if connections.geometry.groups > 1 and (several or not plain):
            raise ProgramError(f"lower: layer {name!r} has groups, and sources of several kinds; no program has both")
        first, parts = 0, {}
        for part, names in seen.items():
            read = tuple(term for source in names for term in terms[source])
            mine, blocks = connections.weight, []
            for source in names if several else ():
                populations = 1 + (source in self._signed)
                n = self.values[source].channels // populations
                block = connections.weight[:, first : first + n]
                blocks += [block, -block][:populations] * len(terms[source])
                first += 0 if average else n
            if blocks:
                mine = np.concatenate(blocks, axis=1)
            if not plain:  # normalised spikes of another D than the rest
                relative = [np.float32(self._worth.get(term, 1.0) / common) for term in read]
                worth = np.repeat(relative, [self.values[term].channels for term in read])
                mine = mine * worth.reshape(-1, *(1,) * (mine.ndim - 2))
            parts[part] = Part(read, mine, Fraction(1, self.steps if part == "rates" else 1))
        return common / (sum(map(len, seen.values())) if average else 1), parts
