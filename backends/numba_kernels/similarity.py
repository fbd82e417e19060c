"""Local normalised cross-correlation with running sums: its cost does not depend on the size of the window.

One pass walks over planes: a running sum along z per voxel (the newest plane in, the oldest out), from it a running sum
along y per row, from it one along x, and at once the formula of the window. It leaves three numbers per window, and
a second pass of the same shape sums those over all windows that hold a voxel. All running sums are float64: products of
float32 numbers are exact there, so nothing drifts.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..threads import for_ranges

_SLAB = 16  # planes per task: running sums restart here, so the result does not depend on the number of threads


def lncc(
    fixed: np.ndarray,
    moving: np.ndarray,
    radius: int,
    squared: bool,
    epsilon: float,
    need_fixed: bool,
    need_moving: bool,
) -> tuple[np.float64, np.ndarray | None, np.ndarray | None]:
    """See numpy_kernels.similarity."""
    grad_fixed = grad_moving = None
    if need_fixed:
        value, grad_fixed = _correlate(moving, fixed, radius, squared, epsilon, True)
    if need_moving or not need_fixed:
        value, grad_moving = _correlate(fixed, moving, radius, squared, epsilon, need_moving)
    return value, grad_fixed, grad_moving


def _correlate(other, image, radius, squared, epsilon, need_grad):
    """(mean correlation, its gradient to `image` or None)."""
    a, b, radii = _volumes(other), _volumes(image), _radii(radius, image.ndim - 2)
    depth = a.shape[1]
    slabs = [(v, z, min(z + _SLAB, depth)) for v in range(len(a)) for z in range(0, depth, _SLAB)]
    shape = a.shape if need_grad else (len(a), 0, 0, 0)
    slopes, offsets = np.empty((2, *shape), a.dtype), np.empty(shape)
    totals = np.empty(len(slabs))

    def windows(first: int, last: int) -> None:
        for i in range(first, last):
            v, *planes = slabs[i]
            totals[i] = _windows(a[v], b[v], radii, squared, epsilon, need_grad, slopes[:, v], offsets[v], *planes)

    for_ranges(windows, len(slabs))
    value = np.float64(totals.sum() / a.size)
    if not need_grad:
        return value, None
    grad = np.empty_like(b)

    def adjoint(first: int, last: int) -> None:
        for v, *planes in slabs[first:last]:
            _adjoint(a[v], b[v], radii, slopes[:, v], offsets[v], 1 / a.size, grad[v], *planes)

    for_ranges(adjoint, len(slabs))
    return value, grad.reshape(image.shape)


def _volumes(images):
    """[B, C, *S] as [B C, Z, Y, X]: a line lies along z, a plane in z and x, so that slabs of z share the work."""
    shape = images.shape[2:]
    shape = {1: (*shape, 1, 1), 2: (shape[0], 1, shape[-1]), 3: shape}[len(shape)]
    return np.ascontiguousarray(images).reshape(-1, *shape)


def _radii(radius, n_axes):
    """Radius of the window along z, y, x of `_volumes`."""
    return {1: (radius, 0, 0), 2: (radius, 0, radius), 3: (radius, radius, radius)}[n_axes]


@njit(nogil=True, cache=True, error_model="numpy")
def _windows(a, b, radii, squared, epsilon, need_grad, slopes, offsets, start, stop):
    """Sum of the correlations of the planes start..stop of two volumes [Z, Y, X].

    Leaves per window slopes [2, Z, Y, X] = p, 2 q of numpy_kernels.similarity and offsets [Z, Y, X] = p <a> + 2 q <b>.
    Offsets are float64 and made of the rounded slopes: in nearly flat windows the gradient is their small difference.
    """
    n_z, n_y, n_x = a.shape
    r_z, r_y, r_x = radii
    n = (2 * r_z + 1) * (2 * r_y + 1) * (2 * r_x + 1)
    over_z = np.zeros((5, n_y, n_x))
    over_zy = np.empty((5, n_x + 2 * r_x + 1))
    sums = np.empty((5, n_x))
    correlation, p, q = np.empty(n_x), np.empty(n_x), np.empty(n_x)
    total = 0.0
    for z_in in range(max(start - r_z, 0), stop + r_z):
        z_out, z = z_in - 2 * r_z - 1, z_in - r_z
        if z_in < n_z:
            _add_products(a[z_in], b[z_in], 1.0, over_z)
        if z_out >= max(start - r_z, 0):
            _add_products(a[z_out], b[z_out], -1.0, over_z)
        if z < start:
            continue
        over_zy[:] = 0
        for y_in in range(n_y + r_y):
            y = y_in - r_y
            _slide(over_z, y_in, y_in - 2 * r_y - 1, over_zy, r_x + 1)
            if y < 0:
                continue
            _run_along(over_zy, 2 * r_x + 1, sums)
            if squared:  # outside the loops, which the compiler then vectorises
                for x in range(n_x):
                    correlation[x], p[x], q[x] = _squared(sums, x, n, epsilon)
            else:
                for x in range(n_x):
                    correlation[x], p[x], q[x] = _signed(sums, x, n, epsilon)
            if need_grad:
                for x in range(n_x):
                    slopes[0, z, y, x] = p[x]
                    slopes[1, z, y, x] = 2 * q[x]
                    offsets[z, y, x] = (slopes[0, z, y, x] * sums[0, x] + slopes[1, z, y, x] * sums[1, x]) / n
            for x in range(n_x):
                total += correlation[x]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _squared(sums, x, n, epsilon):
    """(cov^2 / (var_a var_b + epsilon), p, q) of window x: p and q are the derivatives to cov and to var_b."""
    cov, var_a, var_b = _moments(sums, x, n)
    ratio = cov / (var_a * var_b + epsilon)
    return ratio * cov, 2 * ratio, -ratio * ratio * var_a if var_b > 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def _signed(sums, x, n, epsilon):
    """(cov / sqrt((var_a + epsilon) (var_b + epsilon)) within [-1, 1], p, q) of window x, as in `_squared`."""
    cov, var_a, var_b = _moments(sums, x, n)
    scale = 1 / math.sqrt((var_a + epsilon) * (var_b + epsilon))
    correlation = min(max(cov * scale, -1.0), 1.0)
    p = scale if correlation == cov * scale else 0.0
    return correlation, p, -p * cov / (2 * (var_b + epsilon)) if var_b > 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def _moments(sums, x, n):
    """(covariance, variance of a, variance of b) of window x, the variances clamped at 0."""
    mean_a, mean_b = sums[0, x] / n, sums[1, x] / n
    var_a, var_b = sums[2, x] / n - mean_a * mean_a, sums[3, x] / n - mean_b * mean_b
    return sums[4, x] / n - mean_a * mean_b, max(var_a, 0.0), max(var_b, 0.0)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_products(a, b, sign, over_z):
    """Add sign times a, b, a^2, b^2, ab of one plane [Y, X] to over_z [5, Y, X]."""
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            f, m = np.float64(a[y, x]), np.float64(b[y, x])
            over_z[0, y, x] += sign * f
            over_z[1, y, x] += sign * m
            over_z[2, y, x] += sign * (f * f)
            over_z[3, y, x] += sign * (m * m)
            over_z[4, y, x] += sign * (f * m)


@njit(nogil=True, cache=True, error_model="numpy")
def _slide(over_z, y_in, y_out, over_zy, offset):
    """Move the window along y: add row y_in of over_z [n, Y, X] to over_zy from `offset` on, take row y_out away."""
    for i in range(over_z.shape[0]):
        if y_in < over_z.shape[1]:
            for x in range(over_z.shape[2]):
                over_zy[i, offset + x] += over_z[i, y_in, x]
        if y_out >= 0:
            for x in range(over_z.shape[2]):
                over_zy[i, offset + x] -= over_z[i, y_out, x]


@njit(nogil=True, cache=True, error_model="numpy")
def _run_along(row, width, sums):
    """sums[:, x] = sum of `width` elements of row [n, X + width], which has one zero more in front than the window."""
    for i in range(row.shape[0]):
        total = 0.0
        for x in range(width):
            total += row[i, x]
        for x in range(sums.shape[1]):
            total += row[i, x + width] - row[i, x]
            sums[i, x] = total


@njit(nogil=True, cache=True, error_model="numpy")
def _adjoint(a, b, radii, slopes, offsets, scale, grad, start, stop):
    """Gradient to b [Z, Y, X] in the planes start..stop, from sums of slopes and offsets over windows."""
    n_z, n_y, n_x = a.shape
    r_z, r_y, r_x = radii
    scale /= (2 * r_z + 1) * (2 * r_y + 1) * (2 * r_x + 1)
    over_z = np.zeros((3, n_y, n_x))
    over_zy = np.empty((3, n_x + 2 * r_x + 1))
    sums = np.empty((3, n_x))
    for z_in in range(max(start - r_z, 0), stop + r_z):
        z_out, z = z_in - 2 * r_z - 1, z_in - r_z
        if z_in < n_z:
            _add_slopes(slopes, offsets, z_in, 1.0, over_z)
        if z_out >= max(start - r_z, 0):
            _add_slopes(slopes, offsets, z_out, -1.0, over_z)
        if z < start:
            continue
        over_zy[:] = 0
        for y_in in range(n_y + r_y):
            y = y_in - r_y
            _slide(over_z, y_in, y_in - 2 * r_y - 1, over_zy, r_x + 1)
            if y < 0:
                continue
            _run_along(over_zy, 2 * r_x + 1, sums)
            for x in range(n_x):
                grad[z, y, x] = scale * (a[z, y, x] * sums[0, x] + b[z, y, x] * sums[1, x] - sums[2, x])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_slopes(slopes, offsets, z, sign, over_z):
    """Add sign times plane z of slopes [2, Z, Y, X] and offsets [Z, Y, X] to over_z [3, Y, X]."""
    for y in range(over_z.shape[1]):
        for x in range(over_z.shape[2]):
            over_z[0, y, x] += sign * slopes[0, z, y, x]
            over_z[1, y, x] += sign * slopes[1, z, y, x]
            over_z[2, y, x] += sign * offsets[z, y, x]
