"""All time steps of a neuron with one membrane in one kernel, and how a Function hands out more than one result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import kernels
from ..tensor import Function, Tensor
from .firing import SpikeFunction


class Final:
    """The state after the last step, and on the way back its gradients: a Function returns one array, the spikes."""

    def __init__(self) -> None:
        self.values: list[np.ndarray] = []
        self.grads: dict[int, np.ndarray] = {}

    def after(self, s: Tensor) -> list[Tensor]:
        """The parts of the final state as results of the call that made the spikes s."""
        parts = [FinalState.apply(s, final=self, index=i) for i in range(len(self.values))]
        self.values = []  # theirs alone from here on, so that a state nobody keeps needs no memory
        return parts


class FinalState(Function):
    """s [T, ...] -> part `index` of the final state [...] of the call that made s; hands its gradient to that call.

    Because s is its input, the engine runs its backward before that of the call.
    """

    def forward(ctx, s: np.ndarray, *, final: Final, index: int) -> np.ndarray:
        ctx.final, ctx.index, ctx.shape = final, index, s.shape
        return final.values[index]

    def backward(ctx, grad: np.ndarray) -> np.ndarray:
        ctx.final.grads[ctx.index] = grad
        return np.broadcast_to(np.zeros((), grad.dtype), ctx.shape)  # nothing through the spikes, at no cost


@dataclass(frozen=True)
class Rule:
    """How a neuron with one membrane fires and is reset, apart from its learnable numbers: see canonical.Canonical."""

    firing: SpikeFunction
    soft: bool
    v_reset: float
    detach_reset: bool


class SpikeSequence(Function):
    """All steps of a neuron in canonical form in one kernel, equal to the unrolled steps in results and gradients.

    x [T, ...] (or [...] with `steps`, a current constant over time), v0 [...], beta [], v_threshold [], amount []
    -> s [T, ...], and v[T-1] in `final`. It keeps its inputs only: the way back computes h again, a block of neurons
    at a time, which costs less than writing h to memory and reading it.
    """

    def forward(
        ctx,
        x: np.ndarray,
        v0: np.ndarray,
        beta: np.ndarray,
        v_threshold: np.ndarray,
        amount: np.ndarray,
        *,
        rule: Rule,
        steps: int | None,
        final: Final,
    ) -> np.ndarray:
        ctx.constant, ctx.final, ctx.detach_reset = steps is not None, final, rule.detach_reset
        x, steps = (x[None], steps) if steps is not None else (x, len(x))
        numbers = beta.item(), v_threshold.item(), amount.item()
        ctx.recurrence = *numbers, rule.v_reset, rule.soft, rule.firing
        s, v_last = kernels.run("lif_forward", x, v0, steps, *ctx.recurrence)
        final.values = [v_last]
        ctx.save(x, v0)
        return s

    def backward(ctx, grad: np.ndarray) -> tuple[np.ndarray | None, ...]:
        x, v0 = ctx.saved
        options = ctx.detach_reset, any(ctx.needs[2:]), ctx.needs[1]
        g_x, *others = kernels.run("lif_backward", grad, ctx.final.grads.get(0), x, v0, *ctx.recurrence, *options)
        return g_x[0] if ctx.constant else g_x, *others
