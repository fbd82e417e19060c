"""Operations on packed spikes: layers of neurons, what reads them out, and what moves their bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..values import Real, Sizes, Spikes, Value
from .base import EXACT_IN_FLOAT32, INT32, LONGEST, MOST_SLOTS, Operation
from .parts import (
    Dynamics,
    Geometry,
    Raised,
    Synapses,
    check_dynamics,
    check_numbers,
    check_synapses,
    checked_output_shape,
)


@dataclass(frozen=True, eq=False)
class SpikingLayer(Operation):
    """Convolution and neurons, fused over time: spikes in, spikes out.

        I[t] = bias + sum over the parts of factor * conv(weight, what the part sees at step t)

    Parts, any but at least one: `frames` see the value of their sources at step t; `rates` see, at every step, the sum
    of the values of their sources over all steps (the firing rate times T: a current constant over time); `analog` see
    real numbers, the same at every step. All parts have the geometry of the layer.

    `raised` sums, of frames of a lower resolution, are added to those of `frames` before the factor.
    """

    geometry: Geometry
    dynamics: Dynamics
    bias: np.ndarray
    frames: Synapses | None = None
    rates: Synapses | None = None
    analog: Synapses | None = None
    raised: Raised | None = None

    @classmethod
    def of_parts(
        cls, name: str, geometry: Geometry, dynamics: Dynamics, bias: np.ndarray, parts: Mapping[str, Synapses]
    ) -> SpikingLayer:
        """The layer that has these parts, by name, and none else."""
        frames, rates, analog = (parts.get(part) for part in ("frames", "rates", "analog"))
        return cls(name, geometry, dynamics, bias, frames, rates, analog)

    @property
    def parts(self) -> Iterator[tuple[Literal["frames", "rates", "analog"], Synapses]]:
        """The parts there are, by name."""
        for name in ("frames", "rates", "analog"):
            synapses = getattr(self, name)
            if synapses is not None:
                yield name, synapses

    @property
    def sources(self) -> tuple[str, ...]:
        of_parts = tuple(source for _, synapses in self.parts for source in synapses.sources)
        return of_parts if self.raised is None else (*of_parts, *self.raised.sources)

    @property
    def integer(self) -> bool:
        return self.bias.dtype.kind == "i"

    @property
    def out_channels(self) -> int:
        return len(self.bias)

    def result(self, values: Mapping[str, Value]) -> Spikes:
        self._require(any(True for _ in self.parts), "must have frames, rates or analog synapses, it has none")
        self._require(
            self.bias.ndim == 1 and self.bias.size > 0 and self.bias.dtype in (np.int32, np.float32),
            "bias must be [O] int32 or float32",
        )
        check_numbers(self, "bias", self.bias, (self.out_channels,), self.bias.dtype)
        check_dynamics(self, self.dynamics, self.out_channels, self.bias.dtype)
        arithmetic = ((np.int8, np.int16), np.int32) if self.integer else ((np.float32,), np.float32)
        shapes, charge = set(), float(np.abs(self.bias.astype(np.float64)).max())
        for part, synapses in self.parts:
            inputs = [self._real(values, s) if part == "analog" else self._spikes(values, s) for s in synapses.sources]
            self._require(bool(inputs), f"{part} must have at least one source")
            shapes |= {value.shape for value in inputs}
            channels = sum(value.channels for value in inputs)
            check_synapses(self, synapses, self.geometry, (self.out_channels, channels), *arithmetic)
            charge += self._largest_sum(part, synapses, inputs) * np.abs(synapses.factor.astype(np.float64)).max()
        self._require(len(shapes) == 1, f"all sources must have one spatial shape, not {sorted(shapes)}")
        out = checked_output_shape(self, self.geometry, shapes.pop())
        charge += self._largest_raised_sum(values, out)
        if self.integer:
            self._check_range(charge)
        return Spikes(self.out_channels, out, self.dynamics.steps, self.dynamics.levels)

    def _largest_sum(self, part: str, synapses: Synapses, inputs: Sequence[Value]) -> float:
        """The largest magnitude of the weighted sum of a part; checks the sources' steps and limits."""
        if part == "analog":
            limits = [value.limit for value in inputs if isinstance(value, Real)]
            if not self.integer:
                return 0.0
            self._require(
                None not in limits, "whole-number weights need an analog source of whole numbers: Quantize it"
            )
            bound = synapses.signed_bound() * max(limit or 0 for limit in limits)
            self._require(bound <= EXACT_IN_FLOAT32, f"analog sums must stay within 2**24, they can reach {bound}")
            return bound
        spikes = [value for value in inputs if isinstance(value, Spikes)]
        if part == "frames":
            steps = {value.steps for value in spikes}
            self._require(
                steps == {self.dynamics.steps}, f"frames must have {self.dynamics.steps} steps, not {sorted(steps)}"
            )
            return synapses.slot_bound(self.geometry) * max(value.levels for value in spikes) if self.integer else 0.0
        return synapses.slot_bound(self.geometry) * max(value.slots for value in spikes) if self.integer else 0.0

    def _largest_raised_sum(self, values: Mapping[str, Value], shape: Sizes) -> float:
        """What raised frames can add to a current of outputs of spatial `shape`; checks them."""
        raised, frames = self.raised, self.frames
        if raised is None:
            return 0.0
        inputs = [self._spikes(values, source) for source in raised.sources]
        self._require(frames is not None and bool(inputs), "raised must have at least one source, and frames beside it")
        assert frames is not None
        self._require(raised.geometry.transposed, "raised must have the geometry of a transposed convolution")
        shapes, steps = {value.shape for value in inputs}, {value.steps for value in inputs}
        self._require(
            len(shapes) == 1 and steps == {self.dynamics.steps},
            f"raised sources must have one spatial shape and {self.dynamics.steps} steps, not {sorted(shapes)} and "
            f"{sorted(steps)}",
        )
        channels, kind = sum(value.channels for value in inputs), frames.weight.dtype.kind
        same = Synapses(raised.sources, raised.weight, frames.factor)
        types = (np.int8, np.int16) if kind == "i" else (np.float32,)
        check_synapses(self, same, raised.geometry, (self.out_channels, channels), types, frames.factor.dtype.type)
        out = checked_output_shape(self, raised.geometry, shapes.pop())
        self._require(out == shape, f"raised must have outputs of spatial shape {shape}, not {out}")
        if kind != "i":
            return 0.0
        bound = raised.slot_bound(raised.geometry) * max(value.levels for value in inputs)
        return float(bound * np.abs(frames.factor.astype(np.float64)).max())

    def _check_range(self, charge: float) -> None:
        """Whether no membrane and no product of it with the leak can leave int32, whatever spikes arrive.

        A leak never enlarges a membrane, a reset moves it by at most `levels` amounts or puts it at `reset_to`.
        """
        neurons = self.dynamics
        start, reset_to, amount = (
            float(np.abs(array.astype(np.int64)).max()) for array in (neurons.initial, neurons.reset_to, neurons.amount)
        )
        if neurons.hard:
            largest = max(start, reset_to) + neurons.steps * charge
        else:
            largest = start + neurons.steps * (charge + neurons.levels * amount)
        largest *= max(1.0, neurons.leak) if neurons.leaks else 1
        self._require(
            largest <= INT32 and float(np.abs(neurons.thresholds.astype(np.int64)).max()) <= INT32,
            f"membranes can reach {largest:.3g}, more than int32 holds; use smaller factors",
        )


