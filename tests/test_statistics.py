"""Paired tests against SciPy, which the package itself does not need for them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.metrics.statistics import (
    bootstrap_interval,
    compare_paired,
    paired_t_test,
    wilcoxon_signed_rank,
)
from pysnnmed.metrics.student import incomplete_beta


def samples(n, seed, shift=0.4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), rng.normal(size=n) + shift


@given(x=st.floats(0, 1), a=st.floats(0.05, 300), b=st.floats(0.05, 300))
def testincomplete_beta_is_scipys(x, a, b):
    assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-10)


@given(n=st.integers(2, 60), seed=st.integers(0, 999), shift=st.floats(-3, 3))
def test_the_t_test_is_scipys(n, seed, shift):
    a, b = samples(n, seed, shift)
    want = stats.ttest_rel(a, b)
    assert paired_t_test(a, b) == pytest.approx((want.statistic, want.pvalue), rel=1e-8)


@given(n=st.integers(1, 25), seed=st.integers(0, 999), shift=st.floats(-3, 3))
def test_wilcoxon_is_exact_for_few_cases(n, seed, shift):
    a, b = samples(n, seed, shift)
    want = stats.wilcoxon(a, b, method="exact")
    assert wilcoxon_signed_rank(a, b) == pytest.approx((want.statistic, want.pvalue), rel=1e-12)


@given(n=st.integers(26, 80), seed=st.integers(0, 999))
def test_wilcoxon_is_normal_for_many_cases(n, seed):
    a, b = samples(n, seed)
    want = stats.wilcoxon(a, b, method="asymptotic", correction=False)
    assert wilcoxon_signed_rank(a, b) == pytest.approx((want.statistic, want.pvalue), rel=1e-9)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=40))
def test_wilcoxon_drops_zeros_and_corrects_for_ties(pairs):
    a, b = np.array(pairs, float).T
    _, sizes = np.unique(np.abs(a - b)[a != b], return_counts=True)
    if not sizes.size or ((a != b).all() and sizes.max() == 1):
        return  # nothing left, or exact: other tests
    want = stats.wilcoxon(a, b, zero_method="wilcox", method="asymptotic", correction=False)
    assert wilcoxon_signed_rank(a, b) == pytest.approx((want.statistic, want.pvalue), rel=1e-9)


def test_the_smallest_exact_p_is_that_of_all_signs_equal():
    d = np.arange(1.0, 7)
    assert wilcoxon_signed_rank(d, np.zeros(6)) == (0, 2 / 2**6)


@given(n=st.integers(2, 30), seed=st.integers(0, 999))
def test_exchanging_the_methods_exchanges_the_sign_only(n, seed):
    a, b = samples(n, seed)
    there, back = compare_paired(a, b), compare_paired(b, a)
    assert there.difference == -back.difference
    assert there.t_test.p == back.t_test.p
    assert there.wilcoxon == back.wilcoxon


def test_degenerate_samples():
    equal = np.ones(5)
    assert paired_t_test(equal, equal) == (0, 1)
    assert wilcoxon_signed_rank(equal, equal) == (0, 1)
    assert paired_t_test(equal, equal + 1) == (-math.inf, 0)
    assert all(math.isnan(v) for v in paired_t_test(equal[:1], equal[:1]))
    assert all(math.isnan(v) for v in bootstrap_interval(np.empty(0), np.empty(0), np.random.default_rng(0)))
    assert compare_paired(np.empty(0), np.empty(0)).n == 0


def test_the_bootstrap_is_reproducible_and_covers_about_as_often_as_it_says():
    a, b = samples(19, 0)
    intervals = [bootstrap_interval(a, b, np.random.default_rng(7)) for _ in range(2)]
    assert intervals[0] == intervals[1]
    covered = 0
    for seed in range(200):
        a, b = samples(30, seed, shift=0.4)
        low, high = bootstrap_interval(a, b, np.random.default_rng(seed), resamples=500)
        covered += low <= -0.4 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_bootstrap_of_a_constant_difference_is_that_constant():
    low, high = bootstrap_interval(np.full(9, 1.5), np.full(9, 1.0), np.random.default_rng(0))
    assert low == high == 0.5


def test_a_comparison_reads_as_a_sentence_and_leaves_nan_cases_out():
    a, b = samples(19, 1)
    text = str(compare_paired(np.append(a, np.nan), np.append(b, 1.0)))
    assert str(compare_paired(a, b)) == text
    for part in ("n = 19", "95% bootstrap interval", "paired t p =", "Wilcoxon p =", f"{a.mean():.4f}"):
        assert part in text


def test_wrong_arguments_are_refused():
    a, rng = np.ones(4), np.random.default_rng(0)
    with pytest.raises(ShapeError, match="one length"):
        paired_t_test(a, a[:3])
    with pytest.raises(ParameterError, match="confidence"):
        bootstrap_interval(a, a, rng, confidence=95)
    with pytest.raises(ParameterError, match="resamples"):
        bootstrap_interval(a, a, rng, resamples=0)
