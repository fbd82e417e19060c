"""A membrane with a floor: inhibition cannot push it down without limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..tensor import Tensor
from .base import Neuron, require_parameter
from .canonical import MembraneState
from .integer import ILIF


@dataclass(frozen=True)
class BoundedILIF(ILIF):
    """ILIF whose membrane after the reset is at least `v_min`: v[t] = max(h[t] - amount s[t], v_min).

    The floor is outside the canonical form, so that there is no fused kernel: the steps run one by one. Neuromorphic
    chips with unsigned or narrow membranes have it; sinabs calls it min_v_mem (Sheik et al., sinabs, layers.IAF).
    """

    laws: ClassVar[Mapping[str, bool]] = {"fused_equals_unrolled": False}

    v_min: float = -1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_parameter(bool(-np.inf < self.v_min <= 0), self, "v_min", "finite and not positive", self.v_min)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        s, membrane = super().step(x, state)
        return s, MembraneState(ops.relu(membrane.v - self.v_min) + self.v_min)

    sequence = Neuron.sequence
