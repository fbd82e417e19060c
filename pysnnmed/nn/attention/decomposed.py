"""Spike-based decomposed self-attention, the attention of MedSpikeFormer (equations 8 to 10)."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import numpy as np

from ... import ops
from ...decomposition import ACTIVE, HALVES, SEPARATE, Axis, without
from ...errors import ParameterError
from ...synops import AttentionCount
from ...tensor import Tensor
from .base import Around, SpikingAttention
from .counts import BothCounts, attention_counts, both_counts
from .forms import Form, decomposed_attention
from .projection import Projection
from .tokens import to_tokens

Fusion: TypeAlias = Literal["half", "map", "active"]
FUSIONS = {"half": HALVES, "map": SEPARATE, "active": ACTIVE}


class DecomposedSelfAttention(SpikingAttention):
    """x [T, B, C, *S] -> x + BN(1x1(neurons(BN(O)))), Q, K, V = neurons(BN(depthwise 3x3(x))).

    O are the outputs of `decomposed_attention`, times 1 / sqrt(C / heads), side by side as channels:

        fusion "half"    O1 = (AA + II) V and O2 = (AI + IA) V, 2 C channels
        fusion "map"     each of the four maps times V, 4 C channels
        fusion "active"  AA V alone, C channels: spiking self-attention in the same surroundings

    Each channel of each output has its own norm and neurons: without a nonlinearity of its own, O2 = C u - O1 would be
    no more than a row that all tokens share; with one, the two are an on and an off response. The norm has to centre:
    most of O1 comes from silent pairs, which are everywhere. The 1x1 that follows sees spikes only. (A 1x1 for each map
    and one more over the halves, with nothing in between, are this one.)

    `output_kernel` is the size of a depthwise convolution of the outputs before their norm, which the authors' code has
    for each map: it multiplies, for it sees sums and no spikes. None: there is none, as in the equations.
    `mean` divides by the number of tokens as well, so that statistics of the norm hold for maps of every size.
    `removed` ablates a map: it is left out of the sum it belongs to, or, with fusion "map", its channels are.
    The shortcut is that of the membrane; `options` are those of `Around`.
    """

    def __init__(
        self,
        ndim: int,
        channels: int,
        heads: int = 4,
        *,
        fusion: Fusion = "half",
        removed: str | None = None,
        axis: Axis = "token",
        form: Form = "linear",
        output_kernel: int | None = None,
        mean: bool = False,
        rng: np.random.Generator,
        **options: Any,
    ):
        if fusion not in FUSIONS:
            raise ParameterError(f"DecomposedSelfAttention: fusion must be 'half', 'map' or 'active', not {fusion!r}")
        self.outputs = FUSIONS[fusion] if removed is None else without(removed, FUSIONS[fusion])
        options = {"kernel_size": 3, "depthwise": True, "shortcut": "membrane", **options}
        around = Around(ndim, channels, heads, **options)
        super().__init__(around, rng, project_from=len(self.outputs) * channels)
        self.axis, self.form, self.mean = axis, form, mean
        width = len(self.outputs) * channels
        self.mixing = Projection(ndim, width, width, output_kernel, depthwise=True, neuron=around.firing, rng=rng)

    def attend(self, *spikes: Tensor) -> Tensor:
        steps, batch, channels, *space = spikes[0].shape
        heads = self.around.heads
        q, k, v = (to_tokens(s, heads, self.around.ndim) for s in spikes)
        mixed = decomposed_attention(q, k, v, self.outputs, form=self.form, axis=self.axis)  # [outputs, T, B, h, N, d]
        scale = 1 / math.sqrt(channels // heads) / (math.prod(space) if self.mean else 1)
        scaled = ops.swapaxes(mixed, -1, -2) * scale
        side_by_side = ops.reshape(ops.moveaxis(scaled, 0, 2), (steps, batch, len(self.outputs) * channels, *space))
        return self.mixing(side_by_side)

    def count(self, *spikes: np.ndarray) -> AttentionCount:
        return attention_counts(*self._tokens(spikes), self.outputs, form=self.form, axis=self.axis)

    def counts(self, *spikes: np.ndarray) -> BothCounts:
        """What `attend` executes on spikes [T, B, C, *S] of Q, K and V, and what its equations would as written."""
        return both_counts(*self._tokens(spikes), self.outputs, form=self.form, axis=self.axis)

    def _tokens(self, spikes: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        q, k, v = (to_tokens(Tensor(s), self.around.heads, self.around.ndim).data for s in spikes)
        return q, k, v

    def describe(self) -> str:
        return f"{super().describe()}, {' | '.join('+'.join(output) for output in self.outputs)}, {self.axis} axis"
