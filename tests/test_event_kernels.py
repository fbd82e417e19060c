"""The event-driven kernels give exactly what the equations of their operations say, and count exactly what they did.

The equations are evaluated here once more, densely and tap by tap in int64 or float64. All numbers are chosen so that
sums are exact in float32 too: spikes then have to be equal bit for bit, also where a membrane lies on its threshold.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.deploy.operations import Dynamics, Geometry, ReadOut, SpikingLayer, Synapses
from pysnnmed.deploy.values import pack, unpack

pytest.importorskip("numba")

from pysnnmed.backends import numba_kernels as kernels
from pysnnmed.backends import threads
from pysnnmed.backends.packed import Packed

CHANNELS = (1, 3, 8, 16, 24, 32, 33, 64, 65, 128, 130)

# ------------------------------------------------------------------------------------------------- the equations again


def dense_conv(x, weight, g):
    """x [C, *S], weight [O, C, *K] -> [O, *S'], by adding shifted inputs."""
    axes = range(g.ndim)
    out_shape = g.output_shape(x.shape[1:])
    if g.transposed:
        full = [(x.shape[1 + a] - 1) * g.stride[a] + g.dilation[a] * (g.kernel[a] - 1) + 1 for a in axes]
        full = [n + g.output_padding[a] for a, n in enumerate(full)]
        total = np.zeros((len(weight), *full), x.dtype)
        for k in itertools.product(*map(range, g.kernel)):
            to = tuple(
                slice(k[a] * g.dilation[a], k[a] * g.dilation[a] + (x.shape[1 + a] - 1) * g.stride[a] + 1, g.stride[a])
                for a in axes
            )
            total[(slice(None), *to)] += np.tensordot(weight[(..., *k)], x, 1)
        return total[(slice(None), *(slice(g.padding[a], g.padding[a] + out_shape[a]) for a in axes))]
    padded = np.pad(x, [(0, 0), *((p, p) for p in g.padding)])
    total = np.zeros((len(weight), *out_shape), x.dtype)
    for k in itertools.product(*map(range, g.kernel)):
        seen = tuple(
            slice(k[a] * g.dilation[a], k[a] * g.dilation[a] + (out_shape[a] - 1) * g.stride[a] + 1, g.stride[a])
            for a in axes
        )
        total += np.tensordot(weight[(..., *k)], padded[(slice(None), *seen)], 1)
    return total


def values_of(bits, steps):
    """Spikes [slots, C, *S] -> values [T, C, *S] int64."""
    return bits.reshape(steps, -1, *bits.shape[1:]).sum(axis=1, dtype=np.int64)


def per_channel(row, ndim):
    return row.reshape(row.shape + (1,) * ndim)


def expected_layer(layer, frames, rates, analog):
    """Spikes [T * D, O, *S'] and the currents."""
    number = np.int64 if layer.integer else np.float64
    g, d = layer.geometry, layer.dynamics
    n = g.ndim
    still = per_channel(layer.bias.astype(number), n)
    if layer.rates:
        x = np.concatenate([values_of(bits, 1)[0] for bits in rates]).astype(number)
        still = still + per_channel(layer.rates.factor.astype(number), n) * dense_conv(
            x, layer.rates.weight.astype(number), g
        )
    if layer.analog:
        x = np.concatenate(analog).astype(number)
        still = still + per_channel(layer.analog.factor.astype(number), n) * dense_conv(
            x, layer.analog.weight.astype(number), g
        )
    thresholds, amount, initial, reset_to = (per_channel(a.astype(number), n) for a in d.arrays.values())
    v, spikes = initial, []
    seen = [values_of(bits, d.steps) for bits in frames]
    for t in range(d.steps):
        current = still
        if layer.frames:
            x = np.concatenate([s[t] for s in seen]).astype(number)
            current = still + per_channel(layer.frames.factor.astype(number), n) * dense_conv(
                x, layer.frames.weight.astype(number), g
            )
        h = ((v * int(d.leak)) >> d.shift) + current if layer.integer else v * d.leak + current
        levels = np.stack([h >= threshold for threshold in thresholds])
        s = levels.sum(axis=0)
        v = np.where(s > 0, reset_to, h) if d.hard else h - amount * s
        spikes.append(levels)
    return np.concatenate(spikes)


def reached(bits, g, outputs):
    """Weights added for spikes [slots, C, *S]."""
    x = bits.sum(axis=(0, 1), dtype=np.int64)[None]
    return int(dense_conv(x, np.ones((outputs, 1, *g.kernel), np.int64), g).sum())


# ----------------------------------------------------------------------------------------------------------- drawing


@st.composite
def geometries(draw, ndim=None):
    n = ndim or draw(st.integers(1, 3))

    def axes(choices):
        return tuple(draw(st.sampled_from(choices)) for _ in range(n))

    if draw(st.booleans()):  # what most layers have
        kernel = tuple(draw(st.sampled_from((1, 3))) for _ in range(n - 1))
        padding = tuple(k // 2 for k in kernel)
        return Geometry((*kernel, 3), (1,) * n, (*padding, 1), (1,) * n)
    transposed = draw(st.booleans())
    kernel, stride, dilation = axes((1, 2, 3, 4)), axes((1, 2, 3)), axes((1, 2))
    padding = axes((0, 1, 2))
    extra = axes((0, 1)) if transposed else ()
    return Geometry(kernel, stride, padding, dilation, 1, transposed, extra)


@st.composite
def shapes(draw, g):
    def shape():
        return tuple(draw(st.integers(1, 7)) for _ in range(g.ndim - 1)) + (draw(st.integers(1, 12)),)

    s = shape()
    while min(g.output_shape(s)) < 1:
        s = tuple(n + 1 for n in s)
    return s


def numbers(rng, shape, dtype, scale=None):
    """Weights: whole numbers, for float32 eighths."""
    if dtype == np.float32:
        return (rng.integers(-24, 25, shape) / 8).astype(np.float32)
    return rng.integers(-127, 128, shape).astype(dtype) if scale is None else rng.integers(-scale, scale, shape).astype(dtype)


@st.composite
def layers(draw):
    """A layer and what its parts see: (layer, {part: arrays})."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    g = draw(geometries())
    shape = draw(shapes(g))
    kind = draw(st.sampled_from((np.int8, np.int8, np.int16, np.float32)))
    whole = kind != np.float32
    number = np.int32 if whole else np.float32
    out_channels = draw(st.sampled_from(CHANNELS))
    steps, depth = draw(st.integers(1, 5)), draw(st.sampled_from((1, 1, 1, 2, 4)))
    rate = draw(st.sampled_from((0.0, 0.05, 0.13, 0.5, 1.0)))
    names = draw(st.sampled_from((["frames"], ["frames"], ["rates"], ["analog"], ["frames", "rates", "analog"])))
    inputs, synapses = {}, {}
    for part in names:
        sizes = [draw(st.sampled_from(CHANNELS)) for _ in range(draw(st.integers(1, 2)))]
        if part == "analog":
            inputs[part] = tuple(rng.integers(-9, 10, (c, *shape)).astype(np.float32) for c in sizes)
        else:
            arrays = []
            for c in sizes:
                slots = steps * draw(st.sampled_from((1, 1, 3))) if part == "frames" else draw(st.integers(1, 6))
                arrays.append((rng.random((slots, c, *shape)) < rate).astype(np.uint8))
            inputs[part] = tuple(arrays)
        factor = numbers(rng, out_channels, number, 3) if whole else rng.choice([0.5, 1, 2], out_channels)
        if draw(st.booleans()):
            factor[:] = 1
        weight = numbers(rng, (out_channels, sum(sizes), *g.kernel), kind)
        synapses[part] = Synapses(tuple(f"{part}{i}" for i in range(len(sizes))), weight, factor.astype(number))
    bias = numbers(rng, out_channels, number, 200)
    # thresholds that sums reach exactly, again and again: multiples of what the sums are multiples of
    step = rng.integers(1, 60, out_channels) if whole else rng.integers(1, 20, out_channels) / 8
    thresholds = step * np.arange(1, depth + 1)[:, None]
    shift = draw(st.sampled_from((0, 1, 4))) if whole else 0
    leak = float(draw(st.integers(0, 2**shift))) if whole else draw(st.sampled_from((1.0, 0.5, 0.0)))
    dynamics = Dynamics(
        steps,
        thresholds.astype(number),
        (step * draw(st.sampled_from((0, 1, 2)))).astype(number),
        numbers(rng, out_channels, number, 50),
        numbers(rng, out_channels, number, 50),
        leak,
        shift,
        draw(st.booleans()),
    )
    return SpikingLayer("layer", g, dynamics, bias, **synapses), inputs


def run(layer, inputs, **options):
    packed = {
        part: tuple(array if part == "analog" else Packed(pack(array), array.shape[1]) for array in arrays)
        for part, arrays in inputs.items()
    }
    parts = (packed.get(part, ()) for part in ("frames", "rates", "analog"))
    return kernels.spiking_layer(layer, *parts, **options)


def check(layer, inputs, **options):
    words, executed = run(layer, inputs, **options)
    expected = expected_layer(layer, *(inputs.get(part, ()) for part in ("frames", "rates", "analog")))
    assert np.array_equal(unpack(words, layer.out_channels), expected)
    assert np.array_equal(words, pack(expected))
    sources = [bits for part in ("frames", "rates") for bits in inputs.get(part, ())]
    assert executed.events == sum(int(bits.sum()) for bits in sources)
    assert executed.synops == sum(reached(bits, layer.geometry, layer.out_channels) for bits in sources)
    assert executed.spikes == int(expected.sum())
    return words, executed


# -------------------------------------------------------------------------------------------------------- the layers


@given(layers(), st.sampled_from((1, 2, 3)))
def test_layers_give_what_their_equation_says_and_count_it(drawn, n_threads):
    token = threads.limit.set(n_threads)
    try:
        check(*drawn)
    finally:
        threads.limit.reset(token)


@given(layers())
def test_scratch_of_the_announced_size_is_enough_and_results_go_where_they_shall(drawn):
    layer, inputs = drawn
    shape = next(iter(inputs.values()))[0].shape[2 if "analog" not in inputs or len(inputs) > 1 else 1 :]
    need = kernels.layer_scratch(layer, shape)
    memory = np.full(need + 64, 0xA5, np.uint8)
    start = -memory.ctypes.data % 64
    plain, _ = run(layer, inputs)
    out = np.full_like(plain, 0x5A)
    words, _ = check(layer, inputs, out=out, scratch=memory[start : start + need])
    assert words is out
    assert (memory[:start] == 0xA5).all()
    assert (memory[start + need :] == 0xA5).all()
