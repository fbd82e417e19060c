"""Convolution by events equals the reference whatever is zero, and is chosen where, and only where, it is faster."""

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
sparse = importlib.import_module("pysnnmed.backends.numba_kernels.sparse_conv")

# kernel, padding, dilation; all with the same plane of the kernel, because each plane is compiled
GEOMETRIES = [
    ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((1, 3, 3), (0, 0, 2), (1, 1, 1)),
    ((3, 3, 3), (3, 0, 4), (2, 1, 1)),
    ((3, 3), (1, 1), (1, 1)),
]
# Each is compiled, which takes seconds: two vectors of outputs, the second not full, in every run
COMPILED = [
    (np.float32, [17, 29]),
    pytest.param(np.float32, [1, 16], marks=pytest.mark.slow),
    pytest.param(np.float64, [1, 16, 29], marks=pytest.mark.slow),
]
VALUES = {
    "spikes": lambda rng, shape: np.ones(shape),
    "counts": lambda rng, shape: rng.integers(1, 5, shape),
    "signed": lambda rng, shape: rng.integers(-4, 5, shape),
}


@pytest.fixture
def by_events(monkeypatch):
    """Take every convolution that can be done by events that way; the calls of the kernels that work by events."""
    calls = []

    def counted(name):
        function = getattr(dense, name)

        def call(*args):
            calls.append(name)
            return function(*args)

        return call

    monkeypatch.setattr(dense, "SMALLEST", 0)
    monkeypatch.setattr(dense, "VECTOR_BYTES", 1)
    monkeypatch.setattr(dense, "EVENTS_OF_SUM", 1.0)
    monkeypatch.setattr(dense, "EVENTS_BESIDE_PAIRS", 1.0)
    monkeypatch.setattr(dense, "EVENTS_OF_GRADIENT", 1.0)
    for name in ("sum_taps", "sum_positions"):
        monkeypatch.setattr(dense, name, counted(name))
    return calls


