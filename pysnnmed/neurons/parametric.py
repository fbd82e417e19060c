"""Parametric neurons: the leak and the threshold of any neuron as functions of numbers that may take any value."""

from __future__ import annotations

import dataclasses
import math
from typing import TypeVar

from .. import ops
from ..errors import ParameterError
from ..tensor import Tensor
from .base import Neuron

Model = TypeVar("Model", bound=Neuron)

SMALLEST_THRESHOLD = 1e-3  # a learnt threshold stays above this
LARGEST_LEARNT_LEAK = 0.999  # where learning starts from a beta of 1, which no finite sigmoid reaches
SMALLEST_LEARNT_LEAK = 0.001


def parametric(neuron: Model, leak_logit: Tensor | None = None, threshold_raw: Tensor | None = None) -> Model:
    """`neuron` with beta = sigmoid(leak_logit) and v_threshold = softplus(threshold_raw) + 1e-3, where they are given.

    Both stay valid whatever an optimiser does to the scalars [] behind them, and carry gradients to them: with LIF this
    is the parametric LIF. `nn.Spiking` holds such scalars for a layer. Fang et al. 2021, "Incorporating learnable
    membrane time constant to enhance learning of spiking neural networks", section 4.1.
    """
    learnt = {}
    if leak_logit is not None:
        learnt["beta"] = ops.sigmoid(leak_logit)
    if threshold_raw is not None:
        learnt["v_threshold"] = ops.softplus(threshold_raw) + SMALLEST_THRESHOLD
    return dataclasses.replace(neuron, **learnt)


def leak_logit(beta: float) -> float:
    """The inverse: where learning starts from beta, 0.999 at most and 0.001 at least."""
    beta = min(max(beta, SMALLEST_LEARNT_LEAK), LARGEST_LEARNT_LEAK)
    return math.log(beta / (1 - beta))


def threshold_raw(v_threshold: float, owner: str = "parametric") -> float:
    """The inverse: where learning starts from a threshold. ParameterError, naming `owner`, for one of 1e-3 or less."""
    if v_threshold <= SMALLEST_THRESHOLD:
        raise ParameterError(
            f"{owner}: a learnt v_threshold must start above {SMALLEST_THRESHOLD}, not at {v_threshold}"
        )
    excess = v_threshold - SMALLEST_THRESHOLD
    return excess + math.log(-math.expm1(-excess))  # log(exp(excess) - 1) without overflow
