"""How far apart the surfaces of two label maps are, in the unit of `spacing` (mm where the spacing is in mm).

The surface of a mask is the set of its voxels with a face neighbour outside it (outside the image counts as outside).
Each surface voxel of A has a distance to the nearest surface voxel of B, and the other way round:

    HD_q = max(percentile_q(d_AB), percentile_q(d_BA))          robust Hausdorff distance; HD95: q = 95
    ASSD = (sum d_AB + sum d_BA) / (|surface A| + |surface B|)  average symmetric surface distance

(ASSD: Heimann et al. 2009, IEEE TMI 28(8):1251-1265.) The maximum of the two directed percentiles is the definition of
DeepMind's surface-distance package, which Learn2Reg's evaluation uses; that package also weights each distance by the
area of its surface element and places surfaces between voxels, so single cases differ from ours by a fraction of a
voxel. MedPy takes one percentile of both directions pooled.

A label that is empty in either map has no distance: NaN, which `overlap.nanmean` leaves out, as Learn2Reg does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import ParameterError, ShapeError, require
from .surface_elements import bounding_box


def hd95(a: np.ndarray, b: np.ndarray, labels: Iterable[int], spacing: Sequence[float] | None = None) -> np.ndarray:
    """Robust Hausdorff distance, 95th percentile, of each label: [len(labels)] float64."""
    return hausdorff(a, b, labels, spacing, percentile=95)


def hausdorff(
    a: np.ndarray,
    b: np.ndarray,
    labels: Iterable[int],
    spacing: Sequence[float] | None = None,
    percentile: float = 100,
) -> np.ndarray:
    """Hausdorff distance of each label at a `percentile` in [0, 100]; 100 is the classical, outlier-driven one."""
    if not 0 <= percentile <= 100:
        raise ParameterError(f"hausdorff: percentile must be in [0, 100], not {percentile}")
    pairs = (surface_distances(a == label, b == label, spacing) for label in labels)
    return np.array(
        [max(np.percentile(d, percentile) for d in pair) if pair[0].size else np.nan for pair in pairs], np.float64
    )


def assd(a: np.ndarray, b: np.ndarray, labels: Iterable[int], spacing: Sequence[float] | None = None) -> np.ndarray:
    """Average symmetric surface distance of each label: [len(labels)] float64."""
    pairs = (surface_distances(a == label, b == label, spacing) for label in labels)
    return np.array([np.concatenate(pair).mean() if pair[0].size else np.nan for pair in pairs], np.float64)


def surface_distances(
    a: np.ndarray, b: np.ndarray, spacing: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of a's surface voxels to b's surface, and of b's to a's; two empty arrays if either mask is empty.

    `spacing` is the voxel size along each array axis, 1 by default.
    """
    if a.shape != b.shape:
        raise ShapeError(f"surface distance: the two masks must have one shape, not {a.shape} and {b.shape}")
    spacing = (1.0,) * a.ndim if spacing is None else tuple(float(s) for s in spacing)
    if len(spacing) != a.ndim or min(spacing) <= 0:
        raise ParameterError(
            f"surface distance: spacing must hold one positive number for each of the {a.ndim} axes, not {spacing}"
        )
    a, b = a != 0, b != 0
    box_a, box_b = bounding_box(a), bounding_box(b)
    if box_a is None or box_b is None:
        return np.empty(0), np.empty(0)
    points_a = _surface_points(a, box_a) * np.array(spacing)
    points_b = _surface_points(b, box_b) * np.array(spacing)
    spatial = require("scipy.spatial", extra="med", purpose="measuring surface distances")
    return spatial.cKDTree(points_b).query(points_a)[0], spatial.cKDTree(points_a).query(points_b)[0]


def _surface_points(mask: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Indices [n, ndim] of the surface voxels of a mask that lies within a box."""
    return np.argwhere(_surface(mask[box])) + [side.start for side in box]


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of the mask that have a face neighbour outside."""
    padded = np.pad(mask, 1)
    inner = [slice(1, -1)] * mask.ndim
    deep = mask.copy()
    for axis in range(mask.ndim):
        for shift in (slice(None, -2), slice(2, None)):
            deep &= padded[(*inner[:axis], shift, *inner[axis + 1 :])]
    return mask & ~deep
