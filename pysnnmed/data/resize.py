"""Other sizes for pictures and masks: one separable filter, exact where nothing changes.

An output pixel is a weighted mean of the input pixels around the place it comes from. With s input pixels to an output
pixel, the weight falls linearly to zero at a distance of max(1, s) input pixels: linear interpolation where the picture
grows, and a filter wide enough against aliasing where it shrinks. Beyond the border nothing is counted, and weights
add up to 1. Pillow's BILINEAR and the antialiased bilinear of torch follow the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import ParameterError, ShapeError


def resize(data: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`data` [..., H, W] at the height and width `shape`, float32. Values stay within those of the input."""
    height, width = _checked(data, shape)
    for axis, new in ((-2, height), (-1, width)):
        step = data.shape[axis] / new
        data = resample(data, (np.arange(new) + 0.5) * step - 0.5, step, axis)
    return np.ascontiguousarray(data, np.float32)


def resize_mask(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A mask [..., H, W] at another size: foreground where at least half of the filter's weight is, bool."""
    return resize((mask != 0).astype(np.float32), shape) >= 0.5


def resample(data: np.ndarray, places: np.ndarray, step: float, axis: int) -> np.ndarray:
    """Filtered values of `data` at `places` along an axis, in pixels and `step` apart; float32.

    Places must lie within half a step of the pixels of the axis.
    """
    size, support = data.shape[axis], max(1.0, step)
    reach = math.ceil(support)
    near = np.floor(places).astype(np.intp)[:, None] + np.arange(-reach, reach + 2)
    weights = np.maximum(0, 1 - np.abs(near - places[:, None]) / support) * ((near >= 0) & (near < size))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    lines = np.moveaxis(data, axis, 0)
    result = np.zeros((len(places), *lines.shape[1:]), np.float32)
    column = (slice(None), *[None] * (data.ndim - 1))
    for pixels, weight in zip(near.clip(0, size - 1).T, weights.T, strict=True):
        if weight.any():
            result += lines[pixels] * weight[column]
    return np.moveaxis(result, 0, axis)


def _checked(data: np.ndarray, shape: Sequence[int]) -> tuple[int, int]:
    if data.ndim < 2 or 0 in data.shape[-2:]:
        raise ShapeError(f"resize: the data must be [..., H, W] with at least one pixel, not {data.shape}")
    if len(shape) != 2 or min(shape) < 1:
        raise ParameterError(f"resize: shape must be a height and a width of at least 1, not {tuple(shape)}")
    height, width = shape
    return int(height), int(width)
