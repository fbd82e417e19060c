"""From real numbers to whole ones: weights of few bits, and neurons whose potentials are multiples of a unit.

Weights. A channel o of real weights w becomes q scale[o], q whole, |q| <= limit, rounded half to even: then
|w - q scale[o]| <= scale[o] / 2 for each weight, and the current that the inputs x bring is off by at most
scale[o] / 2 times the sum of |x|.

Neurons. A potential is n unit[o], n whole. The unit is a power-of-two fraction of what one unit of the weighted sum
brings, so that whole sums add up without any rounding, and so fine that a threshold theta lies at more than 2**(bits-1)
and at most 2**bits units. What a potential means is exact: a whole n fires if and only if the neuron itself, at the
potential n unit[o], does, whatever its tie rule and rounding. What is rounded, to the nearest unit, are bias, initial
potential, reset potential and the amount of the soft reset: without leak the potential after t steps and s spikes is
off by at most (1 + t + s) unit[o] / 2, one with the same spikes and quantised weights. A leak rounds down once a step,
by less than one unit, and unless it is a multiple of 2**-shift is itself off by at most 2**-(shift + 1), relative to
the potential it multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError, ProgramError
from ..neurons.firing import SpikeFunction
from .operations import INT32, Dynamics

LIMITS = {"int8": 127, "int16": 32767}


class Quantized(NamedTuple):
    """Weights q [O, ...], int8 if they fit, else int16, and the scale [O] float64 of each output channel."""

    q: np.ndarray
    scale: np.ndarray


def quantize(weight: np.ndarray, limit: int, at_least: float | np.ndarray = 0.0) -> Quantized:
    """Round weights [O, ...] to whole multiples q of one scale for each channel, |q| <= limit <= 32767.

    The scale is max |w| / limit, or the power of two above it where that is no less accurate (weights that are dyadic
    stay what they are), and never below `at_least`. A channel of zeros takes `at_least`, or 1.
    """
    if not 1 <= limit <= LIMITS["int16"]:
        raise ParameterError(f"quantize: limit must be in 1..32767, not {limit}")
    if not np.isfinite(weight).all():
        raise ParameterError("quantize: the weights must be finite; they hold NaN or infinity")
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    tight = np.maximum(np.abs(rows).max(axis=1) / limit, at_least)
    tight[tight == 0] = 1.0
    dyadic = np.exp2(np.ceil(np.log2(tight)))
    scale = np.where(_squared_error(rows, dyadic) <= _squared_error(rows, tight), dyadic, tight)
    q = np.rint(rows / scale[:, None])
    return Quantized(q.astype(np.int8 if np.abs(q).max() <= 127 else np.int16).reshape(weight.shape), scale)


def _squared_error(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    scaled = rows / scale[:, None]
    return ((np.rint(scaled) - scaled) ** 2).sum(axis=1) * scale**2


@dataclass(frozen=True)
class Unit:
    """Potentials as whole numbers, one unit for each channel: n stands for n step[o] / parts."""

    step: np.ndarray
    parts: int

    @classmethod
    def below(
        cls, current: np.ndarray, parts: int, threshold: float | np.ndarray, bits: int
    ) -> tuple[Unit, np.ndarray]:
        """The unit for sums of which one unit brings `current` [O], and 1 / parts of it. -> (unit, current in units)

        `current` in units is `parts` times a power of two. The current must be at least parts threshold / 2**bits.
        """
        fraction = np.exp2(np.maximum(np.floor(np.log2(current / parts / threshold) + bits), 0))
        return cls(current / fraction, parts), (parts * fraction).astype(np.int64)

    def split(self, n: int) -> list[Unit]:
        """Those of n equal shares of the channels."""
        return [Unit(step, self.parts) for step in np.split(self.step, n)]

    def potential(self, n: np.ndarray) -> np.ndarray:
        """Whole numbers [..., O] as potentials, float64; exact where the result has 53 bits."""
        return n * self.step / self.parts

    def whole(self, potential: float | np.ndarray) -> np.ndarray:
        """Potentials as whole numbers [O] int32, rounded half to even. ProgramError if int32 cannot hold them."""
        n = np.rint(np.asarray(potential, np.float64) * self.parts / self.step)
        if np.abs(n).max() > INT32:
            raise ProgramError(f"a potential of {potential} takes more units than int32 holds")
        return n.astype(np.int32)


@dataclass(frozen=True)
class Membrane:
    """A neuron with one membrane, its parameters as numbers; see `neurons.canonical` for what they do.

    `firing` is its spike function, of which 1 to `levels` may result.
    """

    beta: float
    threshold: float
    amount: float
    initial: float
    reset_to: float
    hard: bool
    firing: SpikeFunction
    levels: int = 1


def whole_dynamics(membrane: Membrane, steps: int, unit: Unit, bits: int) -> Dynamics:
    """The neuron in multiples of `unit`; the leak takes the bits it needs to be exact, but at most `bits` and 15."""
    width = min(bits, 15)
    shift = next((k for k in range(width) if (membrane.beta * 2**k).is_integer()), width)
    largest = np.full(len(unit.step), INT32)
    return Dynamics(
        steps=steps,
        thresholds=_thresholds(membrane, unit.potential, largest).astype(np.int32),
        amount=unit.whole(membrane.amount),
        initial=unit.whole(membrane.initial),
        reset_to=unit.whole(membrane.reset_to),
        leak=round(membrane.beta * 2**shift),
        shift=shift,
        hard=membrane.hard,
    )


def float_dynamics(membrane: Membrane, steps: int, channels: int) -> Dynamics:
    """The neuron in float32: its thresholds are the smallest float32 potentials at which it fires."""

    def every(value: float) -> np.ndarray:
        return np.full(channels, value, np.float32)

    def potential(n: np.ndarray) -> np.ndarray:  # the n-th float32 from zero on
        return n.astype(np.int32).view(np.float32)

    largest = every((membrane.levels + 1) * membrane.threshold).view(np.int32)
    return Dynamics(
        steps=steps,
        thresholds=potential(_thresholds(membrane, potential, largest)),
        amount=every(membrane.amount),
        initial=every(membrane.initial),
        reset_to=every(membrane.reset_to),
        leak=membrane.beta,
        hard=membrane.hard,
    )


def _thresholds(membrane: Membrane, potential: Callable[[np.ndarray], np.ndarray], largest: np.ndarray) -> np.ndarray:
    """The least n [D, O] whose potential makes the neuron fire 1, ..., D times, found by asking it.

    `potential` ascends, and so must the spike function.
    """
    fires_not = np.zeros((membrane.levels, len(largest)), np.int64)
    fires = np.broadcast_to(largest, fires_not.shape).astype(np.int64)
    counts = np.arange(1, membrane.levels + 1)[:, None]

    def reached(n: np.ndarray) -> np.ndarray:
        h = potential(n)
        return membrane.firing(h, h.dtype.type(membrane.threshold)) >= counts

    if not reached(fires).all():
        raise ProgramError(f"a threshold of {membrane.threshold} takes more units than int32 holds")
    while (fires - fires_not > 1).any():
        middle = (fires + fires_not) // 2
        above = reached(middle)
        fires, fires_not = np.where(above, middle, fires), np.where(above, fires_not, middle)
    return fires
