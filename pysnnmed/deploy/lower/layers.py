"""What lowerings of all networks share: convolution and neuron to SpikingLayer, convolution to ReadOut.

    I = gain (sum over the sources of value conv(w, what arrives) + b) + neuron bias

where `value` is what one spike or unit of a source stands for: 1, or 1 / D of normalised integer spikes, divided by T
where the source is read as a rate, divided by the number of sources where these are averaged.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias, get_args

import numpy as np

from ...errors import ProgramError
from ...neurons import IF, ILIF, LIF, NILIF, Neuron
from ...neurons.base import value_of
from ...neurons.canonical import Canonical
from ...nn import Conv, ConvTranspose
from ...tensor import Tensor
from ..operations import EXACT_IN_FLOAT32, INT32, Geometry, Operation, Quantize, ReadOut, SpikingLayer
from ..operations import Synapses as Weighted
from ..program import Program
from ..quantize import LIMITS, Membrane, Quantized, Unit, float_dynamics, quantize, whole_dynamics
from ..values import Real, Spikes, Value

Weights: TypeAlias = Literal["int8", "int16", "float32"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)

NEURONS = (LIF, IF, ILIF, NILIF)  # exactly these: what inherits from them may step in another way
FINEST, COARSEST = 24, 4  # bits of a threshold, as many as int32 leaves room for
DEPTHS = range(1, 17)  # bits of real inputs


@dataclass(frozen=True, eq=False)
class Synapses:
    """Real weights [O, C / groups, *K] and bias [O], and which inputs each output sees."""

    geometry: Geometry
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, conv: Conv | ConvTranspose) -> Synapses:
        """Those of a convolution layer."""
        weight, groups = conv.weight.data, conv.groups
        transposed = isinstance(conv, ConvTranspose)
        if transposed:  # [C, O / groups, *K] -> [O, C / groups, *K]
            taps = weight.shape[2:]
            weight = (
                weight.reshape(groups, -1, weight.shape[1], *taps).swapaxes(1, 2).reshape(conv.out_channels, -1, *taps)
            )
        extra = conv.output_padding if isinstance(conv, ConvTranspose) else ()
        geometry = Geometry(conv.kernel_size, conv.stride, conv.padding, conv.dilation, groups, transposed, extra)
        bias = np.zeros(conv.out_channels, np.float32) if conv.bias is None else conv.bias.data
        return cls(geometry, weight, bias)


@dataclass(frozen=True, eq=False)
class Part:
    """What one part of a layer sees: its sources, the weights on them, and what one unit of its sums is worth.

    The worth is `share` times the value common to all parts.
    """

    sources: tuple[str, ...]
    weight: np.ndarray
    share: Fraction


class Builder:
    """Collects the operations of a program, for weights of one type and T = `steps`; checks each as it comes."""

    def __init__(self, inputs: Mapping[str, int], ndim: int, multiple: int, weights: Weights, steps: int):
        self.inputs, self.ndim, self.multiple, self.weights, self.steps = dict(inputs), ndim, multiple, weights, steps
        self.operations: list[Operation] = []
        # Which numbers fit does not depend on the size of the inputs: the smallest do.
        shape = (multiple,) * ndim
        self.values: dict[str, Value] = {name: Real(channels, shape) for name, channels in inputs.items()}
        self.worth: dict[str, float] = {}  # of one spike, by source

    @property
    def whole(self) -> bool:
        """Whether weights and neurons are whole numbers."""
        return self.weights != "float32"

    def add(self, operation: Operation) -> str:
        """Append an operation whose sources are there already. -> its name"""
        self.values[operation.name] = operation.result(self.values)
        self.operations.append(operation)
        return operation.name

    def program(self, *outputs: str) -> Program:
        """The program that returns the values called `outputs`."""
        return Program(self.inputs, tuple(self.operations), outputs, self.ndim, self.multiple)

    def spiking_layer(
        self,
        name: str,
        synapses: Synapses,
        neuron: Neuron,
        *,
        frames: Sequence[str] = (),
        rates: Sequence[str] = (),
        analog: Sequence[str] = (),
        average: bool = False,
    ) -> str:
        """A layer that sees its sources step by step, as firing rates, or as real numbers in [0, 1]. -> its name

        The input channels are those of `frames`, `rates` and `analog` in this order; with `average`, the mean of all
        sources. Raises ProgramError, naming the layer, for a neuron that no program has.
        """
        cell = canonical(name, neuron)
        value, parts = self._parts(name, synapses, average, frames=frames, rates=rates, analog=analog)
        make = self._whole_layer if self.whole else self._float_layer
        bias = synapses.bias * np.float64(cell.gain) + cell.bias
        for operation in make(name, synapses.geometry, membrane(cell), bias, value * cell.gain, parts):
            self.add(operation)
        self.worth[name] = cell.unit
        return name

    def read_out(self, name: str, synapses: Synapses, sources: Sequence[str], gain: float = 1.0) -> str:
        """gain times a convolution of the firing rates of the sources, real numbers. -> the name"""
        value, parts = self._parts(name, synapses, False, rates=sources)
        (part,) = parts.values()
        value *= gain / self.steps
        if self.whole:
            slots = max(v.slots for s in sources if isinstance(v := self.values[s], Spikes))
            q, scale = _within(part.weight, LIMITS[self.weights], EXACT_IN_FLOAT32 // slots)
        else:
            q, scale = part.weight, np.ones(len(part.weight))
        factor, bias = (scale * value).astype(np.float32), (synapses.bias * np.float64(gain)).astype(np.float32)
        return self.add(ReadOut(name, synapses.geometry, Weighted(part.sources, q, factor), bias))

    def _parts(
        self, name: str, synapses: Synapses, average: bool, **sources: Sequence[str]
    ) -> tuple[float, dict[str, Part]]:
        """The common value of one unit of a sum, and the parts there are by name, each with its weights."""
        seen = {part: tuple(names) for part, names in sources.items() if names}
        everything = [source for names in seen.values() for source in names]
        common = max(self.worth.get(source, 1.0) for source in everything)
        relative = {source: np.float32(self.worth.get(source, 1.0) / common) for source in everything}
        weight, parts = synapses.weight, {}
        if synapses.geometry.groups > 1 and (len(seen) > 1 or average or set(relative.values()) != {1}):
            raise ProgramError(f"lower: layer {name!r} has groups, and sources of several kinds; no program has both")
        for part, names in seen.items():
            channels = [self.values[source].channels for source in names]
            if average:
                mine = np.concatenate([weight] * len(names), axis=1)
            elif len(seen) == 1:
                mine = weight
            else:
                mine, weight = np.split(weight, [sum(channels)], axis=1)
            if set(relative.values()) != {1}:  # normalised spikes of another D than the rest
                worth = np.repeat([relative[source] for source in names], channels)
                mine = mine * worth.reshape(-1, *(1,) * (mine.ndim - 2))
            parts[part] = Part(names, mine, Fraction(1, self.steps if part == "rates" else 1))
        return common / (len(everything) if average else 1), parts

    def _float_layer(
        self, name: str, geometry: Geometry, cell: Membrane, bias: np.ndarray, value: float, parts: dict[str, Part]
    ) -> list[Operation]:
        n = len(bias)
        weighted = {
            kind: Weighted(part.sources, part.weight, np.full(n, value * float(part.share), np.float32))
            for kind, part in parts.items()
        }
        neurons = float_dynamics(cell, self.steps, n)
        return [SpikingLayer(name, geometry, neurons, bias.astype(np.float32), **weighted)]

    def _whole_layer(
        self, name: str, geometry: Geometry, cell: Membrane, bias: np.ndarray, value: float, parts: dict[str, Part]
    ) -> list[Operation]:
        """In the finest units that int32 holds."""
        weight = np.concatenate([part.weight for part in parts.values()], axis=1)
        # Real inputs are multiplied, not looked up: wider weights cost nothing there, and all layers hang on this one.
        limit = LIMITS["int16" if "analog" in parts else self.weights]

        def in_units(bits: int) -> list[Operation]:
            def quantized(depth: int) -> tuple[int, Quantized]:
                """With inputs in steps of 2**-depth: the common divisor of the shares, weights that keep sums exact."""
                divisor = math.lcm(*(part.share.denominator for part in parts.values()), 2**depth)
                least = divisor * cell.threshold / (2**bits * abs(value))  # so that a sum is worth a unit at least
                return divisor, _within(weight, limit, EXACT_IN_FLOAT32 >> depth if "analog" in parts else INT32, least)

            depth = min(DEPTHS, key=lambda d: _error(weight, quantized(d)[1], d)) if "analog" in parts else 0
            divisor, (q, scale) = quantized(depth)
            unit, current = Unit.below(scale * abs(value), divisor, cell.threshold, bits)
            operations: list[Operation] = []
            values, weighted = dict(self.values), {}
            starts = np.cumsum([part.weight.shape[1] for part in parts.values()])[:-1]
            for (kind, part), mine in zip(parts.items(), np.split(q, starts, axis=1), strict=True):
                sources, share = part.sources, part.share
                if kind == "analog":
                    fresh = [Quantize(f"{source}.x{2**depth}", source, float(2**depth)) for source in sources]
                    operations += [operation for operation in fresh if operation.name not in values]
                    sources, share = tuple(operation.name for operation in fresh), Fraction(1, 2**depth)
                weighted[kind] = Weighted(sources, mine, _factor(name, share, current, value < 0))
            neurons = whole_dynamics(cell, self.steps, unit, bits)
            operations.append(SpikingLayer(name, geometry, neurons, unit.whole(bias), **weighted))
            for operation in operations:
                values[operation.name] = operation.result(values)
            return operations

        for bits in range(FINEST, COARSEST, -1):
            with contextlib.suppress(ProgramError):
                return in_units(bits)
        return in_units(COARSEST)


def canonical(name: str, neuron: Neuron) -> Canonical:
    """The neuron of layer `name`, if programs have such neurons; else ProgramError."""
    kind = type(neuron).__name__
    if not isinstance(neuron, Canonical) or type(neuron) not in NEURONS:
        known = ", ".join(n.__name__ for n in NEURONS)
        raise ProgramError(f"lower: layer {name!r} has neurons {kind}; programs have {known} only")
    levels = getattr(neuron, "levels", 1)
    if neuron.gain == 0 or not math.isfinite(levels):
        raise ProgramError(
            f"lower: layer {name!r} has neurons {kind} of gain {neuron.gain} and {levels} levels; programs need a gain "
            f"other than 0 and a finite number of levels"
        )
    return neuron


def membrane(neuron: Canonical) -> Membrane:
    """The parameters of a neuron, learnt or not, as the float32 numbers that it computes with."""

    def number(value: float | Tensor) -> float:
        return float(np.float32(value_of(value)))

    amount = neuron.v_threshold if neuron.amount is None else neuron.amount
    return Membrane(
        beta=number(neuron.beta),
        threshold=number(neuron.v_threshold),
        amount=0.0 if neuron.reset == "none" else number(amount),
        initial=neuron.v_initial,
        reset_to=neuron.v_reset,
        hard=neuron.reset == "hard",
        firing=neuron.firing,
        levels=int(getattr(neuron, "levels", 1)),
    )


def _within(weight: np.ndarray, limit: int, most: int, at_least: float = 0.0) -> Quantized:
    """Quantised as finely as `limit` allows and as sums over binary inputs stay within `most`."""
    while True:
        quantized = quantize(weight, limit, at_least)
        reached = Weighted((), *quantized).slot_bound()
        if reached <= most or limit == 1:
            return quantized
        limit = max(1, min(limit - 1, limit * most // reached))


def _error(weight: np.ndarray, quantized: Quantized, depth: int) -> float:
    """How far a current can be off, for inputs in [0, 1] in steps of 2**-depth and quantised weights.

    Rounded inputs make it 2**-(depth + 1) times the sum of |w|, rounded weights half their scale each.
    """
    total = np.abs(weight).reshape(len(weight), -1).sum(axis=1, dtype=np.float64)
    return float((quantized.scale * weight[0].size / 2 + total / 2 ** (depth + 1)).max())


def _factor(name: str, share: Fraction, current: np.ndarray, negative: bool) -> np.ndarray:
    """`share` of the whole numbers `current`, which it divides, as int32."""
    factor = current * share.numerator // share.denominator * (-1 if negative else 1)
    if np.abs(factor).max() > INT32:
        raise ProgramError(f"lower: layer {name!r} takes factors that int32 does not hold")
    return factor.astype(np.int32)
