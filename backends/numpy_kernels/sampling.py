"""Values of a volume between its voxels: the reference."""

from __future__ import annotations

import numpy as np


def sample(volume: np.ndarray, points: np.ndarray, linear: bool) -> np.ndarray:
    """Values of volume [I, J, K] at voxel coordinates points [3, N] float64 -> [N]. Outside, that of the border.

    Linear: interpolated along the last axis, then the middle, then the first, in float64; the result is float32 or
    float64, the type of the volume where it has one of these, float32 for whole numbers. Nearest: halves round up, and
    the type stays.
    """
    sizes = np.array(volume.shape, dtype=np.float64)[:, None]
    points = np.clip(points, 0, sizes - 1)
    if not linear:
        return volume[tuple(np.floor(points + 0.5).astype(np.intp))]
    flat, steps = flattened(volume)
    lows = [np.minimum(p.astype(np.intp), max(n - 2, 0)) for p, n in zip(points, volume.shape, strict=True)]
    base = sum(low * step for low, step in zip(lows, steps, strict=True))
    f = [p - low for p, low in zip(points, lows, strict=True)]

    def along(axis: int, offset: int) -> np.ndarray:
        if axis == 3:
            return flat.take(base + offset)
        return along(axis + 1, offset) * (1 - f[axis]) + along(axis + 1, offset + steps[axis]) * f[axis]

    return along(0, 0).astype(sampled_type(volume.dtype))


def flattened(volume: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """(the values as one row, without a copy where they lie in a row, steps from a voxel to the next along each axis).

    The step along an axis of one voxel is 0: there is no next.
    """
    if not (volume.flags.c_contiguous or volume.flags.f_contiguous):
        volume = np.ascontiguousarray(volume)
    steps = [step // volume.itemsize if n > 1 else 0 for step, n in zip(volume.strides, volume.shape, strict=True)]
    return volume.ravel(order="K"), steps


def sampled_type(dtype: np.dtype) -> np.dtype:
    """Of interpolated values."""
    return dtype if dtype.kind == "f" else np.dtype(np.float32)
