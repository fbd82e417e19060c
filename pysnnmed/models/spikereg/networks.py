"""The analog teacher and the spiking network, built from the table of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ... import ops
from ...errors import ShapeError
from ...nn import BatchNorm, Conv, Module, init
from ...resample import upsample_linear
from ...tensor import Tensor
from ...warp import scaling_and_squaring
from .table import FIELD, IMAGES, Layer, SpikeRegConfig
from .units import AnalogUnit, convolution_of, spiking_unit

Observer: TypeAlias = Callable[[str, Tensor], None]


class _RegistrationNetwork(Module):
    """What teacher and spiking network share: the table of layers, the head, the checks."""

    spiking = False
    smoothing: Conv | None = None

    def __init__(self, config: SpikeRegConfig, rng: np.random.Generator):
        self.config = config
        for layer in self.layers():
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

    def layers(self) -> list[Layer]:
        """The table of this network."""
        return list(self.config.layers(self.spiking))

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
        field = self.head(features)
        if self.smoothing is not None:
            field = self.smoothing(field)
        field = field * self.config.displacement_scale
        if observe:
            observe(FIELD, field)
        if self.config.integration_steps:
            field = scaling_and_squaring(field, steps=self.config.integration_steps)
        return upsample_linear(field, shape) * float(stride) if stride > 1 else field


class Teacher(_RegistrationNetwork):
    """The analog network. fixed, moving [B, 1, *S] in [0, 1] -> displacement [B, ndim, *S] in voxels.

    `observe(name, activations [B, C, *S'])` is called after every layer, and for FIELD after the head.
    """

    def _unit(self, layer: Layer, in_channels: int, rng: np.random.Generator) -> Module:
        conv = convolution_of(layer, in_channels, self.config.ndim, rng)
        return AnalogUnit(conv, BatchNorm(layer.out_channels), self.config.negative_slope)

    def forward(self, fixed: Tensor, moving: Tensor, observe: Observer | None = None) -> Tensor:
        layers = self.layers()
        activations = {IMAGES: self._images(fixed, moving)}
        for layer, done in zip(layers, last_read(layers), strict=True):
            inputs = [activations[source] for source in layer.sources]
            x = _mean(inputs) if layer.average else _joined(inputs, axis=1)
            activations[layer.name] = self.unit(layer.name)(x)
            if observe:
                observe(layer.name, activations[layer.name])
            del inputs, x
            _forget(done, activations)
        return self._displacement(activations[layer.name], fixed.shape[2:], observe)


class SpikeReg(_RegistrationNetwork):
    """The spiking network. fixed, moving [B, 1, *S] in [0, 1] -> displacement [B, ndim, *S] in voxels.

    The images are injected as constant current for T = config.steps steps. In the mode "sound" neurons start at half a
    threshold and are reset by subtraction (see `convert` for why); in the mode "paper" they start at rest and are reset
    to it, batch norm is a layer of its own, and the threshold of each layer is stored with the weights.
    `observe(name, spikes [T, B, C, *S'])` is called after every layer, and for FIELD after the head. Where a second
    population carries negative activations, its spikes are the second half of the channels.
    """

    spiking = True

    def __init__(self, config: SpikeRegConfig, rng: np.random.Generator):
        super().__init__(config, rng)
        if config.smoothing:
            n = config.ndim
            weight = init.constant(3.0**-n)
            self.smoothing = Conv(n, n, n, 3, padding=1, groups=n, bias=False, rng=rng, weight_init=weight)

    def _unit(self, layer: Layer, in_channels: int, rng: np.random.Generator) -> Module:
        return spiking_unit(layer, in_channels, self.config, rng)

    def freeze_norms(self) -> SpikeReg:
        """Let every batch norm keep its statistics, scale and shift from here on, as fine-tuning does; returns self."""
        for _, module in self.named_modules():
            if isinstance(module, BatchNorm):
                module.freeze()
        return self

    def signed(self, spikes: Tensor) -> Tensor:
        """What the spikes [T, B, populations C, *S] of a layer say to the next: [T, B, C, *S]."""
        if self.config.populations == 1:
            return spikes
        n = spikes.shape[2] // 2
        return spikes[:, :, :n] - spikes[:, :, n:]

    def forward(self, fixed: Tensor, moving: Tensor, observe: Observer | None = None) -> Tensor:
        layers = self.layers()
        said: dict[str, Tensor] = {}
        rates = {IMAGES: self._images(fixed, moving)}

        def rate_of(source: str) -> Tensor:
            if source not in rates:
                rates[source] = said[source].mean(axis=0)
            return rates[source]

        for layer, done in zip(layers, last_read(layers), strict=True):
            frames = [said[source] for source in layer.frames]
            rates_in = [rate_of(source) for source in layer.rates]
            if layer.average:
                frames, rates_in = [_mean(frames + rates_in)], []
            inputs = (
                _joined(frames, axis=2) if frames else None,
                _joined(rates_in, axis=1) if rates_in else None,
            )
            spikes = self.unit(layer.name)(*inputs, self.config.steps)
            if observe:
                observe(layer.name, spikes)
            said[layer.name] = sum((said.pop(other) for other in layer.plus), start=self.signed(spikes))
            del frames, rates_in, inputs, spikes
            _forget(done, said, rates)
        return self._displacement(rate_of(layer.name), fixed.shape[2:], observe)


def last_read(layers: Sequence[Layer]) -> list[set[str]]:
    """For each layer of a table, the sources that nothing after it reads: their memory is free then."""
    last = {source: i for i, layer in enumerate(layers) for source in layer.sources}
    return [{source for source, at in last.items() if at == i} for i in range(len(layers))]


def _forget(names: Iterable[str], *holders: dict[str, Tensor]) -> None:
    for name in names:
        for holder in holders:
            holder.pop(name, None)


def _joined(inputs: Sequence[Tensor], axis: int) -> Tensor:
    return inputs[0] if len(inputs) == 1 else ops.concatenate(inputs, axis=axis)


def _mean(inputs: Sequence[Tensor]) -> Tensor:
    first, *others = inputs
    for x in others:
        first = first + x
    return first * (1 / len(inputs))
