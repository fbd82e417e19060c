"""Pooling and resizing images, row by row. Images of fewer than three dimensions get leading axes of length 1.

Windows with stride 1 along the rows take slices of their own, which the compiler knows to be contiguous.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..interpolation import linear_taps
from ..threads import for_ranges

_GRAIN = 1 << 14  # at least so many elements per thread


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
    out = np.zeros((*x.shape[:axis], new_size, *x.shape[axis + 1 :]), x.dtype)
    n = int(np.prod(x.shape[:axis]))
    lines = np.ascontiguousarray(x).reshape(n, x.shape[axis], -1)
    new_lines = out.reshape(n, new_size, -1)
    fraction = fraction.astype(x.dtype)
    grain = _GRAIN // max(lines.shape[1] * lines.shape[2], 1) + 1
    for_ranges(lambda a, b: kernel(lines, lower, upper, fraction, new_lines, a, b), n, grain)
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
    return _GRAIN // max(volumes.shape[2] * volumes.shape[3], 1) + 1


def _pooled_shape(shape, kernel, stride, padding):
    sizes = zip(shape[2:], kernel, stride, padding, strict=True)
    return *shape[:2], *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)


@njit(nogil=True, cache=True, error_model="numpy")
def _fitting(tap, stride, padding, size, n_windows):
    """(first window along an axis whose element `tap` lies inside the image, number of such windows, that element)."""
    first = max(0, -((tap - padding) // stride))
    last = min(n_windows, (size - 1 + padding - tap) // stride + 1)
    return first, max(last - first, 0), first * stride + tap - padding


@njit(nogil=True, cache=True, error_model="numpy")
def _max_pool(volumes, window, out, index, start, stop):
    """Planes start..stop of out [n, Z', Y', X']."""
    kernel, stride, padding = window
    n_z, n_y, n_x = volumes.shape[1:]
    for item in range(start, stop):
        v, z_out = item // out.shape[1], item % out.shape[1]
        for y_out in range(out.shape[2]):
            best, place = out[v, z_out, y_out], index[v, z_out, y_out]
            z_in, y_in = z_out * stride[0] - padding[0], y_out * stride[1] - padding[1]
            corner = (max(z_in, 0) * n_y + max(y_in, 0)) * n_x
            for x in range(len(best)):
                best[x] = -np.inf
                place[x] = corner + max(x * stride[2] - padding[2], 0)  # should nothing exceed -infinity
            for z in range(max(z_in, 0), min(z_in + kernel[0], n_z)):
                for y in range(max(y_in, 0), min(y_in + kernel[1], n_y)):
                    for dx in range(kernel[2]):
                        first, n, x = _fitting(dx, stride[2], padding[2], n_x, len(best))
                        where = np.int32((z * n_y + y) * n_x + x)
                        b, p = best[first : first + n], place[first : first + n]
                        if stride[2] == 1:
                            _keep_largest(volumes[v, z, y, x : x + n], b, p, where, np.int32(1))
                        else:
                            _keep_largest(volumes[v, z, y, x :: stride[2]], b, p, where, np.int32(stride[2]))


@njit(nogil=True, cache=True, error_model="numpy")
def _keep_largest(elements, best, place, where, step):
    """Element i, at `where + i step`, replaces best[i] if it is larger or NaN."""
    for i in range(len(best)):
        new = (elements[i] > best[i]) | (elements[i] != elements[i])
        best[i] = elements[i] if new else best[i]
        place[i] = where + np.int32(i) * step if new else place[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _scatter(grad, index, out, start, stop):
    for v in range(start, stop):
        for i in range(grad.shape[1]):
            out[v, index[v, i]] += grad[v, i]


@njit(nogil=True, cache=True, error_model="numpy")
def _avg_pool(volumes, window, share, out, start, stop):
    """Planes start..stop of out [n, Z', Y', X']."""
    kernel, stride, padding = window
    n_z, n_y, n_x = volumes.shape[1:]
    for item in range(start, stop):
        v, z_out = item // out.shape[1], item % out.shape[1]
        z_in = z_out * stride[0] - padding[0]
        for y_out in range(out.shape[2]):
            y_in = y_out * stride[1] - padding[1]
            total = out[v, z_out, y_out]
            for z in range(max(z_in, 0), min(z_in + kernel[0], n_z)):
                for y in range(max(y_in, 0), min(y_in + kernel[1], n_y)):
                    for dx in range(kernel[2]):
                        first, n, x = _fitting(dx, stride[2], padding[2], n_x, len(total))
                        if stride[2] == 1:
                            _add(total[first : first + n], volumes[v, z, y, x : x + n], share)
                        else:
                            _add(total[first : first + n], volumes[v, z, y, x :: stride[2]], share)


@njit(nogil=True, cache=True, error_model="numpy")
def _avg_pool_adjoint(grad, window, share, out, start, stop):
    """Volumes start..stop of out [n, Z, Y, X]."""
    kernel, stride, padding = window
    n_z, n_y, n_x = out.shape[1:]
    for v in range(start, stop):
        for z_out in range(grad.shape[1]):
            z_in = z_out * stride[0] - padding[0]
            for y_out in range(grad.shape[2]):
                y_in = y_out * stride[1] - padding[1]
                g = grad[v, z_out, y_out]
                for z in range(max(z_in, 0), min(z_in + kernel[0], n_z)):
                    for y in range(max(y_in, 0), min(y_in + kernel[1], n_y)):
                        for dx in range(kernel[2]):
                            first, n, x = _fitting(dx, stride[2], padding[2], n_x, len(g))
                            if stride[2] == 1:
                                _add(out[v, z, y, x : x + n], g[first : first + n], share)
                            else:
                                _add(out[v, z, y, x : x + n * stride[2] : stride[2]], g[first : first + n], share)


@njit(nogil=True, cache=True, error_model="numpy")
def _add(total, elements, share):
    """total += share * elements; there may be more elements than totals."""
    for i in range(len(total)):
        total[i] += share * elements[i]


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
        for i in range(len(lower)):
            a, b = out[o, lower[i]], out[o, upper[i]]
            for j in range(lines.shape[2]):
                part = fraction[i] * lines[o, i, j]
                a[j] += lines[o, i, j] - part
                b[j] += part
