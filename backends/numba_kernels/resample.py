"""Pooling and resizing images, row by row. Images of fewer than three dimensions get leading axes of length 1."""

from __future__ import annotations

import numpy as np
from numba import njit

from .. import buffers
from ..interpolation import linear_taps
from ..threads import for_ranges, share


def max_pool_forward(
    x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """See numpy_kernels.resample."""
    out = np.empty(_pooled_shape(x.shape, kernel, stride, padding), x.dtype)
    index = np.empty(out.shape, np.int32)
    window = _window(kernel, stride, padding)
    volumes, rows, indices = _volumes(x), _volumes(out), _volumes(index)
    n = rows.shape[0] * rows.shape[1]
    for_ranges(lambda a, b: _max_pool(volumes, window, rows, indices, a, b), n, _grain(rows))
    return out, index


def max_pool_backward(grad: np.ndarray, index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """See numpy_kernels.resample."""
    out = np.zeros((*grad.shape[:2], *shape), grad.dtype)
    n = grad.shape[0] * grad.shape[1]
    flat = [np.ascontiguousarray(a).reshape(n, -1) for a in (grad, index, out)]
    for_ranges(lambda a, b: _scatter(*flat, a, b), n)
    return out


def avg_pool_forward(
    x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> np.ndarray:
    """See numpy_kernels.resample."""
    out = np.zeros(_pooled_shape(x.shape, kernel, stride, padding), x.dtype)
    volumes, rows, window = _volumes(x), _volumes(out), _window(kernel, stride, padding)
    share = x.dtype.type(1 / np.prod(kernel))
    n = rows.shape[0] * rows.shape[1]
    for_ranges(lambda a, b: _avg_pool(volumes, window, share, rows, a, b), n, _grain(rows))
    return out


def avg_pool_backward(
    grad: np.ndarray, shape: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> np.ndarray:
    """See numpy_kernels.resample."""
    out = np.zeros((*grad.shape[:2], *shape), grad.dtype)
    rows, volumes, window = _volumes(grad), _volumes(out), _window(kernel, stride, padding)
    share = grad.dtype.type(1 / np.prod(kernel))
    for_ranges(lambda a, b: _avg_pool_adjoint(rows, window, share, volumes, a, b), len(rows))
    return out


def upsample_nearest_forward(x: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """See numpy_kernels.resample."""
    out = np.empty((*x.shape[:2], *(n * f for n, f in zip(x.shape[2:], factors, strict=True))), x.dtype)
    small, large, repeats = _volumes(x), _volumes(out), _three(factors, 1)
    n = small.shape[0] * small.shape[1]
    for_ranges(lambda a, b: _repeat(small, repeats, large, a, b), n, _grain(small))
    return out


def upsample_nearest_backward(grad: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """See numpy_kernels.resample."""
    out = np.zeros((*grad.shape[:2], *(n // f for n, f in zip(grad.shape[2:], factors, strict=True))), grad.dtype)
    large, small, repeats = _volumes(grad), _volumes(out), _three(factors, 1)
    n = small.shape[0] * small.shape[1]
    for_ranges(lambda a, b: _sum_copies(large, repeats, small, a, b), n, _grain(small))
    return out


def upsample_linear_forward(x: np.ndarray, shape: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """See numpy_kernels.resample."""
    for axis, (size, new_size) in enumerate(zip(x.shape[2:], shape, strict=True), start=2):
        x = _along_axis(_interpolate, x, axis, new_size, linear_taps(size, new_size, align_corners))
    return x


def upsample_linear_backward(grad: np.ndarray, shape: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """See numpy_kernels.resample."""
    for axis, (size, new_size) in enumerate(zip(shape, grad.shape[2:], strict=True), start=2):
        grad = _along_axis(_interpolate_adjoint, grad, axis, size, linear_taps(size, new_size, align_corners))
    return grad


def _along_axis(kernel, x, axis, new_size, taps):
    """Run `kernel` on x seen as [before, axis, after]; the axis gets the length new_size."""
    lower, upper, fraction = taps
    out = buffers.empty((*x.shape[:axis], new_size, *x.shape[axis + 1 :]), x.dtype)
    n = int(np.prod(x.shape[:axis]))
    lines = np.ascontiguousarray(x).reshape(n, x.shape[axis], -1)
    new_lines = out.reshape(n, new_size, -1)
    fraction = fraction.astype(x.dtype)
    for_ranges(lambda a, b: kernel(lines, lower, upper, fraction, new_lines, a, b), n, share(4 * new_lines[0].size))
    return out


def _three(numbers, missing):
    """One number per axis z, y, x."""
    return (missing,) * (3 - len(numbers)) + tuple(numbers)


def _window(kernel, stride, padding):
    return _three(kernel, 1), _three(stride, 1), _three(padding, 0)


def _volumes(x):
    """[B, C, *S] as [B C, Z, Y, X]."""
    return np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], *_three(x.shape[2:], 1))


def _grain(volumes):
    return share(4 * volumes.shape[2] * volumes.shape[3])


def _pooled_shape(shape, kernel, stride, padding):
    sizes = zip(shape[2:], kernel, stride, padding, strict=True)
    return *shape[:2], *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)


@njit(nogil=True, cache=True, error_model="numpy")
def _span(window, axis, place, size):
    """Range of the elements inside the image that the window at `place` covers along an axis."""
    kernel, stride, padding = window
    first = place * stride[axis] - padding[axis]
    return max(first, 0), min(first + kernel[axis], size)


@njit(nogil=True, cache=True, error_model="numpy")
def _max_pool(volumes, window, out, index, start, stop):
    """Planes start..stop of out [n, Z', Y', X']: first over whole rows, then along x."""
    n_z, n_y, n_x = volumes.shape[1:]
    highest, where = np.empty(n_x, volumes.dtype), np.empty(n_x, np.int32)
    for item in range(start, stop):
        v, z_out = item // out.shape[1], item % out.shape[1]
        z_first, z_last = _span(window, 0, z_out, n_z)
        for y_out in range(out.shape[2]):
            y_first, y_last = _span(window, 1, y_out, n_y)
            for x in range(n_x):
                highest[x] = volumes[v, z_first, y_first, x]
                where[x] = (z_first * n_y + y_first) * n_x + x
            for z in range(z_first, z_last):
                for y in range(y_first, y_last):
                    row, begin = volumes[v, z, y], np.int32((z * n_y + y) * n_x)
                    for x in range(n_x):
                        new = (row[x] > highest[x]) | ((row[x] != row[x]) & (highest[x] == highest[x]))
                        highest[x] = row[x] if new else highest[x]
                        where[x] = begin + np.int32(x) if new else where[x]
            for x_out in range(out.shape[3]):
                x_first, x_last = _span(window, 2, x_out, n_x)
                best = x_first
                for x in range(x_first + 1, x_last):
                    if _comes_before(highest[x], where[x], highest[best], where[best]):
                        best = x
                out[v, z_out, y_out, x_out] = highest[best]
                index[v, z_out, y_out, x_out] = where[best]


@njit(nogil=True, cache=True, error_model="numpy")
def _comes_before(value, place, other, other_place):
    """Whether `value` is the maximum of both: NaN above all, of equal ones the first in C order."""
    if value != value or other != other:
        return value != value and (other == other or place < other_place)
    return value > other or (value == other and place < other_place)


@njit(nogil=True, cache=True, error_model="numpy")
def _scatter(grad, index, out, start, stop):
    for v in range(start, stop):
        for i in range(grad.shape[1]):
            out[v, index[v, i]] += grad[v, i]


@njit(nogil=True, cache=True, error_model="numpy")
def _avg_pool(volumes, window, share, out, start, stop):
    """Planes start..stop of out [n, Z', Y', X']: first over whole rows, then along x."""
    n_z, n_y, n_x = volumes.shape[1:]
    total = np.empty(n_x, volumes.dtype)
    for item in range(start, stop):
        v, z_out = item // out.shape[1], item % out.shape[1]
        z_first, z_last = _span(window, 0, z_out, n_z)
        for y_out in range(out.shape[2]):
            y_first, y_last = _span(window, 1, y_out, n_y)
            total[:] = 0
            for z in range(z_first, z_last):
                for y in range(y_first, y_last):
                    for x in range(n_x):
                        total[x] += volumes[v, z, y, x]
            for x_out in range(out.shape[3]):
                x_first, x_last = _span(window, 2, x_out, n_x)
                for x in range(x_first, x_last):
                    out[v, z_out, y_out, x_out] += share * total[x]


@njit(nogil=True, cache=True, error_model="numpy")
def _avg_pool_adjoint(grad, window, share, out, start, stop):
    """Volumes start..stop of out [n, Z, Y, X]: first along x, then whole rows."""
    n_z, n_y, n_x = out.shape[1:]
    row = np.empty(n_x, out.dtype)
    for v in range(start, stop):
        for z_out in range(grad.shape[1]):
            z_first, z_last = _span(window, 0, z_out, n_z)
            for y_out in range(grad.shape[2]):
                y_first, y_last = _span(window, 1, y_out, n_y)
                row[:] = 0
                for x_out in range(grad.shape[3]):
                    x_first, x_last = _span(window, 2, x_out, n_x)
                    for x in range(x_first, x_last):
                        row[x] += share * grad[v, z_out, y_out, x_out]
                for z in range(z_first, z_last):
                    for y in range(y_first, y_last):
                        for x in range(n_x):
                            out[v, z, y, x] += row[x]


@njit(nogil=True, cache=True, error_model="numpy")
def _repeat(small, repeats, large, start, stop):
    """Planes start..stop of small [n, Z, Y, X], each to its copies."""
    f_z, f_y, f_x = repeats
    for item in range(start, stop):
        v, z = item // small.shape[1], item % small.shape[1]
        for y in range(small.shape[2]):
            first = large[v, z * f_z, y * f_y]
            for x in range(small.shape[3]):
                for i in range(f_x):
                    first[x * f_x + i] = small[v, z, y, x]
            for i in range(1, f_z * f_y):
                large[v, z * f_z + i // f_y, y * f_y + i % f_y] = first


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_copies(large, repeats, small, start, stop):
    """Planes start..stop of small [n, Z, Y, X], each from its copies."""
    f_z, f_y, f_x = repeats
    for item in range(start, stop):
        v, z = item // small.shape[1], item % small.shape[1]
        for y in range(small.shape[2]):
            for i in range(f_z * f_y):
                row = large[v, z * f_z + i // f_y, y * f_y + i % f_y]
                for j in range(f_x):
                    for x in range(small.shape[3]):
                        small[v, z, y, x] += row[x * f_x + j]


@njit(nogil=True, cache=True, error_model="numpy")
def _interpolate(lines, lower, upper, fraction, out, start, stop):
    """out [before, new axis, after] from lines [before, axis, after]."""
    for o in range(start, stop):
        if lines.shape[2] == 1:
            for i in range(len(lower)):
                a, b = lines[o, lower[i], 0], lines[o, upper[i], 0]
                out[o, i, 0] = a + fraction[i] * (b - a)
        else:
            for i in range(len(lower)):
                f = fraction[i]
                a, b = lines[o, lower[i]], lines[o, upper[i]]
                for j in range(lines.shape[2]):
                    out[o, i, j] = a[j] + f * (b[j] - a[j])


@njit(nogil=True, cache=True, error_model="numpy")
def _interpolate_adjoint(lines, lower, upper, fraction, out, start, stop):
    """Adjoint of `_interpolate`: lines [before, new axis, after] shared out to out [before, axis, after]."""
    for o in range(start, stop):
        out[o] = 0
        for i in range(len(lower)):
            a, b = out[o, lower[i]], out[o, upper[i]]
            for j in range(lines.shape[2]):
                part = fraction[i] * lines[o, i, j]
                a[j] += lines[o, i, j] - part
                b[j] += part
