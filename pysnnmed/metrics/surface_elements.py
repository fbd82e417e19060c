"""The surface of a mask as elements with an area: one for each group of neighbouring voxels that the surface passes.

Where 2 x 2 x 2 voxels (2 x 2 in the plane) lie neither all inside nor all outside a mask, the surface of marching cubes
(Lorensen and Cline 1987, Computer Graphics 21(4):163-169) cuts the cube that their centres span. It passes through the
middle of every edge with one end inside, as polygons whose sides lie on the faces of the cube. Two choices are left,
and DeepMind's surface-distance package, which Learn2Reg evaluates with, makes them so:

    a face whose inside corners are opposite   the corners of the kind of which the cube has fewer are cut off, each
                                               by itself; of 4 inside and 4 outside corners either give equal areas
    a polygon that is not flat                 of its triangulations the one with the largest area, at equal spacing

The package holds the result as a table of 256 rows; here it follows from the geometry. Areas are in the square of the
unit of `spacing`, lengths (2-D) in that unit.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from ..errors import ParameterError, ShapeError

Point: TypeAlias = tuple[int, ...]  # in half voxels, so that the middle of an edge is a whole number
Segment: TypeAlias = tuple[Point, Point]
Triangle: TypeAlias = tuple[Point, Point, Point]
_SQUARE = ((0, 0), (0, 1), (1, 1), (1, 0))  # its corners, once around


class Elements(NamedTuple):
    """n surface elements of a mask: indices [n, ndim] of the corners where their voxels meet, areas [n].

    The corner with index i lies between the voxels i - 1 and i of every axis.
    """

    corners: np.ndarray
    areas: np.ndarray


def surface_elements(mask: np.ndarray, spacing: Sequence[float] | None = None) -> Elements:
    """The elements of the surface of `mask` [*S], of 2 or 3 axes. What lies outside the image is outside the mask.

    `spacing` is the voxel size along each array axis, 1 by default. An empty mask has no elements.
    """
    areas = element_areas(_checked(spacing, mask.ndim))
    box = bounding_box(mask)
    if box is None:
        return Elements(np.empty((0, mask.ndim), np.intp), np.empty(0))
    codes = _codes(mask[box] != 0)
    corners = np.argwhere((codes != 0) & (codes != len(areas) - 1))
    return Elements(corners + [side.start for side in box], areas[codes[tuple(corners.T)]])


def bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box that holds all of a mask; None for an empty one."""
    box = []
    for axis in range(mask.ndim):
        occupied = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not occupied.size:
            return None
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def element_areas(spacing: Sequence[float]) -> np.ndarray:
    """Area of the surface within a cube of voxel centres [256], or its length within a square [16].

    The index has a bit for every corner, set where that is inside: corner (0, 0, 0) is the highest, the last axis
    changes fastest.
    """
    sizes = np.array(_checked(spacing, len(spacing)))
    if len(sizes) == 2:
        return np.array([np.linalg.norm(vectors * sizes, axis=1).sum() for vectors in _contours()])
    faces = sizes[[1, 0, 0]] * sizes[[2, 2, 1]]  # an area vector grows along an axis as the face across it does
    return np.array([np.linalg.norm(vectors * faces, axis=1).sum() for vectors in _surfaces()])


