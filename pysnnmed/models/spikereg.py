"""SpikeReg: a U-Net that predicts the displacement between two volumes, as an analog teacher and as a spiking network.

Source: "SpikeReg: Energy-Efficient 3D Deformable Medical Image Registration with Spiking Neural Networks" (arXiv
2605.25144). This is the `sound` mode: the spiking network has exactly the teacher's graph, without the untrained
shortcuts, winner-take-all inhibition and smoothing layer that the authors' released code adds to it.

    images [B, 2, *S] = (fixed, moving)
    encoder i      conv 3, stride 2 -> conv 3                         at 1/2, 1/4, 1/8, ... of S
    bottleneck     conv 3
    decoder j      transposed conv 2, stride 2 -> concatenate the encoder's map of that size -> conv 3
    head           conv -> stationary velocity or displacement -> linear upsampling to S

A decoder shorter than the encoder stops early: the head then works at half (quarter, ...) resolution, which is smoother
and saves most of the arithmetic. Every layer is conv -> batch norm -> ReLU in the teacher, conv -> neuron in the
spiking network. Between encoder blocks, into the bottleneck and along the skips travels the firing rate, the mean of
the spikes over T steps; everywhere else travel the spikes of each step. The head reads the rate of the last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from .. import conv as convolution
from .. import ops
from ..errors import ParameterError, ShapeError
from ..neurons import LIF
from ..nn import BatchNorm, Conv, ConvTranspose, Module, Spiking, init, over_time
from ..resample import upsample_linear
from ..tensor import Tensor
from ..warp import scaling_and_squaring

Observer: TypeAlias = Callable[[str, Tensor], None]

IMAGES = "images"  # name of the input in the table of layers
FIELD = "field"  # name under which observers get the head's output: velocity or displacement on the head's grid


@dataclass(frozen=True)
class Layer:
    """One convolution of the network and what feeds it.

    `frames` are layers whose spikes arrive step by step, `rates` are sources that arrive as a current constant over
    time: the images, or the firing rate of a layer. The input channels are those of `frames`, then those of `rates`;
    with `average`, the mean of the sources, which then have equal widths.
    """

    name: str
    out_channels: int
    frames: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    kernel_size: int = 3
    stride: int = 1
    transposed: bool = False
    average: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """Everything the layer reads, in the order of its input channels."""
        return self.frames + self.rates

    @property
    def padding(self) -> int:
        """Keeps the size, up to the stride."""
        return 0 if self.transposed else self.kernel_size // 2


@dataclass(frozen=True)
class SpikeRegConfig:
    """Widths and options of the network.

    encoder, decoder    channels per level; the decoder may be shorter than the encoder
    average_skips       decoder levels that average with the encoder's map, of equal width, instead of concatenating
    steps               T, time steps of the spiking network
    integration_steps   scaling-and-squaring steps; 0 takes the head's output as the displacement itself
    head_kernel         kernel size of the head
    displacement_scale  voxels of the head's grid per unit of its output
    leak                beta of the neurons, 1 for none
    learn_leak          whether fine-tuning may change the leak of each layer
    learn_threshold     whether fine-tuning may change the threshold of each layer
    """

    encoder: tuple[int, ...] = (8, 16, 32)
    decoder: tuple[int, ...] = (16, 8, 8)
    average_skips: tuple[int, ...] = ()
    ndim: int = 3
    steps: int = 4
    integration_steps: int = 0
    head_kernel: int = 1
    displacement_scale: float = 1.0
    leak: float = 1.0
    learn_leak: bool = False
    learn_threshold: bool = False

    def __post_init__(self) -> None:
        for name in ("encoder", "decoder"):
            widths = tuple(getattr(self, name))
            object.__setattr__(self, name, widths)
            if not widths or min(widths) < 1:
                raise ParameterError(f"SpikeRegConfig: {name} must list positive channel counts, not {widths}")
        object.__setattr__(self, "average_skips", tuple(self.average_skips))
        for j in self.average_skips:
            level = len(self.encoder) - 2 - j
            if not 0 <= j < len(self.decoder) or level < 0 or self.encoder[level] != self.decoder[j]:
                raise ParameterError(
                    f"SpikeRegConfig: average_skips names decoder level {j}, which has no encoder map of its width"
                )
        if len(self.decoder) > len(self.encoder):
            raise ParameterError(
                f"SpikeRegConfig: the decoder has {len(self.decoder)} levels, the encoder only {len(self.encoder)}"
            )
        if self.steps < 1 or self.integration_steps < 0 or self.ndim not in (2, 3) or self.head_kernel % 2 != 1:
            raise ParameterError(
                f"SpikeRegConfig: steps must be at least 1, integration_steps at least 0, ndim 2 or 3 and head_kernel "
                f"odd, not {self.steps}, {self.integration_steps}, {self.ndim}, {self.head_kernel}"
            )

    @property
    def shape_multiple(self) -> int:
        """Every spatial axis must be a multiple of this."""
        return 2 ** len(self.encoder)

    @property
    def head_stride(self) -> int:
        """Voxels of the images per voxel of the head's grid."""
        return 2 ** (len(self.encoder) - len(self.decoder))

    def layers(self) -> Iterator[Layer]:
        """The network as a table, each layer after its sources; the head is not in it."""
        source = IMAGES
        for i, width in enumerate(self.encoder):
            block = f"encoder.{i}"
            yield Layer(f"{block}.conv1", width, rates=(source,), stride=2)
            yield Layer(f"{block}.conv2", width, frames=(f"{block}.conv1",))
            source = f"{block}.conv2"
        yield Layer("bottleneck", self.encoder[-1], rates=(source,))
        source = "bottleneck"
        for j, width in enumerate(self.decoder):
            block, level = f"decoder.{j}", len(self.encoder) - 2 - j
            skip = (f"encoder.{level}.conv2",) if level >= 0 else ()
            yield Layer(f"{block}.up", width, frames=(source,), kernel_size=2, stride=2, transposed=True)
            yield Layer(f"{block}.refine", width, frames=(f"{block}.up",), rates=skip, average=j in self.average_skips)
            source = f"{block}.refine"

    def channels(self) -> dict[str, int]:
        """Output channels of every source by name."""
        return {IMAGES: 2, **{layer.name: layer.out_channels for layer in self.layers()}}

    def in_channels(self, layer: Layer) -> int:
        """Input channels of the convolution of a layer."""
        channels = self.channels()
        return sum(channels[source] for source in layer.sources) // (len(layer.sources) if layer.average else 1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


