"""What the spiking attentions share: projections, the way out, the shortcut, the count."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ... import synops
from ...errors import ParameterError, ShapeError
from ...neurons import Neuron, preset
from ...synops import AttentionCount
from ...tensor import Tensor
from ..module import Module
from ..spiking import Spiking
from .projection import Projection
from .tokens import require_heads

Shortcut: TypeAlias = Literal["membrane", "none"]


@dataclass(frozen=True)
class Around:
    """What stands around an attention, whichever it is.

    ndim            spatial axes of the maps
    channels, heads heads of channels / heads channels each
    kernel_size     of the convolutions that make Q, K and V
    depthwise       whether these convolve each channel by itself
    bias            whether these have a bias, which the norm takes away again: for the number of parameters only
    spiking_input   whether neurons turn the maps that enter into spikes before these convolutions, which then only add
    shortcut        "membrane": x + BN(1x1(attention)), real numbers for the next layer's neurons; "none": spikes of
                    neurons after that norm, without x
    neuron          of every population but those of the attention itself; None: MedSpikeFormer's
    gate            of the neurons inside the attention; None: the same with a threshold of 1/2
    """

    ndim: int
    channels: int
    heads: int = 4
    kernel_size: int = 1
    depthwise: bool = False
    bias: bool = False
    spiking_input: bool = False
    shortcut: Shortcut = "none"
    neuron: Neuron | None = None
    gate: Neuron | None = None

    def __post_init__(self) -> None:
        require_heads("attention", self.channels, self.heads)
        if self.shortcut not in ("membrane", "none"):
            raise ParameterError(f"attention: shortcut must be 'membrane' or 'none', not {self.shortcut!r}")

    @property
    def firing(self) -> Neuron:
        return preset("medspikeformer") if self.neuron is None else self.neuron

    @property
    def gating(self) -> Neuron:
        if self.gate is not None:
            return self.gate
        if "v_threshold" not in {field.name for field in dataclasses.fields(self.firing)}:
            raise ParameterError(
                f"attention: {type(self.firing).__name__} has no v_threshold to halve; give the neuron `gate`"
            )
        return dataclasses.replace(self.firing, v_threshold=0.5)


class SpikingAttention(Module):
    """x [T, B, C, *S] -> [T, B, C, *S]: projections to spikes, `attend`, 1x1 -> batch norm -> shortcut or neurons.

    A subclass names its `operands`, defines `attend` on their spikes and `count`, and calls `project_from`, the number
    of channels that attend returns. Every step of the time axis has its own attention; only neurons remember. What the
    attention executes is recorded on the meter of synops under the name of the layer, where one counts.
    """

    operands: tuple[str, ...] = ("q", "k", "v")

    def __init__(self, around: Around, rng: np.random.Generator, *, project_from: int | None = None):
        self.around = around
        self.input = Spiking(around.firing) if around.spiking_input else None
        self.projections = [
            Projection(
                around.ndim,
                around.channels,
                around.channels,
                around.kernel_size,
                depthwise=around.depthwise,
                bias=around.bias,
                neuron=around.firing,
                rng=rng,
            )
            for _ in self.operands
        ]
        self.out = Projection(
            around.ndim,
            around.channels if project_from is None else project_from,
            around.channels,
            neuron=around.firing if around.shortcut == "none" else None,
            rng=rng,
        )

    def attend(self, *spikes: Tensor) -> Tensor:
        """Spikes [T, B, C, *S] of each operand -> spikes [T, B, C', *S]."""
        raise NotImplementedError

    def count(self, *spikes: np.ndarray) -> AttentionCount:
        """What `attend` executes on these spikes."""
        raise NotImplementedError

    def spikes(self, x: Tensor) -> tuple[Tensor, ...]:
        """Those of each operand, [T, B, C, *S], that the maps x [T, B, C, *S] cause."""
        if x.ndim != self.around.ndim + 3 or x.shape[2] != self.around.channels:
            raise ShapeError(
                f"{self.label}: expected x of shape [T, B, C={self.around.channels}, {self.around.ndim} spatial axes], "
                f"got {x.shape}"
            )
        entering = x if self.input is None else self.input(x)
        return tuple(projection(entering) for projection in self.projections)

    def forward(self, x: Tensor, observe: Callable[[str, Tensor], None] | None = None) -> Tensor:
        """`observe` sees the spikes [T, B, C, *S] of each operand under its name, and under "out" those projected."""
        spikes = self.spikes(x)
        if synops.metering():
            synops.record(self.count(*(s.data for s in spikes)).layer(self.label, steps=x.shape[0]))
        attended = self.attend(*spikes)
        if observe:
            for name, s in (*zip(self.operands, spikes, strict=True), ("out", attended)):
                observe(name, s)
        out = self.out(attended)
        return x + out if self.around.shortcut == "membrane" else out

    def describe(self) -> str:
        heads = f", {self.around.heads} heads" if self.around.heads > 1 else ""
        return f"{self.around.ndim}d, {self.around.channels} channels{heads}"
