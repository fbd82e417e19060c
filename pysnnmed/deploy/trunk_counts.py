"""The counts of operations on real numbers at every step, and of attention, by the rules of `synops`.

A convolution of spikes adds, one of real numbers multiplies, and both stand under the name of their layer. The
conventional network runs each of these operations once. Attention is counted in the form that runs: through K^T V where
tokens attend, through Q^T K where channels do; `literal_synops` gives the same equations as they are written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeAlias, cast

from .. import synops
from ..synops import LayerCount
from .operations import Add, Attend, Convolve, Dynamics, Enlarge, Fire, Gate, MeanSteps, Operation
from .seen import Seen
from .values import Real, Spikes, Value

Values: TypeAlias = Mapping[str, Value]
TRUNK = (Convolve, Fire, Add, MeanSteps, Enlarge, Attend, Gate)


def count_trunk(operation: Operation, values: Values, samples: int, seen: Seen) -> LayerCount:
    """The counts of one of TRUNK, run on so many samples."""
    outputs = samples * values[operation.name].channels * math.prod(values[operation.name].shape)
    if isinstance(operation, Convolve):
        return _convolve(operation, values, samples, outputs, seen)
    if isinstance(operation, Fire):
        return neurons(operation.name, operation.dynamics, outputs, seen.spikes) + LayerCount(
            operation.name, value_reads=outputs * operation.dynamics.steps, ann_reads=outputs
        )
    if isinstance(operation, Add):
        return _add(operation, outputs, _steps(values[operation.name]))
    if isinstance(operation, MeanSteps):
        steps = _steps(values[operation.source])
        traffic = {"value_reads": outputs * steps, "value_writes": outputs}
        return LayerCount(operation.name, steps=steps, adds=outputs * (steps - 1), **traffic)
    if isinstance(operation, Attend):
        return _attend(operation, values, samples, outputs, seen)
    if isinstance(operation, Gate):
        return _gate(operation, values, samples, seen)
    return _enlarge(operation, values, samples)


def literal_synops(operation: Attend, values: Values, samples: int, seen: Seen) -> int:
    """The SynOps of its equations as they are written: every map formed, silent neurons taken for spikes."""
    tallies = _tallies(operation, values, samples, seen)
    return synops.tallied_counts(tallies, "literal", operation.outputs).synops


def neurons(name: str, dynamics: Dynamics, count: int, fired: int) -> LayerCount:
    """So many neurons over all steps."""
    if dynamics.hard:
        reset: synops.Reset = "hard"
    else:
        reset = "soft" if dynamics.amount.any() else "none"
    leak = synops.leak_of(dynamics.leak / 2**dynamics.shift)
    return synops.neurons(name, count, dynamics.steps, fired, leak=leak, reset=reset, levels=dynamics.levels)


def _convolve(operation: Convolve, values: Values, samples: int, outputs: int, seen: Seen) -> LayerCount:
    name, steps = operation.name, _steps(values[operation.name])
    total = LayerCount(
        name,
        steps=steps,
        events=seen.events,
        synops=seen.synops,
        int_macs=seen.int_macs,
        nonzero_macs=seen.nonzero_macs,
        weight_reads=seen.synops,
        value_writes=outputs * steps,
        ann_writes=outputs,
    )
    for source in operation.sources:
        value = values[source]
        fan = operation.geometry.fanout(value.shape, values[name].channels)
        channels = value.channels * samples
        if isinstance(value, Spikes):
            total += synops.counted_synapses(
                name, fan, channels, steps=steps, events=0, synops=0, int_macs=0, levels=value.levels
            )
        else:
            total += synops.counted_macs(name, fan, channels, steps=steps, nonzero=0)
    return total + synops.biases(name, outputs, times=steps) if operation.bias.any() else total


def _add(operation: Add, outputs: int, steps: int) -> LayerCount:
    terms = len(operation.terms)
    return LayerCount(
        operation.name,
        steps=steps,
        adds=(terms - 1) * outputs * steps,
        value_reads=terms * outputs * steps,
        value_writes=outputs * steps,
        ann_adds=(terms - 1) * outputs,
        ann_reads=terms * outputs,
        ann_writes=outputs,
    )


def _attend(operation: Attend, values: Values, samples: int, outputs: int, seen: Seen) -> LayerCount:
    """The sums, then factor and bias: the norm that follows, which no weight can take."""
    spikes = _spikes(values[operation.query])
    steps, sites = spikes.steps, samples * spikes.channels * math.prod(spikes.shape)
    form: Literal["linear", "reduced"] = "linear" if operation.axis == "token" else "reduced"
    sums = synops.tallied_counts(_tallies(operation, values, samples, seen), form, operation.outputs)
    norm = LayerCount(
        operation.name,
        sites=3 * sites * steps,
        events=seen.events,
        int_macs=sums.synops,
        macs=outputs * steps,
        nonzero_macs=seen.nonzero_macs,
        dense_macs=outputs * steps,
        weight_reads=outputs * steps,
        spike_bytes_read=3 * synops.packed_bytes(sites * steps),
        value_writes=outputs * steps,
        ann_macs=outputs,
        ann_weight_reads=outputs,
        ann_reads=3 * sites,
        ann_writes=outputs,
    )
    return sums.layer(operation.name, steps) + norm + synops.biases(operation.name, outputs, times=steps)


def _gate(operation: Gate, values: Values, samples: int, seen: Seen) -> LayerCount:
    spikes = _spikes(values[operation.value])
    steps, places = spikes.steps, samples * math.prod(spikes.shape)
    sites, read = places * spikes.channels, len(operation.sources)
    gates = operation.heads * places if operation.axis == "token" else spikes.channels * samples
    sums = LayerCount(
        operation.name,
        steps=steps,
        sites=read * sites * steps,
        events=seen.events,
        synops=seen.synops,
        int_macs=seen.synops,
        dense_macs=sites * steps,
        spike_bytes_read=read * synops.packed_bytes(sites * steps),
        spike_bytes_written=synops.packed_bytes(sites * steps),
        ann_macs=sites,
        ann_reads=read * sites,
        ann_writes=sites,
    )
    norm = LayerCount(
        operation.name,
        macs=gates * steps,
        nonzero_macs=seen.nonzero_macs,
        dense_macs=gates * steps,
        weight_reads=gates * steps,
        ann_macs=gates,
        ann_weight_reads=gates,
    )
    norm += synops.biases(operation.name, gates, times=steps)
    return sums + norm + neurons(operation.name, operation.dynamics, gates, seen.spikes)


def _enlarge(operation: Operation, values: Values, samples: int) -> LayerCount:
    out = values[operation.name]
    points, steps = samples * math.prod(out.shape), _steps(out)
    every = synops.interpolation(operation.name, points * steps, out.channels, len(out.shape))
    once = synops.interpolation(operation.name, points, out.channels, len(out.shape))
    return replace(every, steps=steps, ann_macs=once.ann_macs, ann_reads=once.ann_reads, ann_writes=once.ann_writes)


def _tallies(operation: Attend, values: Values, samples: int, seen: Seen) -> synops.Tallies:
    spikes = _spikes(values[operation.query])
    width, positions = spikes.channels // operation.heads, math.prod(spikes.shape)
    tokens, channels = (positions, width) if operation.axis == "token" else (width, positions)
    met = (seen.q, seen.k, seen.v, seen.qk, seen.kv)
    return synops.Tallies(samples * spikes.steps * operation.heads, tokens, channels, channels, *met)


def _steps(value: Value) -> int:
    return 1 if isinstance(value, Real) else value.steps


def _spikes(value: Value) -> Spikes:
    """A value that is known to be spikes, because the operation that reads it has checked that."""
    return cast(Spikes, value)
