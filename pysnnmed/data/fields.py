"""Displacements as maps of the world: composing, inverting, and how they change volume.

A displacement w takes a point x of the fixed image's world to x + w(x) in the moving image's: T(x) = x + w(x). Between
voxels w is linear. Beyond the grid nothing is known; there the affine map closest to T goes on, and what T has besides
keeps its value at the border of the grid. So an affine field is the same affine map everywhere, and its inverse is
exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from ..errors import ImageError, ParameterError
from ..metrics.deformation import jacobian_determinant
from .affines import check_affine
from .displacements import Displacement, affine_displacement, displacement_to_voxels
from .geometry import Placement
from .images import Image
from .sampling import inside, sample, transformed

Link: TypeAlias = "Displacement | np.ndarray"  # an affine map of the world, [4, 4], fixed to moving, is one too
TOLERANCE = 1e-3  # voxels of the fixed grid
_SMALLEST_DETERMINANT = 0.05  # of an affine part that an iteration may divide by
_SLAB = 2**17  # points at once
_SLOPE_STEP = 0.1  # voxels, for the differences of Newton's method
_NEWTON_STEPS, _HALVINGS = 40, 12


class PointMap:
    """T(x) = x + w(x) for any point of the world, of a displacement or a [4, 4] matrix; see the module's text."""

    def __init__(self, link: Link):
        if not isinstance(link, Displacement):
            self.matrix, self.rest, self.to_voxels = check_affine(link, "affine map"), None, np.eye(4)
            return
        self.matrix = _closest_affine(link)
        trend = affine_displacement(self.matrix, link.affine, link.shape, link.world.dtype)
        self.rest = link.world - trend  # what T has besides, [3, I, J, K] mm
        self.to_voxels = np.linalg.inv(link.affine)

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """w at world points [3, ...] in RAS mm; exactly 0 for a field of zeros."""
        w = transformed(self.matrix - np.eye(4), points)
        return w if self.rest is None else w + self.rest_at(transformed(self.to_voxels, points))

    def rest_at(self, voxels: np.ndarray) -> np.ndarray:
        """T minus its affine part, mm, at voxel coordinates [3, ...] of its grid."""
        return np.zeros_like(voxels) if self.rest is None else _at(self.rest, voxels)


def compose(*links: Link, onto: Image | Placement | None = None) -> Displacement:
    """One displacement that does what several do, in the order in which an image passes through them.

    `compose(a, b)`: a brings the moving image to some middle image, b brings the middle image to the fixed one. A point
    of the fixed image goes the other way, through b and then a: T(x) = Ta(Tb(x)), w(x) = wb(x) + wa(x + wb(x)). The
    result lies on the voxels of the last displacement, or of the image `onto`. An image is then interpolated once.
    A matrix [4, 4] is an affine map of the world, from its fixed to its moving image, in RAS mm.

    Raises `ParameterError` where nothing says on which voxels the result lies.
    """
    if not links:
        raise ParameterError("compose: needs at least one displacement")
    last = links[-1]
    if onto is not None:
        place = _placement(onto)
    elif isinstance(last, Displacement):
        place = _own_placement(last)
    else:
        raise ParameterError(
            "compose: an affine map has no voxels; pass onto=, the image on which the result shall lie"
        )
    floats = [link.world.dtype for link in links if isinstance(link, Displacement)]
    dtype = np.result_type(*floats) if floats else np.dtype(np.float32)
    first = links[0]
    moving_affine = first.moving_affine if isinstance(first, Displacement) else None
    own = last.world if onto is None and isinstance(last, Displacement) else None  # exact on its own voxels
    maps = [PointMap(link) for link in reversed(links if own is None else links[:-1])]
    world = np.empty((3, *place.shape), dtype)
    for planes, points in _slabs(place):
        w = np.zeros_like(points) if own is None else own[:, planes].reshape(3, -1).astype(np.float64)
        for t in maps:
            w = w + t.displacement(points + w)
        world[:, planes] = w.reshape(world[:, planes].shape)
    return Displacement(world, place.affine, moving_affine, place.form_code)


class Inverse(NamedTuple):
    """The way back from the moving image to the fixed one, and how exact it is.

    displacement  on the voxels of the moving image: an image that lies on the fixed voxels comes to the moving ones by
                  warp_image(image, displacement)
    error         [I, J, K] float32, of each voxel: how far T(T⁻¹(x)) is from x, in voxels of the fixed grid, largest
                  component
    outside       share of the voxels of the moving image that lie outside the fixed one, where T is only continued
    folding       share of the fixed voxels where T folds; not 0 only where that was allowed
    """

    displacement: Displacement
    error: np.ndarray
    outside: float
    folding: float


