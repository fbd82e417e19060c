"""Values of a volume between its voxels. Exact where no interpolation is needed.

Outside: a volume reaches half a voxel beyond the centres of its outermost voxels, where it keeps their value; further
out it has the value `fill`, or with fill=None that of the nearest voxel. This is what ITK does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from .. import kernels
from ..errors import ParameterError
from .affines import corners

Interpolation = Literal["linear", "nearest"]
EXACT = 1e-3  # voxels; nothing is interpolated where every point lies this close to the centre of a voxel
_SLAB = 2**16  # points computed at once: few enough for the cache


def sample(data: np.ndarray, points: np.ndarray, interpolation: Interpolation, fill: float | None) -> np.ndarray:
    """Values of `data` [I, J, K] at voxel coordinates `points` [3, ...].

    "linear" (the eight voxels around a point) returns floating-point numbers: float32 for integers, else the type of
    `data`. "nearest" keeps the type; halves round up.
    """
    flat = np.asarray(points, np.float64).reshape(3, -1)
    values = kernels.run("sample", data, flat, _linear(interpolation)).reshape(points.shape[1:])
    if fill is not None:
        values[~inside(points, data.shape)] = fill
    return values


def inside(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which points [3, ...] lie in a volume of this shape, the outer halves of its border voxels included."""
    sizes = np.array(shape).reshape(3, *[1] * (points.ndim - 1))
    return np.logical_and.reduce((points >= -0.5) & (points < sizes - 0.5), axis=0)


def resample(
    data: np.ndarray,
    index_map: np.ndarray,
    shape: tuple[int, ...],
    interpolation: Interpolation = "linear",
    fill: float | None = 0.0,
) -> np.ndarray:
    """`data` [I, J, K] on another grid: out[y] = data(index_map @ y), for y in a grid of `shape`; index_map is [4, 4].

    Where the map only permutes, reverses and shifts whole voxels, they are copied and keep type and value.
    """
    order = np.abs(index_map[:3, :3]).argmax(axis=0)  # the axis of data that each axis of the result follows
    aligned = np.zeros((4, 4))
    aligned[order, range(3)] = index_map[order, range(3)]
    aligned[:, 3] = index_map[:, 3]
    if len(set(order)) == 3 and np.abs((aligned - index_map) @ corners(shape)).max() <= EXACT:
        positions = [aligned[a, out] * np.arange(shape[out]) + aligned[a, 3] for out, a in enumerate(order)]
        return _along_axes(data.transpose(order), positions, interpolation, fill)
    return by_slabs(lambda _, y: sample(data, transformed(index_map, y), interpolation, fill), shape)


def _along_axes(
    data: np.ndarray, positions: list[np.ndarray], interpolation: Interpolation, fill: float | None
) -> np.ndarray:
    """`data` at a lattice of positions, one list per axis: interpolated only along axes that need it."""
    linear = _linear(interpolation)
    within = [(p >= -0.5) & (p < n - 0.5) for p, n in zip(positions, data.shape, strict=True)]
    for axis, (position, n) in enumerate(zip(positions, data.shape, strict=True)):
        clipped = np.clip(position, 0, n - 1)
        nearest = np.floor(clipped + 0.5).astype(np.intp)
        if not linear or np.abs(clipped - nearest).max() <= EXACT:
            data = data.take(nearest, axis)
            continue
        low = clipped.astype(np.intp)
        dtype = _floating(data.dtype)
        weight = (clipped - low).astype(dtype).reshape(-1, *[1] * (2 - axis))
        data = data.take(low, axis) * (1 - weight) + data.take(np.minimum(low + 1, n - 1), axis) * weight
        data = data.astype(dtype, copy=False)
    data = np.ascontiguousarray(data)
    if fill is not None:
        for axis, mask in enumerate(within):
            data[(slice(None),) * axis + (~mask,)] = fill
    return data


def by_slabs(values: Callable[[slice, np.ndarray], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Fill a grid a few planes at a time, so that memory stays bounded.

    values(planes, indices) gets the range of planes and their voxel indices [3, n, J, K], and returns [n, J, K].
    """
    n = max(1, _SLAB // (shape[1] * shape[2]))
    slabs = []
    for start in range(0, shape[0], n):
        planes = slice(start, min(start + n, shape[0]))
        axes = np.arange(planes.start, planes.stop), np.arange(shape[1]), np.arange(shape[2])
        slabs.append(values(planes, np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float64)))
    return np.concatenate(slabs)


def transformed(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [3, ...] mapped by an affine [4, 4]."""
    return np.tensordot(affine[:3, :3], points, 1) + affine[:3, 3].reshape(3, *[1] * (points.ndim - 1))


def _linear(interpolation: Interpolation) -> bool:
    if interpolation not in ("linear", "nearest"):
        raise ParameterError(f"interpolation must be 'linear' or 'nearest', not {interpolation!r}")
    return interpolation == "linear"


def _floating(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.kind == "f" else np.dtype(np.float32)
