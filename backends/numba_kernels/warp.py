"""Sampling an image by a displacement field: rows of voxels, first their cells, then the samples of each channel.

Images of fewer than three dimensions are given leading axes of length 1, along which nothing moves.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..threads import for_ranges

_ROWS = 64  # at least so many rows of voxels per thread


def warp_forward(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """See numpy_kernels.warp."""
    volumes, field, axis = _in_three_dimensions(image, displacement)
    out = np.empty(image.shape, image.dtype)
    rows = out.reshape(*out.shape[:2], -1, out.shape[-1])
    for_ranges(lambda a, b: _sample(volumes, field, axis, rows, a, b), len(field) * rows.shape[2], _ROWS)
    return out


def warp_backward(
    grad: np.ndarray, image: np.ndarray, displacement: np.ndarray, need_image: bool, need_displacement: bool
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """See numpy_kernels.warp. One thread spreads all of a channel's gradient, so its sums have one order."""
    volumes, field, axis = _in_three_dimensions(image, displacement)
    rows = np.ascontiguousarray(grad).reshape(*grad.shape[:2], -1, grad.shape[-1])
    grad_image = grad_displacement = None
    if need_image:
        grad_image = np.zeros(image.shape, image.dtype)
        spread = grad_image.reshape(volumes.shape)
        for_ranges(lambda a, b: _spread(rows, field, axis, spread, a, b), image.shape[0] * image.shape[1])
    if need_displacement:
        pulled = np.empty_like(field)
        for_ranges(lambda a, b: _pull(rows, volumes, field, axis, pulled, a, b), len(field) * rows.shape[2], _ROWS)
        grad_displacement = pulled[:, -displacement.shape[1] :].reshape(displacement.shape)
    return grad_image, grad_displacement


def _in_three_dimensions(image, displacement):
    """(image [B, C, n_voxels], displacement [B, 3, Z, Y, X], coordinates along the longest axis)."""
    n = displacement.shape[1]
    shape = (1,) * (3 - n) + displacement.shape[2:]
    field = displacement.reshape(len(displacement), n, *shape)
    if n < 3:
        still = np.zeros((len(field), 3 - n, *shape), field.dtype)
        field = np.concatenate([still, field], axis=1)
    volumes = np.ascontiguousarray(image).reshape(*image.shape[:2], -1)
    return volumes, np.ascontiguousarray(field), np.arange(max(shape), dtype=field.dtype)


@njit(nogil=True, cache=True, error_model="numpy")
def _cell(u, at, last):
    """(index of the grid point at or below at + u clamped into [0, last], 1 if a next point exists, fraction)."""
    u = -at if u < -at else u
    u = last - at if u > last - at else u
    whole = np.floor(u)
    low = whole + at if whole == whole else at - at  # a NaN samples somewhere, and stays a NaN in the fraction
    return np.uint64(low), np.uint64(1 if low < last else 0), u - whole


@njit(nogil=True, cache=True, error_model="numpy")
def _cells(field, axis, b, z, y, corner, step, fraction):
    """Cells of one row: the flat index of its low corner, the flat step to the next point and the fraction per axis."""
    n_z, n_y, n_x = field.shape[2:]
    for x in range(n_x):
        i, more, fraction[0, x] = _cell(field[b, 0, z, y, x], axis[z], axis[n_z - 1])
        j, more_y, fraction[1, x] = _cell(field[b, 1, z, y, x], axis[y], axis[n_y - 1])
        k, more_x, fraction[2, x] = _cell(field[b, 2, z, y, x], axis[x], axis[n_x - 1])
        corner[x] = (i * np.uint64(n_y) + j) * np.uint64(n_x) + k
        step[0, x] = more * np.uint64(n_y * n_x)
        step[1, x] = more_y * np.uint64(n_x)
        step[2, x] = more_x


