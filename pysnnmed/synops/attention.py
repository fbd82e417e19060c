"""Exact counts of spiking attention on binary Q, K [..., N, C] and V [..., N, Cv]: as it is written, as it is run.

Every count is the sum over the leading axes (time, batch, heads: C is then the width of a head). N tokens, C channels.

* A product of two trains of spikes costs its coincidences: one addition where both fire.
* A product of integers A with spikes V costs what a convolution costs: each spike of V is added to the N outputs it
  reaches, with an entry of A as the weight, be that 0 or not. `zero_scores` says how many of them add a 0.
* Terms that do not depend on spikes (sums of maps, corrections) are `adds` and `macs`; a doubling is a shift.

SDSA (MedSpikeFormer) takes neurons that are silent for spikes as well: with A for the active and I for the inactive
part, Q = [Q, 1 - Q] and K = [K, 1 - K],

    O1 = (Q K^T + (1 - Q)(1 - K)^T) V         AA + II         O2 = ((1 - Q) K^T + Q (1 - K)^T) V         IA + AI

Each of the N N C pairs of bits is one of AA, AI, IA, II, so the four products together cost exactly N N C whatever the
rate: II is dense. Two forms with the same result cost less (q_i, k_j: the spikes of a token; u: of a channel of V):

    reduced   M = 2 Q K^T - q_i - k_j + C,  O1 = M V,  O2 = C u - O1
    linear    M = K^T V [C, Cv],  O1 = Q (2 M - u) + (C u - sum of the rows of M),  O2 = C u - O1

and so do other sums of the maps, such as each of the four by itself: see pysnnmed.decomposition.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ..decomposition import HALVES, Outputs, checked_outputs, coefficients, complements, products
from ..errors import ParameterError, ShapeError
from .counting import matmul_synops
from .layers import LayerCount

BLOCK = 2**22  # scores held at a time


@dataclass(frozen=True)
class AttentionCount:
    """What one form of attention executes.

    form     its name
    terms    additions caused by spikes, by the name of the product or sum
    adds     additions that happen at any rate
    macs     multiplications by a constant that happen at any rate
    dense    additions of the products if every neuron fired; MACs of the same products of real numbers
    gates    spikes that are passed or stopped by a mask: no arithmetic
    """

    form: str
    terms: Mapping[str, int]
    adds: int = 0
    macs: int = 0
    dense: int = 0
    gates: int = 0

    @property
    def synops(self) -> int:
        """Additions caused by spikes."""
        return sum(self.terms.values())

    def layer(self, name: str, steps: int = 1) -> LayerCount:
        """The count of a layer called `name`, an entry read for every addition of it.

        Events, neurons and the traffic of spikes are counted where they arise.
        """
        return LayerCount(
            name,
            steps=steps,
            synops=self.synops,
            macs=self.macs,
            dense_macs=self.dense + self.macs,
            ann_macs=self.dense // steps,
            weight_reads=self.synops,
            ann_weight_reads=self.dense // steps,
            adds=self.adds,
        )


def ssa_counts(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, order: Literal["scores", "linear"] = "scores"
) -> AttentionCount:
    """Spiking self-attention Q K^T V (Spikformer, Zhou et al. 2023), from the left ("scores") or the right ("linear").

    There is no softmax, and the scale belongs to the threshold of the neuron that follows.
    """
    shape = _checked(q, k, v)
    if order == "linear":
        terms = {"K^T V": _kv(k, v), "Q M": _spikes(q) * shape.values}
        return AttentionCount(order, terms, dense=shape.dense_linear)
    if order != "scores":
        raise ParameterError(f"ssa_counts: order must be scores or linear, not {order!r}")
    terms = {"Q K^T": _qk(q, k), "A V": _spikes(v) * shape.tokens}
    return AttentionCount(order, terms, dense=shape.dense_scores)


def sdsa_counts(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    form: Literal["literal", "reduced", "linear"] = "linear",
    outputs: Outputs = HALVES,
) -> AttentionCount:
    """The outputs [..., N, Cv] of SDSA, as written ("literal") or by one of the forms with the same result.

    `outputs` are sums of the four maps: O1 and O2, or others (see pysnnmed.decomposition).
    """
    shape = _checked(q, k, v)
    tallies = Tallies(*shape, _spikes(q), _spikes(k), _spikes(v), _qk(q, k), _kv(k, v))
    return tallied_counts(tallies, form, outputs)


def tallied_counts(
    tallies: Tallies, form: Literal["literal", "reduced", "linear"] = "linear", outputs: Outputs = HALVES
) -> AttentionCount:
    """The same where an executor has met the spikes already. See `sdsa_counts`."""
    count = {"literal": _literal, "reduced": _reduced, "linear": _linear}.get(form)
    if count is None:
        raise ParameterError(f"sdsa_counts: form must be literal, reduced or linear, not {form!r}")
    return count(tallies, checked_outputs(outputs))


def _literal(tallies: Tallies, outputs: Outputs) -> AttentionCount:
    n, both, shape = tallies.tokens, tallies.qk, tallies.shape
    maps = {"AA": both, "AI": tallies.q * n - both, "IA": tallies.k * n - both}
    maps["II"] = shape.maps * n * n * shape.channels - sum(maps.values())
    terms: Counter[str] = Counter()
    for output in outputs:
        terms.update({name: maps[name] for name in output})
        terms[f"({' + '.join(output)}) V"] += tallies.v * n
    return AttentionCount("literal", dict(terms), dense=len(outputs) * shape.dense_scores)


def _reduced(tallies: Tallies, outputs: Outputs) -> AttentionCount:
    shape = tallies.shape
    n, cv = shape.tokens, shape.values
    whole = [coefficients(o) for o, other in zip(outputs, complements(outputs), strict=True) if other is None]
    others = len(outputs) - len(whole)  # C u minus another output
    terms = {"Q K^T": tallies.qk}
    if any(s.query for s in whole):
        terms["q"] = tallies.q
    if any(s.key for s in whole):
        terms["k"] = tallies.k
    terms["M V"] = len(whole) * tallies.v * n
    if others:
        terms["u"] = tallies.v
    corrections = 0
    for a, b, c, d in whole:  # M - q_i, M - k_j, and C - q_i once for each token
        corrections += n * n * (sum([a != 0, b != 0 or d != 0, c != 0]) - 1) + n * (b != 0 and d != 0)
    adds, macs = shape.maps * (corrections + others * n * cv), shape.maps * cv * (others > 0)
    dense = shape.maps * n * n * (shape.channels + len(whole) * cv)
    return AttentionCount("reduced", terms, adds, macs, dense)


def _linear(tallies: Tallies, outputs: Outputs) -> AttentionCount:
    shape = tallies.shape
    n, c, cv = shape.tokens, shape.channels, shape.values
    plan = products(outputs)
    terms = {"K^T V": tallies.kv, "Q M": len(plan.products) * tallies.q * cv}
    if plan.needs_u:
        terms["u"] = tallies.v
    adds = c * cv * (sum(a != 0 and b != 0 for a, b in plan.products) + plan.needs_w)  # 2 M - u; w, the sum of its rows
    for reading in plan.readings:
        row = reading.key != 0 or reading.constant != 0
        adds += cv * (reading.key != 0 and reading.constant != 0)  # C u - w
        adds += n * cv * (reading.product is not None and (row or reading.sign < 0))
    macs = cv * any(reading.constant for reading in plan.readings)
    dense = shape.maps * n * c * cv * (1 + len(plan.products))
    return AttentionCount("linear", terms, shape.maps * adds, shape.maps * macs, dense)


def spike_driven_counts(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> AttentionCount:
    """Spike-driven attention (Yao et al. 2023): where Q and K fire both is summed over the tokens and gates V.

    One addition for each coincidence of Q and K at a token and channel; the spikes of K that Q masks, and those of V,
    pass or stop without arithmetic. The neurons that make the mask are counted as neurons.
    """
    _binary(q, k, v)
    if not q.shape == k.shape == v.shape:
        raise ShapeError(f"spike_driven_counts: Q, K and V must have one shape, not {q.shape}, {k.shape} and {v.shape}")
    both = int(np.count_nonzero((q != 0) & (k != 0)))
    return AttentionCount("spike-driven", {"sum of Q K": both}, dense=q.size, gates=_spikes(k) + _spikes(v))


def qk_counts(q: np.ndarray, k: np.ndarray) -> AttentionCount:
    """Q-K attention (QKFormer, Zhou et al. 2024): the spikes of Q, summed over channels or tokens, gate those of K.

    The sum costs one addition for each spike of Q, whichever axis it runs over; the mask passes or stops the spikes of
    K without arithmetic. The neurons that make the mask, N or C of them, are counted as neurons.
    """
    _binary(q, k)
    if q.shape != k.shape:
        raise ShapeError(f"qk_counts: Q and K must have one shape, not {q.shape} and {k.shape}")
    return AttentionCount("q-k", {"sum of Q": _spikes(q)}, dense=q.size, gates=_spikes(k))


def zero_scores(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> int:
    """How many of the additions of (Q K^T) V are additions of a score that is 0."""
    shape = _checked(q, k, v)
    q, k, v = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v))
    rows = max(1, BLOCK // shape.tokens)
    total = 0
    for q_map, k_map, v_map in zip(q, k, v, strict=True):
        spikes = np.count_nonzero(v_map, axis=1)
        for i in range(0, shape.tokens, rows):
            scores = q_map[i : i + rows].astype(np.float32) @ k_map.T.astype(np.float32)
            total += int(((scores == 0) @ spikes).sum())
    return total


class Tallies(NamedTuple):
    """What binary Q, K [maps, N, C] and V [maps, N, Cv] hold, as far as any form of attention depends on it.

    maps, tokens, channels, values   their shape
    q, k, v     spikes of each
    qk, kv      pairs of spikes that meet in Q K^T, and in K^T V
    """

    maps: int
    tokens: int
    channels: int
    values: int
    q: int
    k: int
    v: int
    qk: int
    kv: int

    @property
    def shape(self) -> _Shape:
        return _Shape(*self[:4])


class _Shape(NamedTuple):
    maps: int  # product of the leading axes
    tokens: int
    channels: int
    values: int

    @property
    def dense_scores(self) -> int:
        """MACs of Q K^T, then times V."""
        return self.maps * self.tokens**2 * (self.channels + self.values)

    @property
    def dense_linear(self) -> int:
        """MACs of K^T V, then Q times it."""
        return 2 * self.maps * self.tokens * self.channels * self.values


def _checked(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> _Shape:
    _binary(q, k, v)
    if q.ndim < 2 or q.shape != k.shape or v.shape[:-1] != k.shape[:-1]:
        raise ShapeError(
            f"attention: Q and K must have one shape [..., N, C] and V be [..., N, Cv], not {q.shape}, {k.shape} "
            f"and {v.shape}"
        )
    return _Shape(math.prod(q.shape[:-2]), q.shape[-2], q.shape[-1], v.shape[-1])


def _binary(*trains: np.ndarray) -> None:
    for name, spikes in zip("QKV", trains, strict=False):
        if not ((spikes == 0) | (spikes == 1)).all():
            raise ParameterError(f"attention: {name} must hold spikes 0 and 1 only; expand counts into steps first")


def _spikes(x: np.ndarray) -> int:
    return int(np.count_nonzero(x))


def _qk(q: np.ndarray, k: np.ndarray) -> int:
    return matmul_synops(q, np.swapaxes(k, -1, -2))


def _kv(k: np.ndarray, v: np.ndarray) -> int:
    return matmul_synops(np.swapaxes(k, -1, -2), v)
