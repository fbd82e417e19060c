"""Winner-take-all inhibition of membranes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..tensor import Tensor
from .base import Neuron, require_parameter
from .canonical import MembraneState
from .lif import LIF


@dataclass(frozen=True)
class WinnersLIF(LIF):
    """LIF of which, before each step, only the highest membranes of a sample keep their potential; the rest lose it.

        inhibit  v[t-1] <- v[t-1] [v[t-1] >= the k-th largest of the sample],  k = ceil(winners n), n its neurons

    over all channels and positions together; the other equations are those of lif.LIF. Neurons that tie with the k-th
    stay. It acts on what is stored, not on spikes: with few winners a layer forgets what it charged, and is close to
    one without memory. The mask has no gradient. The "lateral inhibition" of SpikeReg's public code, winners = 0.1.
    """

    laws: ClassVar[Mapping[str, bool]] = {
        **LIF.laws,
        "more_current_never_gives_fewer_spikes": False,  # to others
        "charge_is_conserved": False,
        "quiet_membranes_integrate": False,
        "small_currents_keep_the_membrane_bounded": False,
        "fused_equals_unrolled": False,  # nothing is fused
    }

    winners: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_parameter(0 < self.winners <= 1, self, "winners", "in (0, 1]", self.winners)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().step(x, MembraneState(state.v * Tensor(self._kept(state.v.data))))

    def _kept(self, v: np.ndarray) -> np.ndarray:
        """1 where a membrane [B, ...] is among the winners of its sample, else 0."""
        rows = v.reshape(len(v), -1)
        n = rows.shape[1]
        lost = n - math.ceil(self.winners * n)
        if lost <= 0:
            return np.ones(v.shape, v.dtype)
        least = np.partition(rows, lost, axis=1)[:, lost : lost + 1]
        return (rows >= least).astype(v.dtype).reshape(v.shape)

    sequence = Neuron.sequence
