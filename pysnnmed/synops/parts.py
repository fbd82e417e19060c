"""The parts of a layer and their counts: synapses, biases, neurons, interpolation. Parts of one layer add up with +.

synapses("conv", spikes, fanout(...), steps=4) + biases("conv", 640, times=4) + neurons("conv", 640, 4, fired=93)
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from ..errors import ParameterError
from .counting import conv_macs, count_spikes, is_spiking, packed_bytes
from .fanout import Fanout
from .layers import LayerCount

Leak: TypeAlias = Literal["none", "shift", "multiply"]
Reset: TypeAlias = Literal["soft", "hard", "none"]


def synapses(
    name: str,
    x: np.ndarray,
    fan: Fanout,
    *,
    steps: int = 1,
    summed: int = 1,
    levels: int = 1,
    spiking: bool | None = None,
    packed: bool = True,
) -> LayerCount:
    """One (transposed) convolution or linear layer over x [..., C, *S], all of its `steps` included.

    `spiking` says whether x are spikes, k / `levels` (SynOps), or real values (MACs); by default the values decide.
    A rate that a layer reads as a whole comes as the counts k of its `summed` steps, of which x then holds one map.
    `packed` says whether the spikes lie in memory as bits, or as a byte each.
    """
    if not (is_spiking(x, levels) if spiking is None else spiking):
        nonzero = conv_macs(x, fan, skip_zeros=True)
        return counted_macs(name, fan, x.size // math.prod(fan.shape) // steps, steps=steps, nonzero=nonzero)
    return counted_synapses(
        name,
        fan,
        x.size // math.prod(fan.shape) * summed // steps,
        steps=steps,
        levels=levels,
        packed=packed,
        **count_spikes(x, fan, levels)._asdict(),
    )


def counted_synapses(
    name: str,
    fan: Fanout,
    channels: int,
    *,
    steps: int,
    events: int,
    synops: int,
    int_macs: int,
    levels: int = 1,
    packed: bool = True,
) -> LayerCount:
    """A layer of spikes whose executor has counted events, SynOps and integer MACs itself.

    `channels` are the input maps of one step: channels x samples.
    """
    sites, dense = channels * math.prod(fan.shape), channels * fan.total()
    return LayerCount(
        name,
        steps=steps,
        sites=sites * steps,
        events=events,
        synops=synops,
        int_macs=int_macs,
        dense_macs=dense * steps,
        weight_reads=synops,
        spike_bytes_read=packed_bytes(sites * steps, levels, packed=packed),
        ann_macs=dense,
        ann_weight_reads=dense,
        ann_reads=sites,
    )


def counted_macs(name: str, fan: Fanout, channels: int, *, steps: int = 1, nonzero: int) -> LayerCount:
    """A layer of real values whose executor knows how many of its MACs met a value other than 0.

    `channels` are the input maps of one step: channels x samples.
    """
    values, dense = channels * math.prod(fan.shape), channels * fan.total()
    return LayerCount(
        name,
        steps=steps,
        macs=dense * steps,
        nonzero_macs=nonzero,
        dense_macs=dense * steps,
        weight_reads=dense * steps,
        value_reads=values * steps,
        ann_macs=dense,
        ann_weight_reads=dense,
        ann_reads=values,
    )


def through_same_synapses(part: LayerCount) -> LayerCount:
    """Spikes of a map that enters through synapses which an earlier part of the layer has counted: a sum of maps.

    There is one set of connections; the conventional network reads the map, adds it to the other and convolves once.
    """
    return replace(part, sites=0, dense_macs=0, ann_macs=0, ann_weight_reads=0, ann_adds=part.ann_reads)


def spiking_only(part: LayerCount) -> LayerCount:
    """The counts of a part that the conventional network does not have."""
    return compared_with(part, LayerCount(part.name))


def compared_with(part: LayerCount, analog: LayerCount) -> LayerCount:
    """The counts of a part in the place of which the conventional network has another."""
    theirs: dict[str, Any] = {f.name: getattr(analog, f.name) for f in fields(part) if f.name.startswith("ann_")}
    return replace(part, **theirs)


def held_current(name: str, count: int, steps: int) -> LayerCount:
    """The current of `count` neurons that is constant over time: written once, read at each step."""
    return LayerCount(name, state_writes=count, state_reads=count * steps)


def biases(name: str, outputs: int, times: int = 1) -> LayerCount:
    """A bias added to `outputs` values, `times` times; once in a conventional network.

    A current that is constant over time takes its bias once, a current that is made anew at every step T times.
    """
    adds = outputs * times
    return LayerCount(name, bias_adds=adds, weight_reads=adds, ann_adds=outputs, ann_weight_reads=outputs)


def neurons(
    name: str,
    count: int,
    steps: int,
    fired: int,
    *,
    leak: Leak = "none",
    reset: Reset = "soft",
    levels: int = 1,
    packed: bool = True,
) -> LayerCount:
    """`count` neurons over `steps` steps, which fired `fired` unit spikes; ReLUs in a conventional network.

    For each neuron and step: one addition of the current, the leak (see `leak_of`), a comparison with each of `levels`
    thresholds, a read and a write of the membrane, a spike written. For each unit spike: a subtraction, with a soft
    reset, or a write, with a hard one.
    """
    updates = count * steps
    return LayerCount(
        name,
        steps=steps,
        neurons=count,
        neuron_updates=updates,
        leak_multiplies=updates if leak == "multiply" else 0,
        leak_shifts=updates if leak == "shift" else 0,
        comparisons=updates * levels,
        reset_subtractions=fired if reset == "soft" else 0,
        reset_writes=fired if reset == "hard" else 0,
        state_reads=updates,
        state_writes=updates,
        spike_bytes_written=packed_bytes(updates, levels, packed=packed),
        ann_adds=count,
        ann_writes=count,
    )


def leak_of(beta: float) -> Leak:
    """What a leak beta costs in fixed point: "shift" for 1 - 2**-n with n >= 1, "none" for 1 and 0, else "multiply".

    Raises ParameterError outside [0, 1].
    """
    if not 0 <= beta <= 1:
        raise ParameterError(f"leak_of: beta must be in [0, 1], not {beta}")
    if beta in (0, 1):
        return "none"
    return "shift" if math.frexp(1 - beta)[0] == 0.5 else "multiply"


def interpolation(name: str, points: int, components: int, ndim: int) -> LayerCount:
    """Multilinear interpolation of `components` values at `points` positions: 2**ndim MACs and reads for each value.

    Real arithmetic in a spiking and in a conventional network, and counted alike in both.
    """
    values = points * components
    macs = values * 2**ndim
    traffic = {"value_reads": macs, "value_writes": values, "ann_reads": macs, "ann_writes": values}
    return LayerCount(name, macs=macs, nonzero_macs=macs, dense_macs=macs, ann_macs=macs, **traffic)
