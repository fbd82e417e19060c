"""One smooth phantom of the world, seen through any voxel grid: shared by the tests of geometry and displacements."""

import itertools

import numpy as np
from scipy.spatial.transform import Rotation

from pysnnmed.data import Image

ORDERS = list(itertools.permutations(range(3)))
SIGNS = list(itertools.product((1, -1), repeat=3))
ALL_48 = [(order, signs) for order in ORDERS for signs in SIGNS]


def seen(field, affine, shape, **facts):
    """The image of a function of world points [3, ...], sampled on a voxel grid."""
    return Image(field(world_points(affine, shape)), affine, **facts)


def world_points(affine, shape):
    """RAS mm of every voxel of a grid, [3, I, J, K]."""
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    return np.tensordot(affine[:3, :3], indices, 1) + affine[:3, 3].reshape(3, 1, 1, 1)


def voxel_indices(points, affine):
    """Where world points [3, I, J, K] lie in the array of an image, in voxels."""
    return np.tensordot(np.linalg.inv(affine[:3, :3]), points - affine[:3, 3].reshape(3, 1, 1, 1), 1)


def between_voxels(indices, shape):
    """Which indices [3, I, J, K] lie strictly between the outermost voxel centres of an array."""
    return ((indices > 0) & (indices < np.array(shape).reshape(3, 1, 1, 1) - 1)).all(axis=0)


def shifted(affine, *mm):
    """The affine of an image moved in the world."""
    moved = affine.copy()
    moved[:3, 3] += mm
    return moved


def turned(image, order, signs):
    """The same voxels with axes permuted and reversed, and the affine that keeps each voxel where it lies."""
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        step[old, new] = sign
        step[old, 3] = 0 if sign > 0 else image.shape[old] - 1
    data = image.data.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    return Image(data, image.affine @ step)


def random_affine(rng, *, spacing=(0.5, 3.0), degrees=None):
    """A random rotation (or one of at most `degrees`), voxel sizes, reversal of axes and offset."""
    rotation = Rotation.random(rng=rng)
    if degrees is not None:
        vector = rotation.as_rotvec()
        rotation = Rotation.from_rotvec(vector / np.linalg.norm(vector) * np.radians(rng.uniform(0, degrees)))
    affine = np.eye(4)
    affine[:3, :3] = rotation.as_matrix() * rng.uniform(*spacing, 3) * rng.choice([-1, 1], 3)
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return affine
