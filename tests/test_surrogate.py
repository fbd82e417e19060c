"""Surrogate derivatives: the properties of a smoothed delta function, for every sharpness and finite number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.errors import ParameterError
from pysnnmed.surrogate import ATan, PiecewiseQuadratic, Sigmoid, Surrogate

alphas = st.floats(0.25, 16)
finite_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
every = pytest.mark.parametrize("surrogate", Surrogate.registry.values(), ids=Surrogate.registry)


@every
@given(alpha=alphas, z=st.lists(finite_float32, min_size=1, max_size=20))
def test_is_even_and_highest_at_the_threshold(surrogate, alpha, z):
    f, z = surrogate(alpha), np.array(z, np.float32)
    np.testing.assert_array_equal(f(z), f(-z))
    assert (f(z) <= f(np.zeros(1, np.float32))).all()
    assert (f(z) >= 0).all()


@every
@given(alpha=alphas, z=st.lists(finite_float32, min_size=1, max_size=20))
def test_is_finite_and_keeps_the_type(surrogate, alpha, z):
    for dtype in (np.float32, np.float64):
        out = surrogate(np.float64(alpha))(np.array(z, dtype))
        assert out.dtype == dtype
        assert np.isfinite(out).all()


@every
@given(alpha=alphas)
def test_has_its_peak_its_support_and_integral_one(surrogate, alpha):
    f = surrogate(alpha)
    assert f(np.zeros(1))[0] == pytest.approx(f.peak, rel=1e-14)
    # substitute z = tan(u) to cover the whole line; midpoints avoid the ends
    n = 200_000
    u = (np.arange(n) + 0.5) / n * np.pi - np.pi / 2
    integral = (f(np.tan(u)) / np.cos(u) ** 2).mean() * np.pi
    assert integral == pytest.approx(1, abs=1e-3)
    if np.isfinite(f.support):
        assert not f(np.array([1.000001 * f.support, 2 * f.support, 1e30])).any()
        assert f(np.array([0.99 * f.support])) > 0


@every
def test_falls_away_from_the_threshold(surrogate):
    values = surrogate()(np.linspace(0, 5, 101))
    assert (np.diff(values) <= 0).all()


def test_codes_of_the_compiled_formulas_differ():
    codes = [s.code for s in Surrogate.registry.values() if s.code >= 0]
    assert len(codes) == len(set(codes))


@every
@pytest.mark.parametrize("alpha", [0, -1, np.nan, np.inf])
def test_refuses_a_sharpness_that_is_none(surrogate, alpha):
    with pytest.raises(ParameterError, match=rf"{surrogate.__name__}: alpha must be positive and finite, not {alpha}"):
        surrogate(alpha)


@pytest.mark.parametrize(
    ("surrogate", "name"),
    [(ATan(2), "ATan(2)"), (Sigmoid(4), "Sigmoid(4)"), (PiecewiseQuadratic(1), "PiecewiseQuadratic(1)")],
)
def test_equals_the_recorded_derivative(surrogate, name, golden):
    with np.load(golden / "golden_neurons.npz") as recorded:
        np.testing.assert_allclose(surrogate(recorded["surr/x"]), recorded[f"surr/sj/{name}/grad"], rtol=0, atol=1e-14)
