"""Self-attention of conventional networks: for teachers, which train a spiking network and never run beside it."""

from __future__ import annotations

import math

import numpy as np

from ... import ops
from ...decomposition import Axis
from ...errors import ParameterError, ShapeError
from ...tensor import Tensor
from ..conv import Conv
from ..module import Module
from ..norm import BatchNorm
from .tokens import require_heads, to_maps, to_tokens


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """softmax(scale Q K^T) V over the tokens, q and k [..., N, C], v [..., N, Cv] -> [..., N, Cv].

    scale None: 1 / sqrt(C). Vaswani et al. 2017, equation 1.
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return ops.softmax(q @ ops.swapaxes(k, -1, -2) * scale, axis=-1) @ v


class SoftmaxSelfAttention(Module):
    """x [B, C, *S] -> x + BN(1x1(attention)), with Q, K, V = BN(conv(x)), real numbers. See softmax_attention.

    axis "channel" lets the channels of a head attend to each other: the scores are C / heads x C / heads, and scaled by
    1 / sqrt(N). `kernel_size` and `depthwise` are those of the convolutions that make Q, K and V; without `shortcut`
    the result is that of the last norm alone. Raises ShapeError for x of other channels or axes.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        heads: int = 4,
        *,
        axis: Axis = "token",
        kernel_size: int = 1,
        depthwise: bool = False,
        shortcut: bool = True,
        rng: np.random.Generator,
    ):
        require_heads("SoftmaxSelfAttention", channels, heads)
        if axis not in ("token", "channel"):
            raise ParameterError(f"SoftmaxSelfAttention: axis must be 'token' or 'channel', not {axis!r}")
        if kernel_size % 2 != 1:
            raise ParameterError(f"SoftmaxSelfAttention: kernel_size must be odd, not {kernel_size}")
        self.ndim, self.channels, self.heads, self.axis, self.shortcut = ndim, channels, heads, axis, shortcut
        groups, padding = channels if depthwise else 1, kernel_size // 2
        self.convs = [
            Conv(ndim, channels, channels, kernel_size, padding=padding, groups=groups, bias=False, rng=rng)
            for _ in "qkv"
        ]
        self.norms = [BatchNorm(channels) for _ in "qkv"]
        self.out, self.out_norm = Conv(ndim, channels, channels, 1, bias=False, rng=rng), BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != self.ndim + 2 or x.shape[1] != self.channels:
            raise ShapeError(
                f"{self.label}: expected x of shape [B, C={self.channels}, {self.ndim} spatial axes], got {x.shape}"
            )
        operands = (norm(conv(x)) for conv, norm in zip(self.convs, self.norms, strict=True))
        q, k, v = (to_tokens(operand, self.heads, self.ndim) for operand in operands)
        if self.axis == "channel":
            q, k, v = (ops.swapaxes(operand, -1, -2) for operand in (q, k, v))
        mixed = softmax_attention(q, k, v)
        if self.axis == "channel":
            mixed = ops.swapaxes(mixed, -1, -2)
        out = self.out_norm(self.out(to_maps(mixed, x.shape[2:])))
        return x + out if self.shortcut else out

    def describe(self) -> str:
        return f"{self.ndim}d, {self.channels} channels, {self.heads} heads, {self.axis} axis"