def invert(
    displacement: Displacement,
    onto: Image | Placement | None = None,
    *,
    tolerance: float = TOLERANCE,
    iterations: int = 50,
    allow_folding: bool = False,
) -> Inverse:
    """The inverse of a displacement on the voxels of the moving image `onto`, by default on its own voxels.

    At every voxel x of `onto` the point y with y + w(y) = x is found by `solve`, to `tolerance` voxels of the fixed
    grid where it can be; the error that remains comes with the result. A field that folds takes several y to one x: it
    has no inverse and is refused with `ImageError`, unless `allow_folding` takes one of the y.
    """
    folding = float(np.mean(determinant(displacement) <= 0))
    if folding and not allow_folding:
        raise ImageError(
            f"the displacement folds at {folding:.3%} of its voxels, so it has no inverse; register with more "
            "smoothness, or accept any of the preimages there with allow_folding"
        )
    place = _own_placement(displacement) if onto is None else _placement(onto)
    t, to_voxels = PointMap(displacement), np.linalg.inv(displacement.affine)
    world, error = np.empty((3, *place.shape), displacement.world.dtype), np.empty(place.shape, np.float32)
    covered = 0
    for planes, targets in _slabs(place):
        points, missing = _solve(t, targets, tolerance, iterations)
        world[:, planes] = (points - targets).reshape(world[:, planes].shape)
        error[planes] = missing.reshape(error[planes].shape)
        covered += int(inside(transformed(to_voxels, points), displacement.shape).sum())
    back = Displacement(world, place.affine, displacement.affine, place.form_code)
    return Inverse(back, error, 1 - covered / error.size, folding)


