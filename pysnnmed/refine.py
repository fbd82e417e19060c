"""Refinement: the displacement of one pair, improved for that pair, coarse to fine.

A network answers at once, out of what it learnt on other pairs. Given time, descent on the objective that it was
trained with finds what this pair needs: the stationary velocity v, started from the network's displacement, that lowers

    weight * |grad v|^2 - LNCC(fixed, moving o exp(v))

by Adam, first on small images, where a voxel reaches far, then on larger ones. The exponential is scaling and squaring
(Arsigny et al. 2006); a v that is smooth enough makes exp(v) a diffeomorphism with the inverse exp(-v), and one that is
not, for exp(v) folds, is smoothed until it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from . import kernels
from .data.images import content_box
from .errors import ImageError, ParameterError, ShapeError
from .losses.registration import diffusion, lncc
from .metrics.deformation import folding_fraction
from .optim import Adam, cosine
from .resample import upsample_linear
from .tensor import Tensor, no_grad
from .warp import scaling_and_squaring, warp

Progress: TypeAlias = Callable[[int, int, str], None]  # iterations done, all of them, what they have reached

MAX_ITERATIONS = 10_000
SHRINKS = (4, 2, 1)  # voxels of the grid that make one of the images, along each axis
NODES = 2  # voxels of those images that make a node of the velocity, along each axis
WINDOW = 5  # of the correlation, voxels of those images
CONTRAST = 1e-6  # epsilon of the correlation: ten times more rewards contrast above alignment, less reads noise
WEIGHT = 0.4  # of the mean squared gradient of v against the mean correlation
RATE = 0.25  # of Adam, nodes: about the longest step
LAST_RATE = 0.3  # of that, at the end of each resolution
EPSILON = 1e-2  # of Adam, where an edge has a gradient of the order of 1: what is much less moves less
SQUARINGS = 4  # of the exponential while descending
FINAL_SQUARINGS = 7
SMOOTHINGS = 20  # at most, of a velocity whose exponential folds; then nothing is moved
SHORTEST = 8  # voxels along an axis that can still show where to go
MARGIN = 2  # voxels of nothing that are left around what the images show


@dataclass(frozen=True)
class Refinement:
    """What refinement did to one pair.

    iterations         at each of `levels` resolutions
    similarity_before  of the start: mean squared LNCC over the content of the fixed image, in [0, 1]
    similarity_after   of the result, never lower
    seconds            it took
    """

    iterations: int
    levels: int
    similarity_before: float
    similarity_after: float
    seconds: float

    def facts(self) -> dict[str, Any]:
        """The same, JSON-able."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


def checked_iterations(iterations: Any) -> int:
    """A number of iterations as refinement takes it, else ParameterError."""
    whole = isinstance(iterations, int | np.integer) and not isinstance(iterations, bool)
    if not whole or not 0 <= iterations <= MAX_ITERATIONS:
        raise ParameterError(
            f"refine: the iterations at each resolution must be a whole number in 0 ... {MAX_ITERATIONS:,}, "
            f"not {iterations!r}"
        )
    return int(iterations)


def refined(
    fixed: np.ndarray, moving: np.ndarray, start: np.ndarray, iterations: int, progress: Progress | None = None
) -> tuple[np.ndarray, Refinement]:
    """Improve the displacement `start` of a pair -> (displacement [n, *S] float32 in voxels, what was done).

    fixed, moving [*S] with intensities in [0, 1] and nothing (0) around them, 2-D or 3-D, at least 4 voxels an axis;
    start [n, *S] in voxels, any displacement. `iterations` steps are taken at a quarter, a half and all of the
    resolution; resolutions at which an axis is shorter than 8 voxels are left out. Work goes on in the box that holds
    what both images show; beyond it the displacement is that of its border. Where descent gains nothing the result is
    `start`, so the similarity never falls; any other result folds nowhere.

    Runs on the active backend, with the same result for every number of threads. Beside the arguments it takes up to
    120 bytes for each voxel of the box with Numba (0.8 GB for 160x192x224), 220 with NumPy.

    Raises ParameterError for a number of iterations that cannot be, ImageError for images that are constant or not
    finite, ShapeError for shapes that do not fit each other.
    """
    began = time.perf_counter()
    iterations = checked_iterations(iterations)
    _check(fixed, moving, start)
    scene = Scene.of(fixed, moving)
    shrinks = [shrink for shrink in SHRINKS if shrink == 1 or min(scene.shape) >= SHORTEST * shrink]
    given = _batch(start[(slice(None), *scene.box)])
    before = after = scene.similarity(given)
    result = np.array(start, np.float32)
    if iterations:
        found = _unfolded(_descended(scene, shrinks, given, iterations, progress), scene)
        reached = scene.similarity(_batch(found[(slice(None), *scene.box)]))
        if reached > before:
            after, result = reached, found
    return result, Refinement(iterations, len(shrinks), before, after, time.perf_counter() - began)


