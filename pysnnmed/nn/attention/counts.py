"""What decomposed attention executes, in the form that runs and as it is written in the paper."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ...decomposition import HALVES, Axis, Outputs, cheaper_form
from ...synops import AttentionCount, sdsa_counts
from .forms import Form


class BothCounts(NamedTuple):
    """executed   in the form that runs
    literal    every map formed, N x N, silent neurons taken for spikes: as the equations are written
    """

    executed: AttentionCount
    literal: AttentionCount


def attention_counts(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    outputs: Outputs = HALVES,
    *,
    form: Form = "linear",
    axis: Axis = "token",
) -> AttentionCount:
    """Of spikes 0 and 1, q and k [..., N, C], v [..., N, Cv]: what `decomposed_attention` with these options executes.

    "linear" runs the cheaper of the linear and the reduced form; "popcount" the linear form for tokens, the reduced one
    for channels. Raises ParameterError for values that are not spikes.
    """
    if axis == "channel":
        q, k, v = (x.swapaxes(-1, -2) for x in (q, k, v))
    return sdsa_counts(q, k, v, _executed(form, axis, q.shape[-2], q.shape[-1], v.shape[-1]), outputs)


def both_counts(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    outputs: Outputs = HALVES,
    *,
    form: Form = "linear",
    axis: Axis = "token",
) -> BothCounts:
    """The two counts of the same attention; see `attention_counts`."""
    return BothCounts(
        attention_counts(q, k, v, outputs, form=form, axis=axis),
        attention_counts(q, k, v, outputs, form="literal", axis=axis),
    )


def _executed(
    form: Form, axis: Axis, tokens: int, channels: int, values: int
) -> Literal["literal", "linear", "reduced"]:
    if form == "literal":
        return "literal"
    if form == "popcount":
        return "linear" if axis == "token" else "reduced"
    return cheaper_form(tokens, channels, values)
