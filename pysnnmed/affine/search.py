"""From first guesses to an affine map: mutual information is climbed from coarse to fine.

Every step multiplies the map by exp(generator), so its determinant keeps its sign: guesses do not mirror, and nothing
that follows can.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from ..data.affines import corners
from ..data.images import Image
from ..data.sampling import sample, transformed
from ..errors import ImageError, ParameterError
from .guesses import Start, exponential, guesses, otsu
from .mutual import BINS, Comparison, Samples
from .pyramid import Level, pyramid

Kind = Literal["rigid", "similarity", "affine"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VOXELS = (6_000, 48_000, 384_000)  # of the levels, coarse to fine
SAMPLES = (6_000, 20_000, 50_000)
REACH = (np.inf, 1.0, 0.75)  # of the ellipsoid that samples fill; 1 touches the sides of the bright part's box
_NEAR, _FAR, _TILTED = 8, 4, 60.0  # guesses refined: turned by up to so many degrees against the headers, by more
_FIRST_STEPS, _FINALISTS = 8, 3  # steps for each of them, and how many then go on
_APART = 6  # voxels, at the corners of the fixed image, between guesses that are worth refining both
_LEAST_OVERLAP = 0.3  # share of the samples that must lie in the moving image
_STEPS, _SETTLED = 30, 0.02  # most steps on a level; voxels of the level below which a step is the last
_LARGEST_SCALE = 3.0
_MARGIN = 0.1  # of the bright part's box, around it
_PLASTIC = 1.2207440846057596  # root of x^4 = x + 1: its powers spread points evenly in three dimensions


@dataclass(frozen=True, eq=False)
class Affine:
    """What `align_affine` found.

    matrix              [4, 4] from a point of the fixed world to the one of the moving world, RAS mm
    kind                which maps were allowed
    similarity, before  mutual information in nats, and that of the headers as they are (0 where they place the images
                        apart)
    overlap             share of the samples of the fixed image that lie in the moving one
    seconds             the search took
    """

    matrix: np.ndarray
    kind: Kind
    similarity: float
    before: float
    overlap: float
    seconds: float

    @property
    def rotation(self) -> float:
        """Angle of the rotation in the map, degrees."""
        return rotation_angle(self.matrix)

    @property
    def scales(self) -> tuple[float, float, float]:
        """Lengths of the moving image per length of the fixed one, the largest first: 1.1 where it is 10 % larger."""
        x, y, z = map(float, np.linalg.svd(self.matrix[:3, :3], compute_uv=False))
        return x, y, z

    def summary(self) -> dict[str, Any]:
        """The numbers of the search, JSON-able."""
        return {
            "kind": self.kind,
            "rotation_degrees": round(self.rotation, 3),
            "scales": [round(s, 4) for s in self.scales],
            "mutual_information": round(self.similarity, 5),
            "mutual_information_before": round(self.before, 5),
            "overlap": round(self.overlap, 4),
            "seconds": round(self.seconds, 3),
            "matrix_ras": self.matrix.tolist(),
        }


def rotation_angle(matrix: np.ndarray) -> float:
    """Angle in degrees of the rotation closest to an affine map [4, 4]."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    return float(np.degrees(np.arccos(np.clip((np.trace(u @ vt) - 1) / 2, -1, 1))))


