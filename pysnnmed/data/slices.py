"""Volumes seen as stacks of pictures, and stacks put back as volumes on exactly the same voxels.

A volume is first brought into the order right, anterior, superior (only permuted and reversed), so that slices of
every scan show the body the same way round; `volume_of` undoes that exactly. What comes back lies on the voxels of the
input, with its affine, the code of its form and its description.

    sagittal   slices from left to right      [anterior, superior]
    coronal    from posterior to anterior     [right, superior]
    axial      from inferior to superior      [right, anterior]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from ..errors import ParameterError, ShapeError
from .affines import closest_axes
from .geometry import reorient
from .images import Image

Plane = Literal["sagittal", "coronal", "axial"]


def slices_of(image: Image, plane: Plane = "axial", context: int = 0) -> np.ndarray:
    """The slices of a volume, [N, C, H, W] in the type of the volume, with C = 2 `context` + 1.

    Channel c shows the slice c - context steps further; beyond the ends the outermost slice is repeated. Without
    context nothing but a view of the reordered volume is made.
    """
    axis = _axis(plane)
    if context < 0:
        raise ParameterError(f"slices_of: context must not be negative, it is {context}")
    stack = np.moveaxis(reorient(image).data, axis, 0)
    if not context:
        return stack[:, None]
    wanted = np.arange(len(stack))[:, None] + np.arange(-context, context + 1)
    return stack[np.clip(wanted, 0, len(stack) - 1)]


class Stack(NamedTuple):
    """How a volume is cut: `number` of slices, `step` mm apart, of `shape` pixels that are `spacing` mm apart."""

    number: int
    shape: tuple[int, int]
    step: float
    spacing: tuple[float, float]


def stack_of(image: Image, plane: Plane = "axial") -> Stack:
    """What `slices_of(image, plane)` will be; nothing is copied."""
    cut = _axis(plane)
    order = [closest_axes(image.affine)[0].index(axis) for axis in range(3)]
    first, second = (order[axis] for axis in range(3) if axis != cut)
    number, step = image.shape[order[cut]], image.spacing[order[cut]]
    return Stack(number, (image.shape[first], image.shape[second]), step, (image.spacing[first], image.spacing[second]))


def slice_spacing(image: Image, plane: Plane = "axial") -> tuple[float, float]:
    """Distance in mm between neighbouring pixels of a slice, along its height and its width."""
    return stack_of(image, plane).spacing


def volume_of(slices: np.ndarray | Sequence[np.ndarray], like: Image, plane: Plane = "axial") -> Image:
    """The volume of slices [N, H, W], one for each of `slices_of(like, plane)`, on the voxels of `like`.

    Values and type are those of the slices. Raises `ShapeError` where number or size of the slices is another.
    """
    axis = _axis(plane)
    upright = reorient(like)
    wanted = np.moveaxis(upright.data, axis, 0).shape
    shapes = {np.shape(one) for one in slices}
    if len(slices) != wanted[0] or shapes != {wanted[1:]}:
        raise ShapeError(
            f"{like.source}: volume_of expects {wanted[0]} slices of {wanted[1:]}, not {len(slices)} of "
            f"{', '.join(map(str, sorted(shapes))) or 'nothing'}"
        )
    there = upright.with_data(np.moveaxis(np.asarray(slices), 0, axis))
    return like.with_data(reorient(there, like.orientation).data)


def _axis(plane: Plane) -> int:
    if plane not in get_args(Plane):
        raise ParameterError(f"plane must be one of {', '.join(get_args(Plane))}, not {plane!r}")
    return get_args(Plane).index(plane)
