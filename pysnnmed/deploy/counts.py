"""What each operation of a program executed, as exact counts.

Spikes and SynOps come from the kernels, which count them while they work; everything else follows from the types.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..synops import LayerCount
from .operations import Enlarge, Geometry, Integrate, Operation, ReadOut, SpikingLayer, Synapses, Warp
from .values import Real, Value

BLOCK = 2**15  # values looked at together


def count(
    operation: Operation, values: Mapping[str, Value], analog: tuple[np.ndarray, ...] = (), executed: Any = None
) -> LayerCount | None:
    """The counts of one run of an operation on one sample; None for one that computes nothing that is counted.

    analog      the real-valued arrays that its synapses read, [C, *S], of which the zeros are counted apart
    executed    what its kernel counted, see `pysnnmed.backends.packed.Executed`

    Quantize is a rounding of the input, Pool and Repeat move bits: none of them computes. Interpolation takes 2**ndim
    MACs for each value, in a conventional network too.
    """
    if isinstance(operation, SpikingLayer | ReadOut):
        return _layer(operation, values, analog, executed)
    out = values[operation.name]
    taps = math.prod(out.array_shape) * 2 ** len(out.shape)
    if isinstance(operation, Integrate):
        taps *= operation.steps
    elif not isinstance(operation, Enlarge | Warp):
        return None
    return LayerCount(operation.name, macs=taps, dense_macs=taps, ann_macs=taps)


def _layer(
    layer: SpikingLayer | ReadOut, values: Mapping[str, Value], analog: tuple[np.ndarray, ...], executed: Any
) -> LayerCount:
    total = LayerCount(layer.name, events=executed.events, synops=executed.synops)
    out = values[layer.name]
    for synapses in _distinct(layer):
        for source in synapses.sources:
            total += _dense(layer.name, values[source], layer.geometry, out.channels)
    for array in analog:
        total += LayerCount(layer.name, nonzero_macs=_nonzero(array, layer.geometry, out.channels))
    outputs = out.channels * math.prod(out.shape)
    if isinstance(out, Real):
        return total + LayerCount(layer.name, bias_adds=outputs)
    updates = outputs * out.steps
    own = LayerCount(layer.name, steps=out.steps, neurons=outputs, neuron_updates=updates, bias_adds=updates)
    return total + own


def _distinct(layer: SpikingLayer | ReadOut) -> Iterator[Synapses]:
    """The synapses of a layer, those that it uses for two parts once: a sum of maps is convolved once."""
    if isinstance(layer, ReadOut):
        yield layer.synapses
        return
    seen: list[np.ndarray] = []
    for part, synapses in layer.parts:
        if part == "analog" or not any(np.array_equal(synapses.weight, weight) for weight in seen):
            yield synapses
        if part != "analog":
            seen.append(synapses.weight)


def _dense(name: str, value: Value, geometry: Geometry, n_out: int) -> LayerCount:
    """The connections of one source, as if all its values were real numbers."""
    once = value.channels * geometry.fanout(value.shape, n_out).total()
    if isinstance(value, Real):
        return LayerCount(name, macs=once, dense_macs=once, ann_macs=once)
    sites = value.channels * math.prod(value.shape) * value.steps
    return LayerCount(name, steps=value.steps, sites=sites, dense_macs=once * value.steps, ann_macs=once)


def _nonzero(array: np.ndarray, geometry: Geometry, n_out: int) -> int:
    """MACs of the values that are not zero, in blocks of rows, so that no memory of the size of the array is taken."""
    fan = geometry.fanout(array.shape[1:], n_out)
    *outer, along = fan.tables
    weights = np.tile(functools.reduce(np.multiply.outer, outer, np.ones((), np.int64)).ravel(), len(array))
    rows, size = array.reshape(len(weights), -1), max(1, BLOCK // array.shape[-1])
    blocks = (slice(start, start + size) for start in range(0, len(rows), size))
    return fan.channels * sum(int((rows[block] != 0) @ along @ weights[block]) for block in blocks)


def for_batch(counts: list[LayerCount]) -> LayerCount:
    """The counts of one operation on each sample of a batch, which all have neurons of their own."""
    total = counts[0]
    for other in counts[1:]:
        total += other
    return replace(total, neurons=sum(c.neurons for c in counts))
