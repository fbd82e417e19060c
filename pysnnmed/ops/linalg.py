"""The matrix product."""

from __future__ import annotations

import numpy as np

from ..tensor import Function, Operand, Tensor, unbroadcast


class Matmul(Function):
    def forward(ctx, x, y):
        ctx.save(x, y)
        return np.matmul(x, y)

    def backward(ctx, grad):
        x, y = ctx.saved
        if y.ndim == 1:
            y, grad = y[:, None], grad[..., None]
        if x.ndim == 1:
            x, grad = x[None, :], np.expand_dims(grad, -2)
        return tuple(
            partial(x, y, grad).reshape(parent.shape) if needed else None
            for partial, parent, needed in zip((_wrt_x, _wrt_y), ctx.parents, ctx.needs, strict=True)
        )


def _wrt_x(x: np.ndarray, y: np.ndarray, grad: np.ndarray) -> np.ndarray:
    return unbroadcast(grad @ y.swapaxes(-1, -2), x.shape)


def _wrt_y(x: np.ndarray, y: np.ndarray, grad: np.ndarray) -> np.ndarray:
    if y.ndim == 2:  # one matrix for a whole batch, as in a linear layer: the product itself sums over the batch
        return x.reshape(-1, x.shape[-1]).T @ grad.reshape(-1, grad.shape[-1])
    return unbroadcast(x.swapaxes(-1, -2) @ grad, y.shape)


def matmul(x: Operand, y: Operand) -> Tensor:
    """Matrix product x [..., N, K] @ y [..., K, M] -> [..., N, M].

    Leading axes broadcast. As in NumPy, a vector is a row on the left and a column on the right, and that axis of
    length 1 does not appear in the result.
    """
    return Matmul.apply(x, y)
