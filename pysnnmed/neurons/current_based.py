"""Current-based LIF: the input passes a synapse that forgets slowly before it charges the membrane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import ops
from ..tensor import Tensor
from .base import require_parameter
from .canonical import MembraneState
from .lif import LIF


class CurrentState(NamedTuple):
    """The state of a neuron with a synaptic current and a membrane, both of the shape of the input of one step."""

    i: Tensor  # synaptic current
    v: Tensor  # membrane potential after the reset


@dataclass(frozen=True)
class CurrentLIF(LIF):
    """LIF driven by a synaptic current: i[t] = alpha i[t-1] + x[t], which takes the place of x[t] in lif.LIF.

    alpha in [0, 1] is the part of the current that survives one step, exp(-step / tau_syn); alpha = 0 is LIF. The
    current starts at 0. Neftci, Mostafa and Zenke 2019, "Surrogate gradient learning in spiking neural networks",
    equations 3 and 4, where the current reaches the membrane one step later.
    """

    laws: ClassVar[Mapping[str, bool]] = {
        **LIF.laws,
        "charge_is_conserved": False,
        "quiet_membranes_integrate": False,
        "small_currents_keep_the_membrane_bounded": False,
    }

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_parameter(0 <= self.alpha <= 1, self, "alpha", "in [0, 1]", self.alpha)

    def init(self, x: Tensor) -> Any:
        return CurrentState(Tensor(np.zeros_like(x.data)), *super().init(x))

    def charge(self, x: Tensor, state: Any) -> Tensor:
        return super().charge(self._synapse(x, state.i), MembraneState(state.v))

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        i = self._synapse(x, state.i)
        s, membrane = self.fire_and_reset(super().charge(i, MembraneState(state.v)))
        return s, CurrentState(i, membrane.v)

    def sequence(self, x: Tensor, state: Any, steps: int | None = None) -> tuple[Tensor, Any]:
        i, currents = state.i, []
        for t in range(len(x) if steps is None else steps):
            i = self._synapse(x[t] if steps is None else x, i)
            currents.append(i)
        s, membrane = super().sequence(ops.stack(currents), MembraneState(state.v))
        return s, CurrentState(i, membrane.v)

    def _synapse(self, x: Tensor, i: Tensor) -> Tensor:
        return i * self.alpha + x
