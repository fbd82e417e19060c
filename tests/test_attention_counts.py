"""Counts of attention are those of algorithms that count every addition where they make it, and give one result."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.synops import qk_counts, sdsa_counts, ssa_counts, zero_scores


def trains(seed, tokens, channels, values, rate, maps=()):
    rng = np.random.default_rng(seed)
    shapes = (*maps, tokens, channels), (*maps, tokens, channels), (*maps, tokens, values)
    return [(rng.random(shape) < rate).astype(np.float32) for shape in shapes]


SIZES = dict(
    seed=st.integers(0, 999),
    tokens=st.integers(1, 6),
    channels=st.integers(1, 5),
    values=st.integers(1, 4),
    rate=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)


class Counter:
    """Plain loops that count what they add."""

    def __init__(self):
        self.synops = self.adds = self.macs = self.zeros = 0

    def coincidences(self, a, b):
        """a [N, C], b [M, C], both binary -> a b^T, one addition where both fire."""
        out = np.zeros((len(a), len(b)), int)
        for i, j, c in np.ndindex(len(a), len(b), a.shape[1]):
            if a[i, c] and b[j, c]:
                out[i, j] += 1
                self.synops += 1
        return out

    def gather(self, weights, spikes):
        """weights [N, M] integers, spikes [M, C] -> weights @ spikes, each spike added to all N outputs."""
        out = np.zeros((len(weights), spikes.shape[1]), int)
        for j, c in np.argwhere(spikes):
            for i in range(len(weights)):
                out[i, c] += weights[i, j]
                self.synops += 1
                self.zeros += weights[i, j] == 0
        return out

    def sum(self, spikes, axis):
        self.synops += int(spikes.sum())
        return spikes.sum(axis=axis).astype(int)

    def fixed(self, array):
        """An array whose every element has just been added to once."""
        self.adds += array.size
        return array

    def scaled(self, array):
        self.macs += array.size
        return array


def second_half(work, u, o1, channels):
    return work.fixed(work.scaled(channels * u) - o1)


def literal(q, k, v):
    work = Counter()
    same = work.coincidences(np.hstack([q, 1 - q]), np.hstack([k, 1 - k]))
    other = work.coincidences(np.hstack([1 - q, q]), np.hstack([k, 1 - k]))
    assert work.synops == len(q) ** 2 * q.shape[1]
    return work.gather(same, v), work.gather(other, v), work


def reduced(q, k, v):
    work, channels = Counter(), q.shape[1]
    both = work.coincidences(q, k)
    row = work.fixed(channels - work.sum(q, 1))
    m = work.fixed(work.fixed(2 * both + row[:, None]) - work.sum(k, 1))
    o1 = work.gather(m, v)
    return o1, second_half(work, work.sum(v, 0), o1, channels), work


def linear(q, k, v):
    work, channels = Counter(), q.shape[1]
    m = work.coincidences(k.T, v.T)
    u = work.sum(v, 0)
    centred = work.fixed(2 * m - u)
    w = np.zeros(v.shape[1], int)
    for row in m:
        w = work.fixed(w + row)
    scaled = work.scaled(channels * u)
    bias = work.fixed(scaled - w)
    o1 = work.fixed(work.gather(centred.T, q.T).T + bias)
    return o1, work.fixed(scaled - o1), work


FORMS = {"literal": literal, "reduced": reduced, "linear": linear}


@given(**SIZES)
def test_every_form_of_sdsa_gives_one_result_and_costs_what_is_counted(**sizes):
    q, k, v = trains(**sizes)
    first, second = literal(q, k, v)[:2]
    for name, form in FORMS.items():
        o1, o2, work = form(q, k, v)
        np.testing.assert_array_equal(o1, first)
        np.testing.assert_array_equal(o2, second)
        count = sdsa_counts(q, k, v, name)
        assert (count.synops, count.adds, count.macs) == (work.synops, work.adds, work.macs), name


@given(**SIZES)
def test_the_four_products_cost_all_pairs_whatever_the_rate(**sizes):
    q, k, v = trains(**sizes)
    terms = sdsa_counts(q, k, v, "literal").terms
    pairs = {"AA": (q, k), "II": (1 - q, 1 - k), "IA": (1 - q, k), "AI": (q, 1 - k)}
    assert {name: terms[name] for name in pairs} == {n: int((a @ b.T).sum()) for n, (a, b) in pairs.items()}
    assert sum(terms[name] for name in pairs) == sizes["tokens"] ** 2 * sizes["channels"]


@given(**SIZES)
def test_ssa_from_either_side(**sizes):
    q, k, v = trains(**sizes)
    left, right = Counter(), Counter()
    from_left = left.gather(left.coincidences(q, k), v)
    from_right = right.gather(right.coincidences(k.T, v.T).T, q.T).T
    np.testing.assert_array_equal(from_left, from_right)
    scores, linear_form = ssa_counts(q, k, v), ssa_counts(q, k, v, "linear")
    assert scores.synops == left.synops
    assert linear_form.synops == right.synops
    assert zero_scores(q, k, v) == left.zeros
    if sizes["rate"] == 1:
        assert (scores.dense, linear_form.dense) == (left.synops, right.synops)


@given(**SIZES)
def test_counts_add_up_over_time_batch_and_heads(**sizes):
    q, k, v = trains(**sizes, maps=(2, 1, 3))
    each = [(q[i], k[i], v[i]) for i in np.ndindex(2, 1, 3)]
    for name in FORMS:
        whole, parts = sdsa_counts(q, k, v, name), [sdsa_counts(*maps, name) for maps in each]
        for field in ("synops", "adds", "macs", "dense"):
            assert getattr(whole, field) == sum(getattr(part, field) for part in parts)
    for order in ("scores", "linear"):
        assert ssa_counts(q, k, v, order).synops == sum(ssa_counts(*maps, order).synops for maps in each)
    assert zero_scores(q, k, v) == sum(zero_scores(*maps) for maps in each)


def test_the_linear_form_costs_less_where_tokens_are_many(rng):
    q, k, v = trains(0, 512, 32, 32, 0.1)
    costs = {name: sdsa_counts(q, k, v, name) for name in FORMS}
    total = {name: count.synops + count.adds + count.macs for name, count in costs.items()}
    assert total["linear"] < total["reduced"] < total["literal"]


def test_qk_attention_adds_once_for_each_spike_of_q():
    q, k, _ = trains(3, 6, 5, 1, 0.4)
    work = Counter()
    mask = work.sum(q, 1) > 1  # any neuron: it only sees the sum
    count = qk_counts(q, k)
    assert count.synops == work.synops == q.sum()
    assert count.gates == k.sum() >= (k * mask[:, None]).sum()
    assert count.adds == count.macs == 0


def test_a_layer_of_attention_has_no_rate_of_connections():
    q, k, v = trains(1, 6, 5, 4, 0.4, maps=(4, 1))
    count = sdsa_counts(q, k, v, "linear")
    layer = count.layer("attention", steps=4)
    assert (layer.synops, layer.adds, layer.macs) == (count.synops, count.adds, count.macs)
    assert layer.ann_macs == 2 * 6 * 5 * 4
    assert layer.dense_synops == 4 * layer.ann_macs


def test_what_is_no_attention_is_refused():
    q, k, v = trains(0, 4, 3, 2, 0.5)
    with pytest.raises(ParameterError, match="V must hold spikes 0 and 1"):
        ssa_counts(q, k, v * 2)
    with pytest.raises(ShapeError, match="one shape"):
        sdsa_counts(q, k[:3], v)
    with pytest.raises(ShapeError, match="one shape"):
        qk_counts(q, k[:3])
    with pytest.raises(ParameterError, match="form must be"):
        sdsa_counts(q, k, v, "quick")
    with pytest.raises(ParameterError, match="order must be"):
        ssa_counts(q, k, v, "quick")
