"""Running a neuron over time, fused where its model has a kernel, with checkpoints where memory is short."""

from __future__ import annotations

import math
from typing import Any, Literal

from ..tensor import Tensor
from .base import Neuron, checked, refuse_nan, require_parameter
from .checkpoints import run_in_segments


def run(
    neuron: Neuron,
    x: Tensor,
    state: Any = None,
    steps: int | None = None,
    checkpoints: int | Literal["sqrt"] | None = None,
) -> tuple[Tensor, Any]:
    """As `unroll`, in one fused kernel where the neuron has one. Same arguments, results, gradients and errors.

    With `checkpoints` = n, what backpropagation needs of the steps is not kept but computed again on the way back, in
    n segments of time from the n states at their starts: memory for n states and one segment instead of for all T
    steps, for one more forward pass. "sqrt" takes the least memory, sqrt(T) segments of sqrt(T) steps
    (Chen et al. 2016, "Training deep nets with sublinear memory cost", section 4).
    """
    x, start = checked(neuron, x, state, steps)
    total = len(x) if steps is None else steps
    segments = math.isqrt(total - 1) + 1 if checkpoints == "sqrt" else checkpoints
    if segments is None:
        s, after = neuron.sequence(x, start, steps)
    else:
        require_parameter(1 <= segments <= total, neuron, "checkpoints", f"'sqrt' or in 1..{total}", checkpoints)
        s, after = run_in_segments(neuron, x, start, steps, -(-total // segments))
    refuse_nan(neuron, x, start, after)
    return s, after