class Scene(NamedTuple):
    """A pair inside the box of the grid that holds what both images show."""

    fixed: Tensor  # [1, 1, *shape]
    moving: Tensor  # [1, 1, *shape]
    content: tuple[slice, ...]  # of the fixed image in that box, where the similarity counts
    box: tuple[slice, ...]
    grid: tuple[int, ...]

    @classmethod
    def of(cls, fixed: np.ndarray, moving: np.ndarray) -> Scene:
        contents = zip(content_box(fixed), content_box(moving), fixed.shape, strict=True)
        box = tuple(_around(a, b, size) for a, b, size in contents)
        content = content_box(fixed[box])
        return cls(Tensor(_batch(fixed[box][None])), Tensor(_batch(moving[box][None])), content, box, fixed.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.fixed.shape[2:]

    def shrunk(self, factor: int) -> Scene:
        """The same pair in voxels `factor` times as large."""
        shape = _coarser(self.shape, factor)
        content = tuple(
            slice(s.start * n // size, -(-s.stop * n // size))
            for s, n, size in zip(self.content, shape, self.shape, strict=True)
        )
        fixed, moving = (Tensor(_shrunk(image.data, shape)) for image in (self.fixed, self.moving))
        return Scene(fixed, moving, content, self.box, self.grid)

    def correlation(self, displacement: Tensor) -> Tensor:
        """Mean squared LNCC over the content of the fixed image -> scalar."""
        content = (slice(None), slice(None), *self.content)
        return lncc(self.fixed[content], warp(self.moving, displacement)[content], WINDOW, epsilon=CONTRAST)

    def similarity(self, displacement: np.ndarray) -> float:
        """What is reported, and must not fall."""
        with no_grad():
            return self.correlation(Tensor(displacement)).item()

    def continued(self, displacement: np.ndarray) -> np.ndarray:
        """A displacement [1, n, *shape] of the box on the whole grid [n, *S], beyond the box that of its border."""
        outside = [(s.start, size - s.stop) for s, size in zip(self.box, self.grid, strict=True)]
        return np.pad(displacement[0], [(0, 0), *outside], mode="edge")


def _descended(
    scene: Scene, shrinks: Sequence[int], start: np.ndarray, iterations: int, progress: Progress | None
) -> np.ndarray:
    """The velocity [1, n, *nodes], in nodes, that descent from `start` [1, n, *shape], in voxels, leads to."""
    velocity = _logarithm(_resized(start, _coarser(scene.shape, NODES * shrinks[0])))
    rate = cosine(iterations, LAST_RATE)
    for i, shrink in enumerate(shrinks):
        here, nodes = scene.shrunk(shrink), _coarser(scene.shape, NODES * shrink)
        v = Tensor(_resized(velocity, nodes), requires_grad=True)
        optimizer = Adam({"velocity": v}, RATE, epsilon=EPSILON)
        for step in range(iterations):
            correlation = here.correlation(_moved(v, here.shape, SQUARINGS))
            loss = diffusion(v) * WEIGHT - correlation
            optimizer.learning_rate = RATE * rate(step)
            optimizer.zero_grad()
            (loss * math.prod(nodes)).backward()  # so that the gradient of a node does not depend on their number
            optimizer.step()
            if progress is not None:
                note = f"1/{shrink} of the resolution" if shrink > 1 else "full resolution"
                progress(i * iterations + step + 1, len(shrinks) * iterations, f"{note}, {correlation.item():.4f}")
        velocity = v.data
    return velocity


def _moved(velocity: Tensor, shape: Sequence[int], squarings: int) -> Tensor:
    """exp(v) on a grid of `shape`, in its voxels [1, n, *shape]; v [1, n, *nodes] in nodes."""
    u = scaling_and_squaring(velocity, squarings)
    return upsample_linear(u, shape) * _ratio(shape, velocity.shape[2:])


def _displacement(velocity: np.ndarray, shape: Sequence[int], squarings: int) -> np.ndarray:
    with no_grad():
        return _moved(Tensor(velocity), shape, squarings).data


def _unfolded(velocity: np.ndarray, scene: Scene) -> np.ndarray:
    """exp(v) on the grid [n, *S], in voxels; v is smoothed by (1 2 1) / 4 along every axis until nothing folds."""
    for _ in range(SMOOTHINGS):
        u = scene.continued(_displacement(velocity, scene.shape, FINAL_SQUARINGS))
        if folding_fraction(u) == 0:
            return u
        for axis in range(2, velocity.ndim):
            wide = np.pad(velocity, [(1, 1) if a == axis else (0, 0) for a in range(velocity.ndim)], mode="edge")
            below, here, above = (wide.take(range(i, i + velocity.shape[axis]), axis) for i in range(3))
            velocity = 0.25 * below + 0.5 * here + 0.25 * above
    return np.zeros_like(u)


def _logarithm(displacement: np.ndarray, corrections: int = 5) -> np.ndarray:
    """A velocity whose exponential is near `displacement` [1, n, *nodes]: v <- v + (u - exp(v)) as long as that helps.

    A displacement that is no exponential, because it folds, gives the nearest that was met.
    """
    velocity = best = displacement
    smallest = np.inf
    for _ in range(corrections):
        left = displacement - _displacement(velocity, displacement.shape[2:], SQUARINGS)
        error = float(np.square(left, dtype=np.float64).mean())
        if not error < smallest:
            break
        best, smallest, velocity = velocity, error, velocity + left
    return best


def _coarser(shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """Voxels along each axis of a grid `factor` times coarser, rounded up."""
    return tuple(-(-size // factor) for size in shape)


def _resized(u: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A displacement or velocity [1, n, *S] on another grid of the same extent, in voxels of that grid."""
    grows = all(new >= old for new, old in zip(shape, u.shape[2:], strict=True))
    values = kernels.run("upsample_linear_forward", u, tuple(shape), False) if grows else _shrunk(u, shape)
    return values * _ratio(shape, u.shape[2:])


def _shrunk(images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Images [B, C, *S] on a coarser grid [B, C, *shape] of the same extent, as means over a triangle of its voxels."""
    if images.shape[2:] == tuple(shape):
        return images
    sums, weights = (
        kernels.run("upsample_linear_backward", a, tuple(shape), False)
        for a in (images, np.ones((1, 1, *images.shape[2:]), images.dtype))
    )
    return sums / weights


def _ratio(shape: Sequence[int], old: Sequence[int]) -> np.ndarray:
    """Voxels of a grid of `shape` per voxel of one of `old` along each axis, [1, n, 1 ...] float32."""
    return (np.array(shape) / np.array(old)).astype(np.float32).reshape(1, -1, *[1] * len(shape))


def _around(one: slice, other: slice, size: int) -> slice:
    """The span of two boxes along an axis with a margin; the whole axis where that would be too short."""
    start, stop = max(min(one.start, other.start) - MARGIN, 0), min(max(one.stop, other.stop) + MARGIN, size)
    return slice(start, stop) if stop - start >= SHORTEST else slice(0, size)


def _batch(image: np.ndarray) -> np.ndarray:
    """[C, *S] -> [1, C, *S] float32 in one piece"""
    return np.ascontiguousarray(image, np.float32)[None]


def _check(fixed: np.ndarray, moving: np.ndarray, start: np.ndarray) -> None:
    if fixed.ndim not in (2, 3) or min(fixed.shape) < 4:
        raise ShapeError(f"refine: images must have 2 or 3 axes of at least 4 voxels, not shape {fixed.shape}")
    if moving.shape != fixed.shape or start.shape != (fixed.ndim, *fixed.shape):
        raise ShapeError(
            f"refine: a fixed image of shape {fixed.shape} needs a moving image of that shape and a displacement of "
            f"shape {(fixed.ndim, *fixed.shape)}, not {moving.shape} and {start.shape}"
        )
    for name, values in (("fixed image", fixed), ("moving image", moving), ("displacement", start)):
        if not np.isfinite(values).all():
            raise ImageError(f"refine: the {name} must be finite; it holds NaN or infinity")
    for name, image in (("fixed", fixed), ("moving", moving)):
        if image.min() == image.max():
            raise ImageError(
                f"refine: the {name} image is {image.flat[0]:g} everywhere and shows nothing to align; "
                "give another, or no iterations"
            )
