"""First guesses of an affine registration: centres, principal axes in every order and direction, and some rotations.

The principal axes of an image are known up to their direction and, where two of them are about as long, their order.
All 24 proper assignments are guesses, next to the orientation that the headers state; which one is right is for the
similarity to say. None of them mirrors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ..data.sampling import transformed
from .pyramid import Level

Start = Literal["world", "centre", "search"]
_TILT = 0.44  # rad, 25 degrees: half-way between guesses is still near enough for the refinement
_LARGEST_SCALE = 1.4


class Moments(NamedTuple):
    """Where the bright part of an image lies: its `centre` [3], its principal `axes` [3, 3] as columns, right-handed,
    the shortest first, and its `size`, the cube root of its volume; RAS mm."""

    centre: np.ndarray
    axes: np.ndarray
    size: float

    @classmethod
    def of(cls, level: Level) -> Moments:
        index = np.argwhere(level.data > otsu(level.data)).T.astype(np.float64)
        points = transformed(level.affine, index)
        centre = points.mean(axis=1)
        _, axes = np.linalg.eigh(np.cov(points) if points.shape[1] > 1 else np.eye(3))
        axes[:, 0] *= np.sign(np.linalg.det(axes))
        return cls(centre, axes, (points.shape[1] * level.spacing**3) ** (1 / 3))


def guesses(fixed: Level, moving: Level, start: Start) -> Iterator[np.ndarray]:
    """Maps [4, 4] from the fixed to the moving world that a refinement may start from.

    start  "world": as the headers say, alone. "centre": centre of the volumes on centre. "search": both, and whatever
           the moments suggest
    """
    if start in ("world", "search"):
        yield np.eye(4)
    middles = _middle(fixed), _middle(moving)
    if start in ("centre", "search"):
        yield _about(*middles, np.eye(3))
    if start != "search":
        return
    f, m = Moments.of(fixed), Moments.of(moving)
    scale = float(np.clip(m.size / f.size, 1 / _LARGEST_SCALE, _LARGEST_SCALE))
    turns = [np.eye(3), *(m.axes @ turn @ f.axes.T for turn in proper_turns()), *_tilts()]
    for turn in turns:
        yield _about(f.centre, m.centre, turn)
        yield _about(f.centre, m.centre, turn * scale)
        yield _about(*middles, turn)


def proper_turns() -> Iterator[np.ndarray]:
    """The 24 rotations that map the axes onto axes."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            if np.linalg.det(turn) > 0:
                yield turn


def otsu(data: np.ndarray, bins: int = 64) -> float:
    """The threshold in [0, 1] that splits values into the two classes farthest apart (Otsu 1979)."""
    counts, edges = np.histogram(data, bins=bins, range=(0, 1))
    below = np.cumsum(counts)[:-1].astype(np.float64)
    total, levels = counts.sum(), (edges[:-1] + edges[1:]) / 2
    sums = np.cumsum(counts * levels)
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + int(np.nanargmax(np.where((below > 0) & (above > 0), between, -1)))])


def exponential(generator: np.ndarray) -> np.ndarray:
    """exp of a small square matrix, by scaling and squaring of its series; its determinant is exp(trace) > 0."""
    squarings = max(0, int(np.ceil(np.log2(max(float(np.abs(generator).sum()), 1e-300)))) + 3)
    small, term = generator / 2**squarings, np.eye(len(generator))
    result = term.copy()
    for k in range(1, 13):
        term = term @ small / k
        result += term
    for _ in range(squarings):
        result = result @ result
    return result


def rotation(vector: Sequence[float] | np.ndarray) -> np.ndarray:
    """The rotation about `vector` by its length in radians."""
    x, y, z = vector
    return exponential(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], np.float64))


def _tilts() -> Iterator[np.ndarray]:
    """Rotations about each axis and each pair of axes, either way."""
    for signs in itertools.product((-1, 0, 1), repeat=3):
        if 1 <= np.count_nonzero(signs) <= 2:
            yield rotation(np.array(signs) * _TILT)


def _middle(level: Level) -> np.ndarray:
    return transformed(level.affine, (np.array(level.data.shape) - 1.0) / 2)


def _about(fixed: np.ndarray, moving: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """The affine map with this linear part that takes the point `fixed` to `moving`."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = moving - linear @ fixed
    return matrix
