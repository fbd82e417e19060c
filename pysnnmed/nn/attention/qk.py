"""Q-K attention of QKFormer (Zhou et al. 2024): the spikes of Q, summed, gate those of K; there is no V."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...decomposition import Axis
from ...errors import ParameterError
from ...synops import AttentionCount, qk_counts
from ...tensor import Tensor
from ..module import Module
from ..spiking import Spiking
from .base import Around, SpikingAttention
from .exact import require_exact_sum
from .gate import NormedGate
from .tokens import to_maps, to_tokens


class QKAttention(SpikingAttention):
    """x [T, B, C, *S] -> spikes of neurons(BN(1x1(K gated))), Q, K = neurons(BN(1x1(x))).

        token     gate[n] = neuron(sum over the channels of a head of Q[n, .])     K gated[n, .] = gate[n] K[n, .]
        channel   gate[c] = neuron(sum over the tokens of Q[., c])                 K gated[., c] = gate[c] K[., c]

    The neurons of the gates keep their membranes from step to step, each sample its own: axis 0 is time, never time and
    batch together. With `normed`, means take the place of the sums, and a batch norm stands before these neurons: see
    gate.NormedGate. `options` are those of `Around`; its defaults are QKFormer's, whose shortcut adds spikes outside.
    """

    operands = ("q", "k")

    def __init__(
        self,
        ndim: int,
        channels: int,
        heads: int = 4,
        *,
        axis: Axis = "token",
        normed: bool = False,
        rng: np.random.Generator,
        **options: Any,
    ):
        if axis not in ("token", "channel"):
            raise ParameterError(f"QKAttention: axis must be 'token' or 'channel', not {axis!r}")
        super().__init__(Around(ndim, channels, heads, **options), rng)
        self.axis, self.normed = axis, normed
        gated = heads if axis == "token" else channels
        self.gate: Module = NormedGate(gated, self.around.gating) if normed else Spiking(self.around.gating)

    def attend(self, *spikes: Tensor) -> Tensor:
        q, k = (to_tokens(s, self.around.heads, self.around.ndim) for s in spikes)
        axis = -1 if self.axis == "token" else -2
        require_exact_sum(self.label, q.shape[axis], q.dtype)
        total = ops.mean if self.normed else ops.sum
        gate = self.gate(total(q, axis=axis, keepdims=True))
        return to_maps(gate * k, spikes[0].shape[3:])

    def count(self, *spikes: np.ndarray) -> AttentionCount:
        return qk_counts(*spikes)
