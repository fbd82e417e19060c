"""Other sizes for pictures and masks: one separable filter, exact where nothing changes.

An output pixel is a weighted mean of the input pixels around the place it comes from. With s input pixels to an output
pixel, the weight falls linearly to zero at a distance of max(1, s) input pixels: linear interpolation where the picture
grows, and a filter wide enough against aliasing where it shrinks. Beyond the border nothing is counted, and weights
add up to 1. Pillow's BILINEAR and the antialiased bilinear of torch follow the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ParameterError, ShapeError


def resize(data: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`data` [..., H, W] at the height and width `shape`, float32. Values stay within those of the input."""
    height, width = _checked(data, shape)
    rows, columns = (
        axis_weights((np.arange(new) + 0.5) * old / new - 0.5, old, old / new)
        for new, old in zip((height, width), data.shape[-2:], strict=True)
    )
    return apply_weights(data, rows, columns)


def resize_mask(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A mask [..., H, W] at another size: foreground where at least half of the filter's weight is, bool."""
    return resize((mask != 0).astype(np.float32), shape) >= 0.5


def axis_weights(places: np.ndarray, size: int, step: float) -> np.ndarray:
    """Weights [len(places), size] of the pixels of an axis for outputs at `places`, in pixels, `step` apart."""
    weights = np.maximum(0, 1 - np.abs(np.arange(size) - places[:, None]) / max(1.0, step))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def apply_weights(data: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`data` [..., H, W] under weights [H', H] and [W', W]: [..., H', W'] float32."""
    return rows @ data.astype(np.float32, copy=False) @ columns.T


def _checked(data: np.ndarray, shape: Sequence[int]) -> tuple[int, int]:
    if data.ndim < 2 or 0 in data.shape[-2:]:
        raise ShapeError(f"resize: the data must be [..., H, W] with at least one pixel, not {data.shape}")
    if len(shape) != 2 or min(shape) < 1:
        raise ParameterError(f"resize: shape must be a height and a width of at least 1, not {tuple(shape)}")
    height, width = shape
    return int(height), int(width)
