"""Losses of registration: how alike two images are, and how smooth a displacement is."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import numpy as np

from .. import kernels
from ..errors import ParameterError, ShapeError
from ..tensor import Function, Tensor

Difference = tuple[int, int]  # (axis, step): (a[x + step] - a[x]) / step along the axis, where both exist


def lncc(fixed: Tensor, moved: Tensor, window: int = 9, squared: bool = True, epsilon: float = 1e-5) -> Tensor:
    """Mean local normalised cross-correlation of two images [B, C, *S] -> scalar; the loss is its negative.

    Around each voxel lies a window of `window` voxels per axis. Outside the images there are zeros, and a window at the
    border counts them too. With window means < > and variances <F^2> - <F>^2, clamped at 0:

        squared:  cov^2 / (var_F var_M + epsilon)                            in [0, 1], blind to the sign of contrast
        signed:   cov / (sqrt(var_F + epsilon) sqrt(var_M + epsilon))        in [-1, 1]

    epsilon is in units of the window means: 1e-5 suits intensities in [0, 1] and damps windows of low contrast.
    VoxelMorph (Balakrishnan et al. 2019) has the squared form with window sums and 1e-5, which is
    epsilon = 1e-5 / n^2 here for a window of n voxels. SpikeReg's signed form is squared=False, epsilon=1e-8.
    """
    _require_alike("lncc", fixed, moved)
    if not 3 <= fixed.ndim <= 5:
        raise ShapeError(f"lncc: images are [B, C, *S] with 1 to 3 spatial axes, got shape {fixed.shape}")
    if window < 3 or window % 2 == 0:
        raise ParameterError(
            f"lncc: window must be an odd number of at least 3 voxels, so that it has a centre, not {window}"
        )
    if not epsilon > 0:
        raise ParameterError(f"lncc: epsilon must be positive, as windows without contrast divide by it, not {epsilon}")
    return LocalCorrelation.apply(fixed, moved, radius=window // 2, squared=squared, epsilon=epsilon)


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean of (a - b)^2 over all elements of two tensors of one shape -> scalar."""
    _require_alike("mse", a, b)
    return MeanSquaredError.apply(a, b)


def diffusion(displacement: Tensor, differences: Literal["forward", "central"] = "forward") -> Tensor:
    """Sum over the spatial axes i of the mean of (d_i u)^2 -> scalar, in units of 1 (voxels per voxel, squared).

    displacement u [B, n, *S]. The mean runs over batch, components and the voxels where the difference exists:
    forward: u(x + 1) - u(x); VoxelMorph's gradient loss is this divided by n.
    central: (u(x + 1) - u(x - 1)) / 2, as in SpikeReg; blind to a checkerboard.
    """
    steps = {"forward": 1, "central": 2}
    if differences not in steps:
        raise ParameterError(f"diffusion: differences must be 'forward' or 'central', not {differences!r}")
    axes = _spatial_axes("diffusion", displacement, shortest=steps[differences] + 1)
    return Roughness.apply(displacement, terms=[(1.0, ((i, steps[differences]),)) for i in axes])


def bending_energy(displacement: Tensor) -> Tensor:
    """Sum over pairs of spatial axes i, j of the mean of (d_i d_j u)^2 -> scalar (Rueckert et al. 1999).

    displacement u [B, n, *S]. Pure derivatives u(x - 1) - 2 u(x) + u(x + 1), mixed ones by central differences along
    both axes and counted twice; means over batch, components and the voxels where the difference exists. Zero for
    every affine displacement.
    """
    axes = _spatial_axes("bending_energy", displacement, shortest=3)
    pure: list = [(1.0, ((i, 1), (i, 1))) for i in axes]
    mixed: list = [(2.0, ((i, 2), (j, 2))) for i, j in combinations(axes, 2)]
    return Roughness.apply(displacement, terms=pure + mixed)


class LocalCorrelation(Function):
    """See lncc. The kernel returns value and gradients together, because they share the window sums."""

    def forward(ctx, fixed, moved, radius, squared, epsilon):
        value, *grads = kernels.run("lncc", fixed, moved, radius, squared, epsilon, *ctx.needs)
        ctx.save(*grads)
        return np.asarray(value, dtype=fixed.dtype)

    def backward(ctx, grad):
        return tuple(None if g is None else grad * g for g in ctx.saved)


class MeanSquaredError(Function):
    """See mse."""

    def forward(ctx, a, b):
        difference = a - b
        ctx.save(difference)
        return _mean_square(difference)

    def backward(ctx, grad):
        (difference,) = ctx.saved
        to_a = difference * (2 * grad / difference.size)
        return to_a, -to_a if ctx.needs[1] else None


class Roughness(Function):
    """Sum of weight * mean((D u)^2) over `terms` (weight, D), where D is a chain of differences (axis, step)."""

    def forward(ctx, u, terms):
        ctx.shape, ctx.terms = u.shape, terms
        slopes = [_differentiate(u, chain) for _, chain in terms]
        ctx.save(*slopes)
        return sum(u.dtype.type(weight) * _mean_square(d) for (weight, _), d in zip(terms, slopes, strict=True))

    def backward(ctx, grad):
        total = np.zeros(ctx.shape, dtype=grad.dtype)
        for (weight, chain), slope in zip(ctx.terms, ctx.saved, strict=True):
            _add_adjoint(total, slope * (2 * grad * grad.dtype.type(weight) / slope.size), chain)
        return total


def _differentiate(a: np.ndarray, chain: tuple[Difference, ...]) -> np.ndarray:
    for axis, step in chain:
        below, above = _shifted(axis, step)
        a = a[above] - a[below]
        if step > 1:
            a /= step
    return a


def _add_adjoint(total: np.ndarray, a: np.ndarray, chain: tuple[Difference, ...]) -> None:
    """Add to `total` the adjoint of `_differentiate` at `a`."""
    for depth in range(len(chain) - 1, -1, -1):
        axis, step = chain[depth]
        below, above = _shifted(axis, step)
        if depth == 0:
            target = total
        else:
            shape = list(a.shape)
            shape[axis] += step
            target = np.zeros(shape, dtype=a.dtype)
        a = a / step if step > 1 else a
        target[above] += a
        target[below] -= a
        a = target


def _shifted(axis: int, step: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index of the elements that have a partner `step` further along the axis, and of those partners."""
    ahead = (slice(None),) * axis
    return (*ahead, slice(None, -step)), (*ahead, slice(step, None))


def _mean_square(a: np.ndarray) -> np.ndarray:
    """Mean of a^2 in the type of `a`, summed in float64."""
    return np.asarray(np.square(a).mean(dtype=np.float64), dtype=a.dtype)


def _spatial_axes(name: str, displacement: Tensor, shortest: int) -> range:
    n = displacement.ndim - 2
    if n < 1 or displacement.shape[1] != n:
        raise ShapeError(f"{name}: displacements are [B, n, *S] with n spatial axes, got shape {displacement.shape}")
    if min(displacement.shape[2:]) < shortest:
        raise ShapeError(
            f"{name}: the differences need at least {shortest} voxels along each axis, got {displacement.shape[2:]}"
        )
    if displacement.dtype.kind != "f":
        raise ParameterError(f"{name}: the displacement must be floating-point, not {displacement.dtype}")
    return range(2, displacement.ndim)


def _require_alike(name: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ShapeError(f"{name}: both inputs need one shape, got {a.shape} and {b.shape}")
    if a.dtype != b.dtype or a.dtype.kind != "f":
        raise ParameterError(
            f"{name}: both inputs must be of one floating-point type, not {a.dtype} and {b.dtype}; convert with astype"
        )
