"""Ternary spikes: a membrane far below zero fires, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .firing import SpikeFunction, Ternary
from .lif import LIF


@dataclass(frozen=True)
class TernaryLIF(LIF):
    """LIF with spikes -1, 0 and 1: s[t] = [h[t] >= v_threshold] - [-h[t] >= v_threshold].

    A spike still costs additions only, and carries log2(3) bits instead of 1. The soft reset moves the membrane towards
    zero from both sides; the hard reset is the paper's, v[t] = v_reset where s[t] != 0. The derivative is the sum of
    the surrogates of the two steps. See lif.LIF for the other equations and parameters.
    Guo et al. 2024, "Ternary spike: learning ternary spikes for spiking neural networks", section 4.
    """

    laws: ClassVar[Mapping[str, bool]] = {**LIF.laws, "the_gradient_of_a_step_is_the_surrogate": False}
    hard_reset_gradient: ClassVar[bool] = False

    @property
    def firing(self) -> SpikeFunction:
        return Ternary(self.tie == ">", self.surrogate)
