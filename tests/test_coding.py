"""Encoders and decoders: what a code keeps of an image, and by how much at most it is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pysnnmed import Tensor, decode, encode
from pysnnmed.errors import ParameterError

DTYPES = st.sampled_from([np.float32, np.float64])
steps = st.integers(1, 16)


@st.composite
def images(draw):
    """[B, C, *S] in [0, 1], with both ends."""
    dtype = draw(DTYPES)
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)) | st.just((1, 2, 3, 2)))
    return draw(arrays.arrays(dtype, shape, elements=st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.5, 1.0])))


seeds = st.integers(0, 2**32 - 1)
ENCODERS = {
    "direct": encode.direct,
    "bernoulli": lambda x, steps: encode.bernoulli(x, steps, np.random.default_rng(5)),
    "poisson": lambda x, steps: encode.poisson(x, steps, np.random.default_rng(5)),
    "latency": encode.latency,
    "phase": encode.phase,
    "delta": lambda x, steps: encode.delta(encode.direct(x, steps), 0.25, limit=1),
}
DECODERS = {
    "direct": decode.rate,
    "latency": decode.first_spike,
    "phase": decode.phase,
    "delta": lambda s: decode.delta(s, 0.25)[-1],
}
every = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


@every
@given(x=images(), steps=steps)
def test_time_comes_first_and_type_and_input_stay(encoder, x, steps):
    before = x.copy()
    s = encoder(x, steps)
    assert s.shape == (steps, *x.shape)
    assert s.dtype == x.dtype
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(s, encoder(x, steps))


@every
@given(steps=steps)
def test_darkness_is_silent(encoder, steps):
    assert not encoder(np.zeros((1, 2, 3), np.float32), steps).any()


@pytest.mark.parametrize("name", DECODERS)
@given(x=images(), steps=steps)
def test_decoding_is_wrong_by_no_more_than_the_bound(name, x, steps):
    bound = {"direct": 0, "latency": 1 / (2 * steps), "phase": 2.0**-steps, "delta": max(0.25, 1 - 0.25 * steps)}
    out = DECODERS[name](ENCODERS[name](x, steps))
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    np.testing.assert_allclose(out, x, rtol=0, atol=bound[name] + 4 * np.finfo(x.dtype).eps)


@pytest.mark.parametrize("name", ["direct", "latency", "phase"])
@given(x=images(), steps=steps)
def test_order_is_preserved(name, x, steps):
    x = np.sort(x.ravel()).reshape(1, -1)
    out = DECODERS[name](ENCODERS[name](x, steps))
    assert (np.diff(out) >= 0).all()


# -------------------------------------------------------------------------------------------------------- rate


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 0.5, 0.93, 1.0])
def test_rates_have_the_mean_and_the_variance_of_the_law(level, dtype, rng):
    x, n = np.full((40, 50), level, dtype), 25 * 2000
    s = encode.bernoulli(x, 25, rng)
    assert set(np.unique(s)) <= {0, 1}
    variance = level * (1 - level)
    assert abs(s.mean(dtype=float) - level) <= 5 * np.sqrt(variance / n)
    assert np.var(decode.rate(s), dtype=float) == pytest.approx(variance / 25, rel=0.2)
    s = encode.poisson(x, 25, rng, gain=2.0)
    assert abs(s.mean(dtype=float) - 2 * level) <= 5 * np.sqrt(2 * level / n)
    assert s.var(dtype=float) == pytest.approx(2 * level, rel=0.05)
    assert abs(decode.rate(s, gain=2.0).mean(dtype=float) - level) <= 5 * np.sqrt(level / (2 * n))


def test_zero_never_fires_even_where_chance_draws_exactly_zero():
    class Zeros:
        def random(self, shape, dtype):
            return np.zeros(shape, dtype)

    np.testing.assert_array_equal(encode.bernoulli(np.array([[0.0, 1e-9, 1.0]]), 1, Zeros()), [[[0, 1, 1]]])


@given(seed=seeds, steps=st.integers(2, 8))
def test_steps_are_drawn_one_after_the_other(seed, steps):
    x = np.random.default_rng(0).random((2, 3, 4))
    for encoder in (encode.bernoulli, encode.poisson):
        rng = np.random.default_rng(seed)
        parts = np.concatenate([encoder(x, 1, rng), encoder(x, steps - 1, rng)])
        np.testing.assert_array_equal(parts, encoder(x, steps, np.random.default_rng(seed)))


# ------------------------------------------------------------------------------------------------------ latency


@given(x=images(), steps=steps)
def test_latency_fires_at_most_once_and_the_brighter_the_earlier(x, steps):
    s = encode.latency(x, steps)
    assert set(np.unique(s)) <= {0, 1}
    assert (s.sum(axis=0) == (steps * x >= 0.5)).all()
    when = np.where(s.any(axis=0), s.argmax(axis=0), steps).ravel()
    assert (np.diff(when[np.argsort(x, axis=None, kind="stable")]) <= 0).all()


@given(steps=steps)
def test_latency_tells_one_intensity_more_than_it_has_steps(steps):
    x = np.arange(steps + 1) / steps
    np.testing.assert_array_equal(decode.first_spike(encode.latency(x, steps)), x)


def test_only_the_first_spike_counts():
    s = np.array([[0, 0, 0], [0, 2, -1], [0, 1, 0], [1, 0, 1]], np.int8)
    np.testing.assert_array_equal(decode.first_spike(s), [0.25, 0.75, 0.75])


# -------------------------------------------------------------------------------------------------------- phase


@given(dtype=DTYPES, steps=st.integers(1, 24), data=st.data())
def test_phase_keeps_binary_fractions_exactly(dtype, steps, data):
    k = data.draw(st.lists(st.integers(0, 2**steps - 1), min_size=1, max_size=8))
    x = (np.array(k) / 2**steps).astype(dtype)
    s = encode.phase(x, steps)
    assert set(np.unique(s)) <= {0, 1}
    np.testing.assert_array_equal(decode.phase(s), x)
    np.testing.assert_array_equal(decode.phase(s.astype(np.int8)), x)


def test_phase_refuses_more_digits_than_the_type_has():
    assert len(encode.phase(np.ones(1), 53)) == 53
    with pytest.raises(ParameterError, match="24 binary digits"):
        encode.phase(np.ones(1, np.float32), 25)


# -------------------------------------------------------------------------------------------------------- delta


@given(
    frames=arrays.arrays(np.float64, (7, 2, 3), elements=st.floats(-4, 4)),
    threshold=st.floats(0.01, 2),
)
def test_delta_follows_any_sequence_to_within_the_threshold(frames, threshold):
    s = encode.delta(frames, threshold)
    np.testing.assert_array_equal(s, np.round(s))
    assert (np.abs(frames - decode.delta(s, threshold)) <= threshold * (1 + 1e-12) + 1e-12).all()


@given(frames=arrays.arrays(np.float32, (9, 4), elements=st.floats(-1, 1, width=32)), limit=st.integers(1, 3))
def test_delta_sends_no_more_than_the_limit_and_only_towards_the_frame(frames, limit):
    s = encode.delta(frames, 0.125, limit)
    assert np.abs(s).max() <= limit
    before = frames - (decode.delta(s, 0.125) - 0.125 * s)
    assert (s * before >= 0).all()


def test_a_slow_change_is_not_lost():
    ramp = np.linspace(0, 1, 101)[:, None]  # every step is far below the threshold
    assert encode.delta(ramp, 0.1).sum() == pytest.approx(10, abs=1)
    np.testing.assert_allclose(decode.delta(encode.delta(ramp, 0.1), 0.1), ramp, atol=0.1 + 1e-12)


# ----------------------------------------------------------------------------------------------------- decoders


def test_linear_decoders_pass_gradients(rng):
    v = rng.random((4, 2, 3))
    cases = {
        "rate": (decode.rate, np.full(4, 1 / 4)),
        "last": (decode.membrane, np.array([0, 0, 0, 1])),
        "mean": (lambda v: decode.membrane(v, "mean"), np.full(4, 1 / 4)),
        "phase": (decode.phase, 2.0 ** -np.arange(1, 5)),
    }
    for decoder, weights in cases.values():
        tensor = Tensor(v, requires_grad=True)
        out = decoder(tensor)
        np.testing.assert_allclose(out.data, decoder(v), rtol=1e-15)
        np.testing.assert_allclose(out.data, np.tensordot(weights, v, axes=1), rtol=1e-15)
        out.sum().backward()
        np.testing.assert_allclose(tensor.grad, np.broadcast_to(weights[:, None, None], v.shape), rtol=1e-15)


# ------------------------------------------------------------------------------------------------------ refusals


@every
@pytest.mark.parametrize("x", [np.array([[-0.1]]), np.array([[1.1]]), np.array([[np.nan]])])
def test_what_is_no_intensity_is_refused(encoder, x):
    with pytest.raises(ParameterError, match=r"intensities must be in \[0, 1\]"):
        encoder(x, 4)


@every
def test_what_is_no_number_of_steps_or_type_is_refused(encoder):
    with pytest.raises(ParameterError, match="steps must be at least 1, not 0"):
        encoder(np.ones((1, 1)), 0)
    with pytest.raises(ParameterError, match="float32 or float64, not uint8"):
        encoder(np.ones((1, 1), np.uint8), 4)


def test_other_options_out_of_range_are_refused(rng):
    x = np.ones((2, 1, 1))
    with pytest.raises(ParameterError, match="gain"):
        encode.poisson(x, 2, rng, gain=0)
    with pytest.raises(ParameterError, match="threshold"):
        encode.delta(x, np.nan)
    with pytest.raises(ParameterError, match="limit"):
        encode.delta(x, 1, limit=0)
    with pytest.raises(ParameterError, match="finite"):
        encode.delta(x * np.inf, 1)
    with pytest.raises(ParameterError, match="'last' or 'mean', not 'max'"):
        decode.membrane(x, "max")
