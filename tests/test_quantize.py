"""Whole numbers for real ones: the bounds that `deploy.quantize` states, and thresholds that mean the same."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.deploy.lower.cells import NEURONS, membrane
from pysnnmed.deploy.operations import INT32
from pysnnmed.deploy.quantize import LIMITS, Unit, float_dynamics, quantize, whole_dynamics
from pysnnmed.errors import ParameterError, ProgramError
from pysnnmed.neurons import IF, ILIF, LIF
from pysnnmed.testing import strategies

limits = st.sampled_from([*LIMITS.values(), 1, 1000])
weights = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3)), elements=st.floats(-4, 4, width=32)
)
lowered_neurons = st.sampled_from(NEURONS).flatmap(strategies.neurons)


def per_channel(values, like):
    return values.reshape(-1, *(1,) * (like.ndim - 1))


# --- weights


@given(weight=weights, limit=limits)
def test_each_weight_is_off_by_at_most_half_a_scale(weight, limit):
    q, scale = quantize(weight, limit)
    assert q.shape == weight.shape
    assert np.abs(q.astype(int)).max() <= limit
    assert q.dtype == (np.int8 if limit <= 127 or np.abs(q.astype(int)).max() <= 127 else np.int16)
    error = np.abs(weight - q * per_channel(scale, weight))
    assert (error <= per_channel(scale, weight) / 2 * (1 + 1e-9)).all()
    peak = np.abs(weight.astype(np.float64)).max(axis=(1, 2))
    assert (scale[peak > 0] <= 2 * peak[peak > 0] / limit * (1 + 1e-9)).all()


@given(
    whole=hnp.arrays(np.int64, (3, 5), elements=st.integers(-127, 127)),
    power=hnp.arrays(np.int64, (3, 1), elements=st.integers(-12, 4)),
    limit=st.sampled_from(list(LIMITS.values())),
)
def test_dyadic_weights_stay_what_they_are(whole, power, limit):
    weight = (whole * 2.0**power).astype(np.float32)
    q, scale = quantize(weight, limit)
    np.testing.assert_array_equal(q * scale[:, None], weight)


@given(weight=weights, least=st.floats(1e-3, 10))
def test_scales_keep_above_a_least_one(weight, least):
    q, scale = quantize(weight, 127, least)
    assert (scale >= least).all()
    assert (np.abs(weight - q * per_channel(scale, weight)) <= per_channel(scale, weight) / 2 * (1 + 1e-9)).all()


def test_halves_go_to_the_even_number_and_zeros_have_a_scale():
    q, scale = quantize(np.array([[0.5, 1.5, 2.5, -0.5, 127], [0, 0, 0, 0, 0]]), 127)
    assert q.tolist() == [[0, 2, 2, 0, 127], [0] * 5]
    assert scale.tolist() == [1, 1]


def test_what_cannot_be_quantised_is_refused():
    with pytest.raises(ParameterError, match="limit"):
        quantize(np.ones((1, 1)), 40_000)
    with pytest.raises(ParameterError, match="finite"):
        quantize(np.array([[np.nan]]), 127)


# --- neurons


@st.composite
def units(draw, threshold):
    """Units for three channels, and the bits of the threshold in them."""
    bits = draw(st.integers(4, 24))
    parts = draw(st.integers(1, 5))
    largest = st.floats(0, 6).map(lambda x: parts * threshold * 2 ** (x - bits))
    current = np.array([draw(largest) for _ in range(3)])
    unit, whole = Unit.below(current, parts, threshold, bits)
    np.testing.assert_allclose(unit.potential(whole), current, rtol=1e-12)
    assert (whole % parts == 0).all()
    return unit, bits


@given(neuron=lowered_neurons, data=st.data())
def test_a_whole_potential_fires_exactly_as_the_neuron_does(neuron, data):
    cell = membrane(neuron)
    unit, bits = data.draw(units(cell.threshold))
    thresholds = whole_dynamics(cell, 2, unit, bits).thresholds.astype(np.int64)
    assert thresholds.shape == (cell.levels, 3)
    around = thresholds[None] + np.arange(-2, 3).reshape(-1, 1, 1)
    anywhere = data.draw(hnp.arrays(np.int64, (20, 1, 3), elements=st.integers(-INT32, INT32)))
    for n in (around.reshape(-1, 3), anywhere.reshape(-1, 3)):
        counts = (n[:, None] >= thresholds).sum(axis=1)
        np.testing.assert_array_equal(counts, cell.firing(unit.potential(n), cell.threshold))


@given(neuron=lowered_neurons, bits=st.integers(4, 24), data=st.data())
def test_thresholds_take_the_bits_they_are_given(neuron, bits, data):
    cell = membrane(neuron)
    unit, bits = data.draw(units(cell.threshold))
    theta = cell.threshold / unit.potential(np.ones(3))
    assert (theta > 2.0 ** (bits - 1) * (1 - 1e-9)).all()
    assert (theta <= 2.0**bits * (1 + 1e-9)).all()


@given(neuron=lowered_neurons, data=st.data())
def test_a_float_potential_fires_exactly_as_the_neuron_does(neuron, data):
    cell = membrane(neuron)
    thresholds = float_dynamics(cell, 2, 1).thresholds
    near = [thresholds, np.nextafter(thresholds, np.float32(np.inf)), np.nextafter(thresholds, np.float32(-np.inf))]
    anywhere = data.draw(hnp.arrays(np.float32, 20, elements=st.floats(-100, 100, width=32)))
    for h in (*near, anywhere[:, None]):
        counts = (h >= thresholds.T).sum(axis=1)
        np.testing.assert_array_equal(counts, cell.firing(h[:, 0], np.float32(cell.threshold)))


@given(neuron=lowered_neurons, data=st.data())
def test_whole_potentials_stay_within_the_stated_bound(neuron, data):
    """Against the same recurrence in real numbers that fires when the whole one does."""
    cell = membrane(neuron)
    unit, bits = data.draw(units(cell.threshold))
    steps, one = 6, unit.potential(np.ones(3))
    whole = whole_dynamics(cell, steps, unit, min(bits, 12))
    arriving = data.draw(hnp.arrays(np.int64, (steps, 3), elements=st.integers(-(2**bits), 2**bits)))
    bias = data.draw(st.floats(-1, 1)) * cell.threshold
    exact_leak = cell.beta * 2.0**whole.shift == whole.leak
    n, v = whole.initial.astype(np.int64), np.full(3, cell.initial)
    bound = one / 2
    for t in range(steps):
        if whole.leaks:
            n = n * whole.leak >> whole.shift
            bound = bound + one + (0 if exact_leak else np.abs(v) * 2.0 ** -(whole.shift + 1))
        n = n + unit.whole(bias) + arriving[t]
        v = cell.beta * v + bias + unit.potential(arriving[t])
        bound = bound + one / 2
        assert (np.abs(unit.potential(n) - v) <= bound * (1 + 1e-6) + 1e-9 * cell.threshold).all()
        s = (n >= whole.thresholds).sum(axis=0)
        if whole.hard:
            n, v = np.where(s > 0, whole.reset_to, n), np.where(s > 0, cell.reset_to, v)
            bound = np.where(s > 0, one / 2, bound)
        else:
            n, v = n - whole.amount.astype(np.int64) * s, v - cell.amount * s
            bound = bound + s * one / 2


def test_a_dyadic_leak_takes_no_more_bits_than_it_needs():
    unit, _ = Unit.below(np.array([0.01]), 1, 1.0, 12)
    for beta, leak, shift in [(1.0, 1, 0), (0.0, 0, 0), (0.75, 3, 2), (0.9, 3686, 12), (0.85, 3482, 12)]:  # of 4096
        found = whole_dynamics(membrane(LIF(beta=beta)), 2, unit, 12)
        assert (found.leak, found.shift) == (leak, shift)
    assert not whole_dynamics(membrane(IF()), 2, unit, 12).leaks


def test_thresholds_by_hand():
    """Counts of 1 and 2 at h / theta = 0.5 and 1.5; half to even asks for more than 0.5, and for 1.5."""
    unit, _ = Unit.below(np.array([1.0]), 1, 8.0, 3)

    def thresholds(neuron):
        return whole_dynamics(membrane(neuron), 1, unit, 3).thresholds[:, 0].tolist()

    assert thresholds(LIF(v_threshold=8.0)) == [8]
    assert thresholds(LIF(v_threshold=8.0, tie=">")) == [9]
    assert thresholds(ILIF(v_threshold=8.0, levels=3)) == [4, 12, 20]
    assert thresholds(ILIF(v_threshold=8.0, levels=3, rounding="half_even")) == [5, 12, 21]
    assert thresholds(ILIF(v_threshold=8.0, levels=3, rounding="floor")) == [8, 16, 24]


def test_potentials_that_int32_cannot_hold_are_refused():
    unit, _ = Unit.below(np.array([1.0]), 1, 1.0, 24)
    with pytest.raises(ProgramError, match="int32"):
        unit.whole(1e6)
