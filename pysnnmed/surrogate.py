"""Surrogate derivatives: what stands in for the derivative of the step when a spike is differentiated.

The step s = [z >= 0], z = h - v_threshold, has derivative 0 almost everywhere, so nothing could be learnt through it.
Training replaces that derivative by a bump around the threshold (Neftci, Mostafa and Zenke 2019, "Surrogate gradient
learning in spiking neural networks"). Every bump here is even, highest at z = 0 and has integral 1, like the delta
function it replaces. A surrogate is called on the array z and keeps its shape and type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .errors import ParameterError


@dataclass(frozen=True)
class Surrogate:
    """A bump whose sharpness is `alpha`: the larger, the narrower and the higher. Subclasses are registered by name.

    `code` numbers the formula for compiled kernels, which cannot call Python; a kernel that does not know the number
    leaves the work to the reference backend. A new surrogate of your own needs no number (-1).
    """

    registry: ClassVar[dict[str, type[Surrogate]]] = {}
    code: ClassVar[int] = -1
    alpha: float

    def __init_subclass__(cls) -> None:
        Surrogate.registry[cls.__name__] = cls

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ParameterError(f"{type(self).__name__}: alpha must be positive and finite, not {self.alpha}")
        object.__setattr__(self, "alpha", float(self.alpha))  # a NumPy float64 would turn float32 arrays into float64

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """The derivative at z = h - v_threshold, elementwise."""
        raise NotImplementedError(f"{type(self).__name__} does not define the derivative")

    @property
    def peak(self) -> float:
        """The value at z = 0, the largest."""
        raise NotImplementedError(f"{type(self).__name__} does not define its peak")

    @property
    def support(self) -> float:
        """The derivative is 0 for |z| > support; infinite for a bump with tails."""
        return np.inf


@dataclass(frozen=True)
class ATan(Surrogate):
    """ds/dz = (alpha / 2) / (1 + (pi alpha z / 2)^2): the derivative of an arc tangent. Peak alpha / 2, integral 1.

    Fang et al. 2021, "Incorporating learnable membrane time constant to enhance learning of spiking neural networks".
    """

    code: ClassVar[int] = 0
    alpha: float = 2.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # far from the threshold the square may be infinite: the result is 0
            return self.alpha / 2 / (1 + np.square(np.pi / 2 * self.alpha * z))

    @property
    def peak(self) -> float:
        return self.alpha / 2


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """ds/dz = alpha sigma(alpha z) (1 - sigma(alpha z)), sigma the logistic function. Peak alpha / 4, integral 1.

    Computed as alpha e / (1 + e)^2 with e = exp(-|alpha z|), which cannot overflow.
    Zenke and Vogels 2021, "The remarkable robustness of surrogate gradient learning for instilling complex function in
    spiking neural networks"; SpikeReg uses it with alpha = 10 (under the name fast sigmoid, which is another function).
    """

    code: ClassVar[int] = 1
    alpha: float = 4.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            e = np.exp(-np.abs(self.alpha * z))
        return self.alpha * e / np.square(1 + e)

    @property
    def peak(self) -> float:
        return self.alpha / 4


@dataclass(frozen=True)
class PiecewiseQuadratic(Surrogate):
    """ds/dz = max(0, alpha - alpha^2 |z|): a triangle of half-width 1 / alpha. Peak alpha, integral 1.

    The derivative of a step smoothed by two parabolas; outside the triangle the gradient is exactly 0, which kernels
    can use. Esser et al. 2016, "Convolutional networks for fast, energy-efficient neuromorphic computing";
    Bellec et al. 2018, "Long short-term memory and learning-to-learn in networks of spiking neurons".
    """

    code: ClassVar[int] = 2
    alpha: float = 1.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.maximum(self.alpha - self.alpha * self.alpha * np.abs(z), 0)

    @property
    def peak(self) -> float:
        return self.alpha

    @property
    def support(self) -> float:
        return 1 / self.alpha
