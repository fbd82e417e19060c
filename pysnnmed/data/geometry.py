"""From the voxels of two images to the one grid a network sees, and back to their own voxels.

A network wants both images on one grid of a certain spacing and shape; the user wants the result on the voxels of the
fixed image, from one single interpolation of the moving one. `ModelGrid` is that grid, as an affine to the world;
everything passes through the world, so orientation, spacing and obliqueness of the two images need not agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from ..errors import ImageError, ParameterError, ShapeError
from .affines import check_affine, closest_axes, spacing_of
from .displacements import Displacement, affine_displacement, displacement_to_world
from .images import Image
from .nifti import MAX_VOXELS
from .sampling import Interpolation, by_slabs, inside, resample, sample, transformed

Alignment = Literal["world", "centre"]
_SAME_SPACING = 0.01  # relative: an image this close to the spacing of the model is not interpolated
_SMALLEST_OVERLAP = 0.05  # of the fixed image's volume
_WORLD = {"R": (0, False), "L": (0, True), "A": (1, False), "P": (1, True), "S": (2, False), "I": (2, True)}


def reorient(image: Image, codes: str = "RAS") -> Image:
    """The same voxels in the order in which the axes follow `codes`: only permuted and reversed, never interpolated.

    `reorient(reorient(image, "RAS"), image.orientation)` gives the image back.
    Raises `ParameterError` for codes that do not name each world axis once.
    """
    to_old = _reorientation(image.affine, image.shape, codes)
    order = np.abs(to_old[:3, :3]).argmax(axis=0)
    steps = to_old[:3, :3].sum(axis=0)
    data = image.data.transpose(order)[tuple(slice(None, None, int(step)) for step in steps)]
    return replace(image, data=np.ascontiguousarray(data), affine=image.affine @ to_old)


def _reorientation(affine: np.ndarray, shape: Sequence[int], codes: str) -> np.ndarray:
    """[4, 4] map from voxel indices in the orientation `codes` to the present ones."""
    if sorted(_WORLD.get(code, (-1, False))[0] for code in codes) != [0, 1, 2]:
        raise ParameterError(f"orientation codes must name each of L/R, P/A and I/S once, as in 'RAS', not {codes!r}")
    axes, flips = closest_axes(affine)
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, code in enumerate(codes):
        world, reverse = _WORLD[code]
        old = axes.index(world)
        flip = flips[old] != reverse
        to_old[old, new] = -1 if flip else 1
        to_old[old, 3] = shape[old] - 1 if flip else 0
    return to_old


class Placement(NamedTuple):
    """Where the voxels of an image lie, without their values."""

    affine: np.ndarray
    shape: tuple[int, int, int]
    form_code: int

    @classmethod
    def of(cls, image: Image) -> Placement:
        return cls(image.affine, image.shape, image.form_code)


@dataclass(frozen=True, eq=False)
class ModelGrid:
    """The common grid on which a network sees the fixed and the moving image. Made by `ModelGrid.around`.

    `affine` [4, 4] maps a voxel of the grid to RAS mm of the fixed image's world, `shape` counts its voxels, `prior`
    [4, 4] leads from a point of that world to the point of the moving image's world that belongs there before the
    network is asked (the identity where both share the world).
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    prior: np.ndarray
    fixed: Placement
    moving: Placement

    @classmethod
    def around(
        cls,
        fixed: Image,
        moving: Image,
        *,
        spacing: float | Sequence[float] | None = None,
        shape: Sequence[int] | None = None,
        multiple: int = 1,
        align: Alignment | np.ndarray = "world",
    ) -> ModelGrid:
        """The grid whose axes are those of the fixed image in the order and direction closest to RAS.

        spacing   of the voxels in mm, one number or three; an image within 1 % keeps its own; None: that of `fixed`
        shape     of the grid; None: the smallest that holds the image
        multiple  the shape is rounded up to this multiple along each axis
        align     "world": the headers of both images speak of the same world. "centre": they do not (each scan has
                  its own origin), and the centres of both volumes are laid on each other. A matrix [4, 4]: an affine
                  registration has found which point of the moving world, in RAS mm, belongs to one of the fixed

        An image of n voxels lies in the grid behind floor((N - n) / 2) empty voxels. So a fixed image of the right
        spacing is only padded, never interpolated, and with "centre" so is a moving image of the same spacing and
        directions. Otherwise values are interpolated linearly, and detail finer than
        half the spacing of the grid may alias.

        Raises `ImageError` where the fixed image is larger than `shape`, where the grid would have more than 2^28
        voxels, where the images share less than a twentieth of the fixed volume, and for a matrix that mirrors;
        `ParameterError` for arguments out of range.
        """
        centred = isinstance(align, str) and align == "centre"
        prior = np.eye(4) if isinstance(align, str) else checked_prior(align)
        if isinstance(align, str) and align not in ("world", "centre"):
            raise ParameterError(f"align must be 'world', 'centre' or a matrix [4, 4], not {align!r}")
        wanted = _wanted_spacing(spacing, fixed)
        layout, moving_layout = _Layout.of(fixed, wanted), _Layout.of(moving, wanted)
        needed = np.maximum(layout.size, moving_layout.size) if centred else layout.size
        grid_shape = _rounded_up(needed if shape is None else _checked_shape(shape, layout, fixed), multiple)
        if math.prod(grid_shape) > MAX_VOXELS:
            raise ImageError(
                f"{fixed.source} would need a grid of {grid_shape} voxels; check its spacing {fixed.spacing}"
            )
        affine = layout.placed_in(grid_shape)
        if centred:
            centre = np.append((np.array(grid_shape) - 1) / 2, 1)
            prior[:3, 3] = ((moving_layout.placed_in(grid_shape) - affine) @ centre)[:3]
        _check_overlap(fixed, moving, prior)
        return cls(affine, grid_shape, prior, Placement.of(fixed), Placement.of(moving))

    @property
    def shift(self) -> np.ndarray:
        """Where `prior` takes the origin of the fixed image's world, [3] mm: all of `prior` where it only shifts."""
        return self.prior[:3, 3]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxels of the grid."""
        x, y, z = map(float, spacing_of(self.affine))
        return x, y, z

    def fixed_on_grid(self, data: np.ndarray, interpolation: Interpolation = "linear", fill: float = 0.0) -> np.ndarray:
        """Values on the fixed image's voxels (the image, labels, a mask) brought to the grid, [D, H, W]."""
        _check_shape(data, self.fixed.shape, "the fixed image")
        return resample(data, np.linalg.solve(self.fixed.affine, self.affine), self.shape, interpolation, fill)

    def moving_on_grid(
        self, data: np.ndarray, interpolation: Interpolation = "linear", fill: float = 0.0
    ) -> np.ndarray:
        """Values on the moving image's voxels brought to the grid, [D, H, W]."""
        _check_shape(data, self.moving.shape, "the moving image")
        to_moving = np.linalg.solve(self.moving.affine, self.prior @ self.affine)
        return resample(data, to_moving, self.shape, interpolation, fill)

    def to_fixed(self, data: np.ndarray, interpolation: Interpolation = "linear") -> np.ndarray:
        """Values on the grid (a map the network made) brought to the fixed image's voxels, [I, J, K]."""
        _check_shape(data, self.shape, "the grid")
        to_grid = np.linalg.solve(self.affine, self.fixed.affine)
        return resample(data, to_grid, self.fixed.shape, interpolation, fill=None)

    def displacement(self, voxels: np.ndarray) -> Displacement:
        """The displacement u [3, D, H, W], in voxels of the grid, as world displacement on the fixed image's voxels.

        The network means: fixed(g) shows what moving(g + u(g)) shows, both on the grid. With G the linear part of the
        grid's affine and P the prior, of linear part L, that is w(x) = P x + L G u - x at every point x of the grid;
        between them u is linear.
        """
        voxels = np.asarray(voxels)
        if voxels.shape != (3, *self.shape):
            raise ShapeError(f"the displacement on this grid must have shape {(3, *self.shape)}, not {voxels.shape}")
        world = displacement_to_world(voxels, self.prior @ self.affine)
        native = np.stack([self.to_fixed(component) for component in world])
        native += self._start(native.dtype)
        return Displacement(native, self.fixed.affine, self.moving.affine, self.fixed.form_code)

    def inverse_displacement(self, voxels: np.ndarray) -> Displacement:
        """The way back, u⁻ [3, D, H, W] in voxels of the grid, as world displacement on the moving image's voxels.

        u⁻ undoes u: g + u⁻(g) + u(g + u⁻(g)) = g. Of a stationary velocity v, u is exp(v) - 1 and u⁻ is exp(-v) - 1,
        both by scaling and squaring; any other u is inverted by `fields.invert`. With the affine A of the grid, its
        linear part G and the prior P that is w⁻(m) = P⁻¹ m + G u⁻((P A)⁻¹ m) - m at a voxel m of the moving image.
        """
        voxels = np.asarray(voxels)
        if voxels.shape != (3, *self.shape):
            raise ShapeError(f"the displacement on this grid must have shape {(3, *self.shape)}, not {voxels.shape}")
        to_grid = np.linalg.solve(self.prior @ self.affine, self.moving.affine)
        world = displacement_to_world(voxels, self.affine)
        native = np.stack([resample(c, to_grid, self.moving.shape, "linear", fill=None) for c in world])
        native += affine_displacement(np.linalg.inv(self.prior), self.moving.affine, self.moving.shape, native.dtype)
        return Displacement(native, self.moving.affine, self.fixed.affine, self.moving.form_code)

    def start(self) -> Displacement:
        """The displacement of a network that moves nothing: that of `prior` on the voxels of the fixed image."""
        world = np.broadcast_to(self._start(np.dtype(np.float32)), (3, *self.fixed.shape))
        return Displacement(world, self.fixed.affine, self.moving.affine, self.fixed.form_code)

    def _start(self, dtype: np.dtype) -> np.ndarray:
        """w(x) = P x - x, [3, I, J, K], or [3, 1, 1, 1] where it is the same everywhere."""
        same = np.array_equal(self.prior[:3, :3], np.eye(3))
        return affine_displacement(self.prior, self.fixed.affine, (1, 1, 1) if same else self.fixed.shape, dtype)


