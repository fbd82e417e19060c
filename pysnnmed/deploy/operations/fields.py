"""Operations on real numbers: rounding, interpolation, displacement fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..values import Real, Reals, Value
from .base import EXACT_IN_FLOAT32, MOST_SQUARINGS, Operation


@dataclass(frozen=True)
class Quantize(Operation):
    """Real numbers to whole ones: out = rint(min(max(x, low), high) * scale), halves to even; scale a power of two.

    What is no number, after an overflow, becomes `low`.
    """

    source: str
    scale: float
    low: float = 0.0
    high: float = 1.0

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Real:
        value = self._real(values, self.source)
        self._require(
            0 < self.scale < math.inf and math.frexp(self.scale)[0] == 0.5,
            f"scale must be a power of two, not {self.scale}",
        )
        self._require(
            math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high,
            f"low must be less than high, both finite, not {self.low} and {self.high}",
        )
        largest = max(abs(self.low), abs(self.high)) * self.scale
        self._require(largest <= EXACT_IN_FLOAT32, f"results must stay within 2**24, they can reach {largest:.3g}")
        limit = math.ceil(largest)
        return Real(value.channels, value.shape, limit=limit)


@dataclass(frozen=True)
class Integrate(Operation):
    """The displacement of flowing along a stationary velocity for unit time: scaling and squaring, see `warp`."""

    source: str
    steps: int

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Real:
        value = self._real(values, self.source)
        self._require(
            value.channels == len(value.shape),
            f"a velocity of {len(value.shape)} axes has as many channels, not {value}",
        )
        self._require(1 <= self.steps <= MOST_SQUARINGS, f"steps must be 1 to {MOST_SQUARINGS}, not {self.steps}")
        return Real(value.channels, value.shape)


@dataclass(frozen=True)
class Enlarge(Operation):
    """Linear interpolation to the spatial shape of the value `like`, times `gain`; see `resample.upsample_linear`.

    The source may be real numbers that stay, or those of every step.
    """

    source: str
    like: str
    gain: float = 1.0
    align_corners: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source, self.like)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Real | Reals:
        value, shape = self._no_spikes(values, self.source), values[self.like].shape
        self._require(
            len(shape) == len(value.shape) and all(a >= b for a, b in zip(shape, value.shape, strict=True)),
            f"{self.like!r} must be at least as large as {value}, not {shape}",
        )
        largest = float(np.finfo(np.float32).max)
        self._require(abs(self.gain) <= largest, f"gain must be finite in float32, not {self.gain}")
        if isinstance(value, Reals):
            return Reals(value.channels, shape, value.steps)
        return Real(value.channels, shape)


@dataclass(frozen=True)
class Warp(Operation):
    """moved(x) = image(x + u(x)), u the displacement in voxels; see `warp.warp`."""

    image: str
    displacement: str

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.image, self.displacement)

    def result(self, values: Mapping[str, Value]) -> Real:
        image, u = self._real(values, self.image), self._real(values, self.displacement)
        self._require(
            image.shape == u.shape and u.channels == len(u.shape),
            f"the displacement must have {len(image.shape)} channels on the grid of the image, {image}; it is {u}",
        )
        return Real(image.channels, image.shape)
