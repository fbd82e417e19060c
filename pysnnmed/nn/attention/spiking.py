"""Spiking self-attention of Spikformer (Zhou et al. 2023): Q K^T V without softmax, which spikes do not need."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...decomposition import ACTIVE, Axis
from ...synops import AttentionCount
from ...tensor import Tensor
from ..spiking import Spiking
from .base import Around, SpikingAttention
from .counts import attention_counts
from .forms import Form, decomposed_attention
from .tokens import to_maps, to_tokens

SCALE = 0.125  # Spikformer's, whatever the width of a head


def spiking_self_attention(q: Tensor, k: Tensor, v: Tensor, *, form: Form = "linear", axis: Axis = "token") -> Tensor:
    """Q K^T V for q, k [..., N, C] and v [..., N, Cv] -> [..., N, Cv]: the map AA alone. See decomposed_attention."""
    return ops.index(decomposed_attention(q, k, v, ACTIVE, form=form, axis=axis), 0)


class SpikingSelfAttention(SpikingAttention):
    """x [T, B, C, *S] -> spikes of neurons(BN(1x1(neurons(scale Q K^T V)))), Q, K, V = neurons(BN(1x1(x))).

    `options` are those of `Around`; its defaults are Spikformer's, whose shortcut adds spikes outside of the layer.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        heads: int = 4,
        *,
        axis: Axis = "token",
        form: Form = "linear",
        scale: float = SCALE,
        rng: np.random.Generator,
        **options: Any,
    ):
        super().__init__(Around(ndim, channels, heads, **options), rng)
        self.axis, self.form, self.scale = axis, form, scale
        self.mixing = Spiking(self.around.gating)

    def attend(self, *spikes: Tensor) -> Tensor:
        q, k, v = (to_tokens(s, self.around.heads, self.around.ndim) for s in spikes)
        mixed = spiking_self_attention(q, k, v, form=self.form, axis=self.axis) * self.scale
        return self.mixing(to_maps(mixed, spikes[0].shape[3:]))

    def count(self, *spikes: np.ndarray) -> AttentionCount:
        q, k, v = (to_tokens(Tensor(s), self.around.heads, self.around.ndim).data for s in spikes)
        return attention_counts(q, k, v, ACTIVE, form=self.form, axis=self.axis)
