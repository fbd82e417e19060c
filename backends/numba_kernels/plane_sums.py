"""Convolutions of groups with few outputs in the running world: the tiles of `.depthwise`, then factor and bias."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..shifted_rows import Reading, Sizes, as_volumes, forward_reading
from ..threads import for_ranges, share
from . import depthwise
from .layouts import once_for


def reading_of(geometry: Any, shape: Sizes, n_out: int) -> Reading | None:
    """What the taps of a convolution over inputs of spatial `shape` read, if it is summed faster here; else None."""
    if geometry.transposed or geometry.groups == 1:
        return None
    reading = forward_reading(shape, geometry.kernel, geometry.stride, geometry.padding, geometry.dilation)
    return reading if depthwise.fits(reading, n_out // geometry.groups) else None


def write_planes(operation: Any, x: np.ndarray, reading: Reading, out: np.ndarray) -> None:
    """Write to out [T, O, *S'] factor times the sums that the weights make of x [T, C, *S], plus bias."""
    groups, n_out = operation.geometry.groups, len(operation.bias)
    weights = once_for(operation, "planes", lambda: _by_group(operation.synapses.weight, groups))
    nothing = np.zeros((groups, n_out // groups), np.float32)
    depthwise.sum_taps(x, weights, nothing, reading, as_volumes(out))
    rows, factor, bias = out.reshape(len(out) * n_out, -1), operation.synapses.factor, operation.bias
    for_ranges(lambda a, b: _scale(rows, factor, bias, a, b), len(rows), share(2 * rows.shape[1]))


def _by_group(weight: np.ndarray, groups: int) -> np.ndarray:
    """[O, C / groups, *K] -> float32 [groups, O / groups, C / groups, taps]."""
    n_out, n_in = weight.shape[:2]
    return np.ascontiguousarray(weight.reshape(groups, n_out // groups, n_in, -1).astype(np.float32))


@njit(nogil=True, cache=True, error_model="numpy")
def _scale(rows, factor, bias, start, stop):
    """Rows start to stop - 1 of [T * O, positions]: times factor [O], then plus bias [O], rounded in between."""
    for i in range(start, stop):
        row, f, b = rows[i], factor[i % len(factor)], bias[i % len(bias)]
        for j in range(len(row)):
            row[j] = row[j] * f + b