@njit(nogil=True, cache=True, error_model="numpy")
def _sample(volumes, field, axis, out, start, stop):
    n_y, n_x = field.shape[3:]
    n_rows = out.shape[2]
    corner, step = np.empty(n_x, np.uint64), np.empty((3, n_x), np.uint64)
    fraction = np.empty((3, n_x), field.dtype)
    for item in range(start, stop):
        b, row = item // n_rows, item % n_rows
        _cells(field, axis, b, row // n_y, row % n_y, corner, step, fraction)
        for c in range(volumes.shape[1]):
            v = volumes[b, c]
            for x in range(n_x):
                o, dz, dy, dx = corner[x], step[0, x], step[1, x], step[2, x]
                fz, fy, fx = fraction[0, x], fraction[1, x], fraction[2, x]
                v00 = v[o] + fx * (v[o + dx] - v[o])
                v01 = v[o + dy] + fx * (v[o + dy + dx] - v[o + dy])
                o += dz
                v10 = v[o] + fx * (v[o + dx] - v[o])
                v11 = v[o + dy] + fx * (v[o + dy + dx] - v[o + dy])
                v0 = v00 + fy * (v01 - v00)
                v1 = v10 + fy * (v11 - v10)
                out[b, c, row, x] = v0 + fz * (v1 - v0)


@njit(nogil=True, cache=True, error_model="numpy")
def _pull(grad, volumes, field, axis, out, start, stop):
    """Gradient to the displacement: the gradient of the image inside the cell, times grad, summed over channels."""
    n_z, n_y, n_x = field.shape[2:]
    n_rows = grad.shape[2]
    corner, step = np.empty(n_x, np.uint64), np.empty((3, n_x), np.uint64)
    fraction, total = np.empty((3, n_x), field.dtype), np.empty((3, n_x), field.dtype)
    for item in range(start, stop):
        b, row = item // n_rows, item % n_rows
        z, y = row // n_y, row % n_y
        _cells(field, axis, b, z, y, corner, step, fraction)
        total[:] = 0
        for c in range(volumes.shape[1]):
            v = volumes[b, c]
            for x in range(n_x):
                o, dz, dy, dx = corner[x], step[0, x], step[1, x], step[2, x]
                fz, fy, fx = fraction[0, x], fraction[1, x], fraction[2, x]
                g = grad[b, c, row, x]
                v00, v01 = v[o], v[o + dy]
                s00, s01 = v[o + dx] - v00, v[o + dy + dx] - v01
                o += dz
                v10, v11 = v[o], v[o + dy]
                s10, s11 = v[o + dx] - v10, v[o + dy + dx] - v11
                v00, v01, v10, v11 = v00 + fx * s00, v01 + fx * s01, v10 + fx * s10, v11 + fx * s11
                s0, s1 = s00 + fy * (s01 - s00), s10 + fy * (s11 - s10)
                t0, t1 = v01 - v00, v11 - v10
                total[2, x] += g * (s0 + fz * (s1 - s0))
                total[1, x] += g * (t0 + fz * (t1 - t0))
                total[0, x] += g * ((v10 + fy * t1) - (v00 + fy * t0))
        for x in range(n_x):
            out[b, 0, z, y, x] = _where_inside(total[0, x], field[b, 0, z, y, x], axis[z], axis[n_z - 1])
            out[b, 1, z, y, x] = _where_inside(total[1, x], field[b, 1, z, y, x], axis[y], axis[n_y - 1])
            out[b, 2, z, y, x] = _where_inside(total[2, x], field[b, 2, z, y, x], axis[x], axis[n_x - 1])


@njit(nogil=True, cache=True, error_model="numpy")
def _where_inside(slope, u, at, last):
    return slope if -at < u and u < last - at else at - at


@njit(nogil=True, cache=True, error_model="numpy")
def _spread(grad, field, axis, out, start, stop):
    """Adjoint of `_sample` in the image, for the channels start..stop of B * C."""
    n_z, n_y, n_x = field.shape[2:]
    corner, step = np.empty(n_x, np.uint64), np.empty((3, n_x), np.uint64)
    fraction = np.empty((3, n_x), field.dtype)
    for item in range(start, stop):
        b, c = item // grad.shape[1], item % grad.shape[1]
        v = out[b, c]
        for row in range(n_z * n_y):
            _cells(field, axis, b, row // n_y, row % n_y, corner, step, fraction)
            for x in range(n_x):
                o, dz, dy, dx = corner[x], step[0, x], step[1, x], step[2, x]
                fz, fy, fx = fraction[0, x], fraction[1, x], fraction[2, x]
                g = grad[b, c, row, x]
                g1 = fz * g
                g0 = g - g1
                g01, g11 = fy * g0, fy * g1
                g00, g10 = g0 - g01, g1 - g11
                v[o] += g00 - fx * g00
                v[o + dx] += fx * g00
                v[o + dy] += g01 - fx * g01
                v[o + dy + dx] += fx * g01
                o += dz
                v[o] += g10 - fx * g10
                v[o + dx] += fx * g10
                v[o + dy] += g11 - fx * g11
                v[o + dy + dx] += fx * g11
