"""Time: a neuron as a layer, and layers without memory applied at every step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..errors import ParameterError, ShapeError
from ..neurons import LIF, Neuron, run
from ..neurons.base import value_of
from ..tensor import Tensor
from .module import Module, Parameter

SMALLEST_THRESHOLD = 1e-3  # a learnt threshold stays above this
LARGEST_LEARNT_LEAK = 0.999  # where learning starts from a beta of 1, which no finite sigmoid reaches
SMALLEST_LEARNT_LEAK = 0.001


class Spiking(Module):
    """A neuron over time: x [T, B, C, *S] -> spikes [T, B, C, *S], starting from `neuron.init` at every call.

    With `steps`, x is the current [B, C, *S] of every one of that many steps: a layer whose input does not change over
    time computes its current once. See neurons.lif for the equations.

    `learn_leak` and `learn_threshold` make beta and v_threshold of the neuron learnable, one scalar each, in a form
    that keeps them valid whatever the optimiser does: beta = sigmoid(`leak_logit`) lies in (0, 1), and
    v_threshold = softplus(`threshold_raw`) + 1e-3 is positive. They start at the values of `neuron`; a learnt beta
    starts at 0.999 at most and 0.001 at least. Learnable leak: Fang et al. 2021 (PLIF).
    Raises ParameterError for a neuron that does not have the parameter to be learnt, or a threshold below 1e-3.
    """

    def __init__(self, neuron: Neuron | None = None, *, learn_leak: bool = False, learn_threshold: bool = False):
        self.neuron = LIF() if neuron is None else neuron
        self.leak_logit = self.threshold_raw = None
        if learn_leak:
            beta = min(max(self._initial("beta"), SMALLEST_LEARNT_LEAK), LARGEST_LEARNT_LEAK)
            self.leak_logit = Parameter(np.float32(math.log(beta / (1 - beta))))
        if learn_threshold:
            threshold = self._initial("v_threshold")
            if threshold <= SMALLEST_THRESHOLD:
                raise ParameterError(
                    f"{self.label}: a learnt v_threshold must start above {SMALLEST_THRESHOLD}, not at {threshold}"
                )
            excess = threshold - SMALLEST_THRESHOLD
            # the inverse of softplus, log(exp(y) - 1), without overflow
            self.threshold_raw = Parameter(np.float32(excess + math.log(-math.expm1(-excess))))

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        spikes, _ = run(self.current_neuron(), x, steps=steps)
        return spikes

    def current_neuron(self) -> Neuron:
        """The neuron with the learnt parameters in place of the initial ones, as Tensors that carry gradients."""
        return dataclasses.replace(self.neuron, **self._learnt())

    def describe(self) -> str:
        learnt = self._learnt()
        return repr(self.neuron) + "".join(f", learnt {name} {value.item():.4g}" for name, value in learnt.items())

    def _learnt(self) -> dict[str, Tensor]:
        learnt = {}
        if self.leak_logit is not None:
            learnt["beta"] = ops.sigmoid(self.leak_logit)
        if self.threshold_raw is not None:
            learnt["v_threshold"] = ops.softplus(self.threshold_raw) + SMALLEST_THRESHOLD
        return learnt

    def _initial(self, parameter: str) -> float:
        """The value of a parameter of the neuron that can be replaced by a learnt one."""
        if parameter not in {field.name for field in dataclasses.fields(self.neuron) if field.init}:
            raise ParameterError(
                f"{self.label}: {type(self.neuron).__name__} has no {parameter} to learn; "
                f"use a neuron with this parameter, such as LIF"
            )
        return value_of(getattr(self.neuron, parameter))


def over_time(layer: Callable[..., Any], x: Tensor) -> Tensor:
    """Apply a layer without memory at every time step: x [T, B, ...] is folded to [T B, ...] and back.

    Batch normalisation then takes its statistics over time and batch together. Raises ShapeError below two axes.
    """
    if x.ndim < 2:
        raise ShapeError(f"over_time: expected x of shape [T, B, ...], got {x.shape}")
    out = layer(ops.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])))
    return ops.reshape(out, (*x.shape[:2], *out.shape[1:]))
