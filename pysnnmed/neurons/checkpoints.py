"""Backpropagation through time in segments: memory for a few states instead of for all steps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tensor import Function, Tensor
from .fused import Final

if TYPE_CHECKING:
    from .base import Neuron


def run_in_segments(neuron: Neuron, x: Tensor, state: Any, steps: int | None, length: int) -> tuple[Tensor, Any]:
    """`neuron.sequence` in segments of `length` steps, of which only the states at their starts are kept."""
    values = {field.name: getattr(neuron, field.name) for field in dataclasses.fields(neuron)}
    learnt = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    final = Final()
    segments = Segments(neuron, type(state), tuple(learnt), steps, length)
    s = SegmentedSequence.apply(x, *state, *learnt.values(), segments=segments, final=final)
    return s, type(state)(*final.after(s))


@dataclasses.dataclass(frozen=True)
class Segments:
    """What a SegmentedSequence runs: its arrays are x, the parts of the state, and the learnt parameters."""

    neuron: Neuron
    kind_of_state: Any
    learnt: tuple[str, ...]
    steps: int | None
    length: int

    def starts(self, x: np.ndarray) -> range:
        return range(0, len(x) if self.steps is None else self.steps, self.length)

    def at(self, start: int, x: np.ndarray) -> slice:
        """The steps of the segment."""
        return slice(start, min(start + self.length, self.starts(x).stop))

    def run(self, x: Tensor, state: list[Tensor], learnt: list[Tensor], n_steps: int) -> tuple[Tensor, list[Tensor]]:
        neuron = dataclasses.replace(self.neuron, **dict(zip(self.learnt, learnt, strict=True)))
        s, after = neuron.sequence(x, self.kind_of_state(*state), None if self.steps is None else n_steps)
        return s, list(after)


class SegmentedSequence(Function):
    """A neuron over time that keeps the states at the starts of the segments, and computes the rest twice.

    x [T, ...] (or [...] if constant), the parts of the state [...], learnt parameters [] -> s [T, ...], and the last
    state in `final`.
    """

    def forward(ctx, x: np.ndarray, *others: np.ndarray, segments: Segments, final: Final) -> np.ndarray:
        n_parts = len(others) - len(segments.learnt)
        state, learnt = [Tensor(a) for a in others[:n_parts]], [Tensor(a) for a in others[n_parts:]]
        starts, spikes = [], []
        for start in segments.starts(x):
            starts.append([part.data for part in state])
            at = segments.at(start, x)
            part_of_x = Tensor(x[at] if segments.steps is None else x)
            s, state = segments.run(part_of_x, state, learnt, at.stop - at.start)
            spikes.append(s.data)
        final.values = [part.data for part in state]
        ctx.segments, ctx.final, ctx.n_parts = segments, final, n_parts
        ctx.save(x, learnt, *(part for parts in starts for part in parts))
        return np.concatenate(spikes)

    def backward(ctx, grad: np.ndarray) -> tuple[np.ndarray, ...]:
        segments = ctx.segments
        x, learnt, *parts = ctx.saved
        n_parts = ctx.n_parts
        g_x = np.zeros_like(x)
        g_state = [ctx.final.grads.get(i, np.zeros_like(part)) for i, part in enumerate(parts[:n_parts])]
        parameters = [Tensor(p.data, requires_grad=True) for p in learnt]
        for i, start in reversed(list(enumerate(segments.starts(x)))):
            at = segments.at(start, x)
            here = at if segments.steps is None else ...
            current = Tensor(x[here], requires_grad=True)
            state = [Tensor(part, requires_grad=True) for part in parts[i * n_parts : (i + 1) * n_parts]]
            s, after = segments.run(current, state, parameters, at.stop - at.start)
            total = (s * grad[at]).sum()
            for part, g in zip(after, g_state, strict=True):
                total = total + (part * g).sum()
            total.backward()
            g_x[here] += current.grad
            g_state = [part.grad if part.grad is not None else np.zeros_like(part.data) for part in state]
        return g_x, *g_state, *(p.grad for p in parameters)
