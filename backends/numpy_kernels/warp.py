"""Sampling an image by a displacement field: the reference."""

from __future__ import annotations

from itertools import product

import numpy as np


def warp_forward(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """moved(x) = image(x + u(x)) by multilinear interpolation -> [B, C, *S].

    image [B, C, *S], displacement u [B, n, *S] in voxels, component i along axis i of the n spatial axes.
    Positions outside the grid are clamped to its border, axis by axis.
    """
    cells = _cells(displacement)
    source = image.reshape(*image.shape[:2], -1)
    out = np.zeros_like(image)
    for index, weight, _ in _corners(cells):
        out += weight * _gather(source, index)
    return out


def warp_backward(
    grad: np.ndarray, image: np.ndarray, displacement: np.ndarray, need_image: bool, need_displacement: bool
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Gradients of `warp_forward` -> (grad_image [B, C, *S] or None, grad_displacement [B, n, *S] or None).

    Along an axis where the position is not strictly inside the grid the displacement gradient is zero. On a grid
    point, where the interpolant has a kink, it is the derivative towards higher indices.
    """
    cells = _cells(displacement)
    source = image.reshape(*image.shape[:2], -1)
    grad_image = np.zeros(source.shape) if need_image else None
    grad_displacement = np.zeros_like(displacement) if need_displacement else None
    for index, weight, slopes in _corners(cells):
        if grad_image is not None:
            for b, c in np.ndindex(*image.shape[:2]):
                spread = (weight[b] * grad[b, c]).ravel()
                grad_image[b, c] += np.bincount(index[b].ravel(), spread, minlength=source.shape[2])
        if grad_displacement is not None:
            pull = (grad * _gather(source, index)).sum(axis=1)
            for i, slope in enumerate(slopes):
                grad_displacement[:, i] += pull * slope
    if grad_image is not None:
        grad_image = grad_image.astype(image.dtype).reshape(image.shape)
    return grad_image, grad_displacement


def _cells(displacement):
    """Per axis: (index of the grid point at or below the clamped position, whether there is a next, fraction, inside).

    The fraction comes from u alone, not from x + u, so it keeps all digits of u. A NaN stays a NaN in the fraction.
    """
    cells = []
    for i, size in enumerate(displacement.shape[2:]):
        u = displacement[:, i]
        x = np.arange(size, dtype=u.dtype).reshape([-1 if j == i else 1 for j in range(u.ndim - 1)])
        inside = (u > -x) & (u < size - 1 - x)
        u = np.minimum(np.maximum(u, -x), size - 1 - x)
        whole = np.floor(u)
        index = np.where(np.isnan(u), 0, whole + x).astype(np.intp)
        cells.append((index, index < size - 1, u - whole, inside))
    return cells


def _corners(cells):
    """For each corner of the cells: (flat index, weight [B, 1, *S], derivative of the weight along each axis)."""
    shape = cells[0][0].shape[1:]
    strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    for corner in product((0, 1), repeat=len(cells)):
        index = sum(
            (low + upper * step) * stride
            for (low, step, _, _), upper, stride in zip(cells, corner, strides, strict=True)
        )
        parts = [f if upper else 1 - f for (_, _, f, _), upper in zip(cells, corner, strict=True)]
        slopes = []
        for i, (upper, cell) in enumerate(zip(corner, cells, strict=True)):
            others = _product(parts[:i] + parts[i + 1 :], cell[2])
            slopes.append(np.where(cell[3], others if upper else -others, 0))
        yield index, _product(parts, cells[0][2])[:, None], slopes


def _product(factors, like):
    out = np.ones_like(like)
    for factor in factors:
        out *= factor
    return out


def _gather(source, index):
    """source [B, C, n_voxels] at index [B, *S] -> [B, C, *S]."""
    return np.stack([samples.take(index[b], axis=1) for b, samples in enumerate(source)])
