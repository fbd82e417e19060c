"""A volume with its place in the world, and the scaling of its intensities."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ImageError, ParameterError, ShapeError
from .affines import check_affine, orientation_codes, spacing_of


@dataclass(frozen=True, eq=False)
class Image:
    """A volume: voxel values and where each voxel lies.

    `data` is [I, J, K], of any integer or floating-point type, in any memory order; `affine` [4, 4] maps a voxel
    index to RAS millimetres; `source` names the image in messages; `form_code` is what the NIfTI header says about
    the world (1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 other template); `description` is its free text.
    """

    data: np.ndarray
    affine: np.ndarray
    source: str = "image"
    form_code: int = 1
    description: str = ""

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        if data.ndim != 3 or data.size == 0:
            raise ShapeError(f"{self.source}: an image must have 3 axes of at least one voxel, not shape {data.shape}")
        if data.dtype.kind not in "buif":
            raise ImageError(f"{self.source}: an image must hold real numbers, not {data.dtype}")
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", check_affine(self.affine, f"affine of {self.source}"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxels along each axis."""
        x, y, z = map(float, spacing_of(self.affine))
        return x, y, z

    @property
    def orientation(self) -> str:
        """Where each voxel axis points, as in 'RAS' or 'PSR'."""
        return orientation_codes(self.affine)

    def with_data(self, data: np.ndarray) -> Image:
        """Other values, such as labels, on the same voxels. Raises `ShapeError` for another shape."""
        if np.shape(data) != self.shape:
            raise ShapeError(f"{self.source}: the new data must have shape {self.shape}, not {np.shape(data)}")
        return replace(self, data=data)

    def __repr__(self) -> str:
        spacing = "x".join(f"{s:.4g}" for s in self.spacing)
        return f"<Image {self.source}: {self.shape} {self.data.dtype}, {self.orientation}, {spacing} mm>"


def normalize_intensity(data: np.ndarray, low: float = 1.0, high: float = 99.0) -> np.ndarray:
    """Intensities scaled so that the percentiles `low` and `high` become 0 and 1, clipped to [0, 1], float32.

    Scanner units differ by orders of magnitude between volumes; percentiles ignore a few hot voxels. Where both
    percentiles coincide (an almost empty volume) the smallest and largest value take their place; a constant volume
    becomes 0. Raises `ImageError` for non-finite values.
    """
    if not 0 <= low < high <= 100:
        raise ParameterError(f"normalize_intensity: needs 0 <= low < high <= 100, not low={low} and high={high}")
    data = np.asarray(data)
    if data.size == 0 or data.dtype.kind not in "buif":
        raise ImageError(f"normalize_intensity: needs real numbers, not {data.dtype} of shape {data.shape}")
    if not (np.isfinite(data.min()) and np.isfinite(data.max())):
        raise ImageError("normalize_intensity: the image holds NaN or infinite voxels; replace them first")
    values = data.astype(np.float64)
    bottom, top = np.percentile(values, [low, high])
    if bottom == top:
        bottom, top = values.min(), values.max()
    values -= bottom
    if top > bottom:
        values /= top - bottom
    return np.clip(values, 0, 1, out=values).astype(np.float32)


def require_contrast(image: Image) -> None:
    """Raise ImageError for an image that holds NaN or infinite voxels, or that is the same everywhere."""
    low, high = image.data.min(), image.data.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{image.source}: the image holds NaN or infinite voxels; replace them first")
    if low == high:
        raise ImageError(f"{image.source}: every voxel is {low}: a constant image cannot be aligned with anything")


def content_box(image: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds every non-zero voxel of `image`, all of it if there is none.

    The similarity is averaged over this box of the fixed image: padding says nothing about alignment.
    """
    box = []
    for axis in range(image.ndim):
        hit = np.flatnonzero(image.any(axis=tuple(a for a in range(image.ndim) if a != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(None))
    return tuple(box)
