"""Images out of nothing: random shapes, contrasts and diffeomorphic motion, so that training needs no download.

The recipe is that of SynthMorph (Hoffmann et al. 2022, IEEE TMI 41(3):543-558): label maps from noise, an image from a
label map by a random contrast, a pair by a random stationary velocity field. Ours keeps the shapes inside a smooth
ellipsoid on a zero background, so that a volume resembles a padded, skull-stripped MR. Everything works in 1, 2 and 3
dimensions, every random number comes from the generator passed in, and images are float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError, ShapeError

SQUARINGS = 6  # the velocity is divided by 2**6, so one Euler step moves by a fraction of a voxel


class Contrast(NamedTuple):
    """The law of an image given its labels: label k has mean[k] and std[k] before the gamma curve; label 0 is black."""

    mean: np.ndarray  # [1 + n_labels], in [0, 1]
    std: np.ndarray  # [1 + n_labels]
    gamma: float


class GeneratedPair(NamedTuple):
    """Two images of one random anatomy, and the motion between them.

    fixed_labels(x) = moving_labels(x + displacement(x)), nearest neighbour; the images carry independent noise.
    """

    moving: np.ndarray  # [*S] float32 in [0, 1]
    fixed: np.ndarray  # [*S] float32 in [0, 1]
    moving_labels: np.ndarray  # [*S] uint8, 0 = background
    fixed_labels: np.ndarray  # [*S] uint8
    displacement: np.ndarray  # [ndim, *S] float32, voxels, pull-back


def generate_pair(
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    n_labels: int = 8,
    max_displacement: float | None = None,
    same_contrast: bool = True,
) -> GeneratedPair:
    """A registration problem with a known answer.

    `max_displacement` [voxels] is the largest speed of the velocity field and thus a bound of the displacement; by
    default 8.5 % of the shortest side (5.4 voxels at 64), which leaves a mean Dice of about 0.6. With
    `same_contrast=False` each image gets its own contrast, as two MR sequences would.
    """
    shape = _checked_shape(shape)
    amplitude = 0.085 * min(shape) if max_displacement is None else max_displacement
    moving_labels = random_shapes(shape, n_labels, rng)
    displacement = random_displacement(shape, amplitude, min(shape) / 4, rng)
    fixed_labels = warp_nearest(moving_labels, displacement)
    contrast = random_contrast(n_labels, rng)
    moving = synthesize_contrast(moving_labels, rng, contrast)
    fixed = synthesize_contrast(fixed_labels, rng, contrast if same_contrast else random_contrast(n_labels, rng))
    return GeneratedPair(moving, fixed, moving_labels, fixed_labels, displacement)


# ---------------------------------------------------------------------------------------------------- shapes


def smooth_noise(
    shape: Sequence[int],
    scales: Iterable[float],
    std: float,
    rng: np.random.Generator,
    leading: Sequence[int] = (),
) -> np.ndarray:
    """Multi-scale noise [*leading, *shape]: a sum of Gaussian noises, each drawn on a grid of its own coarseness.

    For each scale s [voxels], noise of standard deviation `std` on ceil(S / s) nodes an axis (at least 2) is upsampled
    linearly and smoothed by a Gaussian of s / 2 voxels, which hides the grid and rounds the kinks (both at once: they
    are one small matrix an axis). SynthMorph's `draw_perlin` is the same without the smoothing.
    """
    shape = _checked_shape(shape)
    noise = np.zeros((*leading, *shape), np.float32)
    for scale in scales:
        if not scale > 0:
            raise ParameterError(f"smooth_noise: every scale must be a positive number of voxels, not {scale}")
        nodes = [max(2, int(np.ceil(size / scale))) for size in shape]
        coarse = rng.normal(0, std, (*leading, *nodes)).astype(np.float32)
        matrices = [_blur_matrix(n, scale / 2) @ _upsampling_matrix(n, m) for n, m in zip(shape, nodes, strict=True)]
        noise += _along_last_axes(coarse, matrices)
    return noise


def random_shapes(shape: Sequence[int], n_labels: int, rng: np.random.Generator) -> np.ndarray:
    """A label map [*shape] uint8: blobs 1 ... n_labels fill a smooth, roughly ellipsoidal support; 0 surrounds it.

    Each label has its own noise image; where its noise is the largest, the label wins. A label can be absent.
    """
    shape = _checked_shape(shape)
    if not 1 <= n_labels <= 255:
        raise ParameterError(f"random_shapes: n_labels must be in 1 ... 255, not {n_labels}")
    side = min(shape)
    winners = np.argmax(smooth_noise(shape, (side / 14, side / 8), 1.0, rng, leading=(n_labels,)), axis=0)
    radius_2 = np.zeros(shape, np.float32)
    for axis, size in enumerate(shape):
        centre = (size - 1) / 2 + rng.uniform(-0.02, 0.02) * size
        radius = rng.uniform(0.37, 0.43) * size
        offsets = ((np.arange(size, dtype=np.float32) - centre) / radius) ** 2
        radius_2 += offsets.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    dents = 0.12 * np.tanh(smooth_noise(shape, (side / 6,), 2.0, rng))  # bounded, so that the blob keeps off the border
    inside = np.sqrt(radius_2) + dents < 1
    return np.where(inside, winners + 1, 0).astype(np.uint8)


# ------------------------------------------------------------------------------------------------- contrasts


def random_contrast(n_labels: int, rng: np.random.Generator) -> Contrast:
    """Draw a contrast: means spread over [0.2, 1] in random order, so that neighbouring labels can be told apart."""
    levels = np.linspace(0.2, 1.0, n_labels) + rng.uniform(-0.3, 0.3, n_labels) * 0.8 / n_labels
    mean = np.concatenate([[0.0], rng.permutation(levels)])
    std = np.concatenate([[0.0], rng.uniform(0.01, 0.05, n_labels)])
    return Contrast(mean.astype(np.float32), std.astype(np.float32), gamma=float(np.exp(rng.normal(0, 0.15))))


def synthesize_contrast(
    labels: np.ndarray,
    rng: np.random.Generator,
    contrast: Contrast | None = None,
    *,
    blur: float = 0.6,
    bias: float = 0.1,
) -> np.ndarray:
    """An image [*S] float32 in [0, 1] of a label map: image = (blur(mean[label] + std[label] N) exp(bias field))^gamma.

    `blur` is the standard deviation of the Gaussian [voxels] that makes partial volumes, `bias` that of the log of the
    smooth multiplicative field. After the label's noise, values are clipped below at 0 and divided by their maximum.
    Without `contrast`, one is drawn. (Hoffmann et al. 2022, section III-B, with a black background.)
    """
    shape = _checked_shape(labels.shape)
    contrast = random_contrast(max(1, int(labels.max(initial=0))), rng) if contrast is None else contrast
    if labels.max(initial=0) >= len(contrast.mean):
        raise ParameterError(
            f"synthesize_contrast: the contrast knows labels up to {len(contrast.mean) - 1}, "
            f"but the label map holds {int(labels.max())}; draw it with random_contrast({int(labels.max())}, rng)"
        )
    noise = rng.standard_normal(shape, dtype=np.float32)
    image = contrast.mean[labels] + contrast.std[labels] * noise
    image = gaussian_blur(image, blur)
    image = np.maximum(image, 0) * np.exp(smooth_noise(shape, (min(shape) / 2,), bias, rng))
    return (image / max(float(image.max(initial=0)), 1e-6)) ** np.float32(contrast.gamma)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """An image [*S] blurred by a Gaussian of `sigma` voxels; borders keep their level."""
    return _along_last_axes(image, [_blur_matrix(n, sigma) for n in image.shape])


# ---------------------------------------------------------------------------------------------------- motion


def random_velocity(shape: Sequence[int], amplitude: float, scale: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth stationary velocity [ndim, *shape], largest speed `amplitude` [voxels], details of `scale` voxels."""
    shape = _checked_shape(shape)
    if amplitude < 0:
        raise ParameterError(f"random_velocity: amplitude must be at least 0 voxels, not {amplitude}")
    velocity = smooth_noise(shape, (scale, 2 * scale), 1.0, rng, leading=(len(shape),))
    speed = float(np.sqrt((velocity**2).sum(axis=0)).max())
    return velocity * np.float32(amplitude / max(speed, 1e-12))


