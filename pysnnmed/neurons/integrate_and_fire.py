"""Integrate-and-fire: a membrane that forgets nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..tensor import Tensor
from .lif import LIF


@dataclass(frozen=True)
class IF(LIF):
    """LIF without leak: beta is 1 and cannot be given. See lif.LIF for the equations and the other parameters.

    With the soft reset and v_initial = v_threshold / 2, its firing rate over T steps of a constant current x is
    clip(x / v_threshold, 0, 1) rounded to a multiple of 1 / T: the ReLU that conversion from an ANN relies on.
    Lapicque 1907; Rueckauer et al. 2017, "Conversion of continuous-valued deep networks to efficient event-driven
    networks for image classification", section 2.
    """

    beta: float | Tensor = field(default=1.0, init=False)