def align_affine(fixed: Image, moving: Image, kind: Kind = "affine", start: Start = "search") -> Affine:
    """The affine map that lays `moving` on `fixed`, images of any contrast.

    kind   "rigid": rotation and shift; "similarity": and one scale; "affine": 12 parameters
    start  "search": from everything the headers, the centres and the moments suggest; "world" and "centre": only from
           what the headers say, or the centres of the volumes laid on each other

    Raises ImageError for constant images, NaN, and where nothing overlaps or the best map stretches more than
    threefold.
    """
    if kind not in KINDS:
        raise ParameterError(f"affine registration: the kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if start not in get_args(Start):
        raise ParameterError(f"affine registration: start must be one of {', '.join(get_args(Start))}, not {start!r}")
    began = time.perf_counter()
    levels = [
        _Stage.of(f, m, n, reach)
        for f, m, n, reach in zip(pyramid(fixed, VOXELS), pyramid(moving, VOXELS), SAMPLES, REACH, strict=True)
    ]
    coarse, *finer = levels
    generators = [kind] if kind == "rigid" else ["similarity"] if kind == "similarity" else ["similarity", "affine"]
    best = _best(coarse, start, fixed, moving)
    for stage in finer:
        for allowed in generators[-1:] if stage is finer[-1] else generators:
            best = _climb(stage, best.matrix, allowed)
    last = levels[-1].comparison
    scales = np.linalg.svd(best.matrix[:3, :3], compute_uv=False)
    if scales.max() > _LARGEST_SCALE or scales.min() < 1 / _LARGEST_SCALE:
        raise ImageError(
            f"{moving.source} and {fixed.source}: the best affine map stretches by {scales.round(2).tolist()}; do both "
            "show the same part of the body? allow less with a rigid map, or start from the headers"
        )
    found = last(best.matrix, slopes=False)
    return Affine(
        best.matrix,
        kind,
        found.mutual,
        last(np.eye(4), slopes=False).mutual,
        found.overlap,
        time.perf_counter() - began,
    )


class _Stage(NamedTuple):
    """One level: both images there, and their comparison."""

    fixed: Level
    moving: Level
    comparison: Comparison

    @classmethod
    def of(cls, fixed: Level, moving: Level, n: int, reach: float) -> _Stage:
        samples = _samples(fixed, n, reach)
        spread = np.sqrt(((samples.points - samples.points.mean(axis=1, keepdims=True)) ** 2).sum(axis=0).mean())
        centre = transformed(moving.affine, (np.array(moving.data.shape) - 1.0) / 2)
        return cls(fixed, moving, Comparison(samples, moving, centre, float(spread)))


class _Found(NamedTuple):
    matrix: np.ndarray
    similarity: float
    normalized: float


def _samples(fixed: Level, n: int, reach: float) -> Samples:
    """About n points spread evenly (Roberts' generalised golden ratio) over the bright part of an image and around it.

    They fill the part of its box that lies in an ellipsoid of `reach` times the box's half axes. The finest level looks
    at the inside only: skin, neck and the rim of a mask differ between people and scans more than what one wants to see
    aligned. Points lie between the voxels: on voxels, similarity would jump where the two grids meet.
    """
    index = np.argwhere(fixed.data > otsu(fixed.data))
    low, high = index.min(axis=0), index.max(axis=0)
    margin = _MARGIN * (high - low + 1)
    low = np.maximum(low - margin, 0)
    high = np.minimum(high + margin, np.array(fixed.data.shape) - 1)
    filled = min(1.0, np.pi / 6 * reach**3)  # of the box
    powers = _PLASTIC ** -np.arange(1.0, 4.0)
    shares = (0.5 + powers[:, None] * np.arange(1, round(n / filled) + 1)) % 1
    shares = shares[:, np.square(2 * shares - 1).sum(axis=0) <= reach**2]
    voxels = low[:, None] + (high - low)[:, None] * shares
    values = sample(fixed.data, voxels, "linear", fill=None)
    bins = np.minimum((values * BINS).astype(np.intp), BINS - 1)
    return Samples(transformed(fixed.affine, voxels), bins)


def _best(stage: _Stage, start: Start, fixed: Image, moving: Image) -> _Found:
    """The best guess after refinement on the coarsest level."""
    compare = stage.comparison
    scored = []
    for matrix in guesses(stage.fixed, stage.moving, start):
        found = compare(matrix, slopes=False)
        if found.overlap >= _LEAST_OVERLAP:
            scored.append(_Found(matrix, found.mutual, found.normalized))
    if not scored:
        raise ImageError(
            f"{moving.source} and {fixed.source} do not overlap as the headers place them; search for the start as well"
        )
    scored.sort(key=lambda found: -found.normalized)
    tried = [_climb(stage, guess.matrix, "rigid", _FIRST_STEPS) for guess in _distinct(scored, stage)]
    tried.sort(key=lambda found: -found.normalized)
    refined = [_climb(stage, guess.matrix, "rigid") for guess in tried[:_FINALISTS]]
    return max(refined, key=lambda found: found.normalized)


def _distinct(scored: list[_Found], stage: _Stage) -> list[_Found]:
    """The best guesses, each far enough from those before it: a region of good ones must not crowd out the others.

    Headers are rarely wrong by much, and a head seen from behind is deceptively like one seen from the front: most
    places are kept for guesses that turn little.
    """
    ends = transformed(stage.fixed.affine, corners(stage.fixed.data.shape)[:3])
    kept: list[_Found] = []
    places = {True: _NEAR, False: _FAR}
    for guess in scored:
        near = rotation_angle(guess.matrix) <= _TILTED
        there = transformed(guess.matrix, ends)
        apart = [np.abs(transformed(k.matrix, ends) - there).max() > _APART * stage.fixed.spacing for k in kept]
        if places[near] and all(apart):
            kept.append(guess)
            places[near] -= 1
    return kept


def _climb(stage: _Stage, matrix: np.ndarray, kind: str, steps: int = _STEPS) -> _Found:
    """Levenberg-Marquardt steps up the mutual information, in the generators that `kind` allows."""
    compare, basis, unit = stage.comparison, _basis(kind), stage.moving.spacing
    here = compare(matrix)
    damping = 1e-2
    for _ in range(steps):
        slope, curvature = basis.T @ here.slope, basis.T @ here.curvature @ basis
        scale = np.diag(curvature) + 1e-9 * max(float(np.trace(curvature)), 1e-12)
        step = np.linalg.solve(curvature + damping * np.diag(scale), slope)
        step *= min(1.0, 2 * unit / max(float(np.linalg.norm(step)), 1e-12))
        tried = _moved(matrix, basis @ step, compare)
        there = compare(tried)
        if there.overlap >= _LEAST_OVERLAP and there.mutual > here.mutual:
            matrix, here, damping = tried, there, max(damping / 4, 1e-4)
            if np.linalg.norm(step) < _SETTLED * unit:
                break
        elif damping > 1e4 or np.linalg.norm(step) < 0.1 * _SETTLED * unit:
            break
        else:
            damping *= 6
    return _Found(matrix, here.mutual, here.normalized)


def _moved(matrix: np.ndarray, generator: np.ndarray, compare: Comparison) -> np.ndarray:
    """exp of a generator [12], see `Comparison`, after the map `matrix`."""
    linear = exponential(generator[:9].reshape(3, 3) / compare.radius)
    move = np.eye(4)
    move[:3, :3] = linear
    move[:3, 3] = compare.centre - linear @ compare.centre + generator[9:]
    return move @ matrix


def _basis(kind: str) -> np.ndarray:
    """[12, 6, 7 or 12] orthonormal generators: rotations and shifts, one scale, then everything."""
    columns = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        turn = np.zeros((3, 3))
        turn[a, b], turn[b, a] = 0.5**0.5, -(0.5**0.5)
        columns.append(turn)
    if kind == "similarity":
        columns.append(np.eye(3) / 3**0.5)
    if kind == "affine":
        columns = [np.eye(9)[i].reshape(3, 3) for i in range(9)]
    linear = np.array([c.ravel() for c in columns]).T
    basis = np.zeros((12, linear.shape[1] + 3))
    basis[:9, : linear.shape[1]] = linear
    basis[9:, linear.shape[1] :] = np.eye(3)
    return basis
