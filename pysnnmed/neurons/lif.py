"""Leaky integrate-and-fire: the neuron of MedSpikeFormer and SpikeReg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from .. import kernels
from ..surrogate import ATan
from ..tensor import Function, Tensor
from .base import MembraneState, Neuron, Spike, SurrogateFunction, require_parameter, value_of


@dataclass(frozen=True)
class LIF(Neuron):
    """Leaky integrate-and-fire neuron.

        charge   h[t] = beta v[t-1] + x[t]
        fire     s[t] = 1 if h[t] >= v_threshold else 0            (tie ">": only above the threshold)
        reset    soft: v[t] = h[t] - v_threshold s[t]              hard: v[t] = (1 - s[t]) h[t] + v_reset s[t]

    beta in [0, 1] is the part of the membrane potential that survives one step, exp(-step / tau_mem); potentials are in
    units of the input current. `v_initial` is v[-1]. `detach_reset` keeps the gradient out of the s of the reset.
    beta and v_threshold may be scalar Tensors, which then receive gradients. The defaults are MedSpikeFormer's
    equations 1 to 3, whose U is our h and whose H is our v; SpikeReg's neuron is reset="hard", detach_reset=False.
    Raises ParameterError for a parameter that breaks its rule.
    """

    laws: ClassVar[Mapping[str, bool]] = {
        "charge_is_conserved": True,
        "quiet_membranes_integrate": True,
        "small_currents_keep_the_membrane_bounded": True,
        "the_tie_rule_decides_at_the_threshold": True,
        "the_gradient_of_a_step_is_the_surrogate": True,
    }

    beta: float | Tensor = 0.5
    v_threshold: float | Tensor = 1.0
    reset: Literal["soft", "hard"] = "soft"
    v_reset: float = 0.0
    v_initial: float = 0.0
    tie: Literal[">=", ">"] = ">="
    detach_reset: bool = True
    surrogate: SurrogateFunction = field(default_factory=ATan)

    def __post_init__(self) -> None:
        beta, threshold = value_of(self.beta), value_of(self.v_threshold)
        require_parameter(0 <= beta <= 1, self, "beta", "in [0, 1]", beta)
        require_parameter(0 < threshold < np.inf, self, "v_threshold", "positive and finite", threshold)
        require_parameter(self.reset in ("soft", "hard"), self, "reset", "'soft' or 'hard'", self.reset)
        require_parameter(self.tie in (">=", ">"), self, "tie", "'>=' or '>'", self.tie)
        require_parameter(bool(np.isfinite(self.v_reset)), self, "v_reset", "finite", self.v_reset)
        require_parameter(bool(np.isfinite(self.v_initial)), self, "v_initial", "finite", self.v_initial)

    def init(self, x: Tensor) -> MembraneState:
        return MembraneState(Tensor(np.full_like(x.data, self.v_initial)))

    def step(self, x: Tensor, state: MembraneState) -> tuple[Tensor, MembraneState]:
        h = state.v * self.beta + x
        s = Spike.apply(h, self.v_threshold, strict=self.tie == ">", surrogate=self.surrogate)
        gate = s.detach() if self.detach_reset else s
        v = h - gate * self.v_threshold if self.reset == "soft" else (1 - gate) * h + gate * self.v_reset
        return s, MembraneState(v)

    def sequence(self, x: Tensor, state: MembraneState, steps: int | None = None) -> tuple[Tensor, MembraneState]:
        final = _FinalMembrane()
        s = SpikeSequence.apply(x, state.v, self.beta, self.v_threshold, neuron=self, steps=steps, final=final)
        return s, MembraneState(FinalMembrane.apply(s, final=final))


class _FinalMembrane:
    """The second result of a SpikeSequence, v[T-1], and on the way back its gradient: a Function returns one array."""

    v: np.ndarray
    grad: np.ndarray | None = None


class SpikeSequence(Function):
    """All steps of a LIF in one kernel, equal to the unrolled steps in spikes, membranes and gradients.

    x [T, ...] (or [...] with `steps`, a current constant over time), v0 [...], beta [], v_threshold []
    -> s [T, ...], and v[T-1] in `final`. Of all it computed it keeps h alone; spikes and membranes follow from h.
    """

    def forward(
        ctx,
        x: np.ndarray,
        v0: np.ndarray,
        beta: np.ndarray,
        v_threshold: np.ndarray,
        *,
        neuron: LIF,
        steps: int | None,
        final: _FinalMembrane,
    ) -> np.ndarray:
        ctx.constant, ctx.final, ctx.surrogate = steps is not None, final, neuron.surrogate
        ctx.recurrence = (
            beta.item(),
            v_threshold.item(),
            neuron.v_reset,
            neuron.reset == "soft",
            neuron.tie == ">",
        )
        ctx.detach_reset = neuron.detach_reset
        x, steps = (x[None], steps) if ctx.constant else (x, len(x))
        keep_h = any(ctx.needs)
        s, h, final.v = kernels.run("lif_forward", x, v0, steps, *ctx.recurrence, keep_h)
        ctx.save(h, v0)
        return s

    def backward(ctx, grad: np.ndarray) -> tuple[np.ndarray | None, ...]:
        h, v0 = ctx.saved
        g_x, g_v0, g_beta, g_threshold = kernels.run(
            "lif_backward",
            grad,
            ctx.final.grad,
            h,
            v0,
            *ctx.recurrence,
            ctx.detach_reset,
            ctx.surrogate,
            ctx.constant,
            any(ctx.needs[2:]),
        )
        return g_x[0] if ctx.constant else g_x, g_v0, g_beta, g_threshold


class FinalMembrane(Function):
    """s [T, ...] -> the final membrane [...] of the call that made s; hands its gradient to that call.

    Because s is its input, the engine runs its backward before that of the SpikeSequence.
    """

    def forward(ctx, s: np.ndarray, *, final: _FinalMembrane) -> np.ndarray:
        ctx.final, ctx.shape = final, s.shape
        return final.v

    def backward(ctx, grad: np.ndarray) -> np.ndarray:
        ctx.final.grad = grad
        return np.broadcast_to(np.zeros((), grad.dtype), ctx.shape)  # nothing through the spikes, at no cost
