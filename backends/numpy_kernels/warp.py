"""Sampling an image by a displacement field: the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_BLOCK = 1 << 15  # voxels at a time, so that temporary arrays stay in the cache


def warp_forward(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """moved(x) = image(x + u(x)) by multilinear interpolation -> [B, C, *S].

    image [B, C, *S], displacement u [B, n, *S] in voxels, component i along axis i of the n spatial axes.
    Positions outside the grid are clamped to its border, axis by axis.
    """
    out = np.empty_like(image)
    for b, planes in _blocks(displacement):
        cells = _locate(displacement[b], planes)
        out[b][:, planes], _ = _sample(_flat(image[b]), cells.corner, cells.steps, cells.fractions, slopes=False)
    return out


def warp_backward(
    grad: np.ndarray, image: np.ndarray, displacement: np.ndarray, need_image: bool, need_displacement: bool
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Gradients of `warp_forward` -> (grad_image [B, C, *S] or None, grad_displacement [B, n, *S] or None).

    Along an axis where the position is not strictly inside the grid the displacement gradient is zero. On a grid
    point, where the interpolant has a kink, it is the derivative towards higher indices.
    """
    grad_image = np.zeros(image.shape) if need_image else None
    grad_displacement = np.empty_like(displacement) if need_displacement else None
    for b, planes in _blocks(displacement):
        cells = _locate(displacement[b], planes)
        g = grad[b][:, planes]
        if grad_image is not None:
            for out, channel in zip(_flat(grad_image[b]), g, strict=True):
                _spread(out, channel, cells.corner, cells.steps, cells.fractions)
        if grad_displacement is not None:
            _, slopes = _sample(_flat(image[b]), cells.corner, cells.steps, cells.fractions, slopes=True)
            for out, slope, inside in zip(grad_displacement[b], slopes, cells.inside, strict=True):
                out[planes] = np.where(inside, (g * slope).sum(axis=0), 0)
    return None if grad_image is None else grad_image.astype(image.dtype), grad_displacement


class _Cells(NamedTuple):
    """Where the positions of a block lie: arrays of its shape, one per axis in the tuples."""

    corner: np.ndarray  # flat index of the grid point at or below
    steps: tuple[np.ndarray, ...]  # flat distance to the next grid point along the axis; 0 at the last one
    fractions: tuple[np.ndarray, ...]  # way to that point, in [0, 1]
    inside: tuple[np.ndarray, ...]  # whether the position is strictly inside the grid


def _locate(u: np.ndarray, planes: slice) -> _Cells:
    """Cells of the given planes of u [n, *S].

    The fraction comes from u alone, not from x + u, so it keeps all digits of u. A NaN stays a NaN in the fraction.
    """
    shape = u.shape[1:]
    corner, axes = np.zeros(1, np.intp), []
    for i, size in enumerate(shape):
        x = np.arange(size, dtype=u.dtype).reshape([-1 if j == i else 1 for j in range(len(shape))])
        x = x[planes] if i == 0 else x
        component = u[i, planes]
        clamped = np.minimum(np.maximum(component, -x), size - 1 - x)
        whole = np.floor(clamped)
        index = np.where(np.isnan(whole), 0, whole + x).astype(np.intp)
        stride = int(np.prod(shape[i + 1 :]))
        corner = corner + index * stride
        inside = (component > -x) & (component < size - 1 - x)
        axes.append((np.where(index < size - 1, stride, 0), clamped - whole, inside))
    return _Cells(corner, *zip(*axes, strict=True))


def _sample(source, corner, steps, fractions, slopes):
    """source [C, voxels] interpolated in the cells -> (values, list of derivatives along each axis if `slopes`)."""
    if not steps:
        return source.take(corner, axis=1), []
    (step, *steps), (fraction, *fractions) = steps, fractions
    below, slopes_below = _sample(source, corner, steps, fractions, slopes)
    above, slopes_above = _sample(source, corner + step, steps, fractions, slopes)
    across = [b + fraction * (a - b) for b, a in zip(slopes_below, slopes_above, strict=True)]
    along = above - below
    return below + fraction * along, [along, *across] if slopes else []


def _spread(out, grad, corner, steps, fractions):
    """Adjoint of `_sample` for one channel: add what each sample took from out [voxels]."""
    if not steps:
        first = corner.min()
        received = np.bincount((corner - first).ravel(), grad.ravel())
        out[first : first + len(received)] += received
        return
    (step, *steps), (fraction, *fractions) = steps, fractions
    above = fraction * grad
    _spread(out, grad - above, corner, steps, fractions)
    _spread(out, above, corner + step, steps, fractions)


def _flat(image):
    """[C, *S] as [C, voxels]."""
    return image.reshape(len(image), -1)


def _blocks(displacement: np.ndarray) -> Iterator[tuple[int, slice]]:
    """(sample, planes along the first axis) that together cover displacement [B, n, *S]."""
    depth, per_plane = displacement.shape[2], max(int(np.prod(displacement.shape[3:])), 1)
    n = max(_BLOCK // per_plane, 1)
    for b in range(len(displacement)):
        for start in range(0, depth, n):
            yield b, slice(start, start + n)
