"""Sampling images by displacement fields, and what follows from it: composition, integration, inversion.

A displacement u [B, n, *S] is in voxels, component i along spatial axis i. It stands for the map x -> x + u(x) from the
fixed grid to the moving image (pull-back): moved(x) = moving(x + u(x)). Positions outside the grid are clamped to its
border, axis by axis.
"""

from __future__ import annotations

import numpy as np

from . import kernels
from .errors import ParameterError, ShapeError
from .tensor import Function, Tensor


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """moved(x) = image(x + u(x)), interpolated linearly along each axis -> [B, C, *S].

    image [B, C, *S], displacement u [B, n, *S] in voxels, for n = 1 to 3 spatial axes. Differentiable in both: the
    gradient to u is zero along an axis where the position is not strictly inside the grid.

    ShapeError if the two do not fit, ParameterError if they are not of one floating-point type.
    """
    _require_fit("warp", image, displacement)
    _require_floating("warp", image, displacement)
    return Warp.apply(image, displacement)


def warp_nearest(labels: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """labels(x + u(x)) at the nearest voxel -> [B, C, *S] of the type of `labels`, which may be any.

    labels [B, C, *S], displacement u [B, n, *S] in voxels. A position half-way between two voxels takes the higher
    index (round half up), so a displacement by exactly 0.5 moves every axis alike. Not differentiable.
    """
    _require_fit("warp_nearest", labels, displacement)
    if not np.isfinite(displacement).all():
        raise ParameterError("warp_nearest: the displacement must be finite; it holds NaN or infinity")
    index = []
    for i, size in enumerate(labels.shape[2:]):
        x = np.arange(size).reshape([-1 if j == i else 1 for j in range(labels.ndim - 2)])
        u = np.clip(displacement[:, i], -size, size)  # beyond the border on either side, and safe to convert
        index.append(np.clip(x + np.floor(u + 0.5).astype(np.intp), 0, size - 1))
    return np.stack([volume[(slice(None), *(i[b] for i in index))] for b, volume in enumerate(labels)])


def compose(u: Tensor, v: Tensor) -> Tensor:
    """The displacement of "u after v" [B, n, *S]: x -> (x + v(x)) + u(x + v(x)), hence v(x) + u(x + v(x)).

    An image warped by compose(u, v) is the image warped by u and then by v: warp(warp(image, u), v), up to the error
    of interpolating twice.
    """
    _require_fit("compose", u, v)
    _require_floating("compose", u, v)
    if u.shape != v.shape:
        raise ShapeError(f"compose: both displacements need one shape [B, n, *S], got {u.shape} and {v.shape}")
    return Compose.apply(u, v)


def scaling_and_squaring(velocity: Tensor, steps: int = 7) -> Tensor:
    """The displacement [B, n, *S] reached after unit time along a stationary velocity field of that shape, in voxels.

    u_0 = velocity / 2^steps and u_(k+1) = compose(u_k, u_k), which doubles the time (Arsigny et al. 2006).
    The result is invertible as long as the first step is, so for velocities that vary slowly from voxel to voxel.
    """
    _require_fit("scaling_and_squaring", velocity, velocity)
    _require_floating("scaling_and_squaring", velocity)
    if steps < 0:
        raise ParameterError(f"scaling_and_squaring: steps must be at least 0, not {steps}")
    return ScalingAndSquaring.apply(velocity, steps=steps)


def inverse(displacement: np.ndarray, iterations: int = 50, tolerance: float = 1e-3) -> np.ndarray:
    """The displacement v [B, n, *S] that undoes u: x + v(x) + u(x + v(x)) = x. Not differentiable.

    Fixed-point iteration v <- -u(x + v) from v = 0 (Chen et al. 2008), until no component changes by more
    than `tolerance` voxels or `iterations` are spent. It converges where u changes by less than one voxel from voxel
    to voxel; a folded u has no inverse, and where x + v leaves the grid u is taken from its border.
    """
    _require_fit("inverse", displacement, displacement)
    if displacement.dtype.kind != "f":
        raise ParameterError(f"inverse: the displacement must be floating-point, not {displacement.dtype}")
    v = np.zeros_like(displacement)
    for _ in range(iterations):
        before, v = v, -kernels.run("warp_forward", displacement, v)
        if np.abs(v - before).max() <= tolerance:
            break
    return v


class Warp(Function):
    """See warp."""

    def forward(ctx, image, displacement):
        ctx.save(image, displacement)
        return kernels.run("warp_forward", image, displacement)

    def backward(ctx, grad):
        return kernels.run("warp_backward", grad, *ctx.saved, *ctx.needs)


class Compose(Function):
    """See compose."""

    def forward(ctx, u, v):
        ctx.save(u, v)
        return v + kernels.run("warp_forward", u, v)

    def backward(ctx, grad):
        grad_u, grad_v = kernels.run("warp_backward", grad, *ctx.saved, *ctx.needs)
        return grad_u, None if grad_v is None else grad + grad_v


class ScalingAndSquaring(Function):
    """See scaling_and_squaring. Keeps the displacement of every step for backward."""

    def forward(ctx, velocity, steps):
        ctx.scale = velocity.dtype.type(0.5**steps)
        u = velocity * ctx.scale
        fields = []
        for _ in range(steps):
            fields.append(u)
            u = u + kernels.run("warp_forward", u, u)
        if any(ctx.needs):
            ctx.save(*fields)
        return u

    def backward(ctx, grad):
        for u in reversed(ctx.saved):
            as_image, as_displacement = kernels.run("warp_backward", grad, u, u, True, True)
            grad = grad + as_image + as_displacement
        return grad * ctx.scale


def _require_fit(name: str, image: Tensor | np.ndarray, displacement: Tensor | np.ndarray) -> None:
    n = image.ndim - 2
    if not 1 <= n <= 3:
        raise ShapeError(f"{name}: images are [B, C, *S] with 1 to 3 spatial axes, got shape {image.shape}")
    expected = (image.shape[0], n, *image.shape[2:])
    if displacement.shape != expected:
        raise ShapeError(
            f"{name}: an image of shape {image.shape} needs a displacement [B, n, *S] of shape {expected}, "
            f"got {displacement.shape}"
        )


def _require_floating(name: str, *tensors: Tensor) -> None:
    types = {t.dtype for t in tensors}
    if len(types) > 1 or next(iter(types)).kind != "f":
        found = " and ".join(str(t.dtype) for t in tensors)
        raise ParameterError(f"{name}: the inputs must be of one floating-point type, not {found}; convert with astype")
