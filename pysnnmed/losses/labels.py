"""Losses of overlap: how well moved labels cover those of the fixed image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ParameterError, ShapeError
from ..tensor import Tensor


def soft_dice(a: Tensor, b: Tensor) -> Tensor:
    """Mean over batch and channels of 2 sum(a b) / (sum(a) + sum(b)), sums over space -> scalar in [0, 1].

    a, b [B, C, *S] in [0, 1]: the share of each voxel that belongs to the structure of each channel; 1 is full overlap,
    the loss is 1 minus this. SynthMorph (Hoffmann et al. 2022) trains on it. Raises ParameterError for a channel that
    is empty in both.
    """
    if a.shape != b.shape or a.ndim < 3:
        raise ShapeError(f"soft_dice: both inputs need one shape [B, C, *S], got {a.shape} and {b.shape}")
    space = tuple(range(2, a.ndim))
    sizes = a.sum(axis=space) + b.sum(axis=space)
    if not (sizes.data > 0).all():
        raise ParameterError("soft_dice: every channel must hold something; leave out labels that are absent from both")
    return ((a * b).sum(axis=space) / sizes).mean() * 2.0


def one_hot(labels: np.ndarray, which: Sequence[int]) -> Tensor:
    """labels [*S] -> [1, C, *S] float32: channel c is 1 where the label is which[c]."""
    return Tensor(np.stack([labels == label for label in which]).astype(np.float32)[None])
