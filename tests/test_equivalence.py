"""Equivalence tests and effect sizes: closed forms, SciPy, and the level that the test promises, by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.metrics import effect_size, equivalence_test
from pysnnmed.metrics.student import both_tails, quantile, upper_tail


def samples(n, seed, shift=0.1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n) + shift, rng.normal(size=n)


# --------------------------------------------------------------------------------------------- the distribution


@given(t=st.floats(-50, 50), freedom=st.integers(1, 400))
def test_tails_are_scipys(t, freedom):
    assert upper_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-8, abs=1e-12)
    assert both_tails(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-8, abs=1e-12)
    assert upper_tail(t, freedom) + upper_tail(-t, freedom) == pytest.approx(1)


@given(p=st.floats(1e-4, 1 - 1e-4), freedom=st.integers(1, 400))
def test_the_quantile_inverts_the_tail(p, freedom):
    t = quantile(p, freedom)
    assert t == pytest.approx(stats.t.ppf(p, freedom), rel=1e-6, abs=1e-8)
    assert upper_tail(t, freedom) == pytest.approx(1 - p, rel=1e-6)


@given(t=st.floats(0, 30))
def test_few_degrees_of_freedom_have_closed_forms(t):
    assert upper_tail(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, abs=1e-9)  # Cauchy
    assert upper_tail(t, 2) == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), abs=1e-9)


# ------------------------------------------------------------------------------------------------- equivalence


def test_three_cases_by_hand():
    """d = 1, 2, 3: mean 2, sd 1, error 1 / sqrt(3), 2 degrees of freedom: P(T > t) = 1/2 - t / (2 sqrt(2 + t^2))."""
    test = equivalence_test(np.array([1.0, 2.0, 3.0]), np.zeros(3), margin=4)
    root = math.sqrt(3)
    assert test.lower == pytest.approx((6 * root, 0.5 - 6 * root / (2 * math.sqrt(110))))
    assert test.upper == pytest.approx((-2 * root, 0.5 - 2 * root / (2 * math.sqrt(14))))
    assert test.p == test.upper[1] == pytest.approx(0.0370899, abs=1e-7)
    assert test.equivalent
    assert test.interval == pytest.approx((2 - 2.9199856 / root, 2 + 2.9199856 / root), abs=1e-6)
    assert not equivalence_test(np.array([1.0, 2.0, 3.0]), np.zeros(3), margin=3.6).equivalent
    assert "equivalent within ±4 (TOST p = 0.0371, n = 3, 90% interval [+0.3141, +3.6859])" in str(test)


@given(n=st.integers(2, 60), seed=st.integers(0, 999), shift=st.floats(-1, 1), margin=st.floats(0.01, 3))
def test_it_is_two_one_sided_tests_of_scipy(n, seed, shift, margin):
    a, b = samples(n, seed, shift)
    test = equivalence_test(a, b, margin)
    lower = stats.ttest_1samp(a - b, -margin, alternative="greater")
    upper = stats.ttest_1samp(a - b, margin, alternative="less")
    assert test.lower == pytest.approx((lower.statistic, lower.pvalue), rel=1e-7, abs=1e-12)
    assert test.upper == pytest.approx((upper.statistic, upper.pvalue), rel=1e-7, abs=1e-12)
    interval = stats.ttest_1samp(a - b, 0).confidence_interval(0.9)
    assert test.interval == pytest.approx((interval.low, interval.high), rel=1e-7)


@given(
    n=st.integers(2, 40), seed=st.integers(0, 999), margin=st.floats(0.05, 2), level=st.sampled_from([0.01, 0.05, 0.2])
)
def test_the_interval_lies_within_the_margin_exactly_where_equivalence_is_shown(n, seed, margin, level):
    test = equivalence_test(*samples(n, seed), margin, level)
    assert test.equivalent == (-margin < test.interval[0] and test.interval[1] < margin)


@given(n=st.integers(2, 40), seed=st.integers(0, 999), margin=st.floats(0.05, 2))
def test_exchanging_the_methods_mirrors_the_test(n, seed, margin):
    a, b = samples(n, seed)
    there, back = equivalence_test(a, b, margin), equivalence_test(b, a, margin)
    assert there.p == pytest.approx(back.p)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.lower[1] == pytest.approx(back.upper[1])


@given(n=st.integers(2, 40), seed=st.integers(0, 999))
def test_a_wider_margin_is_easier(n, seed):
    a, b = samples(n, seed)
    values = [equivalence_test(a, b, margin).p for margin in (0.05, 0.2, 0.8, 3.2)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("side", [-1, 1])
def test_methods_that_differ_by_the_margin_pass_no_oftener_than_the_level(side):
    """20 cases, Dice-like spread, a true difference of exactly the margin: 5 % of 2,000 experiments, +-4 errors."""
    rng = np.random.default_rng(1)
    margin = 0.01
    passed = sum(
        equivalence_test(side * margin + rng.normal(scale=0.005, size=20), np.zeros(20), margin).equivalent
        for _ in range(2000)
    )
    assert 0.05 - 4 * math.sqrt(0.05 * 0.95 / 2000) < passed / 2000 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 2000)


def test_equal_methods_pass_where_there_are_cases_enough():
    rng = np.random.default_rng(2)
    power = [
        np.mean([equivalence_test(rng.normal(scale=0.02, size=n), np.zeros(n), 0.01).equivalent for _ in range(300)])
        for n in (10, 40, 160)
    ]
    assert power[0] < 0.3 < power[1] < 0.98 < power[2]


def test_differences_without_spread():
    same = np.full(5, 0.25)
    assert equivalence_test(same, same, 0.01).p == 0
    assert equivalence_test(same, same, 0.01).equivalent
    assert equivalence_test(same + 0.5, same, 0.25).p == 1
    assert equivalence_test(same + 0.5, same, 0.5).p == 1  # the margin itself is not within it
    assert equivalence_test(same + 0.5, same, 0.75).p == 0


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_cases_show_nothing(n):
    test = equivalence_test(np.zeros(n), np.zeros(n), 0.1)
    assert math.isnan(test.p)
    assert not test.equivalent
    assert "not shown" in str(test)


@pytest.mark.parametrize("margin", [0, -0.01, math.nan, math.inf])
def test_a_margin_is_a_positive_number(margin):
    with pytest.raises(ParameterError, match="margin"):
        equivalence_test(np.zeros(3), np.ones(3), margin)


def test_bad_levels_and_shapes_are_refused():
    with pytest.raises(ParameterError, match="level"):
        equivalence_test(np.zeros(3), np.ones(3), 0.1, level=0.5)
    with pytest.raises(ShapeError, match="one length"):
        equivalence_test(np.zeros(3), np.ones(2), 0.1)


# ------------------------------------------------------------------------------------------------- effect size


def test_effect_of_three_cases_by_hand():
    effect = effect_size(np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert effect.d_z == pytest.approx(2)
    assert effect.g_z == pytest.approx(2 / math.sqrt(math.pi))  # gamma(1) / (sqrt(1) gamma(1/2))
    assert str(effect) == "effect size d_z = +2.00, Hedges-corrected +1.13"


@given(n=st.integers(3, 300), seed=st.integers(0, 999))
def test_the_correction_is_that_of_hedges(n, seed):
    effect = effect_size(*samples(n, seed))
    f = n - 1
    assert effect.g_z / effect.d_z == pytest.approx(
        special.gamma(f / 2) / special.gamma((f - 1) / 2) / math.sqrt(f / 2)
    )
    assert effect.g_z / effect.d_z == pytest.approx(1 - 3 / (4 * f - 1), abs=0.04)


def test_the_correction_takes_the_bias_away():
    """6 cases with a true effect of 0.8, 20,000 times: the plain estimate is 19 % too large, the other right."""
    rng = np.random.default_rng(3)
    effects = [effect_size(rng.normal(0.8, 1, 6), np.zeros(6)) for _ in range(20_000)]
    assert np.mean([e.d_z for e in effects]) > 0.9
    assert np.mean([e.g_z for e in effects]) == pytest.approx(0.8, abs=0.015)


@given(n=st.integers(3, 50), seed=st.integers(0, 999), factor=st.floats(0.01, 100))
def test_the_effect_has_no_unit_and_a_sign(n, seed, factor):
    a, b = samples(n, seed)
    assert effect_size(factor * a, factor * b).d_z == pytest.approx(effect_size(a, b).d_z)
    assert effect_size(b, a).g_z == pytest.approx(-effect_size(a, b).g_z)


def test_effects_at_the_edge():
    assert math.isnan(effect_size(np.zeros(1), np.ones(1)).d_z)
    assert math.isnan(effect_size(np.array([0.0, 1.0]), np.zeros(2)).g_z)
    assert effect_size(np.zeros(4), np.zeros(4)).d_z == 0
    assert effect_size(np.ones(4), np.zeros(4)).g_z == math.inf
