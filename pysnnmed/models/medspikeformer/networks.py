"""The spiking network and the analog teacher: one skeleton, with neurons or with ReLU, and an attention each."""

from __future__ import annotations

import numpy as np

from ... import ops
from ...errors import ShapeError
from ...nn import BatchNorm, Module, over_time
from ...tensor import Tensor
from .attention import SoftmaxAttention, hidden_width, spiking_attention
from .config import MedSpikeFormerConfig
from .units import (
    Firing,
    Head,
    MaskHead,
    NormedSpikeConvolution,
    Observer,
    Parts,
    Rectifier,
    SpikeConvolution,
    Upsampling,
    channel_mlp,
    released_mlp,
    under,
)


class Stage(Module):
    """Patch embedding -> attention with its shortcut -> x + channel MLP(x): one resolution of the encoder.

    The embedding is a convolution 3, and in the mode "sound" a spike convolution after it; the mode "paper" norms the
    stream between attention and MLP.
    """

    def __init__(self, config: MedSpikeFormerConfig, parts: Parts, i: int, attention: Module, narrow: bool):
        before, width = (config.in_channels, *config.widths)[i : i + 2]
        self.embedding = parts.synapses(before, width, after_cells=parts.strict and i > 0)
        sound = config.mode == "sound"
        self.spike_convolution = SpikeConvolution(parts, width, 1) if sound and config.spike_convolution else None
        self.attention = attention
        self.norm = None if sound else BatchNorm(width)
        self.mlp = (
            channel_mlp(parts, width, width, hidden_width(config, width, narrow=narrow))
            if sound
            else released_mlp(parts, width, width)
        )

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        x = self.embedding(x, under(observe, "embedding"))
        if self.spike_convolution is not None:
            x = self.spike_convolution(x, under(observe, "spike_convolution"))
        x = self.attention(x, under(observe, "attention"))
        if self.norm is not None:
            x = over_time(self.norm, x)
        return x + self.mlp(x, under(observe, "mlp"))


class Decoder(Module):
    """Spike convolution -> upsampling by 2 to `out_channels`, where there is a resolution above."""

    def __init__(self, config: MedSpikeFormerConfig, parts: Parts, in_channels: int, out_channels: int | None):
        self.spike_convolution: Module | None = None
        sound = config.mode == "sound"
        if config.spike_convolution:
            self.spike_convolution = (
                SpikeConvolution(parts, in_channels, 2) if sound else NormedSpikeConvolution(parts, in_channels)
            )
        self.up = (
            None
            if out_channels is None
            else Upsampling(parts, in_channels, out_channels, config.upsampling, align_corners=not sound)
        )

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        if self.spike_convolution is not None:
            x = self.spike_convolution(x, under(observe, "spike_convolution"))
        return x if self.up is None else self.up(x, under(observe, "up"))


