"""Convolution by pairs of planes and rows equals the direct sum, and is chosen where, and only where, it is faster."""

import importlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import kernels

if "numba" not in kernels.available():
    pytest.skip("needs numba", allow_module_level=True)

REFERENCE, NUMBA = kernels.load("numpy"), kernels.load("numba")
dense = importlib.import_module("pysnnmed.backends.numba_kernels.conv")
winograd = importlib.import_module("pysnnmed.backends.numba_kernels.winograd")
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]  # each is compiled, which takes seconds
ONES = (1, 1, 1)
SAME = (ONES, ONES, ONES, 1)  # stride, padding, dilation, groups: outputs of the size of the inputs


@pytest.fixture
def by_pairs(monkeypatch):
    """Take every convolution that can be done by pairs that way; what each of these said: whether all was finite."""
    said = []

    def sum_taps(*args):
        said.append(original(*args))
        return said[-1]

    original = winograd.sum_taps
    monkeypatch.setattr(winograd, "sum_taps", sum_taps)
    monkeypatch.setattr(dense, "PAIRED_TYPES", (np.float32, np.float64))
    monkeypatch.setattr(dense, "PAIRED_CHANNELS", 0)
    monkeypatch.setattr(dense, "PAIRED_OUTPUTS", 0)
    return said


@st.composite
def cases(draw, dtype):
    """x, weight, bias, g, and a geometry whose outputs and inputs are at least four planes and rows; whole numbers."""
    columns, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(3))
    span = (3, 3, dilation * (columns - 1) + 1)
    least = [max(n, k + n - 1 - 2 * p) for n, k, p in zip((4, 4, 1), span, padding, strict=True)]
    size = [n + draw(st.integers(0, most)) for n, most in zip(least, (4, 6, 60), strict=True)]
    batch, n_in, n_out = draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.sampled_from([1, 7, 8, 19]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = (batch, n_in, *size), (n_out, n_in, 3, 3, columns), (n_out,)
    x, weight, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in shapes)
    count = [n + 2 * p - k + 1 for n, p, k in zip(size, padding, span, strict=True)]
    g = rng.integers(-4, 5, (batch, n_out, *count)).astype(dtype)
    return x, weight, bias, g, (ONES, padding, (1, 1, dilation), 1)


def sums(module, x, weight, bias, g, geometry):
    """Output and gradient of the input."""
    return [
        module.conv_forward(x, weight, bias, *geometry),
        module.conv_backward_input(g, weight, x.shape, *geometry),
    ]


def equal(got, want):
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def normal_case(rng, size=(7, 10, 21), n_in=24, n_out=20, batch=2, dtype=np.float32):
    shapes = (batch, n_in, *size), (n_out, n_in, 3, 3, 3), (n_out,), (batch, n_out, *size)
    return *(rng.normal(size=shape).astype(dtype) for shape in shapes), SAME


@pytest.mark.parametrize("dtype", DTYPES)
def test_pairs_give_what_the_reference_gives(by_pairs, dtype):
    @given(cases(dtype), st.integers(1, 3), st.sampled_from([1, 3000, winograd.PANEL]))
    def examine(case, threads, panel):
        by_pairs.clear()
        with kernels.use_threads(threads, split_small=True), mock.patch.object(winograd, "PANEL", panel):
            got = sums(NUMBA, *case)
        assert by_pairs == [True, True]
        equal(got, sums(REFERENCE, *case))

    examine()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_that_of_the_direct_sum_but_for_a_small_factor(by_pairs, dtype, rng):
    x, weight, bias, g, geometry = normal_case(rng, dtype=dtype)
    exact = sums(REFERENCE, *(a.astype(np.longdouble) for a in (x, weight, bias, g)), geometry)
    paired = sums(NUMBA, x, weight, bias, g, geometry)
    assert by_pairs == [True, True]
    with mock.patch.object(dense, "_many_pairs", return_value=False):
        direct = sums(NUMBA, x, weight, bias, g, geometry)
    for a, b, want in zip(paired, direct, exact, strict=True):
        assert 0 < np.std(a - want) < 2 * np.std(b - want)
        assert np.abs(a - want).max() < 2 * np.abs(b - want).max()


def test_result_does_not_depend_on_the_threads(by_pairs, rng):
    case, results = normal_case(rng, batch=3), []
    for n in (1, 2, 5):
        with kernels.use_threads(n, split_small=True), mock.patch.object(winograd, "PANEL", 2**14):
            results.append(sums(NUMBA, *case))
    for other in results[1:]:
        equal(other, results[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spreads_as_in_the_reference(by_pairs, value, rng):
    shapes = (1, 3, 7, 9, 20), (4, 3, 3, 3, 3), (4,), (1, 4, 7, 9, 20)
    for i in range(4):
        arrays = [rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes]
        arrays[i][tuple(n // 2 for n in shapes[i])] = value
        by_pairs.clear()
        with np.errstate(invalid="ignore"):
            equal(sums(NUMBA, *arrays, SAME), sums(REFERENCE, *arrays, SAME))
        assert by_pairs == [i == 3, i in (0, 2)]  # the gradient reads neither x nor bias, the output not g


def test_differences_too_large_for_the_type_do_not_spoil_a_sum_that_is_not(by_pairs):
    x, weight = np.zeros((1, 1, 6, 6, 5), np.float32), np.zeros((1, 1, 3, 3, 3), np.float32)
    x[0, 0, 2], x[0, 0, 4], weight[0, 0, 1, 1, 1] = 3e38, -3e38, 1
    np.testing.assert_array_equal(NUMBA.conv_forward(x, weight, None, *SAME), x)
    assert by_pairs == [False]


def test_pairs_are_chosen_by_the_numbers_of_channels_and_of_outputs(rng):
    def chosen(n_in, n_out, *size, kernel=3, stride=1, groups=1, dilation=1, dtype=np.float32):
        x, weight = np.ones((2, n_in, *size), dtype), np.ones((n_out, n_in // groups, *[kernel] * len(size)))
        geometry = (stride,) * len(size), (dilation,) * len(size), (dilation,) * len(size), groups
        with mock.patch.object(winograd, "sum_taps", return_value=True) as taps:
            NUMBA.conv_forward(x, weight.astype(dtype), None, *geometry)
        return taps.called

    assert chosen(32, 32, 8, 32, 32)
    assert chosen(32, 8, 8, 32, 32)
    assert chosen(16, 16, 8, 32, 32)
    assert not chosen(8, 8, 8, 32, 32)
    assert not chosen(64, 3, 8, 32, 32)
    assert not chosen(32, 32, 8, 32, 32, dtype=np.float64)
    assert not chosen(32, 32, 8, 16, 16)
    assert not chosen(32, 32, 3, 64, 64)
    assert not chosen(32, 32, 64, 64)
    assert not chosen(32, 32, 8, 32, 32, kernel=2)
    assert not chosen(32, 32, 16, 64, 64, stride=2)
    assert not chosen(32, 32, 8, 32, 32, dilation=2)
    assert not chosen(64, 64, 8, 32, 32, groups=2)
