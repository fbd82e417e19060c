"""Displacement fields: what they mean, and the files in which other tools write and read them.

A displacement w lives on the voxels of the fixed image and points, in mm of the RAS world, to where the moving image
shows the same anatomy (pull-back): moved(x) = moving(x + w(x)).

| format  | files           | layout                  | components                                                |
|---------|-----------------|-------------------------|-----------------------------------------------------------|
| `itk`   | .nii, .nii.gz   | X, Y, Z, 1, 3           | mm along the LPS axes: x and y reversed (ITK, ANTs)       |
| `voxel` | .nii, .nii.gz   | X, Y, Z, 1, 3           | voxels of the fixed grid                                  |
| `l2r`   | the same, .npz  | X, Y, Z, 3; any 1 array | voxels of the moving array (Learn2Reg)                    |
| `vxm`   | the same, .npz  | X, Y, Z, 3; array `vol` | voxels of the moving array (VoxelMorph)                   |

`itk` carries the NIfTI intent 1007 (vector), `voxel` the intent 1006 (displacement) with the intent name 'voxel'.

`voxel`: v = F⁻¹ w, where F is the linear part of the affine of the fixed image. It says the same as w.

`l2r` and `vxm` hold what their tools do with a file, map_coordinates(moving, identity + v): the index into the moving
*array* minus the index into the fixed one, v(y) = M⁻¹(F y + w(y)) - y with the affines F and M of both images. Writing
and reading need both geometries; where the moving image lies on the voxels of the fixed one, v is that of `voxel`.
Such files do not reliably say where the image lies, so reading them asks for the fixed image.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import DTypeLike

from ..errors import ImageError, ParameterError, ShapeError
from .affines import check_affine, largest_shift
from .files import atomic_write
from .header import Header
from .images import Image
from .nifti import MAX_VOXELS, check_finite, naming, read_array, write_array
from .npz import read_npz, write_npz

DisplacementFormat = Literal["itk", "voxel", "l2r", "vxm"]
_ARRAY_FORMATS = ("l2r", "vxm")
_INTENTS = {"itk": (1007, ""), "voxel": (1006, "voxel"), "l2r": (0, ""), "vxm": (0, "")}  # NIfTI code and name
_NPZ_NAMES = {"l2r": "arr_0", "vxm": "vol"}
_DESCRIPTIONS = {
    "itk": "displacement, mm LPS, moved(x)=moving(x+w(x))",
    "voxel": "displacement, fixed voxels, moved(y)=moving(y+v(y))",
    "l2r": "displacement, moving array, moved[y]=moving[y+v[y]]",
    "vxm": "displacement, moving array, moved[y]=moving[y+v[y]]",
}
_SAME_GRID = 0.01  # voxels, at the corners


@dataclass(frozen=True, eq=False)
class Displacement:
    """Where each voxel of the fixed image finds its counterpart: moved(x) = moving(x + w(x)).

    `world` is w, [3, I, J, K]: mm along the RAS axes at every voxel of the fixed image; `affine` [4, 4] maps these
    voxels to RAS mm; `moving_affine` does so for the moving image, where it is known; `form_code` is that of the
    fixed image.
    """

    world: np.ndarray
    affine: np.ndarray
    moving_affine: np.ndarray | None = None
    form_code: int = 1

    def __post_init__(self) -> None:
        world = np.asarray(self.world)
        if world.ndim != 4 or world.shape[0] != 3 or world.size == 0:
            raise ShapeError(f"a displacement must have shape [3, I, J, K], not {world.shape}")
        if world.dtype.kind != "f":
            raise ShapeError(f"a displacement must hold floating-point numbers, not {world.dtype}")
        check_finite(world, cure="a displacement must be known everywhere")
        object.__setattr__(self, "world", world)
        object.__setattr__(self, "affine", check_affine(self.affine, "affine of the displacement"))
        if self.moving_affine is not None:
            object.__setattr__(self, "moving_affine", check_affine(self.moving_affine, "affine of the moving image"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the fixed image along each axis."""
        _, i, j, k = self.world.shape
        return i, j, k


