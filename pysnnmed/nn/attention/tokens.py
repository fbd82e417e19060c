"""Maps and tokens: the layers of a network exchange maps, attention works on the tokens of each head.

    maps [..., C, *S]  <->  tokens [..., heads, N, C / heads],  N = prod(S), a head being C / heads channels in a row

Both ways are views where the maps lie in memory as maps do; `DecomposedAttention` lays out its results so.
"""

from __future__ import annotations

import math

from ... import ops
from ...errors import ParameterError
from ...tensor import Tensor


def to_tokens(x: Tensor, heads: int, ndim: int) -> Tensor:
    """x [..., C, *S] with `ndim` spatial axes -> [..., heads, N, C / heads]."""
    lead, channels, space = x.shape[: x.ndim - ndim - 1], x.shape[x.ndim - ndim - 1], x.shape[x.ndim - ndim :]
    return ops.swapaxes(ops.reshape(x, (*lead, heads, channels // heads, math.prod(space))), -1, -2)


def to_maps(x: Tensor, space: tuple[int, ...]) -> Tensor:
    """x [..., heads, N, D] -> [..., heads * D, *space]. The inverse of `to_tokens`."""
    *lead, heads, _, width = x.shape
    return ops.reshape(ops.swapaxes(x, -1, -2), (*lead, heads * width, *space))


def require_heads(title: str, channels: int, heads: int) -> None:
    """Raise ParameterError unless `heads` divides `channels`."""
    if heads < 1 or channels % heads:
        raise ParameterError(f"{title}: heads must divide the {channels} channels, not {heads}")
