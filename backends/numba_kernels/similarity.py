"""Local normalised cross-correlation with running sums: its cost does not depend on the size of the window.

One pass walks over planes: a running sum along z per voxel (the newest plane in, the oldest out), from it a running sum
along y per row, from it one along x, and at once the formula of the window. It leaves three derivatives per window, and
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
    centre = (a.mean(dtype=np.float64), b.mean(dtype=np.float64))
    derivatives = np.empty((len(a), 3, *a.shape[1:]) if need_grad else (len(a), 3, 0, 0, 0), a.dtype)
    totals = np.empty(len(slabs))

    def windows(first: int, last: int) -> None:
        for i in range(first, last):
            v, start, stop = slabs[i]
            totals[i] = _windows(a[v], b[v], radii, squared, epsilon, centre, need_grad, derivatives[v], start, stop)

    for_ranges(windows, len(slabs))
    value = np.float64(totals.sum() / a.size)
    if not need_grad:
        return value, None
    grad = np.empty_like(b)

    def adjoint(first: int, last: int) -> None:
        for v, start, stop in slabs[first:last]:
            _adjoint(a[v], b[v], radii, centre, derivatives[v], 1 / a.size, grad[v], start, stop)

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
def _windows(a, b, radii, squared, epsilon, centre, need_grad, derivatives, start, stop):
    """Sum of the correlations of the planes start..stop of two volumes [Z, Y, X].

    derivatives [3, Z, Y, X], per window: p, q and p <a> + 2 q <b> with <a>, <b> relative to `centre`, as float32 could
    not hold the difference of large numbers that the gradient is.
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
            if squared:
                for x in range(n_x):
                    cov, var_a, var_b = _moments(sums, x, n)
                    ratio = cov / (max(var_a, 0.0) * max(var_b, 0.0) + epsilon)
                    correlation[x] = ratio * cov
                    p[x] = 2 * ratio
                    q[x] = -ratio * ratio * max(var_a, 0.0) if var_b > 0 else 0.0
            else:
                for x in range(n_x):
                    cov, var_a, var_b = _moments(sums, x, n)
                    var_b_plus = max(var_b, 0.0) + epsilon
                    scale = 1 / math.sqrt((max(var_a, 0.0) + epsilon) * var_b_plus)
                    signed = cov * scale
                    inside = 1.0 if abs(signed) <= 1 else 0.0
                    correlation[x] = min(max(signed, -1.0), 1.0)
                    p[x] = inside * scale
                    q[x] = -inside * signed / (2 * var_b_plus) if var_b > 0 else 0.0
            for x in range(n_x):
                total += correlation[x]
            if need_grad:
                for x in range(n_x):
                    derivatives[0, z, y, x] = p[x]
                    derivatives[1, z, y, x] = q[x]
                    mean_a, mean_b = sums[0, x] / n - centre[0], sums[1, x] / n - centre[1]
                    derivatives[2, z, y, x] = p[x] * mean_a + 2 * q[x] * mean_b
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _moments(sums, x, n):
    """(covariance, variance of a, variance of b) of one window."""
    mean_a, mean_b = sums[0, x] / n, sums[1, x] / n
    return sums[4, x] / n - mean_a * mean_b, sums[2, x] / n - mean_a * mean_a, sums[3, x] / n - mean_b * mean_b


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
def _adjoint(a, b, radii, centre, derivatives, scale, grad, start, stop):
    """Gradient to b [Z, Y, X] in the planes start..stop, from the sums of the three derivatives over windows."""
    n_z, n_y, n_x = a.shape
    r_z, r_y, r_x = radii
    scale /= (2 * r_z + 1) * (2 * r_y + 1) * (2 * r_x + 1)
    over_z = np.zeros((3, n_y, n_x))
    over_zy = np.empty((3, n_x + 2 * r_x + 1))
    sums = np.empty((3, n_x))
    for z_in in range(max(start - r_z, 0), stop + r_z):
        z_out, z = z_in - 2 * r_z - 1, z_in - r_z
        if z_in < n_z:
            _add_planes(derivatives, z_in, 1.0, over_z)
        if z_out >= max(start - r_z, 0):
            _add_planes(derivatives, z_out, -1.0, over_z)
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
                f, m = a[z, y, x] - centre[0], b[z, y, x] - centre[1]
                grad[z, y, x] = scale * (f * sums[0, x] + 2 * m * sums[1, x] - sums[2, x])


@njit(nogil=True, cache=True, error_model="numpy")
def _add_planes(volumes, z, sign, over_z):
    """Add sign times plane z of volumes [n, Z, Y, X] to over_z [n, Y, X]."""
    for i in range(over_z.shape[0]):
        for y in range(over_z.shape[1]):
            for x in range(over_z.shape[2]):
                over_z[i, y, x] += sign * volumes[i, z, y, x]
