"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from . import kernels
from .errors import ParameterError, ShapeError
from .tensor import Function, Tensor


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running_mean: np.ndarray,
    running_variance: np.ndarray,
    training: bool,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta per channel of x [B, C, *S]; gamma, beta [C].

    training: mean and biased variance over batch and space of x itself (Ioffe and Szegedy 2015, algorithm 1), and the
    running estimates [C] are updated in place: running <- (1 - momentum) running + momentum batch, with the unbiased
    variance. Otherwise the running estimates stand in, as constants.
    """
    _require_channels(x, gamma, beta, running_mean, running_variance)
    if training and x.size < 2 * x.shape[1]:
        raise ShapeError(f"batch_norm: training needs more than one value per channel, got x of shape {x.shape}")
    if not epsilon > 0:
        raise ParameterError(f"batch_norm: epsilon must be positive, not {epsilon}")
    if not 0 <= momentum <= 1:
        raise ParameterError(f"batch_norm: momentum must be in [0, 1], not {momentum}")
    running = (running_mean, running_variance)
    return BatchNorm.apply(x, gamma, beta, running=running, training=training, momentum=momentum, epsilon=epsilon)


class BatchNorm(Function):
    """See batch_norm. `running`: (mean, variance), which training moves towards those of x."""

    def forward(ctx, x, gamma, beta, running, training, momentum, epsilon):
        ctx.moments = kernels.run("channel_moments", x) if training else running
        if training:
            mean, variance = ctx.moments
            n = x.size // x.shape[1]
            running[0][:] += momentum * (mean - running[0])
            running[1][:] += momentum * (variance * (n / (n - 1)) - running[1])
        ctx.training, ctx.epsilon = training, epsilon
        ctx.save(x, gamma)
        return kernels.run("batch_norm_forward", x, gamma, beta, *ctx.moments, epsilon)

    def backward(ctx, grad):
        return kernels.run("batch_norm_backward", grad, *ctx.saved, *ctx.moments, ctx.epsilon, ctx.training)


def _require_channels(x: Tensor, *per_channel: Tensor | np.ndarray) -> None:
    if x.ndim < 2 or x.dtype.kind != "f":
        raise ShapeError(f"batch_norm: x must be floating-point images [B, C, *S], not {x.dtype} of shape {x.shape}")
    names = ("gamma", "beta", "running_mean", "running_variance")
    for name, values in zip(names, per_channel, strict=True):
        if values.shape != x.shape[1:2]:
            raise ShapeError(
                f"batch_norm: x of shape {x.shape} needs {name} of shape {x.shape[1:2]}, got {values.shape}"
            )