PRESETS = {
    "micro": SpikeRegConfig(encoder=(4, 8, 16), decoder=(8, 4, 4), average_skips=(1,)),
    "tiny": SpikeRegConfig(encoder=(8, 16, 32), decoder=(16, 8, 8), average_skips=(1,)),
    "small": SpikeRegConfig(encoder=(16, 32, 64, 128), decoder=(64, 32, 16, 16), average_skips=(2,)),
}


def preset(name: str, **changes: Any) -> SpikeRegConfig:
    """The configuration called `name`, with fields replaced by `changes`."""
    if name not in PRESETS:
        raise ParameterError(f"there is no SpikeReg preset {name!r}; there are: {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)


class _RegistrationNetwork(Module):
    """What teacher and spiking network share: the table of layers, the head, the checks."""

    def __init__(self, config: SpikeRegConfig, rng: np.random.Generator):
        self.config = config
        for layer in config.layers():
            # The attribute is the dotted name of the table, so parameters are called encoder.0.conv1.conv.weight etc.
            setattr(self, layer.name, self._unit(layer, config.in_channels(layer), rng))
        self.head = Conv(
            config.ndim,
            layer.out_channels,
            config.ndim,
            config.head_kernel,
            padding=config.head_kernel // 2,
            rng=rng,
            weight_init=init.normal(1e-5),  # start at the identity, else the first fields are large and folded
        )

    def unit(self, name: str) -> Any:
        """The layer of that name in the table."""
        return getattr(self, name)

    def _unit(self, layer: Layer, in_channels: int, rng: np.random.Generator) -> Module:
        raise NotImplementedError

    def _images(self, fixed: Tensor, moving: Tensor) -> Tensor:
        n, multiple = self.config.ndim, self.config.shape_multiple
        for name, image in (("fixed", fixed), ("moving", moving)):
            if image.ndim != n + 2 or image.shape[1] != 1 or any(s % multiple or not s for s in image.shape[2:]):
                raise ShapeError(
                    f"{type(self).__name__}: the {name} image must have shape [B, 1, {n} axes, each a multiple of "
                    f"{multiple}], not {image.shape}; pad it"
                )
        if fixed.shape != moving.shape:
            raise ShapeError(
                f"{type(self).__name__}: fixed {fixed.shape} and moving {moving.shape} must have one shape"
            )
        return ops.concatenate([fixed, moving], axis=1)

    def _displacement(self, features: Tensor, shape: tuple[int, ...], observe: Observer | None) -> Tensor:
        """Features of the last layer [B, C, *S'] -> displacement in voxels of the images [B, ndim, *shape]."""
        stride = self.config.head_stride
        field = self.head(features) * self.config.displacement_scale
        if observe:
            observe(FIELD, field)
        if self.config.integration_steps:
            field = scaling_and_squaring(field, steps=self.config.integration_steps)
        return upsample_linear(field, shape) * float(stride) if stride > 1 else field


def _convolution(layer: Layer, in_channels: int, ndim: int, rng: np.random.Generator) -> Conv | ConvTranspose:
    kind = ConvTranspose if layer.transposed else Conv
    return kind(ndim, in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, rng=rng)


def _joined(inputs: Sequence[Tensor], axis: int) -> Tensor:
    return inputs[0] if len(inputs) == 1 else ops.concatenate(inputs, axis=axis)


def _mean(inputs: Sequence[Tensor]) -> Tensor:
    first, *others = inputs
    for x in others:
        first = first + x
    return first * (1 / len(inputs))


class AnalogUnit(Module):
    """Convolution -> batch norm -> ReLU. x [B, C, *S] -> [B, O, *S']"""

    def __init__(self, conv: Conv | ConvTranspose, norm: BatchNorm):
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu(self.norm(self.conv(x)))


class Teacher(_RegistrationNetwork):
    """The analog network. fixed, moving [B, 1, *S] in [0, 1] -> displacement [B, ndim, *S] in voxels.

    `observe(name, activations [B, C, *S'])` is called after every layer, and for FIELD after the head.
    """

    def _unit(self, layer: Layer, in_channels: int, rng: np.random.Generator) -> Module:
        conv = _convolution(layer, in_channels, self.config.ndim, rng)
        return AnalogUnit(conv, BatchNorm(layer.out_channels))

    def forward(self, fixed: Tensor, moving: Tensor, observe: Observer | None = None) -> Tensor:
        activations = {IMAGES: self._images(fixed, moving)}
        for layer in self.config.layers():
            inputs = [activations[source] for source in layer.sources]
            x = _mean(inputs) if layer.average else _joined(inputs, axis=1)
            activations[layer.name] = self.unit(layer.name)(x)
            if observe:
                observe(layer.name, activations[layer.name])
        return self._displacement(activations[layer.name], fixed.shape[2:], observe)


class SpikingUnit(Module):
    """Synapses (a convolution) and the neurons they feed.

    frames [T, B, C1, *S] and rate [B, C2, *S], one of which may be missing -> spikes [T, B, O, *S'].
    The part of the current that is constant over time is computed once: convolution is linear.
    """

    def __init__(self, conv: Conv | ConvTranspose, neuron: Spiking):
        self.conv, self.neuron = conv, neuron

    def forward(self, frames: Tensor | None, rate: Tensor | None, steps: int) -> Tensor:
        if frames is None:
            return self.neuron(self.conv(rate), steps=steps)
        if rate is None:
            return self.neuron(over_time(self.conv, frames))
        split, conv = frames.shape[2], self.conv
        weight_frames, weight_rate = conv.weight[:, :split], conv.weight[:, split:]
        constant = convolution.conv(rate, weight_rate, conv.bias, conv.stride, conv.padding)
        current = over_time(lambda x: convolution.conv(x, weight_frames, None, conv.stride, conv.padding), frames)
        return self.neuron(current + constant)


class SpikeReg(_RegistrationNetwork):
    """The spiking network. fixed, moving [B, 1, *S] in [0, 1] -> displacement [B, ndim, *S] in voxels.

    The images are injected as constant current for T = config.steps steps. Neurons start at half a threshold and are
    reset by subtraction (see `convert` for why). `observe(name, spikes [T, B, C, *S'])` is called after every layer,
    and for FIELD after the head.
    """

    def _unit(self, layer: Layer, in_channels: int, rng: np.random.Generator) -> Module:
        config = self.config
        neuron = Spiking(
            LIF(beta=config.leak, v_threshold=1.0, v_initial=0.5, reset="soft"),
            learn_leak=config.learn_leak,
            learn_threshold=config.learn_threshold,
        )
        return SpikingUnit(_convolution(layer, in_channels, config.ndim, rng), neuron)

    def forward(self, fixed: Tensor, moving: Tensor, observe: Observer | None = None) -> Tensor:
        spikes: dict[str, Tensor] = {}
        rates = {IMAGES: self._images(fixed, moving)}

        def rate_of(source: str) -> Tensor:
            if source not in rates:
                rates[source] = spikes[source].mean(axis=0)
            return rates[source]

        for layer in self.config.layers():
            frames = [spikes[source] for source in layer.frames]
            rates_in = [rate_of(source) for source in layer.rates]
            if layer.average:
                frames, rates_in = [_mean(frames + rates_in)], []
            spikes[layer.name] = self.unit(layer.name)(
                _joined(frames, axis=2) if frames else None,
                _joined(rates_in, axis=1) if rates_in else None,
                self.config.steps,
            )
            if observe:
                observe(layer.name, spikes[layer.name])
        return self._displacement(rate_of(layer.name), fixed.shape[2:], observe)
