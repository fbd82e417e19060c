"""The canonical neuron: one membrane, and every choice about it an explicit parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from ..tensor import Tensor
from .base import Neuron, require_parameter, value_of
from .firing import Spike, SpikeFunction
from .fused import Final, Rule, SpikeSequence


class MembraneState(NamedTuple):
    """The state of a neuron with one membrane."""

    v: Tensor  # membrane potential after the reset, of the shape of the input of one step


@dataclass(frozen=True)
class Canonical(Neuron, abstract=True):
    """One membrane that is charged, fires and is reset.

        charge   h[t] = beta v[t-1] + gain x[t] + bias
        fire     s[t] = F(h[t], v_threshold)                        F is `firing`, given by the subclass
        reset    soft: v[t] = h[t] - amount s[t]                    amount None: v_threshold
                 hard: v[t] = v_reset where s[t] != 0, else h[t]    none: v[t] = h[t]

    beta in [0, 1] is the part of the membrane potential that survives one step, exp(-step / tau_mem); potentials are in
    units of `gain` times the input current. `v_initial` is v[-1]. `detach_reset` keeps the gradient out of the s of the
    reset; a hard reset of spikes other than 0 and 1 has no gradient in s to keep out, and needs it. beta and
    v_threshold may be scalar Tensors, which then receive gradients (see parametric). Raises ParameterError for a
    parameter that breaks its rule.
    """

    beta: float | Tensor = 0.5
    v_threshold: float | Tensor = 1.0
    gain: float = 1.0
    bias: float = 0.0
    reset: Literal["soft", "hard", "none"] = "soft"
    amount: float | None = None
    v_reset: float = 0.0
    v_initial: float = 0.0
    detach_reset: bool = True

    resets: ClassVar[tuple[str, ...]] = ("soft", "hard", "none")
    hard_reset_gradient: ClassVar[bool] = True  # whether [s != 0] is s, and so has a gradient

    def __post_init__(self) -> None:
        beta, threshold = value_of(self.beta), value_of(self.v_threshold)
        require_parameter(0 <= beta <= 1, self, "beta", "in [0, 1]", beta)
        require_parameter(0 < threshold < np.inf, self, "v_threshold", "positive and finite", threshold)
        require_parameter(self.reset in self.resets, self, "reset", f"one of {', '.join(self.resets)}", self.reset)
        if self.amount is not None:
            require_parameter(0 < self.amount < np.inf, self, "amount", "positive and finite, or None", self.amount)
        for name in ("gain", "bias", "v_reset", "v_initial"):
            value = getattr(self, name)
            require_parameter(bool(np.isfinite(value)), self, name, "finite", value)
        may_attach = self.hard_reset_gradient or self.reset != "hard"
        rule = "True with a hard reset, whose [s != 0] has no derivative"
        require_parameter(self.detach_reset or may_attach, self, "detach_reset", rule, self.detach_reset)

    @property
    def firing(self) -> SpikeFunction:
        """The spike function F."""
        raise NotImplementedError(f"{type(self).__name__} does not define firing")

    def init(self, x: Tensor) -> MembraneState:
        v = np.asarray(self.v_initial, x.dtype)
        return MembraneState(Tensor(np.broadcast_to(v, x.shape)))  # one number in memory

    def charge(self, x: Tensor, state: MembraneState) -> Tensor:
        """h, the potential after charging, which some simulators call the membrane potential."""
        return state.v * self.beta + self._current(x)

    def step(self, x: Tensor, state: MembraneState) -> tuple[Tensor, MembraneState]:
        return self.fire_and_reset(self.charge(x, state))

    def fire_and_reset(self, h: Tensor) -> tuple[Tensor, MembraneState]:
        """The second half of a step, from the potential after charging."""
        s = Spike.apply(h, self.v_threshold, firing=self.firing)
        if self.reset == "none":
            return s, MembraneState(h)
        if self.reset == "soft":
            return s, MembraneState(h - (s.detach() if self.detach_reset else s) * self._amount)
        fired = Tensor((np.abs(s.data) > 0).astype(s.dtype)) if self.detach_reset else s
        return s, MembraneState((1 - fired) * h + fired * self.v_reset)

    def sequence(self, x: Tensor, state: MembraneState, steps: int | None = None) -> tuple[Tensor, MembraneState]:
        final, inputs = Final(), (self._current(x), state.v, self.beta, self.v_threshold, self._amount)
        rule = Rule(self.firing, self.reset != "hard", self.v_reset, self.detach_reset)
        s = SpikeSequence.apply(*inputs, rule=rule, steps=steps, final=final)
        return s, MembraneState(*final.after(s))

    def _current(self, x: Tensor) -> Tensor:
        """gain x + bias, without work where they change nothing."""
        if self.gain != 1:
            x = x * self.gain
        return x + self.bias if self.bias else x

    @property
    def _amount(self) -> float | Tensor:
        """What the soft reset subtracts per spike; without a reset, nothing."""
        if self.reset == "none":
            return 0.0
        return self.v_threshold if self.amount is None else self.amount
