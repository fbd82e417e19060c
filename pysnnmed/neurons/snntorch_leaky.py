"""The neuron of snnTorch's Leaky without reset delay, with its defect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..tensor import Tensor
from .base import Neuron, value_of
from .canonical import MembraneState
from .firing import Spike
from .lif import LIF


@dataclass(frozen=True)
class SnnTorchLeaky(LIF):
    """LIF whose threshold doubles for one step if the membrane stayed above it after the reset.

        fire     s[t] = 1 if h[t] > (1 + [v[t-1] > v_threshold]) v_threshold else 0

    charge and soft reset are those of lif.LIF. snnTorch 1.0.0 computes this for reset_delay=False, subtract, because
    it subtracts the pending reset before it compares: with v[t-1] = 1.5, h[t] = 1.8 and v_threshold = 1 nothing fires.
    So more current can give fewer spikes. It is here to reproduce networks trained with snnTorch; use LIF for others.
    """

    laws: ClassVar[Mapping[str, bool]] = {
        **LIF.laws,
        "more_current_never_gives_fewer_spikes": False,
        "fused_equals_unrolled": False,  # nothing is fused
    }
    resets: ClassVar[tuple[str, ...]] = ("soft",)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = self.charge(x, state)
        pending = Tensor((state.v.data > value_of(self.v_threshold)).astype(h.dtype))
        s = Spike.apply(h - pending * self.v_threshold, self.v_threshold, firing=self.firing)
        return s, MembraneState(h - (s.detach() if self.detach_reset else s) * self._amount)

    sequence = Neuron.sequence
