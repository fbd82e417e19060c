"""What stages and decoders are made of, with neurons or with ReLU in their place.

Maps are [T, B, C, *S]. A map that does not change over time has T = 1: everything before the first neurons, and every
map of the teacher. Its convolutions and norms are then computed once, and neurons hold it as their current for T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ... import ops
from ...neurons import Neuron
from ...nn import BatchNorm, Conv, Module, Spiking, over_time
from ...resample import upsample_linear, upsample_nearest
from ...tensor import Tensor

Observer: TypeAlias = Callable[[str, Tensor], None]


def under(observe: Observer | None, name: str) -> Observer | None:
    """The observer of what stands below `name`."""
    if observe is None:
        return None
    told = observe
    return lambda part, x: told(f"{name}.{part}" if part else name, x)


class Firing(Spiking):
    """Neurons over `steps` steps: x [T, B, C, *S], or a constant current [1, B, C, *S] -> spikes [T, B, C, *S]."""

    def __init__(self, neuron: Neuron, steps: int):
        super().__init__(neuron)
        self.steps = steps

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        if len(x) == 1:
            return super().forward(ops.reshape(x, x.shape[1:]), steps=self.steps)
        return super().forward(x)


class Rectifier(Module):
    """ReLU, which stands in the teacher where the spiking network has neurons."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(x)


@dataclass(frozen=True)
class Parts:
    """What all units of one network have in common.

    cells    makes what stands where the network is not linear: neurons or ReLU
    strict   whether cells stand before every convolution but the first
    biases   whether convolutions have a bias that the norm after them takes away again, as those of the released code
    """

    ndim: int
    cells: Callable[[], Module]
    rng: np.random.Generator
    strict: bool = False
    biases: bool = False

    def synapses(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        normed: bool = True,
        after_cells: bool | None = None,
    ) -> Synapses:
        """A convolution, untrained; None: `after_cells` if the network is strict."""
        conv = Conv(
            self.ndim,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            0 if stride > 1 else kernel_size // 2,
            groups=groups,
            bias=self.biases or not normed,
            rng=self.rng,
        )
        cells = self.strict if after_cells is None else after_cells
        return Synapses(conv, BatchNorm(out_channels) if normed else None, self.cells() if cells else None)


class Synapses(Module):
    """[Cells ->] convolution [-> batch norm], at every step: x [T, B, C, *S] -> currents [T, B, O, *S'].

    An observer is told what enters the convolution, if that comes from cells.
    """

    def __init__(self, conv: Conv, norm: BatchNorm | None, cells: Module | None):
        self.cells, self.conv, self.norm = cells, conv, norm

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        if self.cells is not None:
            x = self.cells(x)
            if observe:
                observe("", x)
        return over_time(self.current, x)

    def current(self, x: Tensor) -> Tensor:
        """One step: x [B, C, *S] -> [B, O, *S']."""
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class Branch(Module):
    """One after the other; what comes out is added to something that went past."""

    def __init__(self, parts: Sequence[Synapses]):
        self.parts = list(parts)

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        for i, part in enumerate(self.parts):
            x = part(x, under(observe, f"parts.{i}"))
        return x


def separable(parts: Parts, channels: int, *, normed: bool = True) -> Branch:
    """Depthwise 3 -> norm -> cells -> 1x1 [-> norm]: DSConv."""
    return Branch(
        [
            parts.synapses(channels, channels, groups=channels),
            parts.synapses(channels, channels, 1, normed=normed, after_cells=True),
        ]
    )


def channel_mlp(parts: Parts, in_channels: int, out_channels: int, hidden: int) -> Branch:
    """1x1 -> depthwise 3 -> norm -> cells -> 1x1 -> norm.

    No norm stands between the first two, which nothing separates, unless cells do.
    """
    return Branch(
        [
            parts.synapses(in_channels, hidden, 1, normed=parts.strict),
            parts.synapses(hidden, hidden, groups=hidden),
            parts.synapses(hidden, out_channels, 1, after_cells=True),
        ]
    )


