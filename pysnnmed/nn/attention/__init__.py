"""Attention over the positions of a map, or over its channels, with real numbers and with spikes.

    SoftmaxSelfAttention        softmax(Q K^T) V, for teachers (Vaswani et al. 2017)
    SpikingSelfAttention        Q K^T V of spikes (Spikformer, Zhou et al. 2023)
    SpikeDrivenSelfAttention    masks and sums of columns (Spike-driven Transformer, Yao et al. 2023)
    QKAttention                 a gate for each token or channel (QKFormer, Zhou et al. 2024)
    DecomposedSelfAttention     four interactions of active and silent neurons (MedSpikeFormer)

Layers take and give maps, [T, B, C, *S] (the first one [B, C, *S]); the functions below them work on tokens
[..., N, C], the leading axes being time, batch and heads: [T, B, heads, N, C]. `tokens` converts.
"""

from ...decomposition import ACTIVE, HALVES, MAPS, SEPARATE, without
from .base import Around, SpikingAttention
from .counts import BothCounts, attention_counts, both_counts
from .decomposed import DecomposedSelfAttention, Fusion
from .forms import DecomposedAttention, decomposed_attention, literal_attention
from .gate import NormedGate
from .packed import PackedResult, packed_attention, packed_tokens
from .projection import Projection
from .qk import QKAttention
from .softmax import SoftmaxSelfAttention, softmax_attention
from .spike_driven import SpikeDrivenSelfAttention
from .spiking import SpikingSelfAttention, spiking_self_attention
from .tokens import to_maps, to_tokens

__all__ = [
    "ACTIVE",
    "HALVES",
    "MAPS",
    "SEPARATE",
    "Around",
    "BothCounts",
    "DecomposedAttention",
    "DecomposedSelfAttention",
    "Fusion",
    "NormedGate",
    "PackedResult",
    "Projection",
    "QKAttention",
    "SoftmaxSelfAttention",
    "SpikeDrivenSelfAttention",
    "SpikingAttention",
    "SpikingSelfAttention",
    "attention_counts",
    "both_counts",
    "decomposed_attention",
    "literal_attention",
    "packed_attention",
    "packed_tokens",
    "softmax_attention",
    "spiking_self_attention",
    "to_maps",
    "to_tokens",
    "without",
]