class _SegmentationNetwork(Module):
    """What both networks are: stages, pools between them, decoders with skips, head; mask heads for training."""

    def __init__(self, config: MedSpikeFormerConfig, parts: Parts):
        self.config = config
        widths = config.widths
        self.stages = [self._stage(parts, i) for i in range(len(widths))]
        self.pools = [parts.synapses(width, width, 2, stride=2) for width in widths[: config.pools]]
        above: list[int | None] = [None if config.mode == "sound" else widths[0], *widths[:-1]]
        self.decoders = [
            Decoder(config, parts, width, out) for width, out in reversed(list(zip(widths, above, strict=True)))
        ]
        self.head = Head(parts, widths[0], config.classes)
        self.mask_heads = [MaskHead(parts, width, self._deep_masks()) for width in widths]

    def _stage(self, parts: Parts, i: int) -> Stage:
        raise NotImplementedError

    def _deep_masks(self) -> bool:
        return False

    def forward(self, images: Tensor, observe: Observer | None = None) -> Tensor:
        """images [B, in_channels, *S] in [0, 1] -> logits [B, classes, *S]."""
        return self._decoded(*self._encoded(images, observe), observe)

    def logits_and_masks(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(logits [B, classes, *S], one map of logits [B, 1, *S_i] for each stage), which training aligns."""
        features, levels = self._encoded(images, None)
        masks = tuple(head(x) for head, x in zip(self.mask_heads, features, strict=True))
        return self._decoded(features, levels, None), masks

    def _encoded(self, images: Tensor, observe: Observer | None) -> tuple[list[Tensor], list[Tensor]]:
        """(what each stage makes, what the decoders add: the same, or in the mode "paper" its pooled form)."""
        self._check(images)
        x, features, pooled = ops.reshape(images, (1, *images.shape)), [], []
        for i, stage in enumerate(self.stages):
            x = stage(x, under(observe, f"stages.{i}"))
            features.append(x)
            if i < len(self.pools):
                x = self.pools[i](x, under(observe, f"pools.{i}"))
                pooled.append(x)
        return features, features if self.config.mode == "sound" else pooled

    def _decoded(self, features: list[Tensor], levels: list[Tensor], observe: Observer | None) -> Tensor:
        x, *skips = levels[::-1]
        for j, decoder in enumerate(self.decoders):
            x = decoder(x, under(observe, f"decoders.{j}"))
            if j < len(skips):
                x = x + skips[j]
        return self.head(x, under(observe, "head"))

    def _check(self, images: Tensor) -> None:
        n, channels, multiple = self.config.ndim, self.config.in_channels, self.config.shape_multiple
        if images.ndim != n + 2 or images.shape[1] != channels:
            raise ShapeError(
                f"{type(self).__name__}: images must have shape [B, {channels} channels, {n} spatial axes], not "
                f"{images.shape}; repeat or average channels, or build the network for yours (in_channels)"
            )
        if not images.shape[0] or any(s % multiple or not s for s in images.shape[2:]):
            raise ShapeError(
                f"{type(self).__name__}: there must be at least one image, and each of its axes a multiple of "
                f"{multiple}, not {images.shape}; pad it"
            )


class MedSpikeFormer(_SegmentationNetwork):
    """The spiking network. images [B, in_channels, *S] in [0, 1] -> logits [B, classes, *S].

    The images are a current that does not change over T = config.steps steps, so that the first convolution is
    computed once; the head reads the mean over time. `observe(name, spikes [T, B, C, *S'])` is called for every
    population with the name of the convolution, or the operand of attention, that reads its spikes.
    """

    def __init__(self, config: MedSpikeFormerConfig, rng: np.random.Generator):
        def cells() -> Firing:
            return Firing(config.firing, config.steps)

        super().__init__(config, Parts(config.ndim, cells, rng, config.strict_spike, config.mode == "paper"))

    def _stage(self, parts: Parts, i: int) -> Stage:
        attention = spiking_attention(self.config, parts, self.config.widths[i])
        return Stage(self.config, parts, i, attention, narrow=self.config.attention != "decomposed")

    def _deep_masks(self) -> bool:
        return self.config.mode == "paper"


class SegmentationTeacher(_SegmentationNetwork):
    """The analog network with softmax attention, trained first; it guides the spiking one and never runs beside it.

    images [B, in_channels, *S] in [0, 1] -> logits [B, classes, *S]. `observe(name, activations [1, B, C, *S'])` is
    called where the spiking network has the same population of neurons. What is about spikes in `config` has no effect.
    """

    def __init__(self, config: MedSpikeFormerConfig, rng: np.random.Generator):
        super().__init__(config, Parts(config.ndim, Rectifier, rng))

    def _stage(self, parts: Parts, i: int) -> Stage:
        attention = SoftmaxAttention(self.config, parts, self.config.widths[i], self.config.softmax_axes[i])
        return Stage(self.config, parts, i, attention, narrow=True)
