"""Normalisation over batch and space, per channel: the reference."""

from __future__ import annotations

import numpy as np


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean [C], biased variance [C]) of x [B, C, *S] over batch and space, in float64."""
    axes = _all_but_channels(x)
    mean = x.mean(axis=axes, dtype=np.float64)
    return mean, np.square(x - _spread(mean, x)).mean(axis=axes)


def batch_norm_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float
) -> np.ndarray:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, per channel of x [B, C, *S]; the others [C]."""
    scale = gamma / np.sqrt(variance + epsilon)
    return (x - _spread(mean, x, x.dtype)) * _spread(scale, x, x.dtype) + _spread(beta, x, x.dtype)


def batch_norm_backward(
    grad: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    training: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of `batch_norm_forward` -> (to x [B, C, *S], to gamma [C], to beta [C]).

    training: mean and variance are those of x itself, so they depend on it:
    grad_x = gamma / sqrt(variance + epsilon) (g - <g> - z <g z>) with z the normalised x and means over batch and space
    (Ioffe and Szegedy 2015, section 3). Otherwise they are constants and only the first term remains.
    """
    axes = _all_but_channels(x)
    inverse = 1 / np.sqrt(variance + epsilon)
    z = (x - _spread(mean, x, x.dtype)) * _spread(inverse, x, x.dtype)
    sum_g = grad.sum(axis=axes, dtype=np.float64)
    sum_gz = (grad * z).sum(axis=axes, dtype=np.float64)
    to_x = grad
    if training:
        n = x.size // x.shape[1]
        to_x = to_x - _spread(sum_g / n, x, x.dtype) - z * _spread(sum_gz / n, x, x.dtype)
    return to_x * _spread(gamma * inverse, x, x.dtype), sum_gz.astype(gamma.dtype), sum_g.astype(gamma.dtype)


def _all_but_channels(x):
    return (0, *range(2, x.ndim))


def _spread(per_channel, x, dtype=None):
    """[C] with the axes of x [B, C, *S]."""
    return per_channel.astype(dtype or per_channel.dtype).reshape(-1, *[1] * (x.ndim - 2))
