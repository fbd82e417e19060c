"""Convolutions of few inputs for each output, mostly depthwise, and transposed ones: a row of outputs at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from .. import taps
from ..threads import for_ranges, share
from .layouts import once_for


def add_rows_of(
    operation: Any, x: np.ndarray, first_channel: int, out: np.ndarray, begin: bool = True, end: bool = True
) -> None:
    """See tile_sums.add_tiles, for any geometry. With groups, x holds all channels."""
    (steps, channels), geometry = x.shape[:2], operation.geometry
    size, count, axes = taps.axes(geometry, x.shape[2:])
    z_taps, y_taps, x_taps = (taps.axis_taps(*axis) for axis in axes)
    weight = once_for(operation, "rows", lambda: _flat_weights(operation.synapses.weight))
    step, padding, dilation = axes[2][2:5]
    near = dilation if step == 1 and not geometry.transposed else 0
    per_group = operation.synapses.weight.shape[1] if geometry.groups > 1 else channels
    values, target = np.ascontiguousarray(x).reshape(-1, size[2]), out.reshape(-1, count[2])
    factor, bias = operation.synapses.factor, operation.bias

    def body(start: int, stop: int) -> None:
        _rows(
            values, channels, size[0], size[1], weight, geometry.groups, per_group, first_channel, z_taps, y_taps,
            x_taps, near, padding, factor, bias, target, count[0], count[1], begin, end, start, stop,
        )  # fmt: skip

    for_ranges(body, steps * len(bias), share(math.prod(count) * weight.shape[1]))


def reached(x: np.ndarray, geometry: Any, n_out: int, units: bool = False) -> int:
    """Outputs that the values of x [T, C, *S] other than 0 reach; with `units`, a value k as often as k."""
    size, _, axes = taps.axes(geometry, x.shape[2:])
    z, y, along = (taps.axis_readers(*axis) for axis in axes)
    usual = int(np.bincount(along).argmax())
    others = np.flatnonzero(along != usual)
    rows = np.ascontiguousarray(x).reshape(-1, *size)
    n, grain = len(rows), share(math.prod(size))
    totals: list[int] = []
    for_ranges(lambda a, b: totals.append(_reached(rows, z, y, along, usual, others, units, a, b)), n, grain)
    return sum(totals) * (n_out // geometry.groups)


def _flat_weights(weight: np.ndarray) -> np.ndarray:
    """[O, C, *K] -> float32 [O, C * taps]."""
    return np.ascontiguousarray(weight.reshape(len(weight), -1).astype(np.float32))


@njit(nogil=True, cache=True, error_model="numpy")
def _rows(
    values, channels, depth, height, weight, groups, n_in, first_channel, z_taps, y_taps, x_taps, dilation, padding,
    factor, bias, out, out_depth, out_height, begin, end, start, stop,
):  # fmt: skip
    """Maps start to stop - 1 of out, rows [T * O * Z * Y, X], from values, rows of the same kind; an output reads n_in
    channels. dilation is 0 where neighbours do not read neighbours."""
    n_out, columns, length = len(bias), out.shape[1], values.shape[1]
    nz, ny, nx = z_taps.shape[1], y_taps.shape[1], x_taps.shape[1]
    sums = np.empty(columns, np.float32)
    for task in range(start, stop):
        t, o = divmod(task, n_out)
        first = t * channels + o // (n_out // groups) * n_in * (groups > 1)
        for z in range(out_depth):
            for y in range(out_height):
                target = out[(task * out_depth + z) * out_height + y]
                for i in range(columns):
                    sums[i] = 0 if begin else target[i]
                for c in range(n_in):
                    for kz in range(nz):
                        for ky in range(ny):
                            at_z, at_y = z_taps[z, kz], y_taps[y, ky]
                            if at_z < 0 or at_y < 0:
                                continue
                            row = values[((first + c) * depth + at_z) * height + at_y]
                            tap = (((first_channel + c) * nz + kz) * ny + ky) * nx
                            if nx == 3 and dilation == 1 == padding and columns == length > 2:
                                _add_three(sums, row, weight[o, tap], weight[o, tap + 1], weight[o, tap + 2])
                                continue
                            for kx in range(nx):
                                w = weight[o, tap + kx]
                                if dilation > 0:
                                    shift = kx * dilation - padding
                                    low, high = max(0, -shift), min(columns, length - shift)
                                    if low < high:
                                        _add(sums[low:high], row[low + shift : high + shift], w)
                                else:
                                    for i in range(columns):
                                        if x_taps[i, kx] >= 0:
                                            sums[i] += w * row[x_taps[i, kx]]
                if end:
                    for i in range(columns):
                        target[i] = sums[i] * factor[o] + bias[o]
                else:
                    for i in range(columns):
                        target[i] = sums[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _add(sums, row, w):
    for i in range(len(sums)):
        sums[i] += w * row[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_three(sums, row, before, here, after):
    """The three taps of a row that keeps its length."""
    last = len(row) - 1
    sums[0] = sums[0] + here * row[0] + after * row[1]
    inner, left, middle, right = sums[1:last], row[: last - 1], row[1:last], row[2:]
    for i in range(len(inner)):
        inner[i] = inner[i] + before * left[i] + here * middle[i] + after * right[i]
    sums[last] = sums[last] + before * row[last - 1] + here * row[last]


@njit(nogil=True, cache=True, error_model="numpy")
def _reached(rows, z_readers, y_readers, x_readers, usual, others, units, start, stop):
    """See `reached`; all columns but `others` are read `usual` times."""
    total = 0
    for channel in range(start, stop):
        for z in range(len(z_readers)):
            for y in range(len(y_readers)):
                row, found = rows[channel, z, y], np.int64(0)
                if units:
                    for x in range(len(row)):
                        found += np.int64(row[x]) * x_readers[x]
                else:
                    nonzero = np.int32(0)
                    for x in range(len(row)):
                        nonzero += np.int32(row[x] != 0)
                    found = np.int64(nonzero) * usual
                    for x in others:
                        found += np.int64(row[x] != 0) * (x_readers[x] - usual)
                total += found * z_readers[z] * y_readers[y]
    return total