def warp_image(
    moving: Image, displacement: Displacement, *, interpolation: Interpolation = "linear", fill: float = 0.0
) -> Image:
    """The moving image on the voxels of the fixed one, in one interpolation: moved(x) = moving(x + w(x)).

    "linear" for intensities returns floating-point values, "nearest" for labels keeps their type. What comes from
    outside the moving image becomes `fill`. A displacement of 0 between equal geometries returns the same values.
    """
    affine = displacement.affine
    to_moving = np.eye(4) + np.linalg.solve(moving.affine, affine - moving.affine)  # exactly 1 for equal affines
    to_voxels = np.linalg.inv(moving.affine[:3, :3])

    def values(planes: slice, voxels: np.ndarray) -> np.ndarray:
        points = transformed(to_moving, voxels) + np.tensordot(to_voxels, displacement.world[:, planes], 1)
        return sample(moving.data, points, interpolation, fill)

    data = by_slabs(values, displacement.shape)
    return replace(moving, data=data, affine=affine, form_code=displacement.form_code)


def warp_points(points: np.ndarray, displacement: Displacement) -> np.ndarray:
    """Where points of the fixed image, [N, 3] in RAS mm, lie in the moving image: x + w(x), w linear between voxels.

    Points go from fixed to moving, images from moving to fixed. Raises `ShapeError` for another shape and
    `ImageError` for points outside the fixed image, where nothing is known.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError(f"points must have shape [N, 3], not {points.shape}")
    indices = transformed(np.linalg.inv(displacement.affine), points.T)
    outside = np.flatnonzero(~inside(indices, displacement.shape))
    if outside.size:
        raise ImageError(
            f"{outside.size} of {len(points)} points lie outside the fixed image, first {points[outside[0]]}"
        )
    world = [sample(component, indices, "linear", fill=None) for component in displacement.world]
    return points + np.stack(world, axis=1)


@dataclass(frozen=True, eq=False)
class _Layout:
    """An image cut into voxels of a wanted spacing along its own axes, in the order closest to RAS."""

    affine: np.ndarray  # [4, 4] voxels of the layout to RAS mm
    size: np.ndarray  # [3] how many of them the image spans

    @classmethod
    def of(cls, image: Image, spacing: np.ndarray) -> _Layout:
        affine = image.affine @ _reorientation(image.affine, image.shape, "RAS")
        own = spacing_of(affine)
        count = np.array(image.shape)[np.argsort(closest_axes(image.affine)[0])]
        factor = np.where(np.abs(spacing / own - 1) <= _SAME_SPACING, 1.0, spacing / own)
        size = np.maximum(1, np.ceil(count / factor - 1e-6)).astype(int)
        scaled = np.diag([*factor, 1.0])
        scaled[:3, 3] = (count - 1) / 2 - factor * (size - 1) / 2  # both centres at the same point
        return cls(affine @ scaled, size)

    def placed_in(self, shape: Sequence[int]) -> np.ndarray:
        """Affine of a grid of `shape` that holds this layout behind floor((N - n) / 2) voxels."""
        move = np.eye(4)
        move[:3, 3] = -np.floor_divide(np.array(shape) - self.size, 2)
        return self.affine @ move


def _wanted_spacing(spacing: float | Sequence[float] | None, fixed: Image) -> np.ndarray:
    if spacing is None:
        return spacing_of(fixed.affine)[np.argsort(closest_axes(fixed.affine)[0])]
    wanted = np.array(spacing, dtype=np.float64)
    if wanted.shape not in ((), (3,)) or not ((wanted > 0) & np.isfinite(wanted)).all():
        raise ParameterError(f"spacing must be one number of mm above 0, or three, not {spacing}")
    return np.broadcast_to(wanted, 3)


def _checked_shape(shape: Sequence[int], layout: _Layout, fixed: Image) -> np.ndarray:
    if len(shape) != 3 or (np.array(shape) < layout.size).any():
        raise ImageError(
            f"{fixed.source} spans {'x'.join(map(str, layout.size))} voxels of the model's spacing and does not fit "
            f"into the grid {tuple(shape)}; choose a larger shape or spacing, or cut the image"
        )
    return np.array(shape)


def _rounded_up(sizes: np.ndarray, multiple: int) -> tuple[int, int, int]:
    if multiple < 1:
        raise ParameterError(f"multiple must be at least 1, not {multiple}")
    d, h, w = (int(-(-size // multiple) * multiple) for size in sizes)
    return d, h, w


def checked_prior(matrix: np.ndarray) -> np.ndarray:
    """`matrix` as float64 [4, 4], if it maps the world to itself without mirroring it; else ImageError."""
    prior = check_affine(matrix, "affine map between the images")
    if np.linalg.det(prior[:3, :3]) < 0:
        raise ImageError(
            f"the affine map between the images mirrors (determinant {np.linalg.det(prior[:3, :3]):.3g}): it would "
            "exchange left and right; correct the header of the image that is mirrored"
        )
    return prior


def _check_overlap(fixed: Image, moving: Image, prior: np.ndarray) -> None:
    """Probe the fixed volume on a coarse lattice: how much of it lies inside the moving one?"""
    shared = overlap(fixed, moving, prior)
    if shared < _SMALLEST_OVERLAP:
        raise ImageError(
            f"{moving.source} covers {shared:.0%} of the volume of {fixed.source}: their headers place them apart; "
            "if each speaks of a world of its own, use align='centre'"
        )


def overlap(fixed: Image, moving: Image, prior: np.ndarray) -> float:
    """Share of the fixed volume that the map `prior` [4, 4] of the world takes into the moving one."""
    lattice = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 16) for n in fixed.shape), indexing="ij"))
    indices = transformed(np.linalg.solve(moving.affine, prior @ fixed.affine), lattice)
    return float(inside(indices, moving.shape).mean())


def _check_shape(data: np.ndarray, shape: tuple[int, int, int], owner: str) -> None:
    if np.shape(data) != shape:
        raise ShapeError(f"values on the voxels of {owner} must have shape {shape}, not {np.shape(data)}")
