"""Surrogates that end: beyond their support the gradient is exactly 0, which kernels can use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Surrogate


@dataclass(frozen=True)
class PiecewiseQuadratic(Surrogate):
    """ds/dz = max(0, alpha - alpha^2 |z|): a triangle of half-width 1 / alpha. Peak alpha, integral 1.

    The derivative of a step smoothed by two parabolas. Esser et al. 2016, "Convolutional networks for fast,
    energy-efficient neuromorphic computing"; Bellec et al. 2018, "Long short-term memory and learning-to-learn in
    networks of spiking neurons". Norse's triangle is alpha max(0, 1 - |z|), of fixed width and integral alpha;
    snnTorch's "triangular" is no triangle but a sign, +1 below the threshold and -1 above.
    """

    code: ClassVar[int] = 2
    formula: ClassVar[str] = r"\max(0,\ \alpha-\alpha^2|z|)"
    alpha: float = 1.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.maximum(self.alpha - self.alpha * self.alpha * np.abs(z), 0)

    def primitive(self, z: np.ndarray) -> np.ndarray:
        u = self.alpha * np.clip(z, -self.support, self.support)
        return 0.5 + u - u * np.abs(u) / 2

    @property
    def peak(self) -> float:
        return self.alpha

    @property
    def support(self) -> float:
        return 1 / self.alpha


@dataclass(frozen=True)
class Rectangle(Surrogate):
    """ds/dz = alpha where |z| < 1 / (2 alpha), else 0: a window of width 1 / alpha. Peak alpha, integral 1.

    The derivative of a ramp. Wu et al. 2018, "Spatio-temporal backpropagation for training high-performance spiking
    neural networks"; also the straight-through estimator that is cut off outside a window.
    """

    formula: ClassVar[str] = r"\alpha\ \mathrm{where}\ |z|<\frac{1}{2\alpha}"
    code: ClassVar[int] = 7
    alpha: float = 1.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return np.where(np.abs(z) < self.support, np.asarray(self.alpha, z.dtype), np.zeros((), z.dtype))

    def primitive(self, z: np.ndarray) -> np.ndarray:
        return 0.5 + self.alpha * np.clip(z, -self.support, self.support)

    @property
    def peak(self) -> float:
        return self.alpha

    @property
    def support(self) -> float:
        return 1 / (2 * self.alpha)
