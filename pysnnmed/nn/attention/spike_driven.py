"""Spike-driven attention of Spike-driven Transformer (Yao et al. 2023), first version: masks and sums of columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ...synops import AttentionCount, spike_driven_counts
from ...tensor import Tensor
from ..module import Module
from ..spiking import Spiking
from .base import Around, SpikingAttention
from .exact import require_exact_sum
from .gate import NormedGate


class SpikeDrivenSelfAttention(SpikingAttention):
    """x [T, B, C, *S] -> x + BN(1x1(V masked)), Q, K, V = neurons(BN(1x1(neurons(x)))).

        mask[c] = neuron(sum over tokens of Q[., c] K[., c])     a spike for each channel and step, or none
        V masked[., c] = mask[c] V[., c]

    Nothing is multiplied: Q masks K, the mask passes or stops V. Channels do not meet, so heads make no difference.
    With `normed`, a mean takes the place of the sum, and a batch norm stands before its neurons: see gate.NormedGate.
    `options` are those of `Around`, with neurons before the convolutions and a membrane shortcut unless told otherwise.
    """

    def __init__(self, ndim: int, channels: int, *, normed: bool = False, rng: np.random.Generator, **options: Any):
        options = {"heads": 1, "spiking_input": True, "shortcut": "membrane", **options}
        super().__init__(Around(ndim, channels, **options), rng)
        self.normed = normed
        self.gate: Module = NormedGate(channels, self.around.gating) if normed else Spiking(self.around.gating)

    def attend(self, *spikes: Tensor) -> Tensor:
        q, k, v = spikes
        space = tuple(range(-self.around.ndim, 0))
        require_exact_sum(self.label, math.prod(q.shape[3:]), q.dtype)
        total = ops.mean if self.normed else ops.sum
        return self.gate(total(q * k, axis=space, keepdims=True)) * v

    def count(self, *spikes: np.ndarray) -> AttentionCount:
        return spike_driven_counts(*spikes)
