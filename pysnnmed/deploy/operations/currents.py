"""Operations on real numbers at every step: the currents of a membrane trunk, what adds to them and what fires on them.

Networks with membrane shortcuts keep real numbers between their layers. A convolution of them multiplies; one of the
spikes that they cause only adds. Both are the same operation here, and are counted apart. Whatever reads real numbers
that stay, reads them at every step: what depends on nothing else is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..values import Real, Reals, Spikes, Value
from .base import EXACT_IN_FLOAT32, Operation
from .parts import (
    Dynamics,
    Geometry,
    Synapses,
    check_dynamics,
    check_numbers,
    check_synapses,
    checked_output_shape,
)

WEIGHT_TYPES = (np.int8, np.int16, np.float32)


@dataclass(frozen=True, eq=False)
class Convolve(Operation):
    """Weighted sums of spikes, or of real numbers, step by step: real numbers.

        out[t, o] = factor[o] * conv(weight, what the sources hold at step t)[o] + bias[o]

    The sources are all spikes, which add their weights, or all real numbers, which multiply them; their channels stand
    one after another. Of real numbers that stay, the result is computed once and stays. factor and bias are float32;
    the product and the sum are rounded one after the other, so that sums which are exact give the same bits everywhere.
    """

    geometry: Geometry
    synapses: Synapses
    bias: np.ndarray

    @property
    def sources(self) -> tuple[str, ...]:
        return self.synapses.sources

    def result(self, values: Mapping[str, Value]) -> Real | Reals:
        inputs = [values[source] for source in self.sources]
        self._require(bool(inputs), "must have at least one source")
        first = inputs[0]
        self._require(
            all(type(value) is type(first) and _steps(value) == _steps(first) for value in inputs),
            f"all sources must be of one kind and have as many steps, not {', '.join(map(str, inputs))}",
        )
        shapes = {value.shape for value in inputs}
        self._require(len(shapes) == 1, f"all sources must have one spatial shape, not {sorted(shapes)}")
        n = self.bias.size
        self._require(n > 0, "bias must be [O]")
        check_numbers(self, "bias", self.bias, (n,), np.float32)
        channels = sum(value.channels for value in inputs)
        check_synapses(self, self.synapses, self.geometry, (n, channels), WEIGHT_TYPES, np.float32)
        levels = [value.levels for value in inputs if isinstance(value, Spikes)]
        if self.synapses.integer and levels:
            bound = self.synapses.slot_bound(self.geometry) * max(levels)
            self._require(bound <= EXACT_IN_FLOAT32, f"sums must stay within 2**24, they can reach {bound}")
        shape = checked_output_shape(self, self.geometry, shapes.pop())
        return Real(n, shape) if isinstance(first, Real) else Reals(n, shape, first.steps)


@dataclass(frozen=True, eq=False)
class Fire(Operation):
    """Neurons whose current is the source, at every step or the same at all of them. See `Dynamics`."""

    source: str
    dynamics: Dynamics

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Spikes:
        value = self._no_spikes(values, self.source)
        check_dynamics(self, self.dynamics, value.channels, np.float32)
        self._require(
            isinstance(value, Real) or value.steps == self.dynamics.steps,
            f"its neurons run {self.dynamics.steps} steps, its source is {value}",
        )
        return Spikes(value.channels, value.shape, self.dynamics.steps, self.dynamics.levels)


@dataclass(frozen=True)
class Add(Operation):
    """The sum of real numbers, one term after another, at each step: what closes a shortcut or joins a skip."""

    terms: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        return self.terms

    def result(self, values: Mapping[str, Value]) -> Real | Reals:
        self._require(len(self.terms) > 1, f"must have at least two terms, not {len(self.terms)}")
        inputs = [self._no_spikes(values, term) for term in self.terms]
        shapes = {(value.channels, value.shape) for value in inputs}
        steps = {value.steps for value in inputs if isinstance(value, Reals)}
        self._require(
            len(shapes) == 1 and len(steps) <= 1,
            f"all terms must have the same channels, shape and steps, not {', '.join(map(str, inputs))}",
        )
        channels, shape = shapes.pop()
        return Reals(channels, shape, steps.pop()) if steps else Real(channels, shape)


@dataclass(frozen=True)
class MeanSteps(Operation):
    """The mean over the steps: real numbers that stay. They are added in the order of time, then divided by T."""

    source: str

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Real:
        value = self._no_spikes(values, self.source)
        self._require(isinstance(value, Reals), f"{self.source!r} must be real numbers at every step, not {value}")
        return Real(value.channels, value.shape)


def _steps(value: Value) -> int:
    return 1 if isinstance(value, Real) else value.steps