def released_mlp(parts: Parts, in_channels: int, out_channels: int) -> Branch:
    """1x1 -> norm -> depthwise 3 -> norm -> cells -> 1x1, as in the released code."""
    return Branch(
        [
            parts.synapses(in_channels, out_channels, 1),
            parts.synapses(out_channels, out_channels, groups=out_channels),
            parts.synapses(out_channels, out_channels, 1, normed=False, after_cells=True),
        ]
    )


class SpikeConvolution(Module):
    """x -> x + DSConv(x), `depth` times: the stream itself is never normed, so that it only adds."""

    def __init__(self, parts: Parts, channels: int, depth: int):
        self.branches = [separable(parts, channels) for _ in range(depth)]

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        for i, branch in enumerate(self.branches):
            x = x + branch(x, under(observe, f"branches.{i}"))
        return x


class NormedSpikeConvolution(Module):
    """y = x; twice y -> BN(y + DSConv(y)); then BN(x + y): the decoder's of the released code."""

    def __init__(self, parts: Parts, channels: int):
        self.branches = [separable(parts, channels, normed=False) for _ in range(2)]
        self.norms = [BatchNorm(channels) for _ in range(2)]
        self.norm = BatchNorm(channels)

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        y = x
        for i, (branch, norm) in enumerate(zip(self.branches, self.norms, strict=True)):
            y = over_time(norm, y + branch(y, under(observe, f"branches.{i}")))
        return over_time(self.norm, x + y)


class Upsampling(Module):
    """[Cells ->] twice the size along every axis -> convolution 3 -> norm: x [T, B, C, *S] -> [T, B, O, *2 S].

    "linear" keeps the outer faces of the image where they are, as pooling by 2 does; with `align_corners` the centres
    of the corner voxels, as the released code has it.
    """

    def __init__(
        self,
        parts: Parts,
        in_channels: int,
        out_channels: int,
        mode: Literal["linear", "nearest"],
        align_corners: bool,
    ):
        self.cells = parts.cells() if parts.strict else None
        self.synapses = parts.synapses(in_channels, out_channels, after_cells=False)
        self.mode, self.align_corners = mode, align_corners

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        if self.cells is not None:
            x = self.cells(x)
            if observe:
                observe("synapses", x)
        return self.synapses(over_time(self._upsampled, x))

    def _upsampled(self, x: Tensor) -> Tensor:
        if self.mode == "nearest":
            return upsample_nearest(x, 2)
        return upsample_linear(x, tuple(2 * n for n in x.shape[2:]), align_corners=self.align_corners)


class Head(Module):
    """[Cells ->] mean over time -> convolution 3 -> norm -> 1x1: x [T, B, C, *S] -> logits [B, classes, *S]."""

    def __init__(self, parts: Parts, channels: int, classes: int):
        self.cells = parts.cells() if parts.strict else None
        self.merge = parts.synapses(channels, channels, after_cells=False)
        self.logits = parts.synapses(channels, classes, 1, normed=False, after_cells=False)

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        if self.cells is not None:
            x = self.cells(x)
            if observe:
                observe("merge", x)
        return self.logits.current(self.merge.current(x.mean(axis=0)))


class MaskHead(Module):
    """Mean over time [-> depthwise 3 -> norm -> 1x1 -> norm] -> 1x1: x [T, B, C, *S] -> logits [B, 1, *S].

    The learnable linear layer of the alignment loss, which training alone needs; `deep` as in the released code.
    """

    def __init__(self, parts: Parts, channels: int, deep: bool):
        before = []
        if deep:
            before = [
                parts.synapses(channels, channels, groups=channels, after_cells=False),
                parts.synapses(channels, channels, 1, after_cells=False),
            ]
        self.parts = [*before, parts.synapses(channels, 1, 1, normed=False, after_cells=False)]

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(axis=0)
        for part in self.parts:
            x = part.current(x)
        return x
