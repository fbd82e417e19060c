"""What stands before and after every attention: convolution, batch norm, neurons, at every step."""

from __future__ import annotations

import numpy as np

from ...errors import ParameterError
from ...neurons import Neuron
from ...tensor import Tensor
from ..conv import Conv
from ..module import Module
from ..norm import BatchNorm
from ..spiking import Spiking, over_time


class Projection(Module):
    """Convolution that keeps the size -> batch norm -> neuron. x [T, B, C, *S] -> spikes [T, B, O, *S].

    kernel_size 1 mixes the channels of a token, as in Spikformer; a `depthwise` kernel of size 3 mixes its neighbours
    within a channel, as in MedSpikeFormer; with kernel_size None there is no convolution. Without a neuron the result
    is the normalised current. The norm takes away a bias of the convolution, which therefore has none unless asked for.
    Raises ParameterError for an even kernel, or where the number of channels would have to change and cannot.
    """

    def __init__(
        self,
        ndim: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int | None = 1,
        *,
        depthwise: bool = False,
        bias: bool = False,
        neuron: Neuron | None = None,
        rng: np.random.Generator,
    ):
        if kernel_size is not None and kernel_size % 2 != 1:
            raise ParameterError(f"Projection: kernel_size must be odd, to keep the size, not {kernel_size}")
        if (depthwise or kernel_size is None) and in_channels != out_channels:
            raise ParameterError(
                f"Projection: without a convolution, or with a depthwise one, {in_channels} channels stay, and do not "
                f"become {out_channels}"
            )
        self.conv = None
        if kernel_size is not None:
            groups, padding = in_channels if depthwise else 1, kernel_size // 2
            self.conv = Conv(
                ndim, in_channels, out_channels, kernel_size, padding=padding, groups=groups, bias=bias, rng=rng
            )
        self.norm = BatchNorm(out_channels)
        self.neuron = None if neuron is None else Spiking(neuron)

    def forward(self, x: Tensor) -> Tensor:
        current = over_time(self.current, x)
        return current if self.neuron is None else self.neuron(current)

    def current(self, frames: Tensor) -> Tensor:
        """One step: x [B, C, *S] -> [B, O, *S]."""
        return self.norm(frames if self.conv is None else self.conv(frames))
