"""Sums of the four maps of spike attention times V, in three forms that agree exactly.

    O = S V,  S = a Q K^T + b q 1^T + c 1 k^T + d C        (a, b, c, d of an output: see pysnnmed.decomposition)

* `literal_attention`: every map is formed, N x N, from [Q, 1 - Q] and [K, 1 - K], as in equations 8 and 9 of
  MedSpikeFormer. Its gradient is that of the operations it is made of. For teaching and for tests.
* `DecomposedAttention`: with M = K^T V [C, Cv], u = 1^T V and w = k^T V = the sum of the rows of M,

      linear    O = Q (a M + b 1 u) + c w + d C u                                                          O(N C Cv)
      reduced   O = (a Q K^T + b q 1^T + c 1 k^T + d C) V                                                  O(N N C)

  whichever multiplies less; an output that has just the maps which another one lacks is C u minus that one. The
  gradients are closed, of the same order of cost: attention is multilinear in Q, K and V, and surrogates stand in the
  neurons that fire them.
* the same with `popcount`: spikes packed into bits, coincidences by AND and popcount, products by adding a row of M
  for each spike (see packed); the gradients are those above.

Spikes give whole numbers of at most D C N for V of at most D, and so do all sums on the way up to a factor of 4: they
are exact in float32 below 2**24, and beyond that the sums run in float64 and are rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ... import ops
from ...decomposition import (
    HALVES,
    Axis,
    Outputs,
    Products,
    cheaper_form,
    checked_outputs,
    coefficients,
    complements,
    products,
)
from ...errors import ParameterError, ShapeError
from ...tensor import Function, Tensor
from .exact import EXACT
from .packed import packed_attention, packed_tokens

Form: TypeAlias = Literal["linear", "literal", "popcount"]
FORMS = ("linear", "literal", "popcount")
HEADROOM = 4  # how far a sum on the way may exceed the bound of the result: |a M + b u| is at most 3 N


def decomposed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    outputs: Sequence[Sequence[str]] = HALVES,
    *,
    form: Form = "linear",
    axis: Axis = "token",
) -> Tensor:
    """Spikes Q, K [..., N, C] and V [..., N, Cv] -> [outputs, ..., N, Cv]: the sum of the maps of each, times V.

    `outputs` are tuples of names out of AA, AI, IA, II: HALVES (the two of MedSpikeFormer), SEPARATE (all four apart),
    ACTIVE (spiking self-attention), or any other; leave a map out to ablate it. Leading axes are time, batch, heads.
    axis "channel" lets the channels attend to each other instead of the tokens: the maps are C x C, the result is that
    of Q^T, K^T and V^T, transposed; V then has as many channels as Q. There is no scale: it commutes with everything
    here and belongs to the norm or the threshold that follows.

    The forms "linear" and "literal" take real numbers as well, "popcount" only spikes 0 and 1.
    Raises ShapeError for shapes that do not fit, ParameterError for an unknown form or axis or map, for spikes that
    are not 0 and 1 where they must be, and where whole numbers could not be exact in the form asked for.
    """
    checked = checked_outputs(outputs)
    if form not in FORMS:
        raise ParameterError(f"attention: form must be one of {', '.join(FORMS)}, not {form!r}")
    if axis not in ("token", "channel"):
        raise ParameterError(f"attention: axis must be 'token' or 'channel', not {axis!r}")
    _require_fitting(q, k, v, axis)
    if axis == "channel" and form != "popcount":
        q, k, v = (ops.swapaxes(x, -1, -2) for x in (q, k, v))
        return ops.swapaxes(_attention(q, k, v, checked, form, axis="token"), -1, -2)
    return _attention(q, k, v, checked, form, axis)


def _attention(q: Tensor, k: Tensor, v: Tensor, outputs: Outputs, form: Form, axis: Axis) -> Tensor:
    if form == "literal":
        return literal_attention(q, k, v, outputs)
    return DecomposedAttention.apply(q, k, v, outputs=outputs, popcount=form == "popcount", axis=axis)


def literal_attention(q: Tensor, k: Tensor, v: Tensor, outputs: Outputs = HALVES) -> Tensor:
    """The same as it is written: [.. the parts of Q ..] [.. the parts of K ..]^T V for each output, O(N N C)."""
    if _bound(q.data, v.data) > EXACT[q.dtype]:
        raise ParameterError(
            f"attention: literal sums over {q.shape[-2]} tokens and {q.shape[-1]} channels can pass the largest whole "
            f"number that {q.dtype} holds; take the linear form, or float64"
        )
    of_q, of_k = ({"A": x, "I": 1 - x} for x in (q, k))
    results = []
    for output in outputs:
        queries = ops.concatenate([of_q[name[0]] for name in output], axis=-1)
        keys = ops.concatenate([of_k[name[1]] for name in output], axis=-1)
        results.append(queries @ ops.swapaxes(keys, -1, -2) @ v)
    return ops.stack(results)


class DecomposedAttention(Function):
    """See this module. q, k [..., N, C], v [..., N, Cv] -> [outputs, ..., N, Cv].

    The memory of a result is that of maps, [..., Cv, N]: from there to images it is a view.
    """

    def forward(ctx, q, k, v, outputs, popcount=False, axis="token"):
        ctx.outputs, ctx.axis = outputs, axis
        ctx.save(q, k, v)
        if popcount:
            of_q, of_k, of_v = (packed_tokens(name, x) for name, x in zip("QKV", (q, k, v), strict=True))
            sums = packed_attention(of_q, of_k, of_v, outputs, axis=axis).sums  # [slots, outputs, N, Cv]
            return np.moveaxis(sums, 1, 0).astype(q.dtype).reshape(len(outputs), *v.shape)
        if _bound(q, v) > EXACT[q.dtype]:
            wide_q, wide_k, wide_v = (x.astype(np.float64) for x in (q, k, v))
            return _forward(wide_q, wide_k, wide_v, outputs).astype(q.dtype)
        return _forward(q, k, v, outputs)

    def backward(ctx, grad):
        q, k, v = ctx.saved
        if ctx.axis == "channel":
            q, k, v, grad = (x.swapaxes(-1, -2) for x in (q, k, v, grad))
        gradients = _linear_gradients if _is_linear(q, v) else _reduced_gradients
        parts = gradients(q, k, v, ctx.outputs, grad)
        return tuple(x.swapaxes(-1, -2) for x in parts) if ctx.axis == "channel" else parts


def _forward(q: np.ndarray, k: np.ndarray, v: np.ndarray, outputs: Outputs) -> np.ndarray:
    return (_linear if _is_linear(q, v) else _reduced)(q, k, v, outputs)


def _is_linear(q: np.ndarray, v: np.ndarray) -> bool:
    return cheaper_form(q.shape[-2], q.shape[-1], v.shape[-1]) == "linear"


# ------------------------------------------------------------------------------------------- from the right: Q (K^T V)


class _Sums(NamedTuple):
    """What the linear form needs of K and V: M = K^T V [..., C, Cv], u = 1^T V and w = k^T V [..., 1, Cv]."""

    m: np.ndarray
    u: np.ndarray
    w: np.ndarray


def _sums(k: np.ndarray, v: np.ndarray) -> _Sums:
    m = k.swapaxes(-1, -2) @ v
    return _Sums(m, v.sum(axis=-2, keepdims=True), m.sum(axis=-2, keepdims=True))


def _linear(q: np.ndarray, k: np.ndarray, v: np.ndarray, outputs: Outputs) -> np.ndarray:
    """O = Q (a M + b 1 u) + c w + d C u"""
    (m, u, w), plan = _sums(k, v), products(outputs)
    out = np.empty((len(outputs), *v.shape[:-2], v.shape[-1], v.shape[-2]), q.dtype)
    rows = [(r.key * w + r.constant * q.shape[-1] * u).swapaxes(-1, -2) for r in plan.readings]
    readers: dict[int | None, list[int]] = {}
    for i, reading in enumerate(plan.readings):
        readers.setdefault(reading.product, []).append(i)
    for product, (first, *others) in readers.items():
        if product is None:
            for i in (first, *others):
                out[i] = rows[i]
            continue
        a, b = plan.products[product]
        made = np.matmul((a * m + b * u).swapaxes(-1, -2), q.swapaxes(-1, -2), out=out[first])  # no room of its own
        for i in (*others, first):
            (np.add if plan.readings[i].sign > 0 else np.subtract)(rows[i], made, out=out[i])
    return out.swapaxes(-1, -2)


def _linear_gradients(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, outputs: Outputs, grad: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """With P = a M + b 1 u of a product, G the sum of its outputs' gradients with their signs, g = 1^T G of an output:

    dP = Q^T G    dM = sum a dP + 1 sum c g    du = sum b 1^T dP + C sum d g
    dQ = sum G P^T    dK = V dM^T    dV = K dM + 1 du
    """
    (m, u, _), plan = _sums(k, v), products(outputs)
    rows = grad.sum(axis=-2, keepdims=True)
    d_m = np.zeros(m.shape, q.dtype)
    d_u, d_q = np.zeros(u.shape, q.dtype), np.zeros(q.shape, q.dtype)
    for g, (_, _, key, constant) in zip(rows, plan.readings, strict=True):
        d_m += key * g
        d_u += constant * q.shape[-1] * g
    for (a, b), g in zip(plan.products, _by_product(plan, grad), strict=True):
        d_product = q.swapaxes(-1, -2) @ g
        d_m += a * d_product
        d_u += b * d_product.sum(axis=-2, keepdims=True)
        d_q += g @ (a * m + b * u).swapaxes(-1, -2)
    return d_q, v @ d_m.swapaxes(-1, -2), k @ d_m + d_u


def _by_product(plan: Products, grad: np.ndarray) -> list[np.ndarray]:
    """For each product, the sum of the gradients of the outputs that read it, with their signs."""
    totals: list[np.ndarray] = []
    for i in range(len(plan.products)):
        first, *others = [(g, r.sign) for g, r in zip(grad, plan.readings, strict=True) if r.product == i]
        total = first[0] * first[1] if first[1] < 0 or others else first[0]
        for g, sign in others:
            total = total + g if sign > 0 else total - g
        totals.append(total)
    return totals


# ------------------------------------------------------------------------------------------ from the left: (Q K^T) V


def _scores(q: np.ndarray, k: np.ndarray, outputs: Outputs) -> list[np.ndarray | None]:
    """a Q K^T + b q 1^T + c 1 k^T + d C for each output; None for the complement of an earlier one."""
    both = q @ k.swapaxes(-1, -2)
    of_q, of_k = q.sum(axis=-1, keepdims=True), k.sum(axis=-1, keepdims=True).swapaxes(-1, -2)
    scores: list[np.ndarray | None] = []
    for output, other in zip(outputs, complements(outputs), strict=True):
        a, b, c, d = coefficients(output)
        scores.append(None if other is not None else a * both + (b * of_q + d * q.shape[-1]) + c * of_k)
    return scores


def _reduced(q: np.ndarray, k: np.ndarray, v: np.ndarray, outputs: Outputs) -> np.ndarray:
    transposed = v.swapaxes(-1, -2)
    total = q.shape[-1] * transposed.sum(axis=-1, keepdims=True)  # C u: the sum of all four maps, times V
    out = np.empty((len(outputs), *transposed.shape), q.dtype)
    for i, (scores, other) in enumerate(zip(_scores(q, k, outputs), complements(outputs), strict=True)):
        if scores is None:
            np.subtract(total, out[other], out=out[i])
        else:
            np.matmul(transposed, scores.swapaxes(-1, -2), out=out[i])
    return out.swapaxes(-1, -2)


def _reduced_gradients(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, outputs: Outputs, grad: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """With S the scores of an output and G its gradient, less those of its complements (du = C 1^T of them):

    dS = G V^T    dQ = (sum a dS) K + (sum b dS) 1 1^T    dK = (sum a dS)^T Q + (sum c dS)^T 1 1^T
    dV = sum S^T G + 1 du
    """
    own: list[np.ndarray] = list(grad)
    d_v = np.zeros(v.shape, q.dtype)
    for i, other in reversed(list(enumerate(complements(outputs)))):
        if other is not None:
            d_v += q.shape[-1] * own[i].sum(axis=-2, keepdims=True)
            own[other] = own[other] - own[i]
    n = q.shape[-2]
    d_both = np.zeros((*q.shape[:-2], n, n), q.dtype)
    d_of_q, d_of_k = np.zeros((2, *q.shape[:-1], 1), q.dtype)
    for output, scores, g in zip(outputs, _scores(q, k, outputs), own, strict=True):
        if scores is None:
            continue
        a, b, c, _ = coefficients(output)
        d_scores = g @ v.swapaxes(-1, -2)
        d_both += a * d_scores
        d_of_q += b * d_scores.sum(axis=-1, keepdims=True)
        d_of_k += c * d_scores.sum(axis=-2, keepdims=True).swapaxes(-1, -2)
        d_v += scores.swapaxes(-1, -2) @ g
    return d_both @ k + d_of_q, d_both.swapaxes(-1, -2) @ q + d_of_k, d_v


# --------------------------------------------------------------------------------------------------------------- checks


def _bound(q: np.ndarray, v: np.ndarray) -> float:
    """What no sum of spikes on the way can exceed: HEADROOM C N times the largest value of V."""
    return HEADROOM * q.shape[-2] * q.shape[-1] * max(1.0, float(np.abs(v).max(initial=0)))


def _require_fitting(q: Tensor, k: Tensor, v: Tensor, axis: Axis) -> None:
    if q.ndim < 2 or q.shape != k.shape or v.shape[:-1] != k.shape[:-1] or (axis == "channel" and v.shape != q.shape):
        rule = "Q, K and V must have one shape" if axis == "channel" else "Q and K must have one shape"
        raise ShapeError(
            f"attention: {rule} [..., N, C]{'' if axis == 'channel' else ' and V be [..., N, Cv]'}, "
            f"not {q.shape}, {k.shape} and {v.shape}"
        )
    if not q.dtype == k.dtype == v.dtype or q.dtype not in EXACT:
        raise ParameterError(
            f"attention: Q, K and V must all be float32, or all float64, not {q.dtype}, {k.dtype} and {v.dtype}"
        )
