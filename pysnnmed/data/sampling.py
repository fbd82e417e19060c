"""Values of a volume between its voxels, in NumPy. Exact where no interpolation is needed.

Outside: a volume reaches half a voxel beyond the centres of its outermost voxels, where it keeps their value; further
out it has the value `fill`, or with fill=None that of the nearest voxel. This is what ITK does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np

from ..errors import ParameterError
from .affines import corners

Interpolation = Literal["linear", "nearest"]
EXACT = 1e-3  # voxels; an index map that stays this close to whole voxels copies them
_SLAB = 2**18  # points computed at once


def sample(data: np.ndarray, points: np.ndarray, interpolation: Interpolation, fill: float | None) -> np.ndarray:
    """Values of `data` [I, J, K] at voxel coordinates `points` [3, ...].

    "linear" returns floating-point numbers (float32 for integers, else the type of `data`), "nearest" the type of
    `data`; halves round up.
    """
    limits = np.array(data.shape, dtype=np.float64).reshape(3, *[1] * (points.ndim - 1))
    inside = ((points >= -0.5) & (points < limits - 0.5)).all(axis=0)
    points = np.clip(points, 0, limits - 1)
    if interpolation == "nearest":
        values = data[tuple(np.floor(points + 0.5).astype(np.intp))]
    elif interpolation == "linear":
        values = _linear(data, points).astype(floating(data.dtype))
    else:
        raise ParameterError(f"interpolation must be 'linear' or 'nearest', not {interpolation!r}")
    return values if fill is None else np.where(inside, values, values.dtype.type(fill))


def floating(dtype: np.dtype) -> np.dtype:
    """The type of interpolated values: floating-point types stay, others become float32."""
    return dtype if dtype.kind == "f" else np.dtype(np.float32)


def _linear(data: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Trilinear: the eight voxels around each point, weighted by the volume of the opposite box."""
    lower = np.floor(points)
    fraction = points - lower
    low = lower.astype(np.intp)
    high = np.minimum(low + 1, np.array(data.shape).reshape(3, *[1] * (points.ndim - 1)) - 1)
    values = np.zeros(points.shape[1:])
    for upper in itertools.product((False, True), repeat=3):
        weight = np.ones(points.shape[1:])
        for f, up in zip(fraction, upper, strict=True):
            weight *= f if up else 1 - f
        values += weight * data[tuple(h if up else b for b, h, up in zip(low, high, upper, strict=True))]
    return values


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
    whole = whole_voxels(index_map, shape, EXACT)
    if whole is not None:
        return _copied(data, whole, shape, fill)
    return by_slabs(lambda y: sample(data, transformed(index_map, y), interpolation, fill), shape)


def by_slabs(values: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Fill a grid from values(indices [3, n, J, K]) of a few planes at a time, so that memory stays bounded."""
    planes = max(1, _SLAB // max(1, shape[1] * shape[2]))
    slabs = []
    for start in range(0, shape[0], planes):
        ranges = np.arange(start, min(start + planes, shape[0])), np.arange(shape[1]), np.arange(shape[2])
        slabs.append(values(np.stack(np.meshgrid(*ranges, indexing="ij")).astype(np.float64)))
    return np.concatenate(slabs)


def transformed(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [3, ...] mapped by an affine [4, 4]."""
    return np.tensordot(affine[:3, :3], points, 1) + affine[:3, 3].reshape(3, *[1] * (points.ndim - 1))


def whole_voxels(index_map: np.ndarray, shape: tuple[int, ...], tolerance: float) -> np.ndarray | None:
    """The map of whole voxels that moves no corner of the grid by more than `tolerance` voxels, if there is one."""
    whole = np.round(index_map)
    linear = np.abs(whole[:3, :3])
    if not ((linear.sum(axis=0) == 1).all() and (linear.sum(axis=1) == 1).all()):
        return None
    return whole if np.abs((whole - index_map) @ corners(shape))[:3].max() <= tolerance else None


def _copied(data: np.ndarray, whole: np.ndarray, shape: tuple[int, ...], fill: float | None) -> np.ndarray:
    source_axes = [int(a) for a in np.abs(whole[:3, :3]).argmax(axis=0)]  # the axis of data behind each output axis
    indices = [
        (whole[a, out] * np.arange(shape[out]) + whole[a, 3]).astype(np.intp) for out, a in enumerate(source_axes)
    ]
    turned = data.transpose(source_axes)
    inside = [(i >= 0) & (i < n) for i, n in zip(indices, turned.shape, strict=True)]
    clipped = [np.clip(i, 0, n - 1) for i, n in zip(indices, turned.shape, strict=True)]
    copy = np.ascontiguousarray(turned[np.ix_(*clipped)])
    if fill is not None:
        for axis, mask in enumerate(inside):
            copy[(slice(None),) * axis + (~mask,)] = fill
    return copy
