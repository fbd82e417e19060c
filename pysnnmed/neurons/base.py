"""What a neuron model is, and how it runs over time, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..errors import ParameterError, ShapeError
from ..tensor import Tensor


class Neuron:
    """A neuron model: parameters (a frozen dataclass), a NamedTuple state of Tensors, and one pure step.

        init(x)          -> state            before the first step; x is the input of one step, [B, C, *S]
        step(x, state)   -> (s, state)       one step: charge to h, fire s, reset to v; changes neither x nor state
        sequence(x, state, steps) -> (s, state)     all steps; a model with a fused kernel overrides it, and the result
                                                    and its gradients must be those of the steps

    The names are those of every neuron here: x input current, h potential after charging, s spikes, v potential after
    reset. Subclasses are registered by name, except `abstract` ones, and every test of neurons runs on every
    registered model: they are `testing.check_neuron`, and `laws` says which of its laws the model keeps, {name: bool},
    where not the default ones. `unit` is what one spike is worth in s: s / unit is a whole number of events.
    """

    registry: ClassVar[dict[str, type[Neuron]]] = {}
    laws: ClassVar[Mapping[str, bool]] = {}
    unit: float = 1.0
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if not abstract:
            Neuron.registry[cls.__name__] = cls

    def init(self, x: Tensor) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define init")

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    def sequence(self, x: Tensor, state: Any, steps: int | None = None) -> tuple[Tensor, Any]:
        return unroll(self, x, state, steps)


def unroll(neuron: Neuron, x: Tensor, state: Any = None, steps: int | None = None) -> tuple[Tensor, Any]:
    """Run `neuron` step by step. This is the specification of `run`.

    x [T, B, C, *S], or the current [B, C, *S] of every one of `steps` steps -> (spikes [T, B, C, *S], final state).
    `state` is the state to start from, `neuron.init` if omitted. Raises ParameterError for input that is not
    floating-point, holds NaN or has no steps, ShapeError for a state of another shape than the input of one step.
    """
    x, start = checked(neuron, x, state, steps)
    spikes, after = [], start
    for t in range(x.shape[0] if steps is None else steps):
        s, after = neuron.step(x[t] if steps is None else x, after)
        spikes.append(s)
    refuse_nan(neuron, x, start, after)
    return ops.stack(spikes), after


def checked(neuron: Neuron, x: Any, state: Any, steps: int | None) -> tuple[Tensor, Any]:
    """The input as a Tensor and the state to start from. Raises what `unroll` says."""
    name = type(neuron).__name__
    x = x if isinstance(x, Tensor) else Tensor(x)
    if x.dtype.kind != "f":
        raise ParameterError(f"{name}: the input must be floating-point, not {x.dtype}; convert it with astype")
    if steps is not None and steps < 1:
        raise ParameterError(f"{name}: the number of steps must be at least 1, not {steps}")
    if steps is None and (x.ndim == 0 or x.shape[0] == 0):
        raise ShapeError(
            f"{name}: expected x of shape [T, ...] with at least one step, got {x.shape}; "
            f"give the number of steps for a constant current"
        )
    one_step = x.shape if steps is not None else x.shape[1:]
    if state is None:
        first = Tensor(x.data if steps is not None else x.data[0])  # init looks at shape and type only
        return x, neuron.init(first)
    for field, value in zip(getattr(state, "_fields", ()), state, strict=False):
        if value.shape != one_step:
            raise ShapeError(
                f"{name}: the state {field} has shape {value.shape}, the input of one step {one_step}; "
                f"start from a fresh state when the input changes shape"
            )
        if value.dtype != x.dtype:
            raise ParameterError(
                f"{name}: the state {field} must have the type of the input, {x.dtype}, not {value.dtype}"
            )
    return x, state


def refuse_nan(neuron: Neuron, x: Tensor, start: Any, after: Any) -> None:
    """Raise ParameterError if a state became NaN. A NaN never leaves a membrane again, so the last one tells of all."""
    if not any(part.size and np.isnan(part.data.min()) for part in after):
        return
    name, n_bad = type(neuron).__name__, int(np.isnan(x.data).sum())
    if n_bad:
        raise ParameterError(
            f"{name}: the input must not hold NaN, as {n_bad} of its {x.size} values do; look for the first layer or "
            f"image that holds one"
        )
    culprit = "initial state" if any(np.isnan(part.data).any() for part in start) else "input, infinite somewhere,"
    raise ParameterError(f"{name}: the {culprit} makes the membrane NaN; give finite values")


def value_of(parameter: float | Tensor) -> float:
    """A scalar parameter as a number, learnable or not."""
    return float(parameter.item() if isinstance(parameter, Tensor) else parameter)


def require_parameter(holds: bool, neuron: Neuron, parameter: str, rule: str, value: object) -> None:
    """Raise ParameterError naming neuron, parameter, rule and value unless `holds`."""
    if not holds:
        raise ParameterError(f"{type(neuron).__name__}: {parameter} must be {rule}, not {value!r}")
