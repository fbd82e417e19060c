"""Initial values of parameters: functions of (shape, rng) that return float32 arrays.

Weights have shape [out, in, *K]. `fan_in` is the number of inputs that one output sums, in * prod(K) unless given (a
transposed convolution sums fewer); `fan_out` is out * prod(K).
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

Shape = tuple[int, ...]


class Initialiser(Protocol):
    """What layers accept as `weight_init`."""

    def __call__(self, shape: Shape, rng: np.random.Generator, *, fan_in: float | None = None) -> np.ndarray: ...


def he_normal(shape: Shape, rng: np.random.Generator, *, fan_in: float | None = None) -> np.ndarray:
    """Normal with variance 2 / fan_in, which keeps that of a deep ReLU network (He et al. 2015, eq. 10)."""
    return _normal(shape, rng, math.sqrt(2 / (fan_in or _fan_in(shape))))


def he_uniform(shape: Shape, rng: np.random.Generator, *, fan_in: float | None = None) -> np.ndarray:
    """Uniform with variance 2 / fan_in: on [-b, b], b = sqrt(6 / fan_in) (He et al. 2015, eq. 10)."""
    return _uniform(shape, rng, math.sqrt(6 / (fan_in or _fan_in(shape))))


def xavier_normal(shape: Shape, rng: np.random.Generator, *, fan_in: float | None = None) -> np.ndarray:
    """Normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 12)."""
    return _normal(shape, rng, math.sqrt(2 / ((fan_in or _fan_in(shape)) + _fan_out(shape))))


def xavier_uniform(shape: Shape, rng: np.random.Generator, *, fan_in: float | None = None) -> np.ndarray:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 16)."""
    return _uniform(shape, rng, math.sqrt(6 / ((fan_in or _fan_in(shape)) + _fan_out(shape))))


def normal(deviation: float) -> Initialiser:
    """The initialiser that draws from a normal distribution of this standard deviation, whatever the shape."""

    def draw(shape: Shape, rng: np.random.Generator, *, fan_in: float | None = None) -> np.ndarray:
        return _normal(shape, rng, deviation)

    return draw


def constant(value: float) -> Initialiser:
    """Every element `value`."""

    def initialise(shape: Shape, rng: np.random.Generator, *, fan_in: float | None = None) -> np.ndarray:
        return np.full(shape, value, np.float32)

    return initialise


def zeros(shape: Shape, rng: np.random.Generator | None = None, *, fan_in: float | None = None) -> np.ndarray:
    """All zero; draws nothing from `rng`."""
    return np.zeros(shape, np.float32)


def _fan_in(shape: Shape) -> int:
    return max(1, math.prod(shape[1:]))


def _fan_out(shape: Shape) -> int:
    return shape[0] * math.prod(shape[2:])


def _normal(shape: Shape, rng: np.random.Generator, deviation: float) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)


def _uniform(shape: Shape, rng: np.random.Generator, bound: float) -> np.ndarray:
    return rng.uniform(-bound, bound, shape).astype(np.float32)
