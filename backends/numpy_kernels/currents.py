"""Real numbers at every step, plainly: convolutions of them and of spikes, and the neurons that fire on them.

`operation` is an object with the fields of Convolve in pysnnmed.deploy.operations, `neurons` of its Dynamics, where the
equations stand. Weighted sums of whole weights and spikes run in float64, which holds them exactly; everything else in
float32, each operation rounded by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import taps
from ..packed import Executed, Packed, pack, word_count, word_type
from .packed_layers import _at_step, _convolve, _counts

__all__ = ["convolve_reals", "convolve_scratch", "convolve_spikes", "fire_currents"]


def convolve_spikes(
    operation: Any,
    sources: tuple[Packed, ...],
    steps: int,
    out: np.ndarray | None = None,
    scratch: np.ndarray | None = None,
) -> tuple[np.ndarray, Executed]:
    """Run a Convolve on packed spikes of so many steps -> (float32 [T, O, *S'], Executed).

    out and scratch as in `spiking_layer`; scratch has `convolve_scratch` bytes.
    """
    del scratch
    weight, geometry = operation.synapses.weight, operation.geometry
    kind = np.float64 if weight.dtype.kind == "i" else np.float32
    frames = (np.concatenate([_at_step(source, t, steps) for source in sources]).astype(kind) for t in range(steps))
    sums = np.stack([_convolve(frame, weight, geometry).astype(np.float32, copy=False) for frame in frames])
    return _scaled(operation, sums, out), Executed(*_counts(sources, geometry, len(weight)))


def convolve_reals(
    operation: Any, sources: tuple[np.ndarray, ...], out: np.ndarray | None = None, scratch: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """Run a Convolve on real numbers [T, C, *S] -> (float32 [T, O, *S'], its MACs with a number that is not 0)."""
    del scratch
    geometry, weight = operation.geometry, operation.synapses.weight
    frames = [np.concatenate(frame) for frame in zip(*sources, strict=True)]
    sums = np.stack([_convolve(frame, weight, geometry) for frame in frames])
    return _scaled(operation, sums, out), _nonzero_macs(sources, geometry, len(weight))


def fire_currents(neurons: Any, currents: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, Executed]:
    """Run neurons on currents float32 [T, C, *S], or [1, C, *S] if they stay -> (words [T * levels, *S, W], Executed).

    Of the levels that fire, those of the lowest thresholds do.
    """
    _, channels, *shape = currents.shape
    if out is None:
        slots = neurons.steps * neurons.levels
        out = np.empty((slots, *shape, word_count(channels)), word_type(channels))

    def column(parameter: np.ndarray) -> np.ndarray:
        return parameter.reshape(*parameter.shape, *[1] * len(shape))

    thresholds, amount, reset_to = (column(a) for a in (neurons.thresholds, neurons.amount, neurons.reset_to))
    v = np.zeros(currents.shape[1:], np.float32) + column(neurons.initial)
    spikes = 0
    for t in range(neurons.steps):
        v = v * np.float32(neurons.leak) + currents[t if len(currents) > 1 else 0]
        fired = v >= thresholds
        count = fired.sum(axis=0, dtype=np.float32)
        v = np.where(count > 0, reset_to, v) if neurons.hard else v - amount * count
        out[t * neurons.levels : (t + 1) * neurons.levels] = pack(fired)
        spikes += int(np.count_nonzero(fired))
    return out, Executed(0, 0, spikes)


def convolve_scratch(operation: Any, in_shape: tuple[int, ...], channels: tuple[int, ...], spiking: bool) -> int:
    """How many bytes `convolve_spikes`, or else `convolve_reals`, uses of `scratch` on sources of these channels.

    0 here: the reference leaves its temporary memory to NumPy.
    """
    del operation, in_shape, channels, spiking
    return 0


def _scaled(operation: Any, sums: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    column = (-1, *[1] * (sums.ndim - 2))
    if out is None:
        out = np.empty(sums.shape, np.float32)
    np.multiply(sums, operation.synapses.factor.reshape(column), out=out)
    out += operation.bias.reshape(column)
    return out


def _nonzero_macs(sources: Sequence[np.ndarray], geometry: Any, n_out: int) -> int:
    """Pairs of an input that is not 0 and an output that reads it."""
    total = 0
    for source in sources:
        met = (source != 0).sum(axis=(0, 1), dtype=np.int64)
        _, _, axes = taps.axes(geometry, met.shape)
        for axis in reversed(axes[-met.ndim :]):
            met = met @ taps.axis_readers(*axis)
        total += int(met)
    return total * (n_out // geometry.groups)
