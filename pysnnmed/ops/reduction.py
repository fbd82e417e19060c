"""Operations that reduce axes, or normalise along them."""

from __future__ import annotations

import numpy as np

from ..operators import Axis
from ..tensor import Function, Operand, Tensor
from .elementwise import div, mul, sub


class Sum(Function):
    def forward(ctx, x, axis, keepdims):
        ctx.axis, ctx.keepdims = axis, keepdims
        return np.sum(x, axis=axis, keepdims=keepdims)

    def backward(ctx, grad):
        (x,) = ctx.parents
        return np.broadcast_to(_with_axes(grad, ctx.axis, ctx.keepdims), x.shape)


class Max(Function):
    def forward(ctx, x, axis, keepdims):
        ctx.axis, ctx.keepdims = axis, keepdims
        y = np.max(x, axis=axis, keepdims=True)
        ctx.save(x == y)
        return y if keepdims else np.squeeze(y, axis=axis)

    def backward(ctx, grad):
        (winners,) = ctx.saved
        n_winners = winners.sum(axis=ctx.axis, keepdims=True, dtype=grad.dtype)
        return winners * (_with_axes(grad, ctx.axis, ctx.keepdims) / n_winners)


def _with_axes(grad: np.ndarray, axis: Axis, keepdims: bool) -> np.ndarray:
    """The gradient of a reduction with the reduced axes back, of length 1, so that it broadcasts against the input."""
    return grad if keepdims or axis is None else np.expand_dims(grad, axis)


class Softmax(Function):
    def forward(ctx, x, axis):
        ctx.axis = axis
        e = np.exp(x - np.max(x, axis=axis, keepdims=True))
        y = e / np.sum(e, axis=axis, keepdims=True)
        ctx.save(y)
        return y

    def backward(ctx, grad):
        (y,) = ctx.saved
        weighted = grad * y
        return weighted - y * np.sum(weighted, axis=ctx.axis, keepdims=True)


class LogSoftmax(Function):
    def forward(ctx, x, axis):
        ctx.axis = axis
        shifted = x - np.max(x, axis=axis, keepdims=True)
        y = shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
        ctx.save(y)
        return y

    def backward(ctx, grad):
        (y,) = ctx.saved
        return grad - np.exp(y) * np.sum(grad, axis=ctx.axis, keepdims=True)


def sum(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis`: one axis, several, or all of them (None)."""
    return Sum.apply(x, axis=axis, keepdims=keepdims)


def mean(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis`: sum(x) / n."""
    total = sum(x, axis, keepdims)
    return div(total, _reduced_size(x, total))


def var(x: Operand, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """Variance over `axis`: sum((x - mean(x))^2) / (n - ddof)."""
    centred = sub(x, mean(x, axis, keepdims=True))
    total = sum(mul(centred, centred), axis, keepdims)
    return div(total, _reduced_size(x, total) - ddof)


def _reduced_size(x: Operand, reduced: Tensor) -> int:
    """Number of elements of x behind each element of its reduction."""
    return np.size(x.data if isinstance(x, Tensor) else x) // reduced.size


def max(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Maximum over `axis`. Elements that tie for it share the gradient equally."""
    return Max.apply(x, axis=axis, keepdims=keepdims)


def softmax(x: Operand, axis: int = -1) -> Tensor:
    """e^x_i / sum_j e^x_j along `axis`, without overflow: the maximum is subtracted first."""
    return Softmax.apply(x, axis=axis)


def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """x_i - log sum_j e^x_j along `axis`, without overflow, and precise where softmax underflows."""
    return LogSoftmax.apply(x, axis=axis)
