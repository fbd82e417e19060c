"""Pooling and resizing images: the reference. `kernel`, `stride`, `padding`, `factors`: one number per spatial axis."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..interpolation import linear_taps


def max_pool_forward(
    x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Largest element of each window of x [B, C, *S] -> (out [B, C, *S'], its flat index in S as int32).

    S' = (S + 2 padding - kernel) // stride + 1. Padding never wins; of equal elements the first in C order does.
    """
    shape = x.shape[2:]
    windows = _windows(x, kernel, stride, padding, -np.inf)
    within = windows.argmax(axis=-1)
    index = np.zeros(within.shape, np.int32)
    for i, offset in enumerate(np.unravel_index(within, kernel)):
        start = np.arange(within.shape[2 + i]) * stride[i] - padding[i]
        index = index * shape[i] + start.reshape(_along(i, len(shape))) + offset
    return np.take_along_axis(windows, within[..., None], -1)[..., 0], index.astype(np.int32)


def max_pool_backward(grad: np.ndarray, index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Gradient of `max_pool_forward` to its input [B, C, *shape]: each window gives to its largest element."""
    out = np.zeros((*grad.shape[:2], int(np.prod(shape))), grad.dtype)
    for b, c in np.ndindex(*grad.shape[:2]):
        out[b, c] = np.bincount(index[b, c].ravel(), grad[b, c].ravel(), minlength=out.shape[2])
    return out.reshape(*grad.shape[:2], *shape)


def avg_pool_forward(
    x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> np.ndarray:
    """Mean of each window of x [B, C, *S] -> [B, C, *S'], padding counted as zeros; S' as in max_pool_forward."""
    return _windows(x, kernel, stride, padding, 0).mean(axis=-1)


def avg_pool_backward(
    grad: np.ndarray, shape: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> np.ndarray:
    """Gradient of `avg_pool_forward` to its input [B, C, *shape]: each window's gradient is shared out evenly."""
    padded = np.zeros((*grad.shape[:2], *(n + 2 * p for n, p in zip(shape, padding, strict=True))), grad.dtype)
    share = grad / np.prod(kernel).astype(grad.dtype)
    for offset in np.ndindex(*kernel):
        taps = tuple(slice(o, o + s * n, s) for o, s, n in zip(offset, stride, grad.shape[2:], strict=True))
        padded[(..., *taps)] += share
    return padded[(..., *(slice(p, p + n) for p, n in zip(padding, shape, strict=True)))].copy()


def upsample_nearest_forward(x: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Each element of x [B, C, *S] repeated `factors` times along the spatial axes -> [B, C, *(S factors)]."""
    for axis, factor in enumerate(factors, start=2):
        x = np.repeat(x, factor, axis)
    return x


def upsample_nearest_backward(grad: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Gradient of `upsample_nearest_forward` to its input: the sum over each block of copies."""
    blocks = [m for n, factor in zip(grad.shape[2:], factors, strict=True) for m in (n // factor, factor)]
    return grad.reshape(*grad.shape[:2], *blocks).sum(axis=tuple(range(3, 3 + 2 * len(factors), 2)))


def upsample_linear_forward(x: np.ndarray, shape: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """x [B, C, *S] resized to [B, C, *shape] by linear interpolation along each axis; see interpolation.linear_taps."""
    for axis, (size, new_size) in enumerate(zip(x.shape[2:], shape, strict=True), start=2):
        x = _apply(_matrix(size, new_size, align_corners, x.dtype), x, axis)
    return x


def upsample_linear_backward(grad: np.ndarray, shape: tuple[int, ...], align_corners: bool) -> np.ndarray:
    """Adjoint of `upsample_linear_forward`: gradient to its input [B, C, *shape]."""
    for axis, (size, new_size) in enumerate(zip(shape, grad.shape[2:], strict=True), start=2):
        grad = _apply(_matrix(size, new_size, align_corners, grad.dtype).T, grad, axis)
    return grad


def _windows(x, kernel, stride, padding, fill):
    """[B, C, *S', elements of the window] of x padded with `fill`."""
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=fill)
    windows = sliding_window_view(padded, kernel, tuple(range(2, x.ndim)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in stride))]
    return windows.reshape(*windows.shape[: x.ndim], -1)


def _along(axis, n_axes):
    return [-1 if i == axis else 1 for i in range(n_axes)]


def _matrix(size, new_size, align_corners, dtype):
    """[new_size, size]: the two weights of each sample."""
    lower, upper, fraction = linear_taps(size, new_size, align_corners)
    matrix = np.zeros((new_size, size))
    rows = np.arange(new_size)
    matrix[rows, lower] = 1 - fraction
    matrix[rows, upper] += fraction
    return matrix.astype(dtype)


def _apply(matrix, x, axis):
    return np.ascontiguousarray(np.moveaxis(np.tensordot(x, matrix, (axis, 1)), -1, axis))
