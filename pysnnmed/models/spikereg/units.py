"""A layer of each network: a convolution and what follows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ... import conv as convolution
from ... import ops
from ...neurons import LIF, run
from ...neurons.presets import spikereg
from ...neurons.winners import WinnersLIF
from ...nn import BatchNorm, Conv, ConvTranspose, Module, Spiking, over_time
from ...tensor import Tensor
from .table import Layer, SpikeRegConfig


def convolution_of(layer: Layer, in_channels: int, ndim: int, rng: np.random.Generator) -> Conv | ConvTranspose:
    """The convolution of a layer of the table, untrained."""
    kind = ConvTranspose if layer.transposed else Conv
    return kind(ndim, in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, rng=rng)


class AnalogUnit(Module):
    """Convolution -> batch norm -> ReLU, or LeakyReLU of the slope given. x [B, C, *S] -> [B, O, *S']"""

    def __init__(self, conv: Conv | ConvTranspose, norm: BatchNorm, negative_slope: float = 0.0):
        self.conv, self.norm, self.negative_slope = conv, norm, negative_slope

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return ops.leaky_relu(x, self.negative_slope) if self.negative_slope else ops.relu(x)


class SpikingUnit(Module):
    """Synapses (a convolution) and the neurons they feed.

    frames [T, B, C1, *S] and rate [B, C2, *S], one of which may be missing -> spikes [T, B, O, *S'].
    The part of the current that is constant over time is computed once: convolution is linear.

    With a second population `negative`, of opposite current, its spikes are the channels O to 2 O.
    """

    def __init__(self, conv: Conv | ConvTranspose, neuron: Spiking, negative: Spiking | None = None):
        self.conv, self.neuron, self.negative = conv, neuron, negative

    def forward(self, frames: Tensor | None, rate: Tensor | None, steps: int) -> Tensor:
        if frames is None:
            return self._fired(self.conv(rate), steps)
        if rate is None:
            return self._fired(over_time(self.conv, frames))
        constant, over_frames = split_convolution(self.conv, frames.shape[2], rate)
        return self._fired(over_time(over_frames, frames) + constant)

    def _fired(self, current: Tensor, steps: int | None = None) -> Tensor:
        spikes = self.neuron(current, steps=steps)
        if self.negative is None:
            return spikes
        return ops.concatenate([spikes, self.negative(current, steps=steps)], axis=2)


class NormedUnit(Module):
    """Convolution -> batch norm -> neurons, one step after another, as the authors' code runs them.

    frames [T, B, C1, *S] and rate [B, C2, *S], one of which may be missing -> spikes [T, B, O, *S']. Only one step of
    currents is in memory, and without gradients one of spikes besides what is returned. In training, batch norm takes
    the statistics of each step; `BatchNorm.freeze` makes it keep those of the teacher.
    """

    def __init__(self, conv: Conv | ConvTranspose, norm: BatchNorm, neuron: Spiking):
        self.conv, self.norm, self.neuron = conv, norm, neuron

    def forward(self, frames: Tensor | None, rate: Tensor | None, steps: int) -> Tensor:
        if frames is None:
            return self.neuron(self.norm(self.conv(rate)), steps=steps)
        over_frames: Callable[[Tensor], Tensor] = self.conv
        constant = None
        if rate is not None:
            constant, over_frames = split_convolution(self.conv, frames.shape[2], rate)
        neuron, state, fired = self.neuron.current_neuron(), None, []
        spikes: np.ndarray | None = None
        for t in range(steps):
            current = over_frames(frames[t])
            current = self.norm(current if constant is None else current + constant)
            s, state = run(neuron, current, state, steps=1)
            if s.requires_grad:
                fired.append(s)
                continue
            if spikes is None:
                spikes = np.empty((steps, *s.shape[1:]), s.dtype)
            spikes[t] = s.data[0]
        return ops.concatenate(fired, axis=0) if spikes is None else Tensor(spikes)


def split_convolution(
    conv: Conv | ConvTranspose, n_frames: int, rate: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """(what a convolution gives for `rate` and its bias, the one over the first `n_frames` channels without bias)."""
    over_rate, bias = conv.weight[:, n_frames:], conv.bias
    constant = convolution.conv(rate, over_rate, bias, conv.stride, conv.padding)
    over_frames = conv.weight[:, :n_frames]
    return constant, lambda x: convolution.conv(x, over_frames, None, conv.stride, conv.padding)


def spiking_unit(
    layer: Layer, in_channels: int, config: SpikeRegConfig, rng: np.random.Generator
) -> SpikingUnit | NormedUnit:
    """The layer of the spiking network that the table and the mode ask for, untrained."""
    conv = convolution_of(layer, in_channels, config.ndim, rng)
    learnt = {"learn_leak": config.learn_leak, "learn_threshold": config.learn_threshold}
    if config.mode == "paper":
        neuron, winners = spikereg(tau=config.leak_of(layer.name)), config.winners_of(layer.name)
        if winners < 1:
            neuron = WinnersLIF(
                **{f.name: getattr(neuron, f.name) for f in dataclasses.fields(neuron)}, winners=winners
            )
        return NormedUnit(conv, BatchNorm(layer.out_channels), Spiking(neuron, store_threshold=True, **learnt))
    neuron = LIF(beta=config.leak, v_threshold=1.0, v_initial=0.5, reset=config.reset)
    slope, negative = config.negative_slope, None
    if slope:
        # A current of -slope x against a threshold of 1, in units that spare the multiplication.
        opposite = dataclasses.replace(neuron, gain=-1.0, v_threshold=1 / slope, v_initial=0.5 / slope)
        negative = Spiking(opposite, **learnt)
    return SpikingUnit(conv, Spiking(neuron, **learnt), negative)