@dataclass(frozen=True, eq=False)
class ReadOut(Operation):
    """Spikes to real numbers: out[o] = factor[o] * conv(weight, sum of the sources over all steps)[o] + bias[o].

    factor and bias are float32 and the two operations round one after the other, so that whole-number weights give the
    same bits everywhere.
    """

    geometry: Geometry
    synapses: Synapses
    bias: np.ndarray

    @property
    def sources(self) -> tuple[str, ...]:
        return self.synapses.sources

    def result(self, values: Mapping[str, Value]) -> Real:
        inputs = [self._spikes(values, source) for source in self.sources]
        self._require(bool(inputs), "must have at least one source")
        shapes = {value.shape for value in inputs}
        self._require(len(shapes) == 1, f"all sources must have one spatial shape, not {sorted(shapes)}")
        n = self.bias.size
        self._require(
            n > 0 and self.bias.shape == (n,) and self.bias.dtype == np.float32 and bool(np.isfinite(self.bias).all()),
            "bias must be finite float32 [O]",
        )
        channels = sum(value.channels for value in inputs)
        check_synapses(self, self.synapses, self.geometry, (n, channels), (np.int8, np.int16, np.float32), np.float32)
        if self.synapses.integer:
            bound = self.synapses.slot_bound(self.geometry) * max(value.slots for value in inputs)
            self._require(bound <= EXACT_IN_FLOAT32, f"sums must stay within 2**24, they can reach {bound}")
        return Real(n, checked_output_shape(self, self.geometry, shapes.pop()))


@dataclass(frozen=True)
class Pool(Operation):
    """Windows of `size` along each axis, without overlap: "or" fires if any spike of the window does, "sum" adds them.

    "or" is max pooling of binary spikes. "sum" moves the slots of the window to slots of one position, without any
    arithmetic: its levels are those of the source times size**ndim. Positions beyond the last whole window are dropped.
    """

    source: str
    size: int
    kind: Literal["or", "sum"]

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Spikes:
        value = self._spikes(values, self.source)
        self._require(self.kind in ("or", "sum"), f"kind must be 'or' or 'sum', not {self.kind!r}")
        self._require(self.size >= 1 and min(value.shape) >= self.size, f"size {self.size} must fit into {value.shape}")
        self._require(
            self.kind == "sum" or value.levels == 1, "'or' is for binary spikes; pool integer spikes by 'sum'"
        )
        levels = value.levels * (self.size ** len(value.shape) if self.kind == "sum" else 1)
        self._require(value.steps * levels <= MOST_SLOTS, f"{value} would become more than {MOST_SLOTS} slots")
        return Spikes(value.channels, tuple(n // self.size for n in value.shape), value.steps, levels)


@dataclass(frozen=True)
class Repeat(Operation):
    """Nearest upsampling of spikes or real numbers: every position becomes `size` of them along each axis."""

    source: str
    size: int

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Value:
        value = values[self.source]
        self._require(1 <= self.size <= LONGEST, f"size must be 1 to {LONGEST}, not {self.size}")
        return replace(value, shape=tuple(n * self.size for n in value.shape))
