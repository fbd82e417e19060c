"""One image at several resolutions, in RAS order, intensities in [0, 1]: what affine registration looks at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..data.affines import spacing_of
from ..data.generate import gaussian_blur
from ..data.geometry import reorient
from ..data.images import Image, normalize_intensity, require_contrast

_BLUR = 0.7  # voxels: what block means leave of detail between two voxels


class Level(NamedTuple):
    """`data` [I, J, K] float32 in [0, 1] on the voxels that `affine` [4, 4] places in the world, RAS mm."""

    data: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> float:
        """Geometric mean of the distances between neighbouring voxels, mm."""
        return float(np.prod(spacing_of(self.affine)) ** (1 / 3))


def pyramid(image: Image, voxels: Sequence[int]) -> list[Level]:
    """The image with about so many voxels, one level for each number, the first the coarsest.

    No level is finer than the image. Blocks of voxels are averaged, then blurred a little. Raises ImageError for a
    constant image and for NaN.
    """
    require_contrast(image)
    image = reorient(image)  # so that the order of the axes in the file cannot matter
    extent = math.prod(n * s for n, s in zip(image.shape, image.spacing, strict=True))
    levels: list[Level] = []
    for wanted in sorted(voxels, reverse=True):
        source = levels[0] if levels else Level(image.data.astype(np.float32), image.affine)
        level = _coarser(source, (extent / wanted) ** (1 / 3))
        levels.insert(0, level if levels else level._replace(data=normalize_intensity(level.data)))
    return [level._replace(data=gaussian_blur(level.data, _BLUR)) for level in levels]


def _coarser(level: Level, spacing: float) -> Level:
    """Means over blocks of voxels that are about `spacing` mm long; incomplete blocks repeat the last voxel."""
    factors = [max(1, round(spacing / own)) for own in spacing_of(level.affine)]
    data = level.data
    factors = [min(f, n) for f, n in zip(factors, data.shape, strict=True)]
    for axis, factor in enumerate(factors):
        if factor > 1:
            pads = [(0, -data.shape[axis] % factor if a == axis else 0) for a in range(3)]
            data = np.pad(data, pads, mode="edge")
            shape = (*data.shape[:axis], -1, factor, *data.shape[axis + 1 :])
            data = data.reshape(shape).mean(axis=axis + 1)
    scaled = np.diag([*map(float, factors), 1.0])
    scaled[:3, 3] = [(f - 1) / 2 for f in factors]
    return Level(data, level.affine @ scaled)
