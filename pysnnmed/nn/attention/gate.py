"""Neurons that sums over tokens or channels reach: those which gate the spikes of other neurons."""

from __future__ import annotations

from ... import ops
from ...neurons import Neuron
from ...tensor import Tensor
from ..module import Module
from ..norm import BatchNorm
from ..spiking import Spiking


class NormedGate(Module):
    """Sums -> batch norm -> neurons: x [T, B, ...] -> spikes of that shape.

    Of the axes after B the first elements are `channels`, those behind them places. The gates of the papers have no
    norm, and stand behind sums over some hundred tokens; over tens of thousands every sum is so far above any threshold
    that all neurons fire and no gradient passes.
    """

    def __init__(self, channels: int, neuron: Neuron):
        self.norm = BatchNorm(channels)
        self.neuron = Spiking(neuron)

    def forward(self, x: Tensor) -> Tensor:
        folded = ops.reshape(x, (x.shape[0] * x.shape[1], self.norm.channels, -1))
        return self.neuron(ops.reshape(self.norm(folded), x.shape))
