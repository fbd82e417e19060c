"""Pooling and resizing images [B, C, *S]: derivatives here, loops in the kernels."""

from __future__ import annotations

from collections.abc import Sequence

from . import kernels
from .axes import PerAxis, per_axis
from .errors import ParameterError, ShapeError
from .tensor import Function, Tensor


def max_pool(x: Tensor, kernel: PerAxis, stride: PerAxis | None = None, padding: PerAxis = 0) -> Tensor:
    """Largest element of each window of x [B, C, *S] -> [B, C, *S'], S' = (S + 2 padding - kernel) // stride + 1.

    stride is the kernel if omitted. Padding never wins. The gradient goes to the largest element, of equal ones to the
    first in C order.
    """
    return MaxPool.apply(x, **_window("max_pool", x, kernel, stride, padding))


def avg_pool(x: Tensor, kernel: PerAxis, stride: PerAxis | None = None, padding: PerAxis = 0) -> Tensor:
    """Mean of each window of x [B, C, *S] -> [B, C, *S'], S' = (S + 2 padding - kernel) // stride + 1.

    stride is the kernel if omitted. Padding counts as zeros.
    """
    return AvgPool.apply(x, **_window("avg_pool", x, kernel, stride, padding))


def upsample_nearest(x: Tensor, factors: PerAxis) -> Tensor:
    """Each element of x [B, C, *S] repeated `factors` times along the spatial axes -> [B, C, *(S factors)]."""
    _require_images("upsample_nearest", x)
    return UpsampleNearest.apply(x, factors=per_axis("upsample_nearest", "factors", factors, x.ndim - 2, at_least=1))


def upsample_linear(x: Tensor, shape: Sequence[int], align_corners: bool = False) -> Tensor:
    """x [B, C, *S] resized to [B, C, *shape] by linear interpolation along each axis.

    align_corners=True: the centres of the corner voxels keep their places, so a ramp stays a ramp: sample i lies at
    i (S - 1) / (S' - 1). False: the outer faces of the image do: sample i lies at (i + 1/2) S / S' - 1/2, clamped to
    the voxel centres, which makes the factor between the grids exactly S' / S.
    """
    _require_images("upsample_linear", x)
    sizes = per_axis("upsample_linear", "shape", shape, x.ndim - 2, at_least=1)
    return UpsampleLinear.apply(x, shape=sizes, align_corners=align_corners)


class MaxPool(Function):
    """See max_pool."""

    def forward(ctx, x, kernel, stride, padding):
        out, index = kernels.run("max_pool_forward", x, kernel, stride, padding)
        ctx.shape = x.shape[2:]
        ctx.save(index)
        return out

    def backward(ctx, grad):
        return kernels.run("max_pool_backward", grad, *ctx.saved, ctx.shape)


class AvgPool(Function):
    """See avg_pool."""

    def forward(ctx, x, kernel, stride, padding):
        ctx.shape, ctx.window = x.shape[2:], (kernel, stride, padding)
        return kernels.run("avg_pool_forward", x, *ctx.window)

    def backward(ctx, grad):
        return kernels.run("avg_pool_backward", grad, ctx.shape, *ctx.window)


class UpsampleNearest(Function):
    """See upsample_nearest."""

    def forward(ctx, x, factors):
        ctx.factors = factors
        return kernels.run("upsample_nearest_forward", x, factors)

    def backward(ctx, grad):
        return kernels.run("upsample_nearest_backward", grad, ctx.factors)


class UpsampleLinear(Function):
    """See upsample_linear."""

    def forward(ctx, x, shape, align_corners):
        ctx.shape, ctx.align_corners = x.shape[2:], align_corners
        return kernels.run("upsample_linear_forward", x, shape, align_corners)

    def backward(ctx, grad):
        return kernels.run("upsample_linear_backward", grad, ctx.shape, ctx.align_corners)


def _window(
    name: str, x: Tensor, kernel: PerAxis, stride: PerAxis | None, padding: PerAxis
) -> dict[str, tuple[int, ...]]:
    """The options of a pooling Function, checked."""
    _require_images(name, x)
    n = x.ndim - 2
    window = {
        "kernel": per_axis(name, "kernel", kernel, n, at_least=1),
        "stride": per_axis(name, "stride", kernel if stride is None else stride, n, at_least=1),
        "padding": per_axis(name, "padding", padding, n, at_least=0),
    }
    for size, k, p in zip(x.shape[2:], window["kernel"], window["padding"], strict=True):
        if 2 * p > k:
            raise ParameterError(f"{name}: padding must be at most half the kernel, not {p} for a kernel of {k}")
        if size + 2 * p < k:
            raise ShapeError(f"{name}: a kernel of {k} does not fit into {size} voxels with padding {p}")
    return window


def _require_images(name: str, x: Tensor) -> None:
    if not 3 <= x.ndim <= 5:
        raise ShapeError(f"{name}: images are [B, C, *S] with 1 to 3 spatial axes, got shape {x.shape}")
    if x.dtype.kind != "f":
        raise ParameterError(f"{name}: images must be floating-point, not {x.dtype}; convert with astype")