@st.composite
def cases(draw, dtype, outputs):
    """Mostly zeros x, weight, bias, mostly zeros g, and the geometry: whole numbers, so that sums are exact."""
    kernel, padding, dilation = draw(st.sampled_from(GEOMETRIES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    size = [draw(st.integers(a, max(a, b))) for a, b in zip(low, [7] * (len(kernel) - 1) + [40], strict=True)]
    batch, n_in, n_out = draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.sampled_from(outputs))
    geometry = ((1,) * len(kernel), padding, dilation, 1)

    def numbers(*shape):
        rate = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
        kind = draw(st.sampled_from(sorted(VALUES)))
        return (VALUES[kind](rng, shape) * (rng.random(shape) < rate)).astype(dtype)

    x = numbers(batch, n_in, *size)
    weight = rng.integers(-4, 5, (n_out, n_in, *kernel)).astype(dtype)
    bias = rng.integers(-4, 5, n_out).astype(dtype)
    g = numbers(*REFERENCE.conv_forward(x, weight, bias, *geometry).shape)
    return x, weight, bias, g, geometry


def calls_of(module, x, weight, bias, g, geometry):
    """Output and both gradients."""
    return [
        module.conv_forward(x, weight, bias, *geometry),
        module.conv_backward_input(g, weight, x.shape, *geometry),
        module.conv_backward_weight(g, x, weight.shape[2:], *geometry),
    ]


@pytest.mark.parametrize(("dtype", "outputs"), COMPILED)
def test_events_give_what_the_reference_gives(by_events, dtype, outputs):
    @given(cases(dtype, outputs), st.integers(1, 3))
    def examine(case, threads):
        by_events.clear()
        with kernels.use_threads(threads, split_small=True):
            got = calls_of(NUMBA, *case)
        assert set(by_events) == {"sum_taps", "sum_positions"}
        for a, b in zip(got, calls_of(REFERENCE, *case), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)

    examine()


def test_result_does_not_depend_on_the_threads(by_events, rng):
    x = (rng.random((3, 6, 9, 8, 21)) < 0.2).astype(np.float32)
    weight, bias = rng.normal(size=(20, 6, 3, 3, 3)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    g = rng.normal(size=(3, 20, 9, 8, 21)).astype(np.float32)
    geometry = ((1,) * 3, (1,) * 3, (1,) * 3, 1)
    results = []
    for n in (1, 2, 5):
        with kernels.use_threads(n, split_small=True):
            results.append(calls_of(NUMBA, x, weight, bias, g, geometry))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_small_frames_and_few_rows_at_a_time_change_nothing(by_events, monkeypatch, rng):
    x = rng.integers(-1, 2, (2, 5, 4, 13, 17)).astype(np.float32)
    weight, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((19, 5, 3, 3, 3), (19,)))
    g = rng.integers(-1, 2, (2, 19, 4, 13, 17)).astype(np.float32)
    case = (x, weight, bias, g, ((1,) * 3, (1,) * 3, (1,) * 3, 1))
    whole = calls_of(NUMBA, *case)
    for name, size in {"FRAME": 4000, "NEAR": 1, "PARTS": 3}.items():
        monkeypatch.setattr(sparse, name, size)
    for a, b in zip(calls_of(NUMBA, *case), whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_planes_of_a_kernel_too_large_for_one_window_are_split(by_events, rng):
    x = rng.integers(-1, 2, (1, 2, 20, 33)).astype(np.float32)
    weight, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((12, 2, 7, 7), (12,)))
    g = rng.integers(-1, 2, (1, 12, 20, 33)).astype(np.float32)
    case = (x, weight, bias, g, ((1, 1), (3, 3), (1, 1), 1))
    for a, b in zip(calls_of(NUMBA, *case), calls_of(REFERENCE, *case), strict=True):
        np.testing.assert_array_equal(a, b)
    assert by_events == ["sum_taps", "sum_taps", "sum_positions"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spreads_as_in_the_reference(by_events, value, rng):
    case = (
        rng.integers(1, 3, (1, 3, 7, 9, 20)),
        rng.integers(1, 5, (20, 3, 3, 3, 3)),
        np.zeros(20),
        np.ones((1, 20, 7, 9, 20)),
    )
    for i in (0, 1, 3):  # x, weight, g
        x, weight, bias, g = (a.astype(np.float32) for a in case)
        x[..., ::2] = 0
        (x, weight, bias, g)[i][(0, 1, *[1 if i == 1 else 4] * 3)] = value
        arguments = (x, weight, bias, g, ((1,) * 3, (1,) * 3, (1,) * 3, 1))
        with np.errstate(invalid="ignore"):
            for a, b in zip(calls_of(NUMBA, *arguments), calls_of(REFERENCE, *arguments), strict=True):
                np.testing.assert_array_equal(a, b)


def chosen(x, g, groups=1, dilation=1, stride=1):
    """Which of the kernels by events run in forward, gradient of the input and gradient of the weight."""
    ndim = x.ndim - 2
    weight = np.ones((g.shape[1], x.shape[1] // groups, *[3] * ndim), x.dtype)
    geometry = ((stride,) * ndim, (dilation,) * ndim, (dilation,) * ndim, groups)
    kinds = []
    for kernel, args in (
        (NUMBA.conv_forward, (x, weight, None)),
        (NUMBA.conv_backward_input, (g, weight, x.shape)),
        (NUMBA.conv_backward_weight, (g, x, weight.shape[2:])),
    ):
        with mock.patch.object(dense, "sum_taps") as taps, mock.patch.object(dense, "sum_positions") as positions:
            positions.return_value = np.zeros(weight.shape)
            kernel(*args, *geometry)
        kinds.append("taps" if taps.called else "positions" if positions.called else "dense")
    return kinds


def test_events_are_chosen_by_the_fraction_that_is_not_zero(rng):
    def at(rate, *shape):
        return (rng.random(shape) < rate).astype(np.float32)

    size, size_2 = (4, 32, 64, 64), (4, 32, 32, 32)
    assert chosen(at(0.1, *size), at(1.0, *size)) == ["taps", "dense", "positions"]
    assert chosen(at(0.4, *size), at(0.1, *size)) == ["dense", "taps", "positions"]
    assert chosen(at(0.28, *size), at(0.28, *size)) == ["taps", "taps", "positions"]
    assert chosen(at(0.9, *size), at(0.9, *size)) == ["dense"] * 3
    assert chosen(at(0.1, *size), at(0.1, *size), groups=2) == ["dense"] * 3
    assert chosen(at(0.1, *size), at(0.1, *size), dilation=2) == ["dense"] * 3
    assert chosen(at(0.1, *size), at(0.1, *size_2), stride=2) == ["dense"] * 3
    assert chosen(at(0.1, 1, 32, 9, 9), at(0.1, 1, 32, 9, 9)) == ["dense"] * 3  # over before the events are listed
    assert chosen(at(0.1, 4, 96, 64, 64), at(0.1, 4, 3, 64, 64)) == ["dense", "taps", "dense"]  # 3 outputs: no vector


def test_fewer_events_are_worth_it_where_planes_and_rows_can_be_paired(rng):
    shape = (1, 32, 8, 32, 32)
    for dtype, at_28_percent in ((np.float32, "dense"), (np.float64, "taps")):
        many, few = ((rng.random(shape) < rate).astype(dtype) for rate in (0.28, 0.15))
        assert chosen(many, many) == [at_28_percent, at_28_percent, "positions"]
        assert chosen(few, few) == ["taps", "taps", "positions"]
