"""What each operation of a program executed, as exact counts by the rules of the meter (`synops`).

Spikes and SynOps come from the kernels, which count them while they work, and the zeros of real numbers and integer
MACs from a look at what they read; everything else follows from the types. A program of SpikeReg reports what
`models.operations.count_operations` makes of the same spikes, number for number.

Kernels read a rate slot by slot, one addition for each unit spike: these are the SynOps. `int_macs` stay what they are
everywhere, the other way to run the same sums: one multiplication for each value that is not 0, where the value of a
rate is how often the neuron fired in all steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import synops
from ..synops import LayerCount
from .operations import (
    Attend,
    Convolve,
    Fire,
    Gate,
    Integrate,
    Operation,
    Raised,
    ReadOut,
    SpikingLayer,
    Synapses,
    Warp,
)
from .seen import Seen
from .trunk_counts import TRUNK, count_trunk, literal_synops, neurons
from .values import Real, Spikes, Value

__all__ = ["count", "literal_synops", "look"]

BLOCK = 2**15  # words looked at together
MOST_BITS = 64  # of a word
NOTHING: Mapping[str, int] = MappingProxyType({})


def look(operation: Operation, values: Mapping[str, Value], arrays: Mapping[str, np.ndarray], executed: Any) -> Seen:
    """What one run of an operation on one sample has shown.

    arrays      the values that it read
    executed    what its kernel counted, see `pysnnmed.backends.packed`; None if that counts nothing
    """
    if isinstance(operation, Attend):
        met = executed
        events = met.q + met.k + met.v
        return Seen(events, nonzero_macs=met.nonzero, q=met.q, k=met.k, v=met.v, qk=met.qk, kv=met.kv)
    if isinstance(operation, Convolve) and not isinstance(values[operation.sources[0]], Spikes):
        return Seen(nonzero_macs=executed)
    if isinstance(operation, Gate):
        return Seen(executed.events, executed.synops, nonzero_macs=executed.nonzero, spikes=executed.spikes)
    if isinstance(operation, Fire):
        return Seen(spikes=executed.spikes)
    if not isinstance(operation, SpikingLayer | ReadOut | Convolve):
        return Seen()
    nonzero, trains = 0, []
    for part, synapses, source, _ in _connections(operation, values):
        value = values[source]
        fan = _fanout(operation, synapses, values, source, values[operation.name].channels)
        if isinstance(value, Real):
            nonzero += synops.conv_macs(arrays[source], fan, skip_zeros=True)
        elif isinstance(value, Spikes):
            trains.append((arrays[source], _values_of(part, value), fan))
    if all(len(words) == groups for words, groups, _ in trains):  # to multiply by one is to add
        int_macs = executed.synops
    else:
        int_macs = sum(_reached_by_values(*train) for train in trains)
    return Seen(executed.events, executed.synops, int_macs, nonzero, executed.spikes)


def count(
    operation: Operation,
    values: Mapping[str, Value],
    samples: int,
    seen: Seen,
    analog_channels: Mapping[str, int] = NOTHING,
) -> LayerCount | None:
    """The counts of an operation run on so many samples; None for one that computes nothing that is counted.

    Quantize is a rounding of the input, Pool and Repeat move bits: none of them computes. The neurons of every sample
    are neurons of their own. For `analog_channels` see `Program`.
    """
    all_channels = values[operation.name].channels
    known = analog_channels.get(operation.name, all_channels)
    counted = _count(operation, values, samples, seen, analog_channels, all_channels)
    if counted is None or known == all_channels:
        return counted
    analog = _count(operation, values, samples, Seen(), analog_channels, known) if known else None
    return synops.compared_with(counted, analog) if analog else synops.spiking_only(counted)


def _count(
    operation: Operation,
    values: Mapping[str, Value],
    samples: int,
    seen: Seen,
    analog_channels: Mapping[str, int],
    channels: int,
) -> LayerCount | None:
    """As if a layer had so many channels."""
    out = values[operation.name]
    if isinstance(operation, SpikingLayer | ReadOut):
        connections = _synapses(operation, values, samples, seen, analog_channels, channels)
        parts = [*connections, *_outputs(operation, samples * channels * math.prod(out.shape), seen)]
        return sum(parts[1:], start=parts[0])
    if isinstance(operation, TRUNK):
        return count_trunk(operation, values, samples, seen)
    points = samples * math.prod(out.shape)
    if isinstance(operation, Integrate):
        points *= operation.steps
    elif not isinstance(operation, Warp):
        return None
    return synops.interpolation(operation.name, points, out.channels, len(out.shape))


def _synapses(
    layer: SpikingLayer | ReadOut,
    values: Mapping[str, Value],
    samples: int,
    seen: Seen,
    analog_channels: Mapping[str, int],
    channels: int,
) -> Iterator[LayerCount]:
    """What the kernels counted, then the connections of each source to so many output channels.

    Two parts may be read through the same weights, and so may channels that the analog network has and others, up to
    the sign: one convolution of a sum.
    """
    yield LayerCount(
        layer.name,
        events=seen.events,
        synops=seen.synops,
        int_macs=seen.int_macs,
        nonzero_macs=seen.nonzero_macs,
        weight_reads=seen.synops,
    )
    met: list[tuple[str, np.ndarray]] = []
    for part, synapses, source, first in _connections(layer, values):
        value, fan = values[source], _fanout(layer, synapses, values, source, channels)
        if isinstance(value, Real):
            yield synops.counted_macs(layer.name, fan, value.channels * samples, nonzero=0)
        if not isinstance(value, Spikes):
            continue
        sites = value.channels * samples * math.prod(value.shape) * value.steps
        known = analog_channels.get(source, value.channels)
        for start, stop in ((0, known), (known, value.channels)):
            if start == stop:
                continue
            alone, weight = start == known, synapses.weight[:, first + start : first + stop]
            connections = replace(
                synops.counted_synapses(
                    layer.name,
                    fan,
                    (stop - start) * samples,
                    steps=value.steps,
                    events=0,
                    synops=0,
                    int_macs=0,
                    levels=value.levels,
                ),
                spike_bytes_read=0 if start else synops.packed_bytes(sites, value.levels),  # both kinds share bytes
            )
            if any(_same(weight, other, alone) for at, other in met if alone or at != part):
                connections = synops.through_same_synapses(connections)
            yield synops.spiking_only(connections) if alone else connections
            met.append((part, weight))


def _same(weight: np.ndarray, other: np.ndarray, up_to_sign: bool) -> bool:
    return np.array_equal(weight, other) or (up_to_sign and np.array_equal(-weight, other))


def _outputs(layer: SpikingLayer | ReadOut, count: int, seen: Seen) -> Iterator[LayerCount]:
    """Biases, then neurons or the real numbers that are written: so many."""
    if isinstance(layer, ReadOut):
        yield synops.biases(layer.name, count)
        yield LayerCount(layer.name, value_writes=count, ann_writes=count)
        return
    dynamics = layer.dynamics
    yield synops.biases(layer.name, count, times=dynamics.steps if layer.frames else 1)
    if layer.rates or layer.analog:
        yield synops.held_current(layer.name, count, dynamics.steps)
    yield neurons(layer.name, dynamics, count, seen.spikes)


def _connections(
    layer: SpikingLayer | ReadOut | Convolve, values: Mapping[str, Value]
) -> Iterator[tuple[str, Synapses | Raised, str, int]]:
    """(part, its synapses, source, its first channel there) for each source.

    A read-out has the rates of its sources, a convolution frames.
    """
    parts: list[tuple[str, Synapses | Raised]]
    if isinstance(layer, SpikingLayer):
        parts = [*layer.parts, *([] if layer.raised is None else [("frames", layer.raised)])]
    else:
        parts = [("rates" if isinstance(layer, ReadOut) else "frames", layer.synapses)]
    for part, synapses in parts:
        first = 0
        for source in synapses.sources:
            yield part, synapses, source, first
            first += values[source].channels


def _fanout(
    layer: SpikingLayer | ReadOut | Convolve,
    synapses: Synapses | Raised,
    values: Mapping[str, Value],
    source: str,
    channels: int,
) -> synops.Fanout:
    geometry = synapses.geometry if isinstance(synapses, Raised) else layer.geometry
    return geometry.fanout(values[source].shape, channels)


def _values_of(part: str, spikes: Spikes) -> int:
    """How many values of a neuron a part sees one after another: that of each step, or one for all of them."""
    return spikes.steps if part == "frames" else 1


def _reached_by_values(words: np.ndarray, groups: int, fan: synops.Fanout) -> int:
    """Outputs that the values other than 0 of packed spikes reach, if the slots make `groups` values one after another.

    words [slots, *S, W]. In blocks of rows, so that no memory of the size of the spikes is taken.
    """
    slots, width, n_words = len(words), *words.shape[-2:]
    rows = words.reshape(groups, slots // groups, -1, width * n_words)
    weights, along = fan.rows_and_row(n_words * MOST_BITS)
    along = along.repeat(n_words)
    size, total = max(1, BLOCK // (slots * width * n_words)), 0
    for start in range(0, len(weights), size):
        fired = np.bitwise_or.reduce(rows[:, :, start : start + size], axis=1)
        reached = np.bitwise_count(fired).astype(along.dtype) @ along
        total += int((reached @ weights[start : start + size]).sum())
    return fan.channels * total
