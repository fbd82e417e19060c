"""Losses of overlap: how well moved labels cover those of the fixed image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ParameterError, ShapeError
from ..tensor import Function, Tensor


def soft_dice(a: Tensor, b: Tensor) -> Tensor:
    """Mean over batch and channels of 2 sum(a b) / (sum(a) + sum(b)), sums over space -> scalar in [0, 1].

    a, b [B, C, *S] in [0, 1]: the share of each voxel that belongs to the structure of each channel; 1 is full overlap,
    the loss is 1 minus this. SynthMorph (Hoffmann et al. 2022) trains on it. Raises ParameterError for a channel that
    is empty in both.
    """
    if a.shape != b.shape or a.ndim < 3:
        raise ShapeError(f"soft_dice: both inputs need one shape [B, C, *S], got {a.shape} and {b.shape}")
    return SoftDice.apply(a, b)


class SoftDice(Function):
    """See soft_dice."""

    def forward(ctx, a, b):
        flat_a, flat_b = (x.reshape(*x.shape[:2], -1) for x in (a, b))
        sizes = flat_a.sum(axis=2) + flat_b.sum(axis=2)
        if not (sizes > 0).all():
            raise ParameterError("soft_dice: every channel must hold something; leave out labels absent from both")
        scores = 2 * np.einsum("bci,bci->bc", flat_a, flat_b) / sizes
        ctx.save(a, b)
        ctx.sizes, ctx.scores = sizes, scores
        return np.asarray(scores.mean(), dtype=a.dtype)

    def backward(ctx, grad):
        # d(2 n / s) = 2 dn / s - 2 n ds / s^2, with dn = b da and ds = da
        one_per_channel = (*ctx.sizes.shape, *[1] * (ctx.saved[0].ndim - 2))
        slope = (2 * grad / ctx.sizes.size / ctx.sizes).reshape(one_per_channel)
        offset = (grad / ctx.sizes.size * ctx.scores / ctx.sizes).reshape(one_per_channel)
        a, b = ctx.saved
        return tuple(slope * other - offset if need else None for need, other in zip(ctx.needs, (b, a), strict=True))


def one_hot(labels: np.ndarray, which: Sequence[int]) -> Tensor:
    """labels [*S] -> [1, C, *S] float32: channel c is 1 where the label is which[c]."""
    out = np.empty((1, len(which), *labels.shape), np.float32)
    for channel, label in zip(out[0], which, strict=True):
        np.equal(labels, label, out=channel, casting="unsafe")
    return Tensor(out)