def integrate(velocity: np.ndarray, squarings: int = SQUARINGS) -> np.ndarray:
    """The displacement [ndim, *S] after unit time in `velocity` [ndim, *S], by scaling and squaring.

    u_0 = v / 2^squarings;  u_{k+1}(x) = u_k(x) + u_k(x + u_k(x)).  (Arsigny et al. 2006, MICCAI, algorithm 2.) No point
    travels farther than the largest speed.
    """
    displacement = velocity / np.float32(2**squarings)
    for _ in range(squarings):
        displacement = displacement + warp_linear(displacement, displacement)
    return displacement


def random_displacement(
    shape: Sequence[int], amplitude: float, scale: float, rng: np.random.Generator, coarseness: int = 2
) -> np.ndarray:
    """A diffeomorphic displacement field [ndim, *shape] float32, nowhere longer than `amplitude` [voxels].

    A velocity with details of `scale` voxels is drawn and integrated on a grid `coarseness` times coarser, then
    upsampled with its vectors rescaled by the ratio of the spacings (corners aligned). By default that is half the
    resolution: 8 times faster in 3-D, and a network that predicts at half resolution can represent it.
    """
    shape = _checked_shape(shape)
    nodes = [max(2, -(-size // coarseness)) for size in shape]
    spacing = np.array([(size - 1) / (h - 1) for size, h in zip(shape, nodes, strict=True)], np.float32)
    coarse = integrate(random_velocity(nodes, amplitude / float(spacing.max()), scale / float(spacing.max()), rng))
    coarse *= spacing.reshape(-1, *[1] * len(shape))
    return _along_last_axes(coarse, [_upsampling_matrix(n, h) for n, h in zip(shape, nodes, strict=True)])


def warp_nearest(labels: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """labels(x + u(x)) [*S] by nearest neighbour; points outside take the value at the border."""
    points = _targets(labels.shape, displacement)
    index = [np.rint(p).astype(np.intp).clip(0, size - 1) for p, size in zip(points, labels.shape, strict=True)]
    return labels[tuple(index)]


def warp_linear(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """image(x + u(x)) of an image [*S] or [C, *S] by (bi-, tri-) linear interpolation, border values outside."""
    shape = image.shape[image.ndim - len(displacement) :]
    points = _targets(shape, displacement)
    flat = image.reshape(-1, int(np.prod(shape)))
    low, weight = [], []
    for axis, size in enumerate(shape):
        position = points[axis].clip(0, size - 1)
        low.append(np.minimum(position.astype(np.intp), max(size - 2, 0)))
        weight.append(position - low[axis].astype(position.dtype))
    out = np.zeros((len(flat), *shape), np.result_type(image, displacement))
    for corner in product((0, 1), repeat=len(shape)):
        share: np.ndarray | float = 1.0
        index: np.ndarray | int = 0
        for axis, upper in enumerate(corner):
            share = share * (weight[axis] if upper else 1 - weight[axis])
            index = index * shape[axis] + np.minimum(low[axis] + upper, shape[axis] - 1)
        out += share * flat[:, index]
    return out.reshape(image.shape)


# --------------------------------------------------------------------------------------------------- helpers


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if not 1 <= len(shape) <= 3 or min(shape) < 2:
        raise ShapeError(f"generated data: the shape must have 1, 2 or 3 axes of at least 2 voxels, not {tuple(shape)}")
    return tuple(int(size) for size in shape)


def _targets(shape: tuple[int, ...], displacement: np.ndarray) -> np.ndarray:
    """x + u(x) for every voxel x."""
    if displacement.shape != (len(shape), *shape):
        raise ShapeError(
            f"warp: an image of shape {shape} needs a displacement of shape {(len(shape), *shape)}, "
            f"not {displacement.shape}"
        )
    return np.indices(shape, dtype=displacement.dtype) + displacement


def _along_last_axes(array: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Apply matrices[i] [new, old] along axis i of the last len(matrices) axes."""
    for axis, matrix in enumerate(matrices, start=array.ndim - len(matrices)):
        array = np.moveaxis(np.tensordot(array, matrix, axes=(axis, 1)), -1, axis)
    return np.ascontiguousarray(array)


def _upsampling_matrix(n: int, m: int) -> np.ndarray:
    """[n, m] float32: linear interpolation of m nodes at n places, first and last on the first and last node."""
    place = np.linspace(0, m - 1, n)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(m))).astype(np.float32)


def _blur_matrix(n: int, sigma: float) -> np.ndarray:
    """[n, n] float32: a Gaussian of `sigma` voxels, cut off at 4 sigma, rows summing to 1: borders keep their level."""
    if sigma <= 0:
        return np.eye(n, dtype=np.float32)
    distance = np.arange(n)[:, None] - np.arange(n)
    kernel = np.where(np.abs(distance) <= 4 * sigma, np.exp(-0.5 * (distance / sigma) ** 2), 0)
    return (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
