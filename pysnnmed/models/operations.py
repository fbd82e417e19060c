"""What a SpikeReg network executes on one pair of images: exact counts, from the table of layers and the spikes seen.

A layer that reads firing rates is counted by the spikes behind them: a convolution is linear, so one pass over the rate
is the sum of the passes over the spikes of each step. SynOps count that sum; `int_macs` count the one pass, in which a
neuron that fired k times costs one multiplication by k. A mean of two maps is the sum of two currents through the same
synapses, each counted as what it is, spikes of each step or a rate. Programs count themselves by these rules too.

What one network has and the other has not is counted in that alone: the shortcuts and the smoothing of the mode "paper"
have no part in `ann_macs`. Where two populations of neurons carry a layer, each has synapses of its own: an event
reaches both, while the analog network convolves once. Batch norm is counted as folded into the weights.

The images are real numbers and constant over time: the first layer multiplies them once. A current that is constant
over time takes its bias once, is written once, and is read at every step. The field at the end is made by real
arithmetic in both networks and counted in both.
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
SMOOTHING = "smoothing"


def count_operations(config: SpikeRegConfig, images: np.ndarray, spikes: Mapping[str, np.ndarray]) -> Report:
    """Counts of the spiking network, and, as `ann_macs`, of the analog one with the same layers.

    images [B, 2, *S]; spikes {layer name: [T, B, C, *S']}, as the observers of the network see them.
    """
    analog = {layer.name for layer in _layers_and_head(config)}
    with synops.count_synops() as meter:
        for layer in _layers_and_head(config, spiking=True):
            counted = (*_synapses(layer, images, spikes, config), *_neurons(layer, images, spikes, config))
            for part in counted if layer.name in analog else map(synops.spiking_only, counted):
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


def _layers_and_head(config: SpikeRegConfig, spiking: bool = False) -> list[Layer]:
    layers = list(config.layers(spiking))
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
    """The convolution over each of the sources, and over each map that a source is the sum of."""
    plus = {other.name: other.plus for other in config.layers(spiking=True)}
    for i, source in enumerate(layer.sources):
        for j, name in enumerate((source, *plus.get(source, ()))):
            for k, x in enumerate([images] if name == IMAGES else _populations(spikes[name], config)):
                part = _over(layer, source, x, config)
                if j or k:
                    part = synops.spiking_only(synops.through_same_synapses(part))
                yield synops.through_same_synapses(part) if layer.average and i and not (j or k) else part


def _populations(spikes: np.ndarray, config: SpikeRegConfig) -> list[np.ndarray]:
    """Spikes [T, B, populations C, *S] of each population."""
    return np.split(spikes, config.populations, axis=2)


def _over(layer: Layer, source: str, x: np.ndarray, config: SpikeRegConfig) -> LayerCount:
    """The convolution over one map: the images, or spikes [T, B, C, *S]."""
    steps, fan = config.steps, _fanout(layer, x.shape, config)
    if source == IMAGES:
        part = synops.synapses(layer.name, x, fan, spiking=False)
    elif source in layer.frames:
        part = synops.synapses(layer.name, x, fan, steps=steps, spiking=True)
    else:
        counts = np.asarray(sum(x, start=np.uint16(0)))  # the rate times T
        part = synops.synapses(layer.name, counts, fan, steps=steps, summed=steps, spiking=True)
    return part if layer.name == HEAD or config.populations == 1 else _reaching_twice(part)


def _reaching_twice(part: LayerCount) -> LayerCount:
    """The same events into two populations with synapses of their own."""
    return replace(
        part,
        synops=2 * part.synops,
        int_macs=2 * part.int_macs,
        macs=2 * part.macs,
        nonzero_macs=2 * part.nonzero_macs,
        dense_macs=2 * part.dense_macs,
        weight_reads=2 * part.weight_reads,
    )


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
    leak: synops.Leak = "multiply" if config.learn_leak else synops.leak_of(config.leak_of(layer.name))
    reset: synops.Reset = "hard" if config.mode == "paper" else config.reset
    for i, train in enumerate(_populations(fired, config)):
        count = train[0].size
        parts = [
            synops.biases(layer.name, count, times=steps if layer.frames else 1),
            *([synops.held_current(layer.name, count, steps)] if layer.rates else []),
            synops.neurons(layer.name, count, steps, int(train.sum()), leak=leak, reset=reset),
        ]
        both = sum(parts[1:], start=parts[0])
        yield replace(synops.spiking_only(both), neurons=count * config.populations) if i else both


def _record_field(config: SpikeRegConfig, images: tuple[int, ...]) -> None:
    batch, _, *size = images
    n, voxels = config.ndim, batch * math.prod(size)
    if config.smoothing:
        points = n * voxels // config.head_stride**n
        shape = tuple(s // config.head_stride for s in size)
        fan = synops.fanout(shape, 3, padding=1, out_channels=n, groups=n)
        sums = synops.counted_macs(SMOOTHING, fan, batch * n, nonzero=batch * n * fan.total())
        synops.record(synops.spiking_only(sums + LayerCount(SMOOTHING, value_writes=points)))
    if config.integration_steps:
        points = config.integration_steps * voxels // config.head_stride**n
        synops.record(synops.interpolation(INTEGRATION, points, n, n))
    if config.head_stride > 1:
        synops.record(synops.interpolation(UPSAMPLING, voxels, n, n))
