"""Repeated positions folded into the convolution that reads them: the same sums with fewer additions.

A convolution of n taps over spikes that `Repeat` has copied s times along an axis adds, for one spike, up to n s
weights along that axis. Neighbouring outputs that see two copies through two taps add both weights every time; added
once and for all, they are a transposed convolution of the spikes before the copying, of stride s and n + s - 1 taps:

    raised[j] = sum of weight[q] over n - 1 - j <= q <= n - 2 - j + s,       padded by n - 1 less what the first one is

For 3x3x3 taps and 2x2x2 copies a spike that had 216 weights has 64. Whole numbers give the same bits; sums of float32
weights are rounded once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .operations import Geometry, Raised, Repeat, SpikingLayer, Synapses
from .program import Program

INT8, INT16 = 2**7 - 1, 2**15 - 1


def fold_repeats(program: Program) -> Program:
    """The program whose layers read the sources of a Repeat instead of the copies, wherever that takes fewer additions.

    What it counts are the additions that are left. A layer stays as it is if its geometry has strides, dilation,
    groups or more padding than taps, if it reads nothing but copies, or if sums of whole weights do not fit into int16.
    """
    repeats = {operation.name: operation for operation in program.operations if isinstance(operation, Repeat)}
    folded = [_folded(op, repeats, program) if isinstance(op, SpikingLayer) else op for op in program.operations]
    needed = {source for operation in folded for source in operation.sources} | set(program.outputs)
    operations = tuple(op for op in folded if op.name not in repeats or op.name in needed)
    return replace(program, operations=operations)


def _folded(layer: SpikingLayer, repeats: Mapping[str, Repeat], program: Program) -> SpikingLayer:
    frames, geometry = layer.frames, layer.geometry
    if frames is None or layer.raised is not None or not _plain(geometry):
        return layer
    size = next((repeats[source].size for source in frames.sources if source in repeats), 1)
    below = [source in repeats and repeats[source].size == size for source in frames.sources]
    if size == 1 or all(below):
        return layer
    values = program.values(program.example)
    channels = [values[source].channels for source in frames.sources]
    of_channel = np.repeat(below, channels)
    weight = raised_weights(frames.weight[:, of_channel], size)
    if weight is None:
        return layer
    copied = tuple(repeats[source].source for source, is_below in zip(frames.sources, below, strict=True) if is_below)
    kept = tuple(source for source, is_below in zip(frames.sources, below, strict=True) if not is_below)
    return replace(
        layer,
        frames=Synapses(kept, np.ascontiguousarray(frames.weight[:, ~of_channel]), frames.factor),
        raised=Raised(copied, weight, raised_geometry(geometry, size)),
    )


def _plain(geometry: Geometry) -> bool:
    """Whether neighbouring outputs read neighbouring inputs, through taps that raised ones can stand for."""
    simple = not geometry.transposed and geometry.groups == 1
    steps = set(geometry.stride) | set(geometry.dilation)
    return simple and steps == {1} and all(p < k for p, k in zip(geometry.padding, geometry.kernel, strict=True))


def raised_geometry(geometry: Geometry, size: int) -> Geometry:
    """That of the transposed convolution, see the head of this file."""
    kernel = tuple(k + size - 1 for k in geometry.kernel)
    padding = tuple(k - 1 - p for k, p in zip(geometry.kernel, geometry.padding, strict=True))
    every = (1,) * geometry.ndim
    return Geometry(kernel, tuple(size * n for n in every), padding, every, transposed=True)


def raised_weights(weight: np.ndarray, size: int) -> np.ndarray | None:
    """Weights [O, C, *K] on copies as weights on what was copied; None if whole ones do not fit into int16."""
    whole = weight.dtype.kind == "i"
    total = weight.astype(np.int64 if whole else np.float64)
    for axis in range(2, weight.ndim):
        n = total.shape[axis]
        taps = np.moveaxis(total, axis, 0)
        sums = [taps[max(0, n - 1 - j) : n - 1 - j + size].sum(axis=0) for j in range(n + size - 1)]
        total = np.moveaxis(np.stack(sums), 0, axis)
    if not whole:
        return np.ascontiguousarray(total, dtype=weight.dtype)
    largest = int(np.abs(total).max())
    if largest > INT16:
        return None
    return np.ascontiguousarray(total, dtype=np.int8 if largest <= INT8 else np.int16)
