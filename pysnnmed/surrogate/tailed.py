"""Surrogates that reach every z: a membrane far from the threshold still learns, a little.

Far from the threshold squares and exponents may overflow to infinity; every formula is arranged so that the result is
then the limit, 0 for the derivative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Surrogate


@dataclass(frozen=True)
class ATan(Surrogate):
    """ds/dz = (alpha / 2) / (1 + (pi alpha z / 2)^2): the derivative of an arc tangent. Peak alpha / 2, integral 1.

    Fang et al. 2021, "Incorporating learnable membrane time constant to enhance learning of spiking neural networks".
    The manual of snnTorch prints 1 / pi instead of alpha / 2 as the numerator; its code is the formula above.
    """

    code: ClassVar[int] = 0
    formula: ClassVar[str] = r"\dfrac{\alpha/2}{1+(\pi\alpha z/2)^2}"
    alpha: float = 2.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return self.alpha / 2 / (1 + np.square(math.pi / 2 * self.alpha * z))

    def primitive(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return 0.5 + np.arctan(math.pi / 2 * self.alpha * z) / math.pi

    @property
    def peak(self) -> float:
        return self.alpha / 2


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """ds/dz = alpha sigma(alpha z) (1 - sigma(alpha z)), sigma the logistic function. Peak alpha / 4, integral 1.

    Computed as alpha e / (1 + e)^2 with e = exp(-|alpha z|), which cannot overflow; snnTorch 1.0.0 computes
    exp(-alpha z), and its derivative is NaN for z <= -3.55 at alpha = 25 in float32.
    Zenke and Vogels 2021, "The remarkable robustness of surrogate gradient learning for instilling complex function in
    spiking neural networks"; SpikeReg uses it with alpha = 10 (under the name fast sigmoid, which is another function).
    """

    code: ClassVar[int] = 1
    formula: ClassVar[str] = r"\alpha\,\sigma(\alpha z)\,(1-\sigma(\alpha z))"
    alpha: float = 4.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        e = self._exponential(z)
        return self.alpha * e / np.square(1 + e)

    def primitive(self, z: np.ndarray) -> np.ndarray:
        e = self._exponential(z)
        return np.where(z < 0, e, 1) / (1 + e)

    def _exponential(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.exp(-np.abs(self.alpha * z))

    @property
    def peak(self) -> float:
        return self.alpha / 4


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """ds/dz = 1 / (1 + alpha |z|)^2: the derivative of z / (1 + alpha |z|). Peak 1 whatever alpha, integral 2 / alpha.

    Zenke and Ganguli 2018, "SuperSpike: supervised learning in multilayer spiking neural networks", with alpha the
    beta of the paper. Three formulas share the name: this one (snnTorch, spyx, Norse after 1.1.0), alpha / (1 + |z|)^2
    (SpikingJelly's SuperSpike: `Scaled(FastSigmoid(1), alpha)`), and 1 / (1 + |z|)^2 (Norse 1.1.0, which ignores
    alpha: `FastSigmoid(1)`). `SoftSign` is the same bump with integral 1.
    """

    formula: ClassVar[str] = r"\dfrac{1}{(1+\alpha|z|)^2}"
    code: ClassVar[int] = 3
    alpha: float = 25.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return _inverse_square(z, self.alpha)

    def primitive(self, z: np.ndarray) -> np.ndarray:
        return 0.5 + _soft_sign(z, self.alpha)

    @property
    def peak(self) -> float:
        return 1.0

    @property
    def integral(self) -> float:
        return 2 / self.alpha


@dataclass(frozen=True)
class SoftSign(Surrogate):
    """ds/dz = (alpha / 2) / (1 + alpha |z|)^2: `FastSigmoid` scaled to integral 1. Peak alpha / 2.

    Zenke and Ganguli 2018, as above; normalised so by SpikingJelly.
    """

    formula: ClassVar[str] = r"\dfrac{\alpha/2}{(1+\alpha|z|)^2}"
    code: ClassVar[int] = 4
    alpha: float = 2.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return self.alpha / 2 * _inverse_square(z, self.alpha)

    def primitive(self, z: np.ndarray) -> np.ndarray:
        return 0.5 + self.alpha / 2 * _soft_sign(z, self.alpha)

    @property
    def peak(self) -> float:
        return self.alpha / 2


@dataclass(frozen=True)
class Gaussian(Surrogate):
    """ds/dz = alpha / sqrt(pi) exp(-(alpha z)^2): the derivative of the error function. Integral 1.

    Its standard deviation is 1 / (alpha sqrt(2)); alpha = sqrt(pi) gives peak 1. Wu et al. 2018, "Spatio-temporal
    backpropagation for training high-performance spiking neural networks"; Yin, Corradi and Bohté 2020, "Effective and
    efficient computation with multiple-timescale spiking recurrent neural networks". Norse's heavi_erfc leaves out
    the factor alpha / 2 of the chain rule and has integral 2 / alpha.
    """

    formula: ClassVar[str] = r"\dfrac{\alpha}{\sqrt{\pi}}\,e^{-(\alpha z)^2}"
    code: ClassVar[int] = 5
    alpha: float = 2.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return self.peak * np.exp(-np.square(self.alpha * z))

    def primitive(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return ((1 + _erf(self.alpha * z)) / 2).astype(z.dtype)

    @property
    def peak(self) -> float:
        return self.alpha / math.sqrt(math.pi)


@dataclass(frozen=True)
class PiecewiseExponential(Surrogate):
    """ds/dz = (alpha / 2) exp(-alpha |z|): a Laplace density, with a kink at the threshold. Peak alpha / 2, integral 1.

    Shrestha and Orchard 2018, "SLAYER: spike layer error reassignment in time". The SingleExponential of sinabs, of
    width w and threshold 1, is twice this one at alpha = 1 / w and has integral 2.
    """

    formula: ClassVar[str] = r"\dfrac{\alpha}{2}\,e^{-\alpha|z|}"
    code: ClassVar[int] = 6
    alpha: float = 2.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return self.alpha / 2 * np.exp(-self.alpha * np.abs(z))

    def primitive(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return 0.5 + np.copysign(np.expm1(-self.alpha * np.abs(z)) / 2, z)

    @property
    def peak(self) -> float:
        return self.alpha / 2


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """ds/dz = alpha everywhere, as if the spike were a line of slope alpha; no bump at all, its integral is infinite.

    Bengio, Léonard and Courville 2013, "Estimating or propagating gradients through stochastic neurons for conditional
    computation". The windowed kind, which is 0 where the membrane is far away, is `Rectangle` up to its height.
    """

    formula: ClassVar[str] = r"\alpha"
    code: ClassVar[int] = 8
    alpha: float = 1.0

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return np.full_like(z, self.alpha)

    def primitive(self, z: np.ndarray) -> np.ndarray:
        return 0.5 + self.alpha * z

    @property
    def peak(self) -> float:
        return self.alpha

    @property
    def integral(self) -> float:
        return np.inf


_erf = np.vectorize(math.erf, otypes=[float])  # NumPy has none; primitives are for plots and checks, not for training


def _inverse_square(z: np.ndarray, alpha: float) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / np.square(1 + alpha * np.abs(z))


def _soft_sign(z: np.ndarray, alpha: float) -> np.ndarray:
    """z / (1 + alpha |z|), written so that neither z = 0 nor a huge z gives NaN."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.copysign(1 / (1 / np.abs(z) + alpha), z)
