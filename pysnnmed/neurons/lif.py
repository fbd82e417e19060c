"""Leaky integrate-and-fire: the neuron of MedSpikeFormer and SpikeReg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ..surrogate import ATan
from .base import require_parameter
from .canonical import Canonical
from .firing import Binary, SpikeFunction, SurrogateFunction


@dataclass(frozen=True)
class LIF(Canonical):
    """Leaky integrate-and-fire neuron: the canonical neuron with spikes 0 and 1.

        charge   h[t] = beta v[t-1] + gain x[t] + bias
        fire     s[t] = 1 if h[t] >= v_threshold else 0            (tie ">": only above the threshold)
        reset    soft: v[t] = h[t] - amount s[t]                   (amount None: v_threshold)
                 hard: v[t] = (1 - s[t]) h[t] + v_reset s[t]       none: v[t] = h[t]

    The defaults are MedSpikeFormer's equations 1 to 3, whose U is our h and whose H is beta times our v; SpikeReg's
    neuron is reset="hard", detach_reset=False. See canonical.Canonical for the other parameters.
    """

    laws: ClassVar[Mapping[str, bool]] = {
        "charge_is_conserved": True,
        "quiet_membranes_integrate": True,
        "small_currents_keep_the_membrane_bounded": True,
        "the_tie_rule_decides_at_the_threshold": True,
        "the_gradient_of_a_step_is_the_surrogate": True,
    }

    tie: Literal[">=", ">"] = ">="
    surrogate: SurrogateFunction = field(default_factory=ATan)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_parameter(self.tie in (">=", ">"), self, "tie", "'>=' or '>'", self.tie)

    @property
    def firing(self) -> SpikeFunction:
        return Binary(self.tie == ">", self.surrogate)
