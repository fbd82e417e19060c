"""Decomposed attention on packed spikes, forward only: whole numbers by AND, popcount and additions of rows.

    M = K^T V: the positions where a channel of K and one of V both fire, counted a word of positions at a time
    O = Q (a M + b 1 u) + c w + d C u: a row of the matrix for each spike of Q, on top of a row that is the same for all

The channels attend to each other ("channel") by the same two steps: the scores are Q^T K, and it is the spikes of V
that add their rows.
"""

from __future__ import annotations

import importlib
import math
from typing import Any, NamedTuple

import numpy as np

from ... import kernels
from ...decomposition import HALVES, Axis, Outputs, coefficients, complements, products
from ...errors import ParameterError, ShapeError

_packed: Any = importlib.import_module("pysnnmed.backends.packed")  # what words look like is defined there
Packed, pack, head_masks = _packed.Packed, _packed.pack, _packed.head_masks

LARGEST = 2**31  # of sums, which are int32


class PackedResult(NamedTuple):
    """sums   int32 [slots, outputs, *S, Cv], for each output its maps times V
    events    spikes read: those of each of Q, K, V once for every kernel that reads them
    synops    additions caused by spikes: coincidences, and numbers added for spikes
    """

    sums: np.ndarray
    events: int
    synops: int


def packed_tokens(name: str, spikes: np.ndarray) -> Any:
    """Spikes of 0 and 1 [..., N, C] as words [slots, N, W], a slot for each index of the leading axes.

    Raises ParameterError for other values.
    """
    if not ((spikes == 0) | (spikes == 1)).all():
        raise ParameterError(
            f"attention: the popcount form takes spikes of 0 and 1, and {name} holds other values; take the linear "
            f"form, which takes real numbers"
        )
    return Packed(pack(spikes.reshape(-1, *spikes.shape[-2:]).swapaxes(-1, -2)), spikes.shape[-1])


def packed_attention(
    q: Any, k: Any, v: Any, outputs: Outputs = HALVES, heads: int = 1, axis: Axis = "token"
) -> PackedResult:
    """Packed spikes q, k, v [slots, *S, W], slots being steps x samples -> the exact sums, for each output and head.

    The channels are those of `heads` heads, one after the other, and attention stays within a head; so do the result's.
    Runs on the backend in use. Raises ShapeError if the words do not fit together, ParameterError if a sum could leave
    int32 or `heads` does not divide the channels.
    """
    shape = q.words.shape[:-1]
    if not shape == k.words.shape[:-1] == v.words.shape[:-1] or q.channels != k.channels:
        raise ShapeError(
            f"attention: packed Q, K and V must lie at the same positions, and Q and K have as many channels, not "
            f"{q.words.shape[:-1]}, {k.words.shape[:-1]} and {v.words.shape[:-1]} with {q.channels}, {k.channels} and "
            f"{v.channels} channels"
        )
    if heads < 1 or q.channels % heads or v.channels % heads or (axis == "channel" and v.channels != q.channels):
        raise ParameterError(
            f"attention: {heads} heads must divide the channels of Q, {q.channels}, and of V, {v.channels}, which must "
            f"be equal for axis 'channel'"
        )
    largest = 4 * math.prod(shape[1:]) * max(q.channels, v.channels) // heads  # |a M + b u| is at most 3 N
    if largest >= LARGEST:
        raise ParameterError(
            f"attention: sums over {q.channels // heads} channels at positions {shape[1:]} could reach {largest}, more "
            f"than int32 holds; take the linear form"
        )
    return (_by_token if axis == "token" else _by_channel)(q, k, v, outputs, heads)


def _by_token(q: Any, k: Any, v: Any, outputs: Outputs, heads: int) -> PackedResult:
    m, _, of_v, counted = kernels.run("coincidences", k, v, heads)
    slots, _, channels, width = m.shape
    u, w = of_v.reshape(slots, heads, 1, width), m.sum(axis=2, keepdims=True, dtype=np.int32)
    plan = products(outputs)
    matrices = np.empty((slots, len(plan.products), heads, channels, width), np.int32)
    for i, (a, b) in enumerate(plan.products):
        matrices[:, i] = a * m + b * u
    rows = np.stack([key * w + constant * channels * u for _, _, key, constant in plan.readings], axis=1)
    sums, added = kernels.run(
        "add_rows",
        q,
        matrices.reshape(slots, len(plan.products), heads * channels, width),
        tuple(-1 if reading.product is None else reading.product for reading in plan.readings),
        tuple(reading.sign for reading in plan.readings),
        rows.reshape(slots, len(outputs), heads * width),
    )
    synops = counted.synops + added.synops + (_total(of_v) if plan.needs_u else 0)
    return PackedResult(sums, counted.events + added.events, synops)


def _by_channel(q: Any, k: Any, v: Any, outputs: Outputs, heads: int) -> PackedResult:
    both, of_k, of_q, counted = kernels.run("coincidences", k, q, heads)  # [slots, heads, channel of K, channel of Q]
    slots, _, channels, _ = both.shape
    positions = math.prod(v.words.shape[1:-1])
    by_q, by_k = of_q.reshape(slots, heads, 1, channels), of_k.reshape(slots, heads, channels, 1)
    others = complements(outputs)
    own = [i for i, other in enumerate(others) if other is None]
    matrices = np.empty((slots, len(own), heads, channels, channels), np.int32)
    for i, output in enumerate(own):
        a, b, c, d = coefficients(outputs[output])
        matrices[:, i] = a * both + b * by_q + c * by_k + d * positions
    sums, added = kernels.run(
        "add_rows",
        v,
        matrices.reshape(slots, len(own), heads * channels, channels),
        tuple(range(len(own))),
        (1,) * len(own),
        np.zeros((slots, len(own), heads * channels), np.int32),
    )
    used = [coefficients(outputs[i]) for i in own]
    synops = counted.synops + added.synops
    synops += _total(of_q) * any(s.query for s in used) + _total(of_k) * any(s.key for s in used)
    if len(own) < len(outputs):
        sums = _completed(sums, _spikes_of_heads(v, heads) * np.int32(positions), others)
        synops += int(np.bitwise_count(v.words).sum(dtype=np.int64))
    return PackedResult(sums, counted.events + added.events, synops)


def _completed(sums: np.ndarray, total: np.ndarray, others: tuple[int | None, ...]) -> np.ndarray:
    """All outputs from those that are no complement, sums [slots, own, *S, C], and the sum of all maps, total."""
    own = iter(range(sums.shape[1]))
    parts: list[np.ndarray] = []
    for other in others:
        parts.append(sums[:, next(own)] if other is None else total - parts[other])
    return np.stack(parts, axis=1)


def _spikes_of_heads(v: Any, heads: int) -> np.ndarray:
    """At each position and channel, the spikes of the whole head: int32 [slots, *S, C]."""
    counts = [np.bitwise_count(v.words & mask).sum(axis=-1, dtype=np.int32) for mask in head_masks(v.channels, heads)]
    return np.stack(counts, axis=-1).repeat(v.channels // heads, axis=-1)


def _total(spikes: np.ndarray) -> int:
    return int(spikes.sum(dtype=np.int64))
