"""Dense convolution and transposed convolution over 1 to 3 spatial axes: shapes and derivatives. The loops are kernels.

The three kernels are adjoint to one another: <conv(x, w), g> = <x, conv_backward_input(g, w)> =
<w, conv_backward_weight(g, x)>. A transposed convolution is conv_backward_input run forwards, so its derivatives are
the other two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .axes import PerAxis, per_axis
from .errors import ParameterError, ShapeError
from .kernels import run
from .tensor import Function, Tensor

Sizes = tuple[int, ...]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of x [B, C, *S] with weight [O, C/groups, *K], plus bias [O]: [B, O, *S'].

    out[b, o, i] = bias[o] + sum over c, k of weight[o, c, k] * x[b, c, i * stride + k * dilation - padding],
    x being 0 outside, with S' = floor((S + 2 padding - dilation (K - 1) - 1) / stride) + 1. Group j of the O outputs
    sees group j of the C channels. Stride, padding and dilation are one number or one per spatial axis.

    Raises ShapeError where shapes do not fit together, ParameterError for a stride, padding, dilation or number of
    groups out of range and for mixed precisions.

    >>> conv(Tensor([[[1.0, 2.0, 4.0, 8.0]]]), Tensor([[[-1.0, 1.0]]]), stride=2).data
    array([[[1., 4.]]])
    """
    options = _options("conv", x, weight, stride, padding, dilation, groups)
    n_out = weight.shape[0]
    if n_out % groups:
        raise ShapeError(f"conv: the number of outputs must be a multiple of groups={groups}, not {n_out}")
    _check_input("conv", x, weight.shape[1] * groups, weight.ndim - 2)
    _check_bias("conv", bias, weight.dtype, n_out)
    padded = tuple(n + 2 * p for n, p in zip(x.shape[2:], options["padding"], strict=True))
    span = _span(weight, options["dilation"])
    if any(n < m for n, m in zip(padded, span, strict=True)):
        raise ShapeError(f"conv: the kernel spans {span} elements, more than the padded input {padded}; pad more")
    return Conv.apply(x, weight, *([] if bias is None else [bias]), **options)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Tensor:
    """Transposed convolution of x [B, C, *S] with weight [C, O/groups, *K], plus bias [O]: [B, O, *S'].

    out[b, o, j] = bias[o] + sum over c, k and the i with i * stride + k * dilation - padding = j of
    weight[c, o, k] * x[b, c, i], with S' = (S - 1) stride - 2 padding + dilation (K - 1) + 1 + output_padding: the
    adjoint of `conv`, which maps S' back to S for any output_padding in [0, stride).

    Raises ShapeError where shapes do not fit together, ParameterError for a stride, padding, dilation, output padding
    or number of groups out of range and for mixed precisions.

    >>> conv_transpose(Tensor([[[1.0, 2.0]]]), Tensor([[[1.0, 10.0]]]), stride=2).data
    array([[[ 1., 10.,  2., 20.]]])
    """
    name = "conv_transpose"
    options = _options(name, x, weight, stride, padding, dilation, groups)
    _check_input(name, x, weight.shape[0], weight.ndim - 2)
    if weight.shape[0] % groups:
        raise ShapeError(f"{name}: the number of channels must be a multiple of groups={groups}, not {weight.shape[0]}")
    _check_bias(name, bias, weight.dtype, weight.shape[1] * groups)
    extra = per_axis(name, "output_padding", output_padding, len(options["stride"]), at_least=0)
    if any(e >= s for e, s in zip(extra, options["stride"], strict=True)):
        raise ParameterError(f"{name}: output_padding must be less than stride={options['stride']}, not {extra}")
    steps = zip(
        x.shape[2:], options["stride"], options["padding"], _span(weight, options["dilation"]), extra, strict=True
    )
    out_size = tuple((n - 1) * s - 2 * p + span + e for n, s, p, span, e in steps)
    if min(out_size) < 1:
        raise ShapeError(f"{name}: padding {options['padding']} leaves an output of size {out_size}; pad less")
    return ConvTranspose.apply(x, weight, *([] if bias is None else [bias]), out_size=out_size, **options)