def displacement_to_world(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """w = A v: a displacement [3, ...] from voxels of a grid to RAS mm, A the linear part of the grid's affine."""
    return np.tensordot(np.asarray(affine)[:3, :3], voxels, 1).astype(voxels.dtype, copy=False)


def displacement_to_voxels(world: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """v = A⁻¹ w: the inverse of `displacement_to_world`."""
    return np.tensordot(np.linalg.inv(np.asarray(affine)[:3, :3]), world, 1).astype(world.dtype, copy=False)


def displacement_to_indices(world: np.ndarray, affine: np.ndarray, moving_affine: np.ndarray) -> np.ndarray:
    """v(y) = M⁻¹(F y + w(y)) - y: index into the moving array minus index into the fixed one, [3, I, J, K].

    scipy.ndimage.map_coordinates(moving, identity + v) is then the moved image. F is `affine`, M `moving_affine`.
    """
    return displacement_to_voxels(world, moving_affine) + _between_grids(affine, moving_affine, world)


def indices_to_displacement(indices: np.ndarray, affine: np.ndarray, moving_affine: np.ndarray) -> np.ndarray:
    """w(y) = M (y + v(y)) - F y: the inverse of `displacement_to_indices`."""
    return displacement_to_world(indices - _between_grids(affine, moving_affine, indices), moving_affine)


def _between_grids(affine: np.ndarray, moving_affine: np.ndarray, like: np.ndarray) -> np.ndarray:
    """M⁻¹ F y - y at every voxel y, with the shape and type of `like`; exactly 0 where both affines are equal."""
    return _linear_field(np.linalg.solve(moving_affine, affine - moving_affine), like.shape[1:], like.dtype)


def affine_displacement(
    matrix: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], dtype: DTypeLike = np.float32
) -> np.ndarray:
    """w(x) = M x - x in RAS mm, [3, I, J, K], at every voxel of a grid, for an affine map M [4, 4] of the world.

    Exactly 0 for the identity, and one number along each axis for a shift.
    """
    return _linear_field((matrix - np.eye(4)) @ affine, shape, dtype)


def _linear_field(rows: np.ndarray, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """The first three rows of a [4, 4] matrix applied to the index of every voxel, [3, I, J, K]."""
    i, j, k = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    return np.stack([(row[0] * i + row[1] * j + row[2] * k + row[3]).astype(dtype) for row in rows[:3]])


def write_displacement(
    path: str | os.PathLike[str], displacement: Displacement, format: DisplacementFormat = "itk"
) -> None:
    """Write a displacement in one of the formats above, in single precision, whole or not at all.

    Raises `ParameterError` for an unknown format or file ending, `ImageError` where an array format is asked for and
    `displacement.moving_affine` is not known, `FileError` where the system refuses.
    """
    npz = _is_npz(path, format)
    world, affine, moving_affine = displacement.world, displacement.affine, displacement.moving_affine
    if format == "itk":
        field = world * _lps_signs(world)
    elif format == "voxel":
        field = displacement_to_voxels(world, affine)
    elif moving_affine is None:
        raise ImageError(
            f"{os.fspath(path)}: the format {format!r} counts voxels of the moving image, whose affine is not known "
            "here; set moving_affine of the displacement (to its affine if both images lie on the same voxels)"
        )
    else:
        field = displacement_to_indices(world, affine, moving_affine)
    vectors = np.moveaxis(field, 0, -1).astype(np.float32)
    if npz:
        atomic_write(path, lambda stream: write_npz(stream, _NPZ_NAMES[format], vectors))
        return
    intent_code, intent_name = _INTENTS[format]
    write_array(
        path,
        vectors if format in _ARRAY_FORMATS else vectors[:, :, :, None],
        affine,
        form_code=displacement.form_code,
        description=_DESCRIPTIONS[format],
        intent_code=intent_code,
        intent_name=intent_name,
    )


def read_displacement(
    path: str | os.PathLike[str],
    format: DisplacementFormat | None = None,
    *,
    fixed: Image | None = None,
    moving: Image | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Displacement:
    """Read a displacement that we, ITK, ANTs, a Learn2Reg tool or VoxelMorph have written.

    format  None: told from the file. Nothing tells `l2r` from `vxm` in NIfTI, but there they mean the same
    fixed   the fixed image: needed for `l2r` and `vxm`; for the others the field must lie on its voxels
    moving  the moving image, whose array `l2r` and `vxm` index; None: it lies on the voxels of the fixed image

    Raises `ImageError`, naming the file, where the file is damaged, of another format or of another geometry, and
    `ParameterError` where the fixed image is needed and missing.
    """
    npz = _is_npz(path, format)
    moving_affine = None if moving is None else moving.affine
    with naming(path):
        if npz:
            fixed = _needed(fixed, path)
            vectors = read_npz(path, "vol" if format == "vxm" else None, (*fixed.shape, 3))
            return _from_indices(vectors, fixed, moving_affine)
        header, data = read_array(path, max_values=3 * max_voxels, assume_ras=fixed is not None)
        found = _detected(header)
        if format is not None and format != found and not {format, found} <= set(_ARRAY_FORMATS):
            raise ImageError(f"this looks like a displacement of the format {found!r}, not {format!r}")
        vectors = data.reshape(*header.shape[:3], 3, order="F")
        if found in _ARRAY_FORMATS:
            return _from_indices(vectors, _needed(fixed, path), moving_affine)
        if fixed is not None:
            _check_same_grid(header, fixed)
        field = _components_first(vectors)
        world = displacement_to_world(field, header.affine) if found == "voxel" else field * _lps_signs(field)
        return Displacement(world, header.affine, moving_affine, header.form_code)


def _is_npz(path: str | os.PathLike[str], format: str | None) -> bool:
    if format is not None and format not in get_args(DisplacementFormat):
        raise ParameterError(f"the displacement format must be one of {', '.join(_INTENTS)}, not {format!r}")
    npz = Path(path).suffix.lower() == ".npz"
    if npz and format in ("itk", "voxel"):
        raise ParameterError(f"{os.fspath(path)}: the format {format!r} needs a name that ends in .nii or .nii.gz")
    return npz


def _detected(header: Header) -> DisplacementFormat:
    """The format of a NIfTI file, from its axes and its intent."""
    if header.shape[3:] == (1, 3):
        for format in ("itk", "voxel"):
            if (header.intent_code, header.intent_name) == _INTENTS[format]:
                return format
    if header.shape[3:] == (3,) and header.intent_code in (0, 1006, 1007):
        return "l2r"
    raise ImageError(
        f"this is no displacement we know: axes {header.shape}, intent {header.intent_code} {header.intent_name!r}; "
        "expected (X, Y, Z, 1, 3) with the intent 1007 (ITK), or (X, Y, Z, 3)"
    )


def _from_indices(vectors: np.ndarray, fixed: Image, moving_affine: np.ndarray | None) -> Displacement:
    if vectors.shape[:3] != fixed.shape:
        raise ImageError(f"the field has {vectors.shape[:3]} voxels, the fixed image {fixed.source} has {fixed.shape}")
    affine = fixed.affine if moving_affine is None else moving_affine
    world = indices_to_displacement(_components_first(vectors), fixed.affine, affine)
    return Displacement(world, fixed.affine, affine, fixed.form_code)


def _check_same_grid(header: Header, fixed: Image) -> None:
    if header.shape[:3] != fixed.shape or largest_shift(fixed.affine, header.affine, fixed.shape) > _SAME_GRID:
        raise ImageError(
            f"the field does not lie on the voxels of the fixed image {fixed.source}: field {header.shape[:3]} "
            f"{header.affine[:3].round(4).tolist()}, image {fixed.shape} {fixed.affine[:3].round(4).tolist()}"
        )


def _needed(fixed: Image | None, path: str | os.PathLike[str]) -> Image:
    if fixed is None:
        raise ParameterError(f"{os.fspath(path)}: this format does not say where the image lies; pass fixed=")
    return fixed


def _components_first(vectors: np.ndarray) -> np.ndarray:
    """[I, J, K, 3] to [3, I, J, K], at least in single precision."""
    kept = vectors.dtype if vectors.dtype == np.float64 else np.dtype(np.float32)
    return np.ascontiguousarray(np.moveaxis(vectors, -1, 0), dtype=kept)


def _lps_signs(field: np.ndarray) -> np.ndarray:
    """Factors that turn RAS components [3, I, J, K] into LPS ones, and back."""
    return np.array([-1, -1, 1], dtype=field.dtype).reshape(3, 1, 1, 1)