def _checked(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    if ndim not in (2, 3):
        raise ShapeError(f"surface elements: a mask must have 2 or 3 axes, not {ndim}")
    sizes = (1.0,) * ndim if spacing is None else tuple(float(s) for s in spacing)
    if len(sizes) != ndim or not all(0 < s < np.inf for s in sizes):
        raise ParameterError(
            f"surface elements: spacing must hold one positive number for each of the {ndim} axes, not {sizes}"
        )
    return sizes


def _codes(mask: np.ndarray) -> np.ndarray:
    """For every corner of the voxels, [*(S + 1)] uint8: which of the voxels that meet there are inside."""
    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([n + 1 for n in mask.shape], np.uint8)
    for corner in itertools.product((0, 1), repeat=mask.ndim):
        codes <<= 1
        codes |= padded[tuple(slice(c, c + n + 1) for c, n in zip(corner, mask.shape, strict=True))]
    return codes


@functools.cache
def _contours() -> tuple[np.ndarray, ...]:
    """The segments of each of the 16 codes of a square, as vectors [n, 2] in voxels."""
    contours = []
    for inside, fewer in _configurations(2):
        segments = list(_segments(_SQUARE, inside, fewer))
        vectors = [np.subtract(end, start) / 2 for start, end in segments]
        contours.append(np.array(vectors).reshape(-1, 2))
    return tuple(contours)


@functools.cache
def _surfaces() -> tuple[np.ndarray, ...]:
    """The triangles of each of the 256 codes of a cube, as area vectors [n, 3] in voxels squared."""
    surfaces = []
    for inside, fewer in _configurations(3):
        segments = [segment for face in _faces() for segment in _segments(face, inside, fewer)]
        triangles = [triangle for polygon in _polygons(segments) for triangle in _largest_triangulation(polygon)]
        surfaces.append(_area_vectors(triangles))
    return tuple(surfaces)


def _configurations(ndim: int) -> Iterator[tuple[dict[Point, bool], bool]]:
    """Every way in which corners are inside, in the order of the codes, and the kind of which there are fewer."""
    corners = list(itertools.product((0, 1), repeat=ndim))
    for kinds in itertools.product((False, True), repeat=len(corners)):
        yield dict(zip(corners, kinds, strict=True)), 2 * sum(kinds) <= len(corners)


def _faces() -> Iterator[tuple[Point, ...]]:
    """The corners of the six faces of a cube, each once around."""
    for axis, side in itertools.product(range(3), (0, 1)):
        yield tuple((*corner[:axis], side, *corner[axis:]) for corner in _SQUARE)


def _segments(square: Sequence[Point], inside: dict[Point, bool], fewer: bool) -> Iterator[Segment]:
    """Where the surface cuts a square, given by its corners once around: from middle to middle of its edges."""
    edges = [(square[i - 1], corner) for i, corner in enumerate(square)]
    crossed = [_middle(*edge) for edge in edges if inside[edge[0]] != inside[edge[1]]]
    if len(crossed) == 2:
        yield crossed[0], crossed[1]
    elif crossed:
        for i, corner in enumerate(square):
            if inside[corner] == fewer:
                yield _middle(square[i - 1], corner), _middle(corner, square[(i + 1) % 4])


def _middle(a: Point, b: Point) -> Point:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _polygons(segments: Sequence[Segment]) -> Iterator[list[Point]]:
    """Join segments end to end; every point is the end of two of them."""
    neighbours = defaultdict(list)
    for a, b in segments:
        neighbours[a].append(b)
        neighbours[b].append(a)
    while neighbours:
        point, polygon = next(iter(neighbours)), []
        while point in neighbours:
            polygon.append(point)
            a, b = neighbours.pop(point)
            point = a if a in neighbours else b
        yield polygon


def _largest_triangulation(polygon: Sequence[Point]) -> list[Triangle]:
    return max(_triangulations(polygon), key=lambda triangles: np.linalg.norm(_area_vectors(triangles), axis=1).sum())


def _triangulations(polygon: Sequence[Point]) -> Iterator[list[Triangle]]:
    """Every way to cut a polygon into triangles along its diagonals, by the triangle on its last side."""
    if len(polygon) < 3:
        yield []
    for i in range(1, len(polygon) - 1):
        for left in _triangulations(polygon[: i + 1]):
            for right in _triangulations(polygon[i:]):
                yield [*left, (polygon[0], polygon[i], polygon[-1]), *right]


def _area_vectors(triangles: Sequence[Triangle]) -> np.ndarray:
    """Normals [n, 3] as long as the area of their triangle, in voxels squared."""
    p = np.array(triangles, np.float64).reshape(-1, 3, 3) / 2
    return np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]) / 2
