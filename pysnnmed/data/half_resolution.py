"""Displacement fields on every second voxel, as the Learn2Reg challenge of 2021 wanted and read them.

A field [ndim, *S] of even sizes becomes one of half of each; the outermost voxels of both coincide, so that sample k of
n / 2 lies at k (n - 1) / (n / 2 - 1). Values stay those of the full grid: they still count its voxels.
"""

from __future__ import annotations

import numpy as np

from ..errors import ImageError, require
from .sampling import resample


def halved(field: np.ndarray) -> np.ndarray:
    """A field [3, I, J, K] at half resolution, interpolated linearly. Raises ImageError for a size that is odd."""
    shape = field.shape[1:]
    if any(n % 2 or n < 4 for n in shape):
        raise ImageError(f"only a field of even sizes of at least 4 has a half resolution, not {shape}; pad the images")
    half = tuple(n // 2 for n in shape)
    steps = np.diag([*((n - 1) / (m - 1) for n, m in zip(shape, half, strict=True)), 1.0])
    return np.stack([resample(component, steps, half, "linear", fill=None) for component in field])


def doubled(field: np.ndarray) -> np.ndarray:
    """What readers make of a field at half resolution: quadratic splines, scipy.ndimage.zoom(component, 2, order=2)."""
    ndimage = require("scipy.ndimage", extra="med", purpose="reading fields at half resolution")
    return np.stack([ndimage.zoom(component, 2, order=2) for component in field])
