"""Affine matrices that place voxels in the world: [4, 4], voxel index (i, j, k, 1) to RAS millimetres.

RAS: the first world axis points to the patient's right, the second to anterior, the third to superior.
"""

from __future__ import annotations

import itertools

import numpy as np

from ..errors import ImageError

SMALLEST_SPACING, LARGEST_SPACING, LARGEST_OFFSET = 1e-6, 1e6, 1e7  # mm; beyond these a header is damaged, not odd
_LETTERS = ("LR", "PA", "IS")  # negative and positive end of each world axis


def check_affine(affine: np.ndarray, name: str = "affine") -> np.ndarray:
    """`affine` as a float64 copy, if it is a [4, 4] matrix that places every voxel at a point of its own.

    Raises `ImageError` for a wrong shape, a last row other than 0 0 0 1, non-finite or absurd numbers, and for a
    singular matrix: one whose voxel axes lie (nearly) in a plane.
    """
    matrix = np.array(affine, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise ImageError(f"the {name} must hold finite numbers, not {_brief(matrix)}")
    if matrix.shape != (4, 4) or not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise ImageError(f"the {name} must be a 4x4 matrix with the last row 0 0 0 1, not {_brief(matrix)}")
    with np.errstate(over="ignore"):
        sizes = spacing_of(matrix)
    if not ((sizes > SMALLEST_SPACING) & (sizes < LARGEST_SPACING)).all():
        raise ImageError(f"the {name} is singular or absurd: its voxel sizes are {_brief(sizes)} mm; {_brief(matrix)}")
    if abs(np.linalg.det(matrix[:3, :3] / sizes)) < 1e-3:
        raise ImageError(f"the {name} is singular: its voxel axes lie in one plane; {_brief(matrix)}")
    if np.abs(matrix[:3, 3]).max() > LARGEST_OFFSET:
        raise ImageError(f"the {name} puts the first voxel {_brief(matrix[:3, 3])} mm away from the origin")
    return matrix


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Distance in mm between neighbouring voxels along each voxel axis, [3]."""
    return np.sqrt((affine[:3, :3] ** 2).sum(axis=0))


def closest_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """For each voxel axis the world axis it follows most closely, and whether it runs against it.

    Of the six assignments the one with the largest sum of absolute direction cosines.
    """
    cosines = affine[:3, :3] / spacing_of(affine)
    x, y, z = max(itertools.permutations(range(3)), key=lambda p: np.abs(cosines[p, range(3)]).sum())
    return (x, y, z), (bool(cosines[x, 0] < 0), bool(cosines[y, 1] < 0), bool(cosines[z, 2] < 0))


def orientation_codes(affine: np.ndarray) -> str:
    """Where each voxel axis points, as in 'RAS' or 'PSR': the letter names the end towards which the index grows."""
    axes, flips = closest_axes(affine)
    return "".join(_LETTERS[axis][not flip] for axis, flip in zip(axes, flips, strict=True))


def corners(shape: tuple[int, ...]) -> np.ndarray:
    """Indices of the eight corner voxels of a grid, homogeneous, [4, 8]."""
    return np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))], dtype=np.float64).T


def largest_shift(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance, in voxels of `affine`, between the places two affines give to one voxel of the grid."""
    return float(np.abs(np.linalg.solve(affine, (other - affine) @ corners(shape))).max())


def rotation_from_quaternion(b: float, c: float, d: float) -> np.ndarray:
    """Rotation matrix of the unit quaternion (a, b, c, d) with a = sqrt(1 - b² - c² - d²) (NIfTI-1 standard, method 2).

    Raises `ImageError` where b² + c² + d² exceeds 1 by more than single precision explains.
    """
    square = b * b + c * c + d * d
    if not square <= 1 + 1e-5:
        raise ImageError(f"the quaternion (b, c, d) = ({b:g}, {c:g}, {d:g}) is no rotation: its norm exceeds 1")
    a = np.sqrt(max(0.0, 1.0 - square))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """(b, c, d) of the unit quaternion with a >= 0 closest to `rotation` (Bar-Itzhack 2000).

    For a rotation the symmetric matrix below equals 4 q qᵀ - 1, so q is its eigenvector of largest eigenvalue.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    lower = np.array(
        [
            [xx + yy + zz, 0, 0, 0],
            [zy - yz, xx - yy - zz, 0, 0],
            [xz - zx, xy + yx, yy - xx - zz, 0],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    quaternion = np.linalg.eigh(lower)[1][:, -1]
    return quaternion[1:] if quaternion[0] >= 0 else -quaternion[1:]


def _brief(numbers: np.ndarray) -> str:
    return np.array2string(np.asarray(numbers), precision=6, separator=" ").replace("\n", "")
