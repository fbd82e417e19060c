"""Where the samples of a resized axis lie on the original one: shared by the kernels that resize images."""

from __future__ import annotations

import numpy as np


def linear_taps(size: int, new_size: int, align_corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lower, upper, fraction), each [new_size]: sample i lies `fraction` of the way from voxel lower to voxel upper.

    align_corners: the centres of the first and the last voxel keep their places. Otherwise the outer faces of those
    voxels do, and samples beyond the first or last centre take its value.
    """
    i = np.arange(new_size)
    if align_corners:
        position = i * ((size - 1) / max(new_size - 1, 1))
    else:
        position = np.clip((i + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    lower = np.minimum(position.astype(np.intp), size - 1)
    return lower, np.minimum(lower + 1, size - 1), position - lower
