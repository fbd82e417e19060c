"""A layer in the real numbers of the trained network: what is written down in float32 as it is, or in whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ...nn import Conv, ConvTranspose
from ..operations import Dynamics, Geometry, SpikingLayer, Synapses
from ..quantize import Membrane, float_dynamics
from ..values import Sizes


@dataclass(frozen=True, eq=False)
class Connections:
    """Weights [O, C / groups, *K] and bias [O], and which inputs each output sees."""

    geometry: Geometry
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, conv: Conv | ConvTranspose) -> Connections:
        """Those of a convolution layer."""
        weight = conv.weight.data
        extra: Sizes = ()
        if isinstance(conv, ConvTranspose):  # [C, O / groups, *K]: exchange the two within each group
            by_group = weight.reshape(conv.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
            weight, extra = by_group.reshape(conv.out_channels, -1, *conv.kernel_size), conv.output_padding
        geometry = Geometry(
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            isinstance(conv, ConvTranspose),
            extra,
        )
        bias = np.zeros(conv.out_channels, np.float32) if conv.bias is None else conv.bias.data
        return cls(geometry, weight, bias)


@dataclass(frozen=True, eq=False)
class Part:
    """What one part of a layer sees: its sources, the weights on them, and the share that its sums have."""

    sources: tuple[str, ...]
    weight: np.ndarray
    share: Fraction = Fraction(1)


@dataclass(frozen=True, eq=False)
class RealLayer:
    """A spiking layer, I = bias + value (sum over the parts of share conv(weight, what the part sees)), bias [O].

    The channels are those of one kind of neurons, or of several kinds in equal shares.
    """

    name: str
    geometry: Geometry
    cells: tuple[Membrane, ...]
    steps: int
    bias: np.ndarray
    value: float
    parts: Mapping[str, Part]

    @property
    def thresholds(self) -> np.ndarray:
        """[O]"""
        return np.repeat([cell.threshold for cell in self.cells], len(self.bias) // len(self.cells))

    def in_float32(self) -> SpikingLayer:
        """The same numbers."""
        n = len(self.bias)

        def factor(part: Part) -> np.ndarray:
            return np.full(n, self.value * float(part.share), np.float32)

        parts = {kind: Synapses(part.sources, part.weight, factor(part)) for kind, part in self.parts.items()}
        dynamics = Dynamics.joined([float_dynamics(cell, self.steps, n // len(self.cells)) for cell in self.cells])
        return SpikingLayer.of_parts(self.name, self.geometry, dynamics, self.bias.astype(np.float32), parts)