def solve(
    link: Link, targets: np.ndarray, *, tolerance: float = TOLERANCE, iterations: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Points y [3, N] with T(y) = x for `targets` x [3, N], RAS mm -> (y, error [N] in voxels of the fixed grid).

    With T(y) = A y + r(y), A affine, in voxels: y <- A⁻¹ (x - r(y)) (Chen et al. 2008, with the affine part solved
    exactly), which converges where r changes by less than A does. Points that are not within `tolerance` after so many
    iterations go on by Newton's method with halved steps. For an affine map the first step is the answer.
    """
    return _solve(PointMap(link), np.asarray(targets, np.float64), tolerance, iterations)


def _solve(t: PointMap, targets: np.ndarray, tolerance: float, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """See `solve`."""
    if not (tolerance > 0 and iterations >= 1):
        raise ParameterError(
            f"invert: tolerance must be above 0 voxels and iterations at least 1, not {tolerance} and {iterations}"
        )
    if t.rest is None:
        return transformed(np.linalg.inv(t.matrix), targets), np.zeros(targets.shape[1])
    to_world = np.linalg.inv(t.to_voxels)
    back = np.linalg.inv(t.matrix @ to_world)  # world of the moving image -> voxels of the fixed one, without r
    start = transformed(back, targets)

    def step(y: np.ndarray, which: np.ndarray) -> np.ndarray:
        """A⁻¹ (x - r(y)) - y: what is missing to T(y) = x, in voxels."""
        return start[:, which] - np.tensordot(back[:3, :3], t.rest_at(y), 1) - y

    y = start.copy()
    error = np.empty(targets.shape[1])
    left = np.arange(targets.shape[1])
    for _ in range(iterations):
        missing = step(y[:, left], left)
        error[left] = size = np.abs(missing).max(axis=0)
        left = left[size > tolerance]
        if not left.size:
            break
        y[:, left] += missing[:, size > tolerance]
    else:
        y[:, left], error[left] = _newton(step, y[:, left], left, tolerance)
    return transformed(to_world, y), error


def _newton(
    step: Callable[[np.ndarray, np.ndarray], np.ndarray], y: np.ndarray, which: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on step(y) = 0 for the points [3, N] `which`, halving steps that do not help."""
    y, h = y.copy(), _SLOPE_STEP
    missing = step(y, which)
    error = np.abs(missing).max(axis=0)
    for _ in range(_NEWTON_STEPS):
        left = np.flatnonzero(error > tolerance)
        if not left.size:
            break
        axes = np.eye(3).reshape(3, 3, 1) * h
        slopes = [(step(y[:, left] + e, which[left]) - step(y[:, left] - e, which[left])) / (2 * h) for e in axes]
        jacobian = -np.stack(slopes, axis=1).transpose(2, 0, 1) + 1e-9 * np.eye(3)
        move = np.linalg.solve(jacobian, missing[:, left].T[..., None])[..., 0].T
        move *= np.minimum(1, 2 / np.maximum(np.abs(move).max(axis=0), 1e-12))  # no more than two voxels at once
        for _ in range(_HALVINGS):
            tried = y[:, left] + move
            found = step(tried, which[left])
            better = np.abs(found).max(axis=0) < error[left]
            accepted = left[better]
            y[:, accepted], missing[:, accepted] = tried[:, better], found[:, better]
            error[accepted] = np.abs(found[:, better]).max(axis=0)
            left, move = left[~better], move[:, ~better] / 2
            if not left.size:
                break
    return y, error


def determinant(displacement: Displacement) -> np.ndarray:
    """det dT/dx at every voxel of the fixed image, [I, J, K]: how T(x) = x + w(x) changes volume.

    Above 1 the moving image is larger there than the fixed one, below 1 smaller; at 0 or less T folds. An affine part
    is in it. The directions of the voxels do not matter: det is the same in voxels and in the world.
    """
    if min(displacement.shape) < 2:
        raise ImageError(f"a Jacobian determinant needs at least 2 voxels along each axis, not {displacement.shape}")
    world, (depth, *rest) = displacement.world, displacement.shape
    out = np.empty(displacement.shape, world.dtype)
    n = max(1, _SLAB // math.prod(rest))
    for start in range(0, depth, n):
        stop = min(start + n, depth)
        low, high = max(start - 1, 0), min(stop + 1, depth)  # the planes that central differences need
        voxels = displacement_to_voxels(world[:, low:high], displacement.affine)
        out[start:stop] = jacobian_determinant(voxels)[start - low : stop - low]
    return out


def _closest_affine(displacement: Displacement) -> np.ndarray:
    """The affine map [4, 4] closest to T in the mean square over the voxels, or the identity if that one collapses.

    The indices along the three axes, counted from the middle, are uncorrelated over a whole grid, so that each slope is
    a regression of its own.
    """
    world, shape = displacement.world, displacement.shape
    in_voxels = np.zeros((4, 4))
    for axis, n in enumerate(shape):
        others = tuple(a + 1 for a in range(3) if a != axis)
        profile = world.mean(axis=others, dtype=np.float64)
        place = np.arange(n) - (n - 1) / 2
        in_voxels[:3, axis] = profile @ place / max(float(place @ place), 1.0)
    centre = (np.array(shape) - 1) / 2
    in_voxels[:3, 3] = world.mean(axis=(1, 2, 3), dtype=np.float64) - in_voxels[:3, :3] @ centre
    matrix = np.eye(4) + in_voxels @ np.linalg.inv(displacement.affine)
    return matrix if np.linalg.det(matrix[:3, :3]) > _SMALLEST_DETERMINANT else np.eye(4)


def _at(field: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """A field [3, I, J, K] at voxel coordinates [3, ...], linear between voxels, border values outside."""
    return np.stack([sample(component, voxels, "linear", fill=None) for component in field])


def _placement(onto: Image | Placement) -> Placement:
    return Placement.of(onto) if isinstance(onto, Image) else onto


def _own_placement(displacement: Displacement) -> Placement:
    return Placement(displacement.affine, displacement.shape, displacement.form_code)


def _slabs(place: Placement) -> Iterator[tuple[slice, np.ndarray]]:
    """A grid some planes at a time, so that memory stays bounded: (planes, their voxels in the world [3, N] RAS mm)."""
    depth, *rest = place.shape
    n = max(1, _SLAB // math.prod(rest))
    for start in range(0, depth, n):
        planes = slice(start, min(start + n, depth))
        axes = np.arange(planes.start, planes.stop), *map(np.arange, rest)
        yield planes, transformed(place.affine, np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1))


def chained(links: Sequence[Link], points: np.ndarray) -> np.ndarray:
    """Points of the fixed image [3, N] carried to the moving one through links in the order of `compose`, RAS mm."""
    for link in reversed(links):
        points = points + PointMap(link).displacement(points)
    return points
