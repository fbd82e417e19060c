"""Operations of packed spikes that attend to each other: sums of maps times V, and gates made of sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...decomposition import Axis, Outputs, checked_outputs
from ...errors import ParameterError
from ..values import Reals, Spikes, Value
from .base import EXACT_IN_FLOAT32, Operation
from .parts import Dynamics, check_dynamics, check_numbers

HEADROOM = 4  # how far a sum on the way may exceed the bound of the result, see `nn.attention.forms`


@dataclass(frozen=True, eq=False)
class Attend(Operation):
    """Sums of the four maps of spike attention, times V, at each step: real numbers.

        out[t, i C + c] = factor[i C + c] / n * (S_i V)[c] + bias[i C + c],   S_i the sum of the maps outputs[i] names

    with n the number of positions if `mean`, else 1, for each head of C / heads channels by itself; see `decomposition`
    for the maps, AA alone being spiking self-attention Q K^T V. With axis "channel" the channels of a head attend to
    each other instead of the positions.
    Whole numbers by coincidences of bits and additions of rows; factor and bias [outputs C] are float32 and round one
    after the other.
    """

    query: str
    key: str
    value: str
    outputs: Outputs
    heads: int
    axis: Axis
    mean: bool
    factor: np.ndarray
    bias: np.ndarray

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.query, self.key, self.value)

    def result(self, values: Mapping[str, Value]) -> Reals:
        spikes = _alike(self, values, self.sources)
        try:
            checked_outputs(self.outputs)
        except ParameterError as error:
            self._require(False, str(error))
        self._require(len(self.outputs) <= 15, f"there are 15 sums of maps, not {len(self.outputs)}")
        self._require(self.axis in ("token", "channel"), f"axis must be 'token' or 'channel', not {self.axis!r}")
        check_heads(self, self.heads, spikes.channels)
        width = len(self.outputs) * spikes.channels
        check_numbers(self, "factor", self.factor, (width,), np.float32)
        check_numbers(self, "bias", self.bias, (width,), np.float32)
        largest = HEADROOM * math.prod(spikes.shape) * spikes.channels // self.heads
        self._require(
            largest <= EXACT_IN_FLOAT32,
            f"sums over {spikes.channels // self.heads} channels at {math.prod(spikes.shape)} positions could reach "
            f"{largest}, more than 2**24; use smaller inputs, or more heads",
        )
        return Reals(width, spikes.shape, spikes.steps)


@dataclass(frozen=True, eq=False)
class Gate(Operation):
    """The spikes of `value` where a gate fires, whose neurons count other spikes: nothing is multiplied.

        token     gate[t, h, n] = neurons(sum over the channels of head h at position n)
        channel   gate[t, c] = neurons(sum over the positions of channel c)

    The sum is that of the spikes of the one source in `counted` (Q-K attention), or, of two, of the coincidences of
    both (spike-driven attention, by channel). The current is factor / n * sum + bias, n the number of terms of the sum
    if `mean`, else 1; factor, bias and `dynamics` have one entry for each head ("token") or channel ("channel").
    """

    counted: tuple[str, ...]
    value: str
    heads: int
    axis: Axis
    mean: bool
    factor: np.ndarray
    bias: np.ndarray
    dynamics: Dynamics

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.counted, self.value)

    def result(self, values: Mapping[str, Value]) -> Spikes:
        self._require(len(self.counted) in (1, 2), f"must count the spikes of one source or two, not {self.counted}")
        spikes = _alike(self, values, self.sources)
        self._require(self.axis in ("token", "channel"), f"axis must be 'token' or 'channel', not {self.axis!r}")
        check_heads(self, self.heads, spikes.channels)
        neurons = self.heads if self.axis == "token" else spikes.channels
        check_numbers(self, "factor", self.factor, (neurons,), np.float32)
        check_numbers(self, "bias", self.bias, (neurons,), np.float32)
        check_dynamics(self, self.dynamics, neurons, np.float32)
        self._require(
            self.dynamics.levels == 1 and self.dynamics.steps == spikes.steps,
            f"its gates must be binary and run {spikes.steps} steps, not {self.dynamics.steps} of "
            f"{self.dynamics.levels} levels",
        )
        terms = math.prod(spikes.shape) if self.axis == "channel" else spikes.channels // self.heads
        self._require(terms <= EXACT_IN_FLOAT32, f"sums must stay within 2**24, they can reach {terms}")
        return spikes


def check_heads(owner: Operation, heads: int, channels: int) -> None:
    """Raise ProgramError unless `heads` divides `channels`."""
    owner._require(heads >= 1 and channels % heads == 0, f"heads must divide the {channels} channels, not {heads}")


def _alike(owner: Operation, values: Mapping[str, Value], sources: tuple[str, ...]) -> Spikes:
    """The type that all sources have: binary spikes of one shape."""
    first, *others = [owner._spikes(values, source) for source in sources]
    owner._require(
        first.levels == 1 and all(other == first for other in others),
        f"its sources must be binary spikes of one shape, not {', '.join(map(str, [first, *others]))}",
    )
    return first
