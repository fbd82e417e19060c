"""What a SpikeReg network executes on one pair of images: exact counts, from the table of layers and the spikes seen.

A layer that reads firing rates is counted by the spikes behind them: a convolution is linear, so one pass over the rate
is the sum of the passes over the spikes of each step. The images are real numbers and constant over time: the first
layer multiplies them once. The field at the end is made by real arithmetic in both networks and counted in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .. import synops
from .spikereg import IMAGES, Layer, SpikeRegConfig

HEAD = "head"
INTEGRATION = "integration"
UPSAMPLING = "upsampling"


def count_operations(config: SpikeRegConfig, images: np.ndarray, spikes: Mapping[str, np.ndarray]) -> synops.Report:
    """Counts of the spiking network, and, as `ann_macs`, of the analog one with the same layers.

    images [B, 2, *S]; spikes {layer name: [T, B, C, *S']}, as the observers of the network see them.
    """
    with synops.count_synops() as meter:
        for layer in _layers_and_head(config):
            inputs = [images if source == IMAGES else spikes[source] for source in layer.sources]
            if layer.average:  # both sources use the same synapses: their spikes add up to integer events
                inputs = [sum(inputs[1:], start=inputs[0])]
            for x in inputs:
                steps = 1 if x is images else config.steps
                synops.record_conv(layer.name, x, _fanout(layer, x.shape, config), steps=steps, spiking=x is not images)
            if layer.name != HEAD:
                fired = spikes[layer.name]
                synops.record(
                    layer.name,
                    steps=config.steps,
                    neurons=fired[0].size,
                    neuron_updates=fired.size,
                    bias_adds=fired.size,
                )
        _record_field(config, images.shape)
    return meter.report()


def _layers_and_head(config: SpikeRegConfig) -> list[Layer]:
    layers = list(config.layers())
    return [*layers, Layer(HEAD, config.ndim, rates=(layers[-1].name,), kernel_size=config.head_kernel)]


def _fanout(layer: Layer, shape: tuple[int, ...], config: SpikeRegConfig) -> synops.Fanout:
    return synops.fanout(
        shape[-config.ndim :],
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        out_channels=layer.out_channels,
        transposed=layer.transposed,
    )


def _record_field(config: SpikeRegConfig, images: tuple[int, ...]) -> None:
    """Multilinear interpolation takes 2**ndim MACs for each component and voxel."""
    batch, _, *size = images
    taps = config.ndim * 2**config.ndim
    voxels = batch * math.prod(size)
    if config.integration_steps:
        macs = config.integration_steps * taps * voxels // config.head_stride**config.ndim
        synops.record(INTEGRATION, macs=macs, dense_macs=macs, ann_macs=macs)
    if config.head_stride > 1:
        macs = taps * voxels
        synops.record(UPSAMPLING, macs=macs, dense_macs=macs, ann_macs=macs)
