"""Is a deformation physically plausible? The Jacobian determinant of x + u(x), and what the field reports of it.

Displacements are arrays [ndim, *S] in voxels, component i along array axis i, for 1, 2 or 3 spatial axes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import ParameterError, ShapeError

CROP = 2  # voxels that Learn2Reg cuts off each side


def jacobian_determinant(displacement: np.ndarray) -> np.ndarray:
    """det d(x + u(x))/dx [*S] by central differences, one-sided at the border (VoxelMorph's definition).

    1: volume is kept; below 1: x stems from a smaller neighbourhood of the moving image; 0 or less: the field folds.
    """
    ndim = displacement.ndim - 1
    if not 1 <= ndim <= 3 or len(displacement) != ndim or min(displacement.shape[1:]) < 2:
        raise ShapeError(
            "jacobian_determinant: a displacement has shape [ndim, *S] with 1 to 3 spatial axes of at least 2 voxels, "
            f"not {displacement.shape}"
        )
    gradients = [np.gradient(u, axis=tuple(range(ndim))) for u in displacement]
    rows = [g if isinstance(g, (list, tuple)) else [g] for g in gradients]  # np.gradient of one axis gives no list
    j = [[rows[i][k] + (i == k) for k in range(ndim)] for i in range(ndim)]
    if ndim == 1:
        return j[0][0]
    if ndim == 2:
        return j[0][0] * j[1][1] - j[0][1] * j[1][0]
    return (
        j[0][0] * (j[1][1] * j[2][2] - j[1][2] * j[2][1])
        - j[0][1] * (j[1][0] * j[2][2] - j[1][2] * j[2][0])
        + j[0][2] * (j[1][0] * j[2][1] - j[1][1] * j[2][0])
    )


def folding_fraction(displacement: np.ndarray, mask: np.ndarray | None = None, interior: bool = False) -> float:
    """Fraction of voxels with a Jacobian determinant of 0 or less: of all, of the `mask` [*S], of the `interior`.

    `interior=True` leaves out the outermost voxels, whose differences are one-sided. NaN if no voxel is left.
    """
    values = _selected(jacobian_determinant(displacement), mask, crop=1 if interior else 0)
    return float(np.mean(values <= 0)) if values.size else float("nan")


def sd_log_jacobian(
    displacement: np.ndarray,
    mask: np.ndarray | None = None,
    definition: Literal["plain", "learn2reg"] = "plain",
) -> float:
    """Standard deviation of the log of the Jacobian determinant J, over all voxels or those of the `mask` [*S].

    "plain": SD of log J where J > 0; folded voxels have no logarithm, so report `folding_fraction` beside it.
    "learn2reg": SD of log(clip(J + 3, 1e-9, 1e9)) without the outermost 2 voxels: the challenge's published numbers
    (Learn2Reg evaluation code). The + 3 keeps folded voxels in, and makes the value about 4 times smaller.
    """
    determinant = jacobian_determinant(displacement)
    if definition == "plain":
        values = _selected(determinant, mask, crop=0)
        logs = np.log(values[values > 0])
    elif definition == "learn2reg":
        logs = np.log(np.clip(_selected(determinant, mask, crop=CROP) + 3, 1e-9, 1e9))
    else:
        raise ParameterError(f"sd_log_jacobian: definition must be 'plain' or 'learn2reg', not {definition!r}")
    return float(logs.std()) if logs.size else float("nan")


def _selected(values: np.ndarray, mask: np.ndarray | None, crop: int) -> np.ndarray:
    """Values of the mask, without `crop` voxels at each side."""
    if mask is not None and mask.shape != values.shape:
        raise ShapeError(f"deformation: the mask must have the shape of the image {values.shape}, not {mask.shape}")
    inner = tuple(slice(crop, size - crop) for size in values.shape)
    return values[inner].ravel() if mask is None else values[inner][mask[inner] != 0]
