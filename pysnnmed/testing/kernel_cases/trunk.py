"""Real numbers at every step, their neurons and attention of packed spikes, in numbers that make every order exact."""

import numpy as np
from hypothesis import strategies as st

from ...deploy.operations import Fire
from ...deploy.running import plan_of
from ...deploy.values import Real, Reals, Spikes
from ..programs import attentions, convolutions, firing, gates, packed_values
from . import KernelCase


@st.composite
def _shapes(draw):
    """Small, or with a last axis that passes the tiles of compiled kernels."""
    ndim = draw(st.integers(1, 3))
    return (
        *(draw(st.integers(1, 5)) for _ in range(ndim - 1)),
        draw(st.integers(1, draw(st.sampled_from([6, 6, 70])))),
    )


_channels = st.integers(1, 4) | st.sampled_from([8, 9, 16, 17, 32, 33, 64, 65])


def _written(draw, shape, dtype):
    """Nothing, or an array of another run's results to write to."""
    return np.full(shape, 1, dtype) if draw(st.booleans()) else None


def _reals(draw, value):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (rng.integers(-3, 4, value.array_shape) / 4).astype(np.float32)


@st.composite
def _convolve_spikes(draw):
    shape, steps = draw(_shapes()), draw(st.integers(1, 3))
    values = {n: Spikes(draw(_channels), shape, steps, draw(st.sampled_from([1, 1, 2]))) for n in "ab"}
    operation = draw(convolutions(values, list(values)))
    sources = tuple(draw(packed_values(values[name])) for name in operation.sources)
    return operation, sources, steps, _written(draw, operation.result(values).array_shape, np.float32)


@st.composite
def _convolve_reals(draw):
    shape, steps = draw(_shapes()), draw(st.integers(1, 3))
    values = {n: Reals(draw(_channels), shape, steps) for n in "ab"}
    operation = draw(convolutions(values, list(values)))
    sources = tuple(_reals(draw, values[name]) for name in operation.sources)
    return operation, sources, _written(draw, operation.result(values).array_shape, np.float32)


@st.composite
def _fire_currents(draw):
    shape, steps = draw(_shapes()), draw(st.integers(1, 3))
    value = Reals(draw(_channels), shape, draw(st.sampled_from([steps, 1])))
    neurons = draw(firing(value.channels, steps))
    fired = Fire("fire", "x", neurons).result({"x": value if value.steps == steps else Real(value.channels, shape)})
    return neurons, _reals(draw, value), _written(draw, fired.array_shape, fired.dtype)


@st.composite
def _attend(draw):
    value = Spikes(draw(_channels), draw(_shapes()), draw(st.integers(1, 3)))
    operation = draw(attentions(("q", "k", "v"), value))
    trains = (draw(packed_values(value)) for _ in "qkv")
    return operation, *trains, *plan_of(operation), _written(draw, _result(operation, value).array_shape, np.float32)


@st.composite
def _gate(draw):
    value = Spikes(draw(_channels), draw(_shapes()), draw(st.integers(1, 3)))
    operation = draw(gates(("q", "k", "v"), value))
    *counted, passed = (draw(packed_values(value)) for _ in operation.sources)
    return operation, tuple(counted), passed, _written(draw, value.array_shape, value.dtype)


def _result(operation, value):
    return operation.result(dict.fromkeys("qkv", value))


@st.composite
def _convolve_scratch(draw):
    operation, sources, *_ = draw(_convolve_reals())
    return operation, sources[0].shape[2:], tuple(x.shape[1] for x in sources), draw(st.booleans())


@st.composite
def _attend_scratch(draw):
    operation, query, *_ = draw(_attend())
    return operation, query.words.shape[1:-1], query.channels


CASES = {
    "convolve_spikes": KernelCase(_convolve_spikes(), out=3),
    "convolve_reals": KernelCase(_convolve_reals(), out=2),
    "fire_currents": KernelCase(_fire_currents(), out=2),
    "attend": KernelCase(_attend(), out=6),
    "gate": KernelCase(_gate(), out=3),
    "convolve_scratch": KernelCase(_convolve_scratch(), own=(0,)),
    "attend_scratch": KernelCase(_attend_scratch(), own=(0,)),
}
