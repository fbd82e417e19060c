"""Counts of any outputs of decomposed attention: those of loops that count what they add, and of the packed kernels."""

import numpy as np
import pytest
from attention_cases import operands, outputs, plain, spikes
from hypothesis import given
from hypothesis import strategies as st
from test_attention_counts import Counter

from pysnnmed import kernels
from pysnnmed.decomposition import ACTIVE, HALVES, coefficients, complements, products
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.nn.attention import packed_attention
from pysnnmed.nn.attention.packed import packed_tokens
from pysnnmed.synops import sdsa_counts, spike_driven_counts, ssa_counts


def literal(q, k, v, outputs):
    work, of_q, of_k = Counter(), {"A": q, "I": 1 - q}, {"A": k, "I": 1 - k}
    results = []
    for output in outputs:
        queries, keys = (np.hstack([of[name[i]] for name in output]) for i, of in enumerate((of_q, of_k)))
        results.append(work.gather(work.coincidences(queries, keys), v))
    return results, work


def linear(q, k, v, outputs):
    work, channels, plan = Counter(), q.shape[1], products(outputs)
    m = work.coincidences(k.T, v.T)
    u = work.sum(v, 0) if plan.needs_u else np.zeros(v.shape[1], int)
    w = np.zeros(v.shape[1], int)
    if plan.needs_w:
        for row in m:
            w = work.fixed(w + row)
    total = work.scaled(channels * u) if any(r.constant for r in plan.readings) else u
    made = []
    for a, b in plan.products:
        matrix = work.fixed(a * m + b * u) if a and b else a * m + b * u  # a doubling is a shift
        made.append(work.gather(matrix.T, q.T).T)
    results = []
    for product, sign, key, constant in plan.readings:
        row = key * w + constant * total
        if key and constant:
            row = work.fixed(row)
        if product is None:
            results.append(np.broadcast_to(row, (len(q), len(row))))
        elif key or constant or sign < 0:
            results.append(work.fixed(row + sign * made[product]))
        else:
            results.append(made[product])
    return results, work


def reduced(q, k, v, outputs):
    work, (n, channels) = Counter(), q.shape
    others = complements(outputs)
    whole = [coefficients(output) for output, other in zip(outputs, others, strict=True) if other is None]
    both = work.coincidences(q, k)
    of_q = work.sum(q, 1) if any(s.query for s in whole) else np.zeros(n, int)
    of_k = work.sum(k, 1) if any(s.key for s in whole) else np.zeros(n, int)
    if any(other is not None for other in others):
        total = work.scaled(channels * work.sum(v, 0))
    results = []
    for output, other in zip(outputs, others, strict=True):
        if other is not None:
            results.append(work.fixed(total - results[other]))
            continue
        a, b, c, d = coefficients(output)
        row = b * of_q + d * channels
        if b and d:
            row = work.fixed(row)
        terms = [term for term, present in ((a * both, a), (row[:, None], b or d), (c * of_k, c)) if present]
        scores = np.zeros((n, n), int) + terms[0] if terms else np.zeros((n, n), int)
        for term in terms[1:]:
            scores = work.fixed(scores + term)
        results.append(work.gather(scores, v))
    return results, work


FORMS = {"literal": literal, "linear": linear, "reduced": reduced}


@pytest.mark.parametrize("form", FORMS)
@given(operands(most_tokens=6), outputs)
def test_every_form_costs_what_loops_count(form, arrays, outputs):
    count = sdsa_counts(*arrays, form, outputs)
    synops = adds = macs = 0
    for index in np.ndindex(arrays[0].shape[:-2]):
        q, k, v = (a[index] for a in arrays)
        results, work = FORMS[form](q, k, v, outputs)
        np.testing.assert_array_equal(np.stack(results), plain(q, k, v, outputs))
        synops, adds, macs = synops + work.synops, adds + work.adds, macs + work.macs
    assert (count.synops, count.adds, count.macs) == (synops, adds, macs)
    assert count.dense >= (0 if form == "literal" else count.synops - _sums(count))


def _sums(count):
    """Additions that are no part of a product of matrices."""
    return sum(n for name, n in count.terms.items() if name in "qku")


@given(operands(), st.sampled_from(["scores", "linear"]))
def test_spiking_self_attention_is_the_count_of_the_active_map(arrays, order):
    form = {"scores": "literal", "linear": "linear"}[order]
    ours, theirs = sdsa_counts(*arrays, form, ACTIVE), ssa_counts(*arrays, order)
    assert (ours.synops, ours.adds, ours.macs, ours.dense) == (theirs.synops, theirs.adds, theirs.macs, theirs.dense)


@pytest.mark.parametrize("backend", kernels.available())
@given(operands(same_width=True), outputs, st.sampled_from(["token", "channel"]))
def test_packed_kernels_execute_what_is_counted(backend, arrays, outputs, axis):
    words = [packed_tokens(name, a) for name, a in zip("QKV", arrays, strict=True)]
    with kernels.use_backend(backend):
        result = packed_attention(*words, outputs, axis=axis)
    of_tokens = arrays if axis == "token" else [a.swapaxes(-1, -2) for a in arrays]
    assert result.synops == sdsa_counts(*of_tokens, "linear" if axis == "token" else "reduced", outputs).synops
    assert result.events == sum(int(a.sum()) for a in arrays)


def test_spike_driven_attention_adds_once_for_each_coincidence(rng):
    q, k, v = (spikes(rng, (2, 6, 5), 0.4) for _ in "qkv")
    work = Counter()
    for index in np.ndindex(2, 6, 5):
        work.synops += bool(q[index] and k[index])
    count = spike_driven_counts(q, k, v)
    assert count.synops == work.synops
    assert count.gates == k.sum() + v.sum()
    assert count.dense == q.size
    with pytest.raises(ShapeError, match="one shape"):
        spike_driven_counts(q, k, v[:1])
    with pytest.raises(ParameterError, match="K must hold spikes"):
        spike_driven_counts(q, 2 * k, v)


def test_at_fifteen_percent_the_linear_form_costs_a_hundredth_of_what_is_written():
    rng = np.random.default_rng(0)
    q, k, v = ((rng.random((2048, 64)) < 0.15).astype(np.float32) for _ in "qkv")
    written, run = (sdsa_counts(q, k, v, form, HALVES) for form in ("literal", "linear"))
    assert 100 * (run.synops + run.adds + run.macs) < written.synops + written.adds + written.macs
