"""Layers of packed spikes, plainly: unpack the bits, convolve densely, step the neurons, pack.

`layer` and `operation` are objects with the fields of SpikingLayer and ReadOut in pysnnmed.deploy.operations, where
their equations stand. Weighted sums of whole numbers run in float64, which holds them exactly, and membranes in int64,
which cannot overflow where a program is valid: what comes out is what int32 arithmetic gives, bit for bit. float32
layers compute in float32, each operation rounded by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..packed import Executed, Packed, pack, unpack, word_count, word_type
from .conv import conv_backward_input, conv_forward

__all__ = ["layer_scratch", "pool_spikes", "read_out", "repeat_spikes", "spiking_layer"]


def spiking_layer(
    layer: Any,
    frames: tuple[Packed, ...],
    raised: tuple[Packed, ...],
    rates: tuple[Packed, ...],
    analog: tuple[np.ndarray, ...],
    out: np.ndarray | None = None,
    scratch: np.ndarray | None = None,
) -> tuple[np.ndarray, Executed]:
    """Run a SpikingLayer on the values of the sources of its parts -> (words [steps * levels, *S', W], Executed).

    frames, raised, rates
                    the packed sources of these parts, in order; empty where the layer lacks the part
    analog          likewise, float32 [C, *S]
    out             where to write the words, if given; it is then what is returned
    scratch         uint8, 64-byte aligned, at least `layer_scratch` bytes whose content is lost; None: own memory

    The current of a float32 layer is summed in the order bias, rates, analog, frames with what is raised. Of the levels
    that fire, those of the lowest thresholds do: slot d of a step is set where h >= thresholds[d].
    """
    del scratch
    neurons, n_out, geometry = layer.dynamics, len(layer.bias), layer.geometry
    shape = [*(packed.words.shape[1:-1] for packed in (*frames, *rates)), *(a.shape[1:] for a in analog)][0]
    out_shape = geometry.output_shape(shape)
    if out is None:
        slots = neurons.steps * neurons.levels
        out = np.empty((slots, *out_shape, word_count(n_out)), word_type(n_out))
    summing, membrane = (np.float64, np.int64) if layer.bias.dtype.kind == "i" else (np.float32, np.float32)

    def column(parameter: np.ndarray, kind: Any = membrane) -> np.ndarray:
        return parameter.astype(kind).reshape(*parameter.shape, *[1] * len(shape))

    def sum_of(weight: np.ndarray, values: Sequence[np.ndarray], geometry: Any = geometry) -> np.ndarray:
        return _convolve(np.concatenate(values).astype(summing, copy=False), weight, geometry)

    def current_of(part: Any, total: np.ndarray) -> np.ndarray:
        return (column(part.factor, summing) * total).astype(membrane, copy=False)

    constant = np.zeros((n_out, *out_shape), membrane) + column(layer.bias)
    if rates:
        values = [_value(packed, 0, len(packed.words)) for packed in rates]
        constant += current_of(layer.rates, sum_of(layer.rates.weight, values))
    if analog:
        constant += current_of(layer.analog, sum_of(layer.analog.weight, analog))

    v = np.zeros_like(constant) + column(neurons.initial)
    thresholds, amount, reset_to = (column(a) for a in (neurons.thresholds, neurons.amount, neurons.reset_to))
    spikes = 0
    for t in range(neurons.steps):
        if neurons.leaks:
            v *= membrane(neurons.leak)
            if neurons.shift:
                v >>= neurons.shift
        v += constant
        if frames:
            total = sum_of(layer.frames.weight, [_at_step(packed, t, neurons.steps) for packed in frames])
            if raised:
                values = [_at_step(packed, t, neurons.steps) for packed in raised]
                total += sum_of(layer.raised.weight, values, layer.raised.geometry)
            v += current_of(layer.frames, total)
        fired = v >= thresholds
        count = fired.sum(axis=0, dtype=membrane)
        if neurons.hard:
            v = np.where(count > 0, reset_to, v)
        else:
            v -= amount * count
        out[t * neurons.levels : (t + 1) * neurons.levels] = pack(fired)
        spikes += int(count.sum(dtype=np.int64))
    events, synops = _counts((*frames, *rates), geometry, n_out)
    if raised:
        more_events, more_synops = _counts(raised, layer.raised.geometry, n_out)
        events, synops = events + more_events, synops + more_synops
    return out, Executed(events, synops, spikes)


def read_out(
    operation: Any, sources: tuple[Packed, ...], out: np.ndarray | None = None, scratch: np.ndarray | None = None
) -> tuple[np.ndarray, Executed]:
    """Run a ReadOut on its packed sources -> (float32 [O, *S'], Executed). See `spiking_layer` for out and scratch."""
    del scratch
    weight, geometry = operation.synapses.weight, operation.geometry
    values = np.concatenate([_value(packed, 0, len(packed.words)) for packed in sources])
    total = _convolve(values.astype(np.float64 if weight.dtype.kind == "i" else np.float32), weight, geometry)
    if out is None:
        out = np.empty(total.shape, np.float32)
    column = (-1, *[1] * (total.ndim - 1))
    np.multiply(total.astype(np.float32, copy=False), operation.synapses.factor.reshape(column), out=out)
    out += operation.bias.reshape(column)
    return out, Executed(*_counts(sources, geometry, len(weight)))


def pool_spikes(words: np.ndarray, size: int, kind: str, out: np.ndarray | None = None) -> np.ndarray:
    """Windows of `size` along each axis of words [slots, *S, W], without overlap; what is left over is dropped.

    "or"    [slots, *(S // size), W]: a bit is set if it is set anywhere in the window
    "sum"   [slots * size**n, *(S // size), W]: slot i of window position j, in C order, becomes slot i * size**n + j
    """
    slots, *shape, count = words.shape
    n, pooled = len(shape), [length // size for length in shape]
    whole = words[(slice(None), *(slice(length * size) for length in pooled))]
    windows = whole.reshape(slots, *(m for length in pooled for m in (length, size)), count)
    inside, outside = range(2, 2 * n + 2, 2), range(1, 2 * n + 1, 2)
    if kind == "or":
        result = np.bitwise_or.reduce(windows, axis=tuple(inside))
    else:
        result = windows.transpose(0, *inside, *outside, 2 * n + 1).reshape(slots * size**n, *pooled, count)
    return _stored(result, out)


def repeat_spikes(words: np.ndarray, size: int, out: np.ndarray | None = None) -> np.ndarray:
    """words [slots, *S, W], each position repeated `size` times along each axis -> [slots, *(S size), W]."""
    for axis in range(1, words.ndim - 1):
        words = words.repeat(size, axis=axis)
    return _stored(words, out)


def layer_scratch(operation: Any, in_shape: tuple[int, ...]) -> int:
    """How many bytes `spiking_layer` or `read_out` uses of `scratch` on sources of spatial shape `in_shape`.

    0 here: the reference leaves its temporary memory to NumPy.
    """
    del operation, in_shape
    return 0


def _stored(result: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    if out is None:
        return np.ascontiguousarray(result)
    out[...] = result
    return out


def _value(packed: Packed, start: int, stop: int) -> np.ndarray:
    """How many bits of each channel are set in the slots start to stop - 1: [C, *S] int64."""
    total = np.zeros((packed.channels, *packed.words.shape[1:-1]), np.int64)
    for slot in range(start, stop):
        total += unpack(packed.words[slot : slot + 1], packed.channels)[0]
    return total


def _at_step(packed: Packed, t: int, steps: int) -> np.ndarray:
    levels = len(packed.words) // steps
    return _value(packed, t * levels, (t + 1) * levels)


def _convolve(x: np.ndarray, weight: np.ndarray, geometry: Any) -> np.ndarray:
    """The sum that weight [O, C / groups, *K] makes of x [C, *S], of the type of x: [O, *S']."""
    shape, options = x.shape[1:], (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    weight = weight.astype(x.dtype)
    if not geometry.transposed:
        return conv_forward(x[None], weight, None, *options)[0]
    # The kernel wants [C, O / groups, *K]: exchange the two within each group.
    by_group = weight.reshape(geometry.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    adjoint = np.ascontiguousarray(by_group).reshape(len(x), -1, *weight.shape[2:])
    return conv_backward_input(x[None], adjoint, (1, len(weight), *geometry.output_shape(shape)), *options)[0]


def _counts(sources: Sequence[Packed], geometry: Any, n_out: int) -> tuple[int, int]:
    """(events, SynOps) of what the sources hold."""
    events = synops = 0
    for packed in sources:
        at = _value(packed, 0, len(packed.words)).sum(axis=0)
        events += int(at.sum())
        synops += geometry.fanout(at.shape, n_out).weigh(at)
    return events, synops
