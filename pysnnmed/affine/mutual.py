"""Mutual information of two images under an affine map, with its slopes.

A joint histogram p[l, k] of fixed and moving intensities is filled from samples: the fixed value counts for one bin,
the moving one is spread over four by a cubic B-spline (Parzen window), so that p is smooth in the map (Mattes et al.
2003).
With the marginals f[l] and m[k]

    MI = sum p log(p / (f m))           dMI = sum dp log(p / m)
    -d2MI ~ sum dp dp / p - sum dm dm / m          (Thévenaz and Unser 2000, without second derivatives of p)

where d is the derivative to a parameter of the map. The approximate curvature is positive, as a step needs it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..data.sampling import transformed
from .pyramid import Level

BINS = 32
_PAD = 2  # bins at either end that only splines reach
_TINY = 1e-12


class Samples(NamedTuple):
    """Points of the fixed image [3, N], RAS mm, and the bin [N] of its value at each."""

    points: np.ndarray
    bins: np.ndarray


class Similarity(NamedTuple):
    """How alike two images are under a map.

    mutual      information in nats
    normalized  sum of the entropies of f and m over that of p, in [1, 2] (Studholme et al. 1999)
    overlap     share of the samples that lie in the moving image
    slope       [12] of `mutual`, and curvature [12, 12], to the entries of a generator, see `Comparison`
    """

    mutual: float
    normalized: float
    overlap: float
    slope: np.ndarray
    curvature: np.ndarray


class Comparison:
    """Samples of the fixed image against the moving one.

    A generator moves points y of the moving world by y + (Omega (y - centre) / radius) + tau: entries Omega row by row,
    then tau, both in mm.
    """

    def __init__(self, samples: Samples, moving: Level, centre: np.ndarray, radius: float):
        self.samples, self.moving, self.centre, self.radius = samples, moving, centre, radius
        self.to_voxels = np.linalg.inv(moving.affine)

    def __call__(self, matrix: np.ndarray, slopes: bool = True) -> Similarity:
        """Compare under the map `matrix` [4, 4] from fixed to moving world."""
        points = transformed(matrix, self.samples.points)
        values, gradient, weight = _interpolated(self.moving.data, transformed(self.to_voxels, points), slopes)
        total = float(weight.sum())
        empty = Similarity(0.0, 1.0, total / len(weight), np.zeros(12), np.zeros((12, 12)))
        if total < BINS:
            return empty
        spread = _Spread(self.samples.bins, values, weight / total)
        p = spread.histogram()
        f, m = p.sum(axis=1), p.sum(axis=0)
        joint, fixed, moving = _entropy(p), _entropy(f), _entropy(m)
        if joint <= _TINY:
            return empty
        found = empty._replace(mutual=fixed + moving - joint, normalized=(fixed + moving) / joint)
        if not slopes:
            return found
        world = np.tensordot(self.to_voxels[:3, :3].T, gradient, 1)  # dvalue / dy, per mm
        lever = (points - self.centre.reshape(3, 1)) / self.radius
        columns = [world[a] * lever[b] for a in range(3) for b in range(3)] + list(world)
        dp = np.stack([spread.change(column) for column in columns])  # [12, L, K]
        dm = dp.sum(axis=1)
        slope = np.tensordot(dp, np.where(p > _TINY, np.log((p + _TINY) / (m + _TINY)), 0), 2)
        over_p = (dp / np.where(p > _TINY, p, np.inf)).reshape(12, -1)
        curvature = over_p @ dp.reshape(12, -1).T - (dm / np.where(m > _TINY, m, np.inf)) @ dm.T
        return found._replace(slope=slope, curvature=curvature)


class _Spread:
    """Samples laid into the bins of the joint histogram: each into one row and four columns."""

    def __init__(self, rows: np.ndarray, values: np.ndarray, weight: np.ndarray):
        place = _PAD + values * (BINS - 1 - 2 * _PAD)
        low = np.minimum(place.astype(np.intp), BINS - 1 - _PAD)
        t = place - low
        self.first = rows * BINS + low - 1
        self.splines = _cubic(t)
        self.slopes = [s * (weight * (BINS - 1 - 2 * _PAD)) for s in _cubic_slope(t)]
        self.weight = weight

    def histogram(self) -> np.ndarray:
        return self._sum([s * self.weight for s in self.splines])

    def change(self, dvalue: np.ndarray) -> np.ndarray:
        """Derivative of the histogram where the values change by `dvalue` [N]."""
        return self._sum([s * dvalue for s in self.slopes])

    def _sum(self, parts: list[np.ndarray]) -> np.ndarray:
        p = np.zeros(BINS * BINS)
        for offset, part in enumerate(parts):
            counted = np.bincount(self.first, part, minlength=BINS * BINS)
            p[offset:] += counted[: BINS * BINS - offset]
        return p.reshape(BINS, BINS)


def _cubic(t: np.ndarray) -> list[np.ndarray]:
    """Cubic B-spline at the four bins from one below: they sum to 1."""
    s, t2 = 1 - t, t * t
    s2 = s * s
    return [s2 * s / 6, (4 + (3 * t - 6) * t2) / 6, (4 + (3 * s - 6) * s2) / 6, t2 * t / 6]


def _cubic_slope(t: np.ndarray) -> list[np.ndarray]:
    """Derivatives of `_cubic` to t: they sum to 0."""
    s = 1 - t
    return [-s * s / 2, (3 * t - 4) * t / 2, (4 - 3 * s) * s / 2, t * t / 2]


def _entropy(p: np.ndarray) -> float:
    p = p[p > _TINY]
    return float(-(p * np.log(p)).sum())


def _interpolated(data: np.ndarray, voxels: np.ndarray, slopes: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [N] at voxel coordinates [3, N], slopes [3, N] per voxel, and weights [N].

    The weight is 1 inside the volume and falls to 0 over the last voxel, so that samples come and go smoothly.
    """
    sizes = np.array(data.shape, np.float64).reshape(3, 1)
    weight = np.clip(np.minimum(voxels + 0.5, sizes - 0.5 - voxels), 0, 1).min(axis=0)
    clipped = np.clip(voxels, 0, sizes - 1)
    low = np.minimum(clipped.astype(np.intp), np.maximum(np.array(data.shape).reshape(3, 1) - 2, 0))
    fx, fy, fz = (clipped - low).astype(np.float32)
    flat = np.ascontiguousarray(data).ravel()
    _, j, k = data.shape
    sx, sy, sz = (step if n > 1 else 0 for step, n in zip((j * k, k, 1), data.shape, strict=True))
    at = (low[0] * j + low[1]) * k + low[2]
    c000, c001, c010, c011 = flat[at], flat[at + sz], flat[at + sy], flat[at + sy + sz]
    at = at + sx
    c100, c101, c110, c111 = flat[at], flat[at + sz], flat[at + sy], flat[at + sy + sz]
    z00, z01, z10, z11 = c001 - c000, c011 - c010, c101 - c100, c111 - c110
    c00, c01, c10, c11 = c000 + fz * z00, c010 + fz * z01, c100 + fz * z10, c110 + fz * z11
    y0, y1 = c01 - c00, c11 - c10
    c0, c1 = c00 + fy * y0, c10 + fy * y1
    values = c0 + fx * (c1 - c0)
    if not slopes:
        return values, np.empty((3, 0)), weight
    z0, z1 = z00 + fy * (z01 - z00), z10 + fy * (z11 - z10)
    gradient = np.stack([c1 - c0, y0 + fx * (y1 - y0), z0 + fx * (z1 - z0)])
    gradient[(voxels != clipped)] = 0
    return values, gradient, weight
