"""Surrogate derivatives: the properties of a smoothed delta function, for every sharpness and finite number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.errors import ParameterError
from pysnnmed.surrogate import EQUIVALENTS, NOT_OFFERED, ATan, Surrogate

alphas = st.floats(0.25, 16)
finite_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
arrays_of = st.lists(finite_float32, min_size=1, max_size=20)
KINDS = {name: kind for name, kind in Surrogate.registry.items() if kind.__module__.startswith("pysnnmed.")}
every = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
areas = pytest.mark.parametrize("kind", [pytest.param(k, id=n) for n, k in KINDS.items() if k().integral < math.inf])


def test_there_are_nine():
    assert len(KINDS) == 9


# ---------------------------------------------------------------------------------------------- the derivative


@every
@given(alpha=alphas, z=arrays_of)
def test_is_even_and_highest_at_the_threshold(kind, alpha, z):
    f, z = kind(alpha), np.array(z, np.float32)
    np.testing.assert_array_equal(f(z), f(-z))
    assert (f(z) <= f(np.zeros(1, np.float32))).all()
    assert (f(z) >= 0).all()


@every
@given(alpha=alphas, z=arrays_of)
def test_is_finite_and_keeps_type_and_shape(kind, alpha, z):
    surrogate = kind(np.float64(alpha))
    for dtype in (np.float32, np.float64):
        for shape in ((len(z),), (1, len(z), 1)):
            for function in (surrogate, surrogate.primitive):
                out = function(np.array(z, dtype).reshape(shape))
                assert out.dtype == dtype
                assert out.shape == shape
            assert np.isfinite(surrogate(np.array(z, dtype))).all()


@every
@given(alpha=alphas)
def test_has_its_peak_and_its_support(kind, alpha):
    f = kind(alpha)
    assert f(np.zeros(1))[0] == pytest.approx(f.peak, rel=1e-14)
    if np.isfinite(f.support):
        assert not f(np.array([1.000001 * f.support, 2 * f.support, 1e30])).any()
        assert f(np.array([0.99 * f.support])) > 0
    else:
        assert f(np.array([5 / alpha])) > 0


@every
def test_falls_away_from_the_threshold(kind):
    values = kind()(np.linspace(0, 5, 101))
    assert (np.diff(values) <= 0).all()


@areas
@given(alpha=alphas)
def test_has_its_integral(kind, alpha):
    f = kind(alpha)
    # substitute z = tan(u) / alpha to cover the whole line; midpoints avoid the ends
    n = 20_000
    u = (np.arange(n) + 0.5) / n * np.pi - np.pi / 2
    integral = (f(np.tan(u) / alpha) / np.cos(u) ** 2).mean() * np.pi / alpha
    assert integral == pytest.approx(f.integral, rel=3e-4)


# ------------------------------------------------------------------------------------------------ the primitive


@every
@given(alpha=alphas, z=st.lists(st.floats(-6, 6), min_size=1, max_size=20))
def test_is_the_derivative_of_its_primitive(kind, alpha, z):
    f, z, eps = kind(alpha), np.array(z) / alpha, 1e-6 / alpha
    smooth = (np.abs(z) > 2 * eps) & (np.abs(np.abs(z) - f.support) > 2 * eps)  # no kink between the two points
    slope = (f.primitive(z + eps) - f.primitive(z - eps)) / (2 * eps)
    np.testing.assert_allclose(slope[smooth], f(z)[smooth], rtol=0, atol=1e-7 * alpha + 1e-7)


@every
@given(alpha=alphas, z=arrays_of)
def test_the_primitive_is_one_half_at_the_threshold_and_odd_about_it(kind, alpha, z):
    f = kind(alpha)
    z = np.array([0.0, *z])
    np.testing.assert_allclose(f.primitive(z) - 0.5, 0.5 - f.primitive(-z), rtol=1e-12, atol=1e-12)
    assert f.primitive(z)[0] == 0.5


@areas
@given(alpha=alphas)
def test_the_primitive_rises_by_the_integral(kind, alpha):
    f = kind(alpha)
    for dtype in (np.float32, np.float64):
        far = np.finfo(dtype).max
        low, high = f.primitive(np.array([-far, far], dtype))
        assert high - low == pytest.approx(f.integral, rel=1e-6)


# ----------------------------------------------------------------------------------------------- the collection


def test_codes_of_the_compiled_formulas_differ():
    codes = [s.code for s in Surrogate.registry.values() if s.code >= 0]
    assert len(codes) == len(set(codes))


def test_a_child_does_not_inherit_the_compiled_formula(monkeypatch):
    monkeypatch.setattr(Surrogate, "registry", {})

    class Other(ATan):
        def __call__(self, z):
            return np.zeros_like(z)

    assert Other.code == -1
    assert Surrogate.registry == {"Other": Other}


@every
@pytest.mark.parametrize("alpha", [0, -1, np.nan, np.inf])
def test_refuses_a_sharpness_that_is_none(kind, alpha):
    with pytest.raises(ParameterError, match=rf"{kind.__name__}: alpha must be positive and finite, not {alpha}"):
        kind(alpha)


@pytest.mark.parametrize("name", EQUIVALENTS)
def test_equals_the_recorded_derivative(name, golden):
    with np.load(golden / "golden_neurons.npz") as recorded:
        out = EQUIVALENTS[name](recorded["surr/x"])
        np.testing.assert_allclose(out, recorded[f"surr/{name}/grad"], rtol=0, atol=4e-15)


def test_every_recorded_derivative_is_offered_or_refused_with_a_reason(golden):
    with np.load(golden / "golden_neurons.npz") as recorded:
        x = recorded["surr/x"]
        tables = {key[5:-5]: recorded[key] for key in recorded if key.startswith("surr/") and key.endswith("/grad")}
    assert len(tables) == 37
    assert tables.keys() == EQUIVALENTS.keys() | NOT_OFFERED.keys()
    assert not EQUIVALENTS.keys() & NOT_OFFERED.keys()
    for name, reason in NOT_OFFERED.items():
        table = tables[name]
        even = np.allclose(table, table[::-1], rtol=0, atol=1e-6)
        assert not ("not even" in reason and even), name
        assert not ("negative" in reason and table.min() >= 0), name
        if "infinite" in reason:  # |z| f(z) does not fall, so f falls no faster than 1 / |z|
            assert even, name
            assert (x * table)[-1] >= (x * table)[np.searchsorted(x, 1.5)], name


@pytest.mark.parametrize("scaled", [s for s in EQUIVALENTS.values() if not isinstance(s, Surrogate)])
def test_a_scaled_surrogate_keeps_the_type(scaled):
    assert scaled(np.zeros((2, 3), np.float32)).dtype == np.float32
