"""What a SpikeReg network executes on one pair of images: exact counts, from the table of layers and the spikes seen.

A layer that reads firing rates is counted by the spikes behind them: a convolution is linear, so one pass over the rate
is the sum of the passes over the spikes of each step. The images are real numbers and constant over time: the first
layer multiplies them once. A current that is constant over time takes its bias once, is written once, and is read at
every step. The field at the end is made by real arithmetic in both networks and counted in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from .. import synops
from ..synops import LayerCount, Report
from .spikereg import IMAGES, Layer, SpikeRegConfig

HEAD = "head"
INTEGRATION = "integration"
UPSAMPLING = "upsampling"


def count_operations(config: SpikeRegConfig, images: np.ndarray, spikes: Mapping[str, np.ndarray]) -> Report:
    """Counts of the spiking network, and, as `ann_macs`, of the analog one with the same layers.

    images [B, 2, *S]; spikes {layer name: [T, B, C, *S']}, as the observers of the network see them.
    """
    with synops.count_synops() as meter:
        for layer in _layers_and_head(config):
            for part in (*_synapses(layer, images, spikes, config), *_neurons(layer, images, spikes, config)):
                synops.record(part)
        _record_field(config, images.shape)
    return meter.report()


def count_analog_operations(
    config: SpikeRegConfig, images: np.ndarray, activations: Mapping[str, np.ndarray]
) -> Report:
    """MACs of the analog network on the same pair, those that meet a zero counted apart. See Report.with_activations.

    images [B, 2, *S]; activations {layer name: [B, C, *S']}, as the observers of the teacher see them.
    """
    with synops.count_synops() as meter:
        for layer in _layers_and_head(config):
            inputs = [images if source == IMAGES else activations[source] for source in layer.sources]
            if layer.average:
                inputs = [sum(inputs[1:], start=inputs[0])]
            for x in inputs:
                synops.record(synops.synapses(layer.name, x, _fanout(layer, x.shape, config), spiking=False))
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


def _synapses(
    layer: Layer, images: np.ndarray, spikes: Mapping[str, np.ndarray], config: SpikeRegConfig
) -> Iterator[LayerCount]:
    """The convolution over each of the sources."""
    steps = config.steps
    if layer.average:  # both sources use the same synapses: their spikes add up to integer events
        trains = [spikes[source] for source in layer.sources]
        x = sum(trains[1:], start=trains[0])
        part = synops.synapses(layer.name, x, _fanout(layer, x.shape, config), steps=steps, spiking=True)
        yield replace(part, spike_bytes_read=sum(synops.packed_bytes(train.size) for train in trains))
        return
    for source in layer.frames:
        x = spikes[source]
        yield synops.synapses(layer.name, x, _fanout(layer, x.shape, config), steps=steps, spiking=True)
    for source in layer.rates:
        if source == IMAGES:
            yield synops.synapses(layer.name, images, _fanout(layer, images.shape, config), spiking=False)
        else:
            counts = np.asarray(sum(spikes[source], start=np.uint16(0)))  # the rate times T
            fan = _fanout(layer, counts.shape, config)
            yield synops.synapses(layer.name, counts, fan, steps=steps, summed=steps, spiking=True)


def _neurons(
    layer: Layer, images: np.ndarray, spikes: Mapping[str, np.ndarray], config: SpikeRegConfig
) -> Iterator[LayerCount]:
    """The biases and the neurons of a layer, or, for the head, the values it writes."""
    if layer.name == HEAD:
        batch, _, *size = images.shape
        outputs = batch * config.ndim * math.prod(size) // config.head_stride**config.ndim
        yield synops.biases(HEAD, outputs)
        yield LayerCount(HEAD, value_writes=outputs, ann_writes=outputs)
        return
    fired, steps = spikes[layer.name], config.steps
    count = fired[0].size
    yield synops.biases(layer.name, count, times=steps if layer.frames else 1)
    if layer.rates and not layer.average:  # a current that stays over the steps
        yield LayerCount(layer.name, state_writes=count, state_reads=count * steps)
    leak: synops.Leak = "multiply" if config.learn_leak else synops.leak_of(config.leak)
    yield synops.neurons(layer.name, count, steps, int(fired.sum()), leak=leak)


def _record_field(config: SpikeRegConfig, images: tuple[int, ...]) -> None:
    batch, _, *size = images
    n, voxels = config.ndim, batch * math.prod(size)
    if config.integration_steps:
        points = config.integration_steps * voxels // config.head_stride**n
        synops.record(synops.interpolation(INTEGRATION, points, n, n))
    if config.head_stride > 1:
        synops.record(synops.interpolation(UPSAMPLING, voxels, n, n))
