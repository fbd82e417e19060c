"""What a surrogate is: a callable that knows its peak, its integral, where it ends and the smooth spike behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ParameterError


@dataclass(frozen=True)
class Surrogate:
    """A bump ds/dz, even in z = h - v_threshold, highest at 0 and finite for every finite z.

    `alpha` is its sharpness: the larger, the narrower. It is no weight: the spike itself does not depend on it, so
    backpropagation through time has no gradient for it. To sharpen a surrogate during training, replace it
    (`dataclasses.replace(surrogate, alpha=...)`); what can be learnt is the neuron's leak and threshold.

    A surrogate is called on an array and keeps its shape and type. Subclasses are registered by name; each gives its
    `formula` as mathematical text for figures. `code` numbers the formula for compiled kernels, which cannot call
    Python; a kernel that does not know the number leaves the work to the reference backend. A new surrogate of your
    own needs no number (-1).
    """

    registry: ClassVar[dict[str, type[Surrogate]]] = {}
    code: ClassVar[int] = -1
    formula: ClassVar[str] = ""
    alpha: float = 1.0

    def __init_subclass__(cls) -> None:
        cls.code = cls.__dict__.get("code", -1)  # the number of a parent is the number of another formula
        Surrogate.registry[cls.__name__] = cls

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ParameterError(f"{type(self).__name__}: alpha must be positive and finite, not {self.alpha}")
        object.__setattr__(self, "alpha", float(self.alpha))  # a NumPy float64 would turn float32 arrays into float64

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """The derivative at z = h - v_threshold, elementwise."""
        raise NotImplementedError(f"{type(self).__name__} does not define the derivative")

    def primitive(self, z: np.ndarray) -> np.ndarray:
        """The smooth spike S(z) = 1/2 + integral of the derivative from 0 to z, elementwise.

        With integral 1 it rises from 0 to 1, as the step does. It says what network the surrogate gradient is the
        true gradient of, and lets central differences check it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define its primitive")

    @property
    def peak(self) -> float:
        """The value at z = 0, the largest."""
        raise NotImplementedError(f"{type(self).__name__} does not define its peak")

    @property
    def integral(self) -> float:
        """The area under the bump; 1, as for the delta function it replaces, unless the formula says otherwise."""
        return 1.0

    @property
    def support(self) -> float:
        """The derivative is 0 for |z| > support; infinite for a bump with tails."""
        return np.inf


@dataclass(frozen=True)
class Scaled:
    """factor * surrogate: a formula of the field whose height is not that of ours. Neurons take it as a surrogate."""

    surrogate: Surrogate
    factor: float

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """The derivative at z = h - v_threshold, elementwise."""
        return self.factor * self.surrogate(z)
