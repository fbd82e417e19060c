"""Batch normalisation, and folding it into the convolution before it."""

from __future__ import annotations

import copy
from typing import TypeVar

import numpy as np

from ..errors import ShapeError
from ..normalize import batch_norm
from ..tensor import Tensor
from .conv import Conv, ConvTranspose
from .module import Buffer, Module, Parameter


class BatchNorm(Module):
    """Normalise each channel: y = gamma (x - mean) / sqrt(variance + epsilon) + beta, x [B, C, *S]. See normalize.

    In training, mean and variance are those of the batch and the running statistics move by `momentum` towards them;
    in eval() they are the running statistics. Ioffe and Szegedy 2015, algorithm 1.
    Raises ShapeError if axis 1 of x does not have `channels` elements.
    """

    def __init__(self, channels: int, momentum: float = 0.1, epsilon: float = 1e-5):
        self.channels, self.momentum, self.epsilon = channels, momentum, epsilon
        self.gamma = Parameter(np.ones(channels, np.float32))
        self.beta = Parameter(np.zeros(channels, np.float32))
        self.running_mean = Buffer(np.zeros(channels, np.float32))
        self.running_variance = Buffer(np.ones(channels, np.float32))
        self.frozen = False

    def freeze(self) -> None:
        """Keep statistics, gamma and beta as they are, in training too: what fine-tuning after conversion does."""
        self.frozen = True
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 2 or x.shape[1] != self.channels:
            raise ShapeError(f"{self.label}: expected x of shape [B, C={self.channels}, *S], got {x.shape}")
        return batch_norm(
            x,
            self.gamma,
            self.beta,
            self.running_mean.data,
            self.running_variance.data,
            self.training and not self.frozen,
            self.momentum,
            self.epsilon,
        )

    @property
    def scale(self) -> np.ndarray:
        """gamma / sqrt(running variance + epsilon) [C]: what inference multiplies each channel by."""
        return self.gamma.data / np.sqrt(self.running_variance.data + self.epsilon)

    def describe(self) -> str:
        return f"{self.channels}"


AnyConv = TypeVar("AnyConv", Conv, ConvTranspose)


def fold_batch_norm(conv: AnyConv, norm: BatchNorm) -> AnyConv:
    """A new layer that computes norm(conv(x)) of the inference mode in one step; the two given stay as they are.

    With k = gamma / sqrt(running variance + epsilon) per output channel:  weight <- k weight,
    bias <- k (bias - running mean) + beta. The output channels are axis 0 of the weight of a convolution, and, within
    each group, axis 1 of that of a transposed one. Raises ShapeError if the numbers of channels differ.
    """
    if norm.channels != conv.out_channels:
        raise ShapeError(
            f"fold_batch_norm: {norm.label} has {norm.channels} channels, {conv.label} has {conv.out_channels} outputs"
        )
    weight = conv.weight.data
    bias = 0 if conv.bias is None else conv.bias.data
    k = norm.scale
    if isinstance(conv, ConvTranspose):
        # [C, O / groups]: the row of an input channel holds the factors of the outputs of its group
        per_weight = np.repeat(k.reshape(conv.groups, -1), conv.in_channels // conv.groups, axis=0)
    else:
        per_weight = k[:, None]
    folded = copy.copy(conv)
    folded.weight = Parameter(weight * per_weight.reshape(*per_weight.shape, *[1] * conv.ndim))
    folded.bias = Parameter((bias - norm.running_mean.data) * k + norm.beta.data)
    return folded
