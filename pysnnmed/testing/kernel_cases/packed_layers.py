"""Layers of packed spikes: sources, geometries and dynamics of every kind, in numbers that make every order exact."""

import numpy as np
from hypothesis import strategies as st

from ...deploy.values import Real, Spikes
from ..programs import packed_values, read_outs, spiking_layers
from . import KernelCase


@st.composite
def _shapes(draw):
    """Small, or with a last axis that passes the blocks of compiled kernels."""
    ndim = draw(st.integers(1, 3))
    longest = draw(st.sampled_from([6, 6, 40]))
    return (*(draw(st.integers(1, 5)) for _ in range(ndim - 1)), draw(st.integers(1, longest)))


_channels = st.integers(1, 4) | st.sampled_from([8, 9, 16, 17, 32, 33, 64, 65, 130])


@st.composite
def _sources(draw, shape):
    """Values that a layer may read, by name: spikes of few steps, whole numbers."""
    steps, values = draw(st.integers(1, 4)), {}
    for i in range(draw(st.integers(1, 3))):
        levels = draw(st.sampled_from([1, 1, 2, 3]))
        values[f"s{i}"] = Spikes(draw(_channels), shape, draw(st.sampled_from([steps, steps, 2])), levels)
    half = tuple(max(1, n // 2) for n in shape)
    values["low"] = Spikes(draw(_channels), half, steps, draw(st.sampled_from([1, 2])))
    return {**values, "a": Real(draw(st.integers(1, 3)), shape, limit=draw(st.sampled_from([1, 16, 63])))}


def _written(draw, shape, dtype):
    """Nothing, or an array of another run's results to write to."""
    return np.full(shape, 1, dtype) if draw(st.booleans()) else None


def _analog(draw, value):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(-value.limit, value.limit + 1, value.array_shape).astype(np.float32)


@st.composite
def _spiking_layer(draw):
    values = draw(_sources(draw(_shapes())))
    layer = draw(spiking_layers(values).filter(lambda layer: layer is not None))
    drawn = {
        name: draw(packed_values(value)) if isinstance(value, Spikes) else _analog(draw, value)
        for name, value in values.items()
    }
    parts = (
        tuple(drawn[name] for name in part.sources) if part else ()
        for part in (layer.frames, layer.raised, layer.rates, layer.analog)
    )
    result = layer.result(values)
    return (layer, *parts, _written(draw, result.array_shape, result.dtype))


@st.composite
def _read_out(draw):
    values = draw(_sources(draw(_shapes())))
    operation = draw(read_outs(values))
    sources = tuple(draw(packed_values(values[name])) for name in operation.sources)
    return operation, sources, _written(draw, operation.result(values).array_shape, np.float32)


@st.composite
def _words(draw, smallest=1):
    shape = tuple(max(n, smallest) for n in draw(_shapes()))
    return draw(packed_values(Spikes(draw(_channels), shape, draw(st.integers(1, 4))))).words


@st.composite
def _pool(draw):
    size = draw(st.integers(1, 3))
    words, kind = draw(_words(smallest=size)), draw(st.sampled_from(["or", "sum"]))
    slots, *shape, count = words.shape
    slots *= size ** len(shape) if kind == "sum" else 1
    return words, size, kind, _written(draw, (slots, *(n // size for n in shape), count), words.dtype)


@st.composite
def _repeat(draw):
    words, size = draw(_words()), draw(st.integers(1, 3))
    slots, *shape, count = words.shape
    return words, size, _written(draw, (slots, *(n * size for n in shape), count), words.dtype)


@st.composite
def _layer_scratch(draw):
    layer, *_ = draw(_spiking_layer())
    return layer, (9,) * layer.geometry.ndim


TABLE_ADDS = 4  # of the results: the words, then the fields of Executed
CASES = {
    "spiking_layer": KernelCase(_spiking_layer(), out=5, own=(TABLE_ADDS,)),
    "read_out": KernelCase(_read_out(), out=2, own=(TABLE_ADDS,)),
    "pool_spikes": KernelCase(_pool(), out=3),
    "repeat_spikes": KernelCase(_repeat(), out=2),
    "layer_scratch": KernelCase(_layer_scratch(), own=(0,)),
}
