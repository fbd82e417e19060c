"""Time: a neuron as a layer, and layers without memory applied at every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..errors import ParameterError, ShapeError
from ..neurons import LIF, Neuron, run
from ..neurons.base import value_of
from ..neurons.parametric import leak_logit, parametric, threshold_raw
from ..tensor import Tensor
from .module import Buffer, Module, Parameter


class Spiking(Module):
    """A neuron over time: x [T, B, C, *S] -> spikes [T, B, C, *S], starting from `neuron.init` at every call.

    With `steps`, x is the current [B, C, *S] of every one of that many steps: a layer whose input does not change over
    time computes its current once. See neurons.lif for the equations.

    `learn_leak` and `learn_threshold` make beta and v_threshold of the neuron learnable: the parameters `leak_logit`
    and `threshold_raw`, one scalar each, make the neuron a parametric one (see neurons.parametric), whose beta and
    v_threshold stay valid whatever the optimiser does. They start at the values of `neuron`; a learnt beta starts at
    0.999 at most and 0.001 at least.
    `store_threshold` keeps the threshold, where it is not learnt, in the state of the module under its own name.
    Raises ParameterError for a neuron that does not have the parameter to be learnt, or a threshold below 1e-3.
    """

    def __init__(
        self,
        neuron: Neuron | None = None,
        *,
        learn_leak: bool = False,
        learn_threshold: bool = False,
        store_threshold: bool = False,
    ):
        self.neuron = LIF() if neuron is None else neuron
        self.leak_logit = self.threshold_raw = self.v_threshold = None
        if learn_leak:
            self.leak_logit = Parameter(np.float32(leak_logit(self._initial("beta"))))
        if learn_threshold:
            self.threshold_raw = Parameter(np.float32(threshold_raw(self._initial("v_threshold"), self.label)))
        elif store_threshold:
            self.v_threshold = Buffer(np.float32(self._initial("v_threshold")))

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        spikes, _ = run(self.current_neuron(), x, steps=steps)
        return spikes

    def current_neuron(self) -> Neuron:
        """The neuron with the learnt parameters in place of the initial ones, as Tensors that carry gradients."""
        neuron = parametric(self.neuron, self.leak_logit, self.threshold_raw)
        if self.v_threshold is None:
            return neuron
        return dataclasses.replace(neuron, v_threshold=float(self.v_threshold.data))

    def set_threshold(self, value: float) -> None:
        """Let the layer fire at `value`, and learn from there if it learns its threshold.

        Raises ParameterError for a value that no threshold has, or a threshold neither learnt nor stored.
        """
        if self.threshold_raw is not None:
            self.threshold_raw.data = np.asarray(threshold_raw(value, self.label), self.threshold_raw.dtype)
        elif self.v_threshold is not None and 0 < value < np.inf:
            self.v_threshold.data = np.asarray(value, self.v_threshold.dtype)
        else:
            raise ParameterError(
                f"{self.label}: the threshold must be learnt or stored, and positive and finite, to be set to {value}"
            )

    def describe(self) -> str:
        current = self.current_neuron()
        learnt = {"beta": self.leak_logit, "v_threshold": self.threshold_raw}
        values = {name: value_of(getattr(current, name)) for name, raw in learnt.items() if raw is not None}
        return repr(self.neuron) + "".join(f", learnt {name} {value:.4g}" for name, value in values.items())

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
