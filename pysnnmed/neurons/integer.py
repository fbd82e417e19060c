"""Integer spikes for training, and the binary slots that they stand for when the network runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from .. import ops
from ..errors import ParameterError
from ..tensor import Tensor
from .base import require_parameter
from .canonical import Canonical
from .firing import ROUNDINGS, Count, SpikeFunction, SurrogateFunction


@dataclass(frozen=True)
class ILIF(Canonical):
    """Integer LIF: one step fires a count between 0 and D = `levels`.

        charge   h[t] = beta v[t-1] + gain x[t] + bias
        fire     s[t] = clip(floor(h[t] / v_threshold + 1/2), 0, levels)
        reset    v[t] = h[t] - amount s[t]   (amount None: v_threshold; for the others see canonical.Canonical)

    `rounding`: "half_up" as above; "half_even" rounds 0.5 to 0 and 1.5 to 2, as the code of the paper and SpikingJelly
    do; "floor" fires once per whole threshold, as sinabs and Rockpool do, there with `levels` infinite. Without a
    `surrogate` the gradient is straight-through: ds/du = 1 on 0 <= u <= levels, ends included, u = h / v_threshold.
    A count is D binary spikes at inference: see `thermometer`. beta is SpikeYOLO's.
    Luo et al. 2024, "Integer-valued training and spike-driven inference spiking neural network for high-performance and
    energy-efficient object detection", equations 5 to 9.
    """

    beta: float | Tensor = 0.25
    levels: float = 4
    rounding: Literal["half_up", "half_even", "floor"] = "half_up"
    surrogate: SurrogateFunction | None = None

    hard_reset_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_parameter(self.rounding in ROUNDINGS, self, "rounding", f"one of {ROUNDINGS}", self.rounding)
        whole = self.levels >= 1 and (np.isinf(self.levels) or self.levels == int(self.levels))
        require_parameter(bool(whole), self, "levels", "a whole number of at least 1, or infinite", self.levels)
        super().__post_init__()

    @property
    def firing(self) -> SpikeFunction:
        return Count(self.levels, self.rounding, self.surrogate)


@dataclass(frozen=True)
class NILIF(ILIF):
    """Normalised integer LIF: the counts of ILIF divided by D = `levels`, so that spikes lie in [0, 1].

    The membrane is reset by the count, not by the quotient. The straight-through gradient is 1 / levels per threshold.
    With beta = 0 it has no memory, and is the quantiser of the public code (preset "spike2former", stateless).
    Lei et al. 2025, "Spike2Former: efficient spiking transformer for high-performance image segmentation", section 3.
    """

    levels: float = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_parameter(self.levels < np.inf, self, "levels", "finite", self.levels)

    @property
    def unit(self) -> float:  # type: ignore[override]
        return 1 / self.levels

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        count, state = super().step(x, state)
        return count / self.levels, state

    def sequence(self, x: Tensor, state: Any, steps: int | None = None) -> tuple[Tensor, Any]:
        count, state = super().sequence(x, state, steps)
        return count / self.levels, state


def thermometer(count: Tensor, levels: int) -> Tensor:
    """The binary slots a count stands for: count [...] in 0..levels -> slots [levels, ...], s_d = [count > d].

    A linear layer gives the same for the count as for the sum over the slots, with the bias added once; for NILIF the
    slots are applied with the weights divided by `levels`. Carries no gradient. Raises ParameterError for other counts.
    """
    c = count.data
    if not (levels >= 1 and c.size and c.min() >= 0 and c.max() <= levels and (c == np.floor(c)).all()):
        raise ParameterError(
            f"thermometer: count must hold whole numbers in 0..{levels}; for NILIF multiply its spikes by levels"
        )
    return ops.stack([Tensor((c > d).astype(c.dtype)) for d in range(levels)])
