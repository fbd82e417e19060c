"""Operations that move elements and leave their values alone: indexing, shapes, axes, joining, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Function, Operand, Tensor, unbroadcast


class Index(Function):
    def forward(ctx, x, index):
        ctx.index = index
        return x[index]

    def backward(ctx, grad):
        (x,) = ctx.parents
        out = np.zeros(x.shape, grad.dtype)
        if _may_repeat(ctx.index):
            np.add.at(out, ctx.index, grad)
        else:
            out[ctx.index] = grad
        return out


def _may_repeat(index: Any) -> bool:
    """Whether an element can be picked twice: only arrays of integers do that, not numbers, slices or masks."""
    items = index if isinstance(index, tuple) else (index,)
    arrays = (np.asarray(i) for i in items if not (i is None or i is ... or isinstance(i, (int, np.integer, slice))))
    return any(a.dtype != bool for a in arrays)


class Reshape(Function):
    def forward(ctx, x, shape):
        return x.reshape(shape)

    def backward(ctx, grad):
        (x,) = ctx.parents
        return grad.reshape(x.shape)


class Transpose(Function):
    def forward(ctx, x, axes):
        ctx.axes = axes
        return np.transpose(x, axes)

    def backward(ctx, grad):
        return np.transpose(grad, None if ctx.axes is None else np.argsort([a % grad.ndim for a in ctx.axes]))


class BroadcastTo(Function):
    def forward(ctx, x, shape):
        return np.broadcast_to(x, shape)

    def backward(ctx, grad):
        (x,) = ctx.parents
        return unbroadcast(grad, x.shape)


class Concatenate(Function):
    def forward(ctx, *arrays, axis):
        ctx.axis = axis
        return np.concatenate(arrays, axis)

    def backward(ctx, grad):
        ends = np.cumsum([x.shape[ctx.axis] for x in ctx.parents])
        return tuple(np.split(grad, ends[:-1], ctx.axis))


class Stack(Function):
    def forward(ctx, *arrays, axis):
        ctx.axis = axis
        return np.stack(arrays, axis)

    def backward(ctx, grad):
        return tuple(np.moveaxis(grad, ctx.axis, 0))


class Pad(Function):
    def forward(ctx, x, widths):
        widths = np.broadcast_to(widths, (x.ndim, 2))
        ctx.inside = tuple(slice(before, before + n) for before, n in zip(widths[:, 0], x.shape, strict=True))
        return np.pad(x, widths)

    def backward(ctx, grad):
        return grad[ctx.inside]


def index(x: Operand, index: Any) -> Tensor:
    """x[index], with NumPy's basic and advanced indexing. An element picked several times sums its gradients."""
    return Index.apply(x, index=index)


def reshape(x: Operand, shape: int | tuple[int, ...]) -> Tensor:
    """The same elements in another shape; one entry may be -1."""
    return Reshape.apply(x, shape=shape)


def transpose(x: Operand, axes: Sequence[int] | None = None) -> Tensor:
    """Axes in another order: axis i of the result is axis axes[i] of x. All of them reversed if omitted."""
    return Transpose.apply(x, axes=axes)


def moveaxis(x: Operand, source: int, destination: int) -> Tensor:
    """Axis `source` moved to position `destination`; the others keep their order."""
    ndim = _ndim(x)
    axes = list(range(ndim))
    axes.insert(_axis(destination, ndim), axes.pop(_axis(source, ndim)))
    return transpose(x, axes)


def swapaxes(x: Operand, first: int, second: int) -> Tensor:
    """Two axes exchanged."""
    ndim = _ndim(x)
    axes = list(range(ndim))
    i, j = _axis(first, ndim), _axis(second, ndim)
    axes[i], axes[j] = j, i
    return transpose(x, axes)


def _ndim(x: Operand) -> int:
    return x.ndim if isinstance(x, Tensor) else np.ndim(x)


def _axis(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ShapeError(f"an axis of an array with {ndim} axes must be from {-ndim} to {ndim - 1}, not {axis}")
    return axis % ndim


def broadcast_to(x: Operand, shape: tuple[int, ...]) -> Tensor:
    """x stretched to `shape` by NumPy's broadcasting, without copying."""
    return BroadcastTo.apply(x, shape=shape)


def concatenate(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors joined along an axis they have."""
    return Concatenate.apply(*tensors, axis=axis)


def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    return Stack.apply(*tensors, axis=axis)


def pad(x: Operand, widths: int | Sequence[int] | Sequence[tuple[int, int]]) -> Tensor:
    """Zeros around x. `widths`: a pair (before, after) per axis, one pair for all axes, or one number for all sides."""
    return Pad.apply(x, widths=widths)
