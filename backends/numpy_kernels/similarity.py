"""Local normalised cross-correlation: the reference."""

from __future__ import annotations

import numpy as np


def lncc(
    fixed: np.ndarray,
    moving: np.ndarray,
    radius: int,
    squared: bool,
    epsilon: float,
    need_fixed: bool,
    need_moving: bool,
) -> tuple[np.float64, np.ndarray | None, np.ndarray | None]:
    """Mean local correlation of fixed and moving [B, C, *S] -> (value, gradient to fixed, gradient to moving).

    Every voxel is the centre of a window of 2 radius + 1 voxels per axis. Outside the images there are zeros, and each
    window counts all its n voxels, so with window means < >:

        cov = <F M> - <F> <M>,  var_F = max(<F^2> - <F>^2, 0),  var_M likewise
        squared:  cov^2 / (var_F var_M + epsilon)
        signed:   cov / (sqrt(var_F + epsilon) sqrt(var_M + epsilon)), clamped to [-1, 1]

    Sums run in float64, so neither an offset of the intensities nor a long running sum eats the small differences.
    """
    grad_fixed = grad_moving = None
    if need_fixed:
        value, grad_fixed = _correlate(moving, fixed, radius, squared, epsilon, True)
    if need_moving or not need_fixed:
        value, grad_moving = _correlate(fixed, moving, radius, squared, epsilon, need_moving)
    return value, grad_fixed, grad_moving


def _correlate(other, image, radius, squared, epsilon, need_grad):
    """(mean correlation, its gradient to `image` or None).

    With p = d cc / d cov and q = d cc / d var_image of the window at w, and the sum over the windows that hold x,
    grad(x) = 1/n sum_w p(w) (F(x) - <F>(w)) + 2 q(w) (M(x) - <M>(w)).
    """
    a, b = other.astype(np.float64), image.astype(np.float64)
    mean_a, mean_b = _window_mean(a, radius), _window_mean(b, radius)
    cov = _window_mean(a * b, radius) - mean_a * mean_b
    spread_a = _window_mean(a * a, radius) - mean_a**2
    spread_b = _window_mean(b * b, radius) - mean_b**2
    var_a, var_b = np.maximum(spread_a, 0), np.maximum(spread_b, 0)
    if squared:
        ratio = cov / (var_a * var_b + epsilon)
        correlation = ratio * cov
        p, q = 2 * ratio, np.where(spread_b > 0, -(ratio**2) * var_a, 0)
    else:
        p = 1 / np.sqrt((var_a + epsilon) * (var_b + epsilon))
        correlation = p * cov
        q = np.where(spread_b > 0, -correlation / (2 * (var_b + epsilon)), 0)
        clamped = np.abs(correlation) > 1
        correlation = np.clip(correlation, -1, 1)
        p, q = np.where(clamped, 0, p), np.where(clamped, 0, q)
    if not need_grad:
        return correlation.mean(), None
    grad = a * _window_mean(p, radius) + 2 * b * _window_mean(q, radius)
    grad -= _window_mean(p * mean_a + 2 * q * mean_b, radius)
    return correlation.mean(), (grad / correlation.size).astype(image.dtype)


def _window_mean(images, radius):
    """Mean over 2 radius + 1 voxels along every spatial axis of [B, C, *S], with zeros outside."""
    width = 2 * radius + 1
    for axis in range(2, images.ndim):
        padding = [(0, 0)] * images.ndim
        padding[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(images, padding), axis=axis)
        size = images.shape[axis]
        upper, lower = np.arange(width, width + size), np.arange(size)
        images = (sums.take(upper, axis) - sums.take(lower, axis)) / width
    return images
