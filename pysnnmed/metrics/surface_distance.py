"""How far apart two surfaces are, every element of them weighted by its area, in the unit of `spacing`.

A surface element (see `surface_elements`) has an area A and a distance d to the nearest element of the other surface:

    directed averages   sum A d / sum A, from a to b and from b to a
    ASSD                sum A d / sum A over the elements of both surfaces
    HD_q                the larger of the two directed percentiles; d at which the elements that are no farther
                        reach q per cent of the area

These are the directed averages and the robust Hausdorff distance of DeepMind's surface-distance package, and HD95 is
the one that Learn2Reg publishes (there at a spacing of 1). `surface` has the same two numbers over the voxels of the
border instead of elements, as MedPy counts them: they differ by a fraction of a voxel.

A surface that does not exist is infinitely far away: a label that only one map has gets HD = ASSD = inf. One that no
map has gets NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ParameterError, ShapeError, require
from .surface_elements import Elements, surface_elements


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances of the elements of a to the surface of b and of b to a, in ascending order, and their areas."""

    a_to_b: np.ndarray
    areas_a: np.ndarray
    b_to_a: np.ndarray
    areas_b: np.ndarray

    @property
    def averages(self) -> tuple[float, float]:
        """The directed averages, from a to b and from b to a; NaN from a surface that does not exist."""
        return _average(self.a_to_b, self.areas_a), _average(self.b_to_a, self.areas_b)

    @property
    def assd(self) -> float:
        """Average symmetric surface distance; NaN where neither surface exists."""
        return _average(np.concatenate((self.a_to_b, self.b_to_a)), np.concatenate((self.areas_a, self.areas_b)))

    def hausdorff(self, percentile: float = 100) -> float:
        """Robust Hausdorff distance at a `percentile` in [0, 100]; NaN where neither surface exists."""
        if not 0 <= percentile <= 100:
            raise ParameterError(f"hausdorff: percentile must be in [0, 100], not {percentile}")
        if not self.a_to_b.size and not self.b_to_a.size:
            return float("nan")
        directions = (self.a_to_b, self.areas_a), (self.b_to_a, self.areas_b)
        return max(_percentile(*direction, percentile) for direction in directions)


def compare_surfaces(a: np.ndarray, b: np.ndarray, spacing: Sequence[float] | None = None) -> SurfaceDistances:
    """The distances between the surfaces of two masks [*S], of 2 or 3 axes.

    `spacing` is the voxel size along each array axis, 1 by default.
    """
    if a.shape != b.shape:
        raise ShapeError(f"surface distance: the two masks must have one shape, not {a.shape} and {b.shape}")
    of_a, of_b = surface_elements(a, spacing), surface_elements(b, spacing)
    sizes = np.ones(a.ndim) if spacing is None else np.array(spacing, np.float64)
    return SurfaceDistances(*_sorted(of_a, of_b, sizes), *_sorted(of_b, of_a, sizes))


def label_surface_distances(
    a: np.ndarray, b: np.ndarray, labels: Iterable[int], spacing: Sequence[float] | None = None, percentile: float = 95
) -> tuple[np.ndarray, np.ndarray]:
    """HD at a `percentile` and ASSD of each label of two label maps, both [len(labels)] float64."""
    found = [compare_surfaces(a == label, b == label, spacing) for label in labels]
    return (
        np.array([distances.hausdorff(percentile) for distances in found], np.float64),
        np.array([distances.assd for distances in found], np.float64),
    )


def _sorted(elements: Elements, others: Elements, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of elements to the nearest of the others, ascending, and their areas."""
    if not len(others.corners) or not len(elements.corners):
        return np.full(len(elements.corners), np.inf), elements.areas
    spatial = require("scipy.spatial", extra="med", purpose="measuring surface distances")
    _, nearest = spatial.cKDTree(others.corners * sizes).query(elements.corners * sizes)
    # Whole numbers first: equal distances then come out equal, wherever in the image they lie.
    distances = np.sqrt((((others.corners[nearest] - elements.corners) * sizes) ** 2).sum(axis=1))
    order = np.lexsort((elements.areas, distances))
    return distances[order], elements.areas[order]


def _average(distances: np.ndarray, areas: np.ndarray) -> float:
    return float((distances * areas).sum() / areas.sum()) if areas.size else float("nan")


def _percentile(distances: np.ndarray, areas: np.ndarray, percentile: float) -> float:
    """The distance at which `percentile` per cent of the area are reached; infinite without elements."""
    if not distances.size:
        return float("inf")
    share = np.cumsum(areas) / areas.sum()
    first = int(np.searchsorted(share, percentile / 100))
    return float(distances[min(first, distances.size - 1)])  # the last share may round to less than 1