class Conv(Function):
    """Convolution of x with weight, plus bias if given. See conv."""

    def forward(ctx, x, weight, bias=None, *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int):
        ctx.save(x, weight)
        ctx.geometry = (stride, padding, dilation, groups)
        return run("conv_forward", x, weight, bias, *ctx.geometry)

    def backward(ctx, g):
        x, weight = ctx.saved
        needs_x, needs_weight, *needs_bias = ctx.needs
        dx = run("conv_backward_input", g, weight, x.shape, *ctx.geometry) if needs_x else None
        dw = run("conv_backward_weight", g, x, weight.shape[2:], *ctx.geometry) if needs_weight else None
        return dx, dw, *(_bias_gradient(g) if needed else None for needed in needs_bias)


class ConvTranspose(Function):
    """Adjoint of the convolution with weight, applied to x, plus bias if given. See conv_transpose."""

    def forward(
        ctx, x, weight, bias=None, *, out_size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
    ):
        ctx.save(x, weight)
        ctx.geometry = (stride, padding, dilation, groups)
        shape = (len(x), weight.shape[1] * groups, *out_size)
        out = run("conv_backward_input", x, weight, shape, *ctx.geometry)
        if bias is not None:
            out += bias.reshape(-1, *[1] * len(out_size))  # the kernel has made it for us
        return out

    def backward(ctx, g):
        x, weight = ctx.saved
        needs_x, needs_weight, *needs_bias = ctx.needs
        dx = run("conv_forward", g, weight, None, *ctx.geometry) if needs_x else None
        dw = run("conv_backward_weight", x, g, weight.shape[2:], *ctx.geometry) if needs_weight else None
        return dx, dw, *(_bias_gradient(g) if needed else None for needed in needs_bias)


def _bias_gradient(g: np.ndarray) -> np.ndarray:
    return g.sum(axis=(0, *range(2, g.ndim)))


def _options(
    name: str,
    x: Tensor,
    weight: Tensor,
    stride: PerAxis,
    padding: PerAxis,
    dilation: PerAxis,
    groups: int,
) -> dict[str, Any]:
    """Stride, padding and dilation with one entry per spatial axis of the weight, and groups, all in range."""
    ndim = weight.ndim - 2
    if ndim not in (1, 2, 3):
        raise ShapeError(f"{name}: expected a weight of 2 channel axes and 1 to 3 spatial axes, got {weight.shape}")
    if 0 in weight.shape:
        raise ShapeError(f"{name}: expected a weight without empty axes, got {weight.shape}")
    if x.dtype != weight.dtype:
        raise ParameterError(f"{name}: x and weight must have one dtype, not {x.dtype} and {weight.dtype}; cast one")
    if groups < 1:
        raise ParameterError(f"{name}: groups must be at least 1, not {groups}")
    return {
        "stride": per_axis(name, "stride", stride, ndim, at_least=1),
        "padding": per_axis(name, "padding", padding, ndim, at_least=0),
        "dilation": per_axis(name, "dilation", dilation, ndim, at_least=1),
        "groups": int(groups),
    }


def _check_input(name: str, x: Tensor, channels: int, ndim: int) -> None:
    if x.ndim != ndim + 2 or x.shape[1] != channels or 0 in x.shape:
        axes = "1 spatial axis" if ndim == 1 else f"{ndim} spatial axes"
        raise ShapeError(f"{name}: expected x of shape [B, C={channels}, {axes}], got {x.shape}")


def _check_bias(name: str, bias: Tensor | None, dtype: np.dtype, n_out: int) -> None:
    if bias is not None and bias.dtype != dtype:
        raise ParameterError(f"{name}: bias and weight must have one dtype, not {bias.dtype} and {dtype}; cast one")
    if bias is not None and bias.shape != (n_out,):
        raise ShapeError(f"{name}: expected a bias of shape ({n_out},), got {bias.shape}")


def _span(weight: Tensor, dilation: Sizes) -> Sizes:
    """Elements from the first to the last tap along each spatial axis, both included."""
    return tuple(d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
