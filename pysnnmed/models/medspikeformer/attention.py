"""The attention of a stage: the family of nn.attention, the layer of the released code, the teacher's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops, synops
from ...decomposition import MAPS, Axis, Outputs
from ...nn import Module, over_time
from ...nn.attention import (
    DecomposedSelfAttention,
    Fusion,
    QKAttention,
    SoftmaxSelfAttention,
    SpikeDrivenSelfAttention,
    SpikingAttention,
    attention_counts,
    decomposed_attention,
    to_tokens,
)
from ...tensor import Tensor
from .config import MedSpikeFormerConfig
from .units import Branch, Observer, Parts, released_mlp, under

PAIRS = (("AA", "II"), ("AI", "IA"))  # the maps whose projections the released code adds


def spiking_attention(config: MedSpikeFormerConfig, parts: Parts, width: int) -> Module:
    """The attention of a stage of the spiking network, with its shortcut: x [T, B, C, *S] -> [T, B, C, *S].

    All attentions have the same surroundings. Those of other papers were made for some hundred tokens; here the first
    stages have tens of thousands, so that a norm stands before their inner neurons, as it does in decomposed attention.
    """
    if config.mode == "paper" and config.attention == "decomposed":
        return MapwiseAttention(config, parts, width)
    around: dict[str, Any] = {
        "kernel_size": 3,
        "depthwise": True,
        "bias": parts.biases,
        "spiking_input": config.strict_spike,
        "shortcut": "membrane",
        "neuron": config.firing,
        "rng": parts.rng,
    }
    layer: SpikingAttention
    match config.attention:
        case "decomposed" | "spiking":
            fusion: Fusion = config.fusion if config.attention == "decomposed" else "active"
            options: dict[str, Any] = {"fusion": fusion, "removed": config.removed, "axis": config.axis, "mean": True}
            layer = DecomposedSelfAttention(config.ndim, width, config.heads, **options, **around)
        case "qk-token" | "qk-channel":
            axis: Axis = "token" if config.attention == "qk-token" else "channel"
            layer = QKAttention(config.ndim, width, config.heads, axis=axis, normed=True, **around)
        case "spike-driven":
            layer = SpikeDrivenSelfAttention(config.ndim, width, normed=True, **around)
    return Attended(layer, config.steps)


def hidden_width(config: MedSpikeFormerConfig, width: int, *, narrow: bool) -> int:
    """Channels inside the channel MLP of a stage.

    Decomposed attention projects 2 C channels to C. The others, `narrow`, project C, and the MLP after them is half as
    wide again: networks of every attention then have nearly equal size.
    """
    return width + width // 2 if narrow else width


class Attended(Module):
    """An attention of nn.attention as a unit: maps constant in time are repeated, observers see its spikes."""

    def __init__(self, layer: SpikingAttention, steps: int):
        self.layer, self.steps = layer, steps

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        if len(x) < self.steps:
            x = ops.broadcast_to(x, (self.steps, *x.shape[1:]))
        return self.layer(x, observe)


class SoftmaxAttention(Module):
    """The teacher's: x [1, B, C, *S] -> x + BN(1x1(softmax attention of BN(depthwise 3(x)))).

    Channels attend to all others: a head of few channels would have next to nothing to choose from.
    """

    def __init__(self, config: MedSpikeFormerConfig, parts: Parts, width: int, axis: Axis):
        self.layer = SoftmaxSelfAttention(
            config.ndim,
            width,
            1 if axis == "channel" else config.heads,
            axis=axis,
            kernel_size=3,
            depthwise=True,
            rng=parts.rng,
        )

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        return over_time(self.layer, x)


class MapwiseAttention(Module):
    """Decomposed attention as the released code lays it out: x [T, B, C, *S] -> BN(x + MLP([AA + II, AI + IA])).

        Q, K, V                = neurons(BN(depthwise 3(x)))
        AA, II, AI, IA         each map times V / (N sqrt(C)) -> depthwise 3 -> BN -> neurons -> 1x1
        MLP                    2 C -> C, see units.released_mlp

    All maps go through one convolution, whose groups they are. `config.removed` leaves out the contribution of one.
    The code adds V, spikes, where equation 10 has x; here x stands, and channels stay apart from pixels, which the
    code's last reshape mixes. N, the number of tokens, is not in the code: the norm takes it away again, but through it
    the norm's statistics hold for maps of every size.
    """

    def __init__(self, config: MedSpikeFormerConfig, parts: Parts, width: int):
        self.ndim, self.width, self.heads, self.axis = config.ndim, width, config.heads, config.axis
        self.pairs = [tuple(name for name in pair if name != config.removed) for pair in PAIRS]
        self.outputs: Outputs = tuple((name,) for pair in self.pairs for name in pair)
        n = len(self.outputs)
        self.operands = [parts.synapses(width, width, groups=width) for _ in "qkv"]
        self.cells = [parts.cells() for _ in "qkv"]
        self.projection = Branch(
            [
                parts.synapses(n * width, n * width, groups=n * width),
                parts.synapses(n * width, n * width, 1, groups=n, normed=False, after_cells=True),
            ]
        )
        self.fuse = released_mlp(parts, 2 * width, width)

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        spikes = [cells(synapses(x)) for synapses, cells in zip(self.operands, self.cells, strict=True)]
        if observe:
            for name, s in zip("qkv", spikes, strict=True):
                observe(name, s)
        if synops.metering():
            steps = spikes[0].shape[0]
            synops.record(self.count(*(s.data for s in spikes)).layer(self.label, steps=steps))
        projected = self.projection(self._attend(*spikes), under(observe, "projection"))
        return x + self.fuse(self._paired(projected), under(observe, "fuse"))

    def count(self, *spikes: np.ndarray) -> synops.AttentionCount:
        """What the products of spikes q, k and v [T, B, C, *S] execute."""
        q, k, v = (to_tokens(Tensor(s), self.heads, self.ndim).data for s in spikes)
        return attention_counts(q, k, v, self.outputs, axis=self.axis)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Spikes [T, B, C, *S] -> the maps times V, side by side as channels."""
        steps, batch, channels, *space = q.shape
        q, k, v = (to_tokens(s, self.heads, self.ndim) for s in (q, k, v))
        mixed = decomposed_attention(q, k, v, self.outputs, axis=self.axis)  # [maps, T, B, heads, N, d]
        maps = ops.moveaxis(ops.swapaxes(mixed, -1, -2) * (1 / math.sqrt(channels) / math.prod(space)), 0, 2)
        return ops.reshape(maps, (steps, batch, len(self.outputs) * channels, *space))

    def _paired(self, projected: Tensor) -> Tensor:
        """The projections of the maps [T, B, maps C, *S] -> their two sums [T, B, 2 C, *S]."""
        steps, batch, channels, *space = projected.shape
        if len(self.outputs) == len(MAPS):
            halves = ops.reshape(projected, (steps, batch, 2, 2, channels // 4, *space)).sum(axis=3)
            return ops.reshape(halves, (steps, batch, channels // 2, *space))
        width, sums, at = channels // len(self.outputs), [], 0
        for pair in self.pairs:
            own = [projected[:, :, (at + i) * width : (at + i + 1) * width] for i in range(len(pair))]
            sums.append(sum(own[1:], start=own[0]))
            at += len(pair)
        return ops.concatenate(sums, axis=2)
