"""Spike functions: how much a membrane fires at a potential h, and what stands in for the derivative.

A spike function F is called as F(h, v_threshold) on arrays and gives the spikes, of any type that converts to h's.
`derivative` is what training puts in the place of ds/dh, `threshold_derivative` in the place of ds/dv_threshold.
`codes` numbers the formulas for compiled kernels, which cannot call Python: (spike function, largest count, surrogate,
its alpha), or None where Python is needed; such a function runs on the reference backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from ..tensor import Function, unbroadcast

SurrogateFunction = Callable[[np.ndarray], np.ndarray]
Codes: TypeAlias = tuple[int, float, int, float]
STRAIGHT_THROUGH = -2  # in the place of Surrogate.code
ROUNDINGS = ("half_up", "half_even", "floor")


class SpikeFunction(Protocol):
    """See the docstring of this module."""

    @property
    def codes(self) -> Codes | None: ...
    def __call__(self, h: np.ndarray, v_threshold: np.ndarray | float) -> np.ndarray: ...
    def derivative(self, h: np.ndarray, v_threshold: np.ndarray | float) -> np.ndarray: ...
    def threshold_derivative(self, h: np.ndarray, v_threshold: np.ndarray | float) -> np.ndarray: ...


@dataclass(frozen=True)
class Binary:
    """s = 1 where h reaches the threshold (`strict`: exceeds it), else 0; ds/dh = surrogate(h - v_threshold)."""

    strict: bool
    surrogate: SurrogateFunction

    def __call__(self, h, v_threshold):
        return h > v_threshold if self.strict else h >= v_threshold

    def derivative(self, h, v_threshold):
        return self.surrogate(h - v_threshold)

    def threshold_derivative(self, h, v_threshold):
        return -self.surrogate(h - v_threshold)

    @property
    def codes(self) -> Codes | None:
        return _codes(1 if self.strict else 0, 1.0, self.surrogate)


@dataclass(frozen=True)
class Ternary:
    """s = [h >= v_threshold] - [-h >= v_threshold] (`strict`: >): two steps, and the sum of their two surrogates."""

    strict: bool
    surrogate: SurrogateFunction

    def __call__(self, h, v_threshold):
        up, down = (h > v_threshold, -h > v_threshold) if self.strict else (h >= v_threshold, -h >= v_threshold)
        return up.astype(np.int8) - down.astype(np.int8)

    def derivative(self, h, v_threshold):
        return self.surrogate(h - v_threshold) + self.surrogate(-h - v_threshold)

    def threshold_derivative(self, h, v_threshold):
        return self.surrogate(-h - v_threshold) - self.surrogate(h - v_threshold)

    @property
    def codes(self) -> Codes | None:
        return _codes(3 if self.strict else 2, 1.0, self.surrogate)


@dataclass(frozen=True)
class Count:
    """s = clip(round(u), 0, levels), u = h / v_threshold, with a rounding of ROUNDINGS.

    Without a surrogate the derivative is straight-through, ds/du = 1 on 0 <= u <= levels, both ends included, and
    du/dh = 1 / v_threshold; with one, ds/dh = surrogate(h - v_threshold).
    """

    levels: float
    rounding: str
    surrogate: SurrogateFunction | None = None

    def __call__(self, h, v_threshold):
        u = h / v_threshold
        rounded = (
            np.rint(u) if self.rounding == "half_even" else np.floor(u + (0.5 if self.rounding == "half_up" else 0))
        )
        return np.clip(rounded, 0, self.levels)

    def derivative(self, h, v_threshold):
        return self.surrogate(h - v_threshold) if self.surrogate else self._inside(h, v_threshold) / v_threshold

    def threshold_derivative(self, h, v_threshold):
        if self.surrogate:
            return -self.surrogate(h - v_threshold)
        return -self._inside(h, v_threshold) * (h / v_threshold) / v_threshold

    def _inside(self, h, v_threshold):
        u = h / v_threshold
        return ((u >= 0) & (u <= self.levels)).astype(h.dtype)

    @property
    def codes(self) -> Codes | None:
        code = 4 + ROUNDINGS.index(self.rounding)
        if self.surrogate is None:
            return code, float(self.levels), STRAIGHT_THROUGH, 1.0
        return _codes(code, float(self.levels), self.surrogate)


class Spike(Function):
    """s = firing(h, v_threshold), h [...], v_threshold [] -> s [...]; the derivatives are those of the spike function.

    This and its fused form over time are the only Functions whose backward is not the derivative of their forward.
    """

    def forward(ctx, h: np.ndarray, v_threshold: np.ndarray, *, firing: SpikeFunction) -> np.ndarray:
        ctx.save(h, v_threshold)
        ctx.firing = firing
        return np.asarray(firing(h, v_threshold)).astype(h.dtype)

    def backward(ctx, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        h, v_threshold = ctx.saved
        g_h = grad * ctx.firing.derivative(h, v_threshold)
        if not ctx.needs[1]:
            return g_h, None
        return g_h, unbroadcast(grad * ctx.firing.threshold_derivative(h, v_threshold), v_threshold.shape)


def _codes(spike: int, levels: float, surrogate: SurrogateFunction) -> Codes | None:
    code = getattr(surrogate, "code", -1)
    return None if code < 0 else (spike, levels, code, float(surrogate.alpha))  # type: ignore[attr-defined]
