"""Comparing analytic gradients with central differences along random directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..tensor import Function, Tensor


class GradientMismatch(AssertionError):
    """An analytic gradient differs from central differences."""


def check_gradient(
    function: type[Function] | Callable[..., Tensor],
    arrays: Sequence[np.ndarray],
    options: Mapping[str, Any] | None = None,
    *,
    epsilon: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    directions: int = 3,
    seed: int = 0,
) -> None:
    """Check <w, J d> = (<w, f(x + eps d)> - <w, f(x - eps d)>) / (2 eps) for every input x of `function`.

    `function` is a Function class or a function of Tensors that returns a Tensor; `arrays` are its inputs in float64.
    w and the directions d are standard normal, drawn from `seed`. The error allowed is atol + rtol |J| |d|, the sum of
    absolute terms, so that cancellation in the sum is not held against the gradient. Raises GradientMismatch naming
    function and input.
    """
    call: Callable[..., Any] = getattr(function, "apply", function)
    options = dict(options or {})
    name = getattr(function, "__name__", repr(function))
    for i, a in enumerate(arrays):
        if a.dtype != np.float64:
            raise ParameterError(f"check_gradient({name}): input {i} must be float64, not {a.dtype}")
    rng = np.random.default_rng(seed)
    tensors = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    out = call(*tensors, **options)
    weight = rng.normal(size=out.shape)
    out.backward(weight)
    for i, tensor in enumerate(tensors):
        analytic = np.zeros_like(arrays[i]) if tensor.grad is None else tensor.grad
        for _ in range(directions):
            d = rng.normal(size=arrays[i].shape)

            def along(step: float, i: int = i, d: np.ndarray = d) -> float:
                moved = [Tensor(a + step * d if j == i else a) for j, a in enumerate(arrays)]
                return float((call(*moved, **options).data * weight).sum())

            numeric = (along(epsilon) - along(-epsilon)) / (2 * epsilon)
            claimed = float((analytic * d).sum())
            scale = float(np.abs(analytic * d).sum())
            if not abs(claimed - numeric) <= atol + rtol * max(abs(numeric), scale):
                raise GradientMismatch(
                    f"{name}: the gradient of input {i} gives {claimed:.10g} along a random direction, "
                    f"central differences give {numeric:.10g}"
                )
