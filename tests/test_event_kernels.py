"""The event-driven kernels give exactly what the equations of their operations say, and count exactly what they did.

The equations are evaluated here once more, densely and tap by tap in int64 or float64. All numbers are chosen so that
sums are exact in float32 too: spikes then have to be equal bit for bit, also where a membrane lies on its threshold.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysnnmed.deploy.operations import Dynamics, Geometry, Raised, ReadOut, SpikingLayer, Synapses
from pysnnmed.deploy.values import pack, unpack
from pysnnmed.kernels import use_threads

pytest.importorskip("numba")

from pysnnmed.backends.packed import Packed

from pysnnmed.backends import numba_kernels as kernels

PARTS = ("frames", "raised", "rates", "analog")
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


def expected_layer(layer, frames, raised, rates, analog):
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
    seen, seen_below = ([values_of(bits, d.steps) for bits in part] for part in (frames, raised))
    for t in range(d.steps):
        current = still
        if layer.frames:
            x = np.concatenate([s[t] for s in seen]).astype(number)
            total = dense_conv(x, layer.frames.weight.astype(number), g)
            if layer.raised:
                x = np.concatenate([s[t] for s in seen_below]).astype(number)
                total = total + dense_conv(x, layer.raised.weight.astype(number), layer.raised.geometry)
            current = still + per_channel(layer.frames.factor.astype(number), n) * total
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
    extra = tuple(draw(st.integers(0, min(s - 1, 1))) for s in stride) if transposed else ()
    return Geometry(kernel, stride, padding, dilation, 1, transposed, extra)


@st.composite
def raised_geometries(draw, outputs):
    """A transposed convolution with outputs of this shape, and the shape of its inputs."""
    axes = []
    for m in outputs:
        s, p = draw(st.sampled_from((1, 2, 2, 3))), draw(st.integers(0, 1))
        n = draw(st.integers(1, max(1, -(-m // s))))
        usual = draw(st.booleans()) and m % 2 == 0
        axes.append((m // 2, 4, 2, 1) if usual else (n, max(1, m - (n - 1) * s + 2 * p), s, p))
    small, kernel, stride, padding = zip(*axes, strict=True)
    g = Geometry(kernel, stride, padding, (1,) * len(outputs), transposed=True)
    return (g, small) if g.output_shape(small) == tuple(outputs) else (None, small)


@st.composite
def shapes(draw, g):
    s = tuple(draw(st.integers(1, 12 if a == g.ndim - 1 else 7)) for a in range(g.ndim))
    while min(g.output_shape(s)) < 1:
        s = tuple(n + 1 for n in s)
    return s


def numbers(rng, shape, dtype, scale=None):
    """Weights: whole numbers, for float32 eighths."""
    if dtype == np.float32:
        return (rng.integers(-24, 25, shape) / 8).astype(np.float32)
    return (
        rng.integers(-127, 128, shape).astype(dtype)
        if scale is None
        else rng.integers(-scale, scale, shape).astype(dtype)
    )


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
    below, low = draw(raised_geometries(g.output_shape(shape))) if "frames" in names else (None, ())
    raised = None
    if below is not None and draw(st.booleans()):
        sizes = [draw(st.sampled_from(CHANNELS)) for _ in range(draw(st.integers(1, 2)))]
        inputs["raised"] = tuple(
            (rng.random((steps * draw(st.sampled_from((1, 1, 3))), c, *low)) < rate).astype(np.uint8) for c in sizes
        )
        weight = numbers(rng, (out_channels, sum(sizes), *below.kernel), kind)
        raised = Raised(tuple(f"raised{i}" for i in range(len(sizes))), weight, below)
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
    return SpikingLayer("layer", g, dynamics, bias, **synapses, raised=raised), inputs


def run(layer, inputs, **options):
    packed = {
        part: tuple(array if part == "analog" else Packed(pack(array), array.shape[1]) for array in arrays)
        for part, arrays in inputs.items()
    }
    parts = (packed.get(part, ()) for part in PARTS)
    return kernels.spiking_layer(layer, *parts, **options)


def check(layer, inputs, **options):
    words, executed = run(layer, inputs, **options)
    expected = expected_layer(layer, *(inputs.get(part, ()) for part in PARTS))
    assert np.array_equal(unpack(words, layer.out_channels), expected)
    assert np.array_equal(words, pack(expected))
    sources = [(bits, layer.geometry) for part in ("frames", "rates") for bits in inputs.get(part, ())]
    sources += [(bits, layer.raised.geometry) for bits in inputs.get("raised", ())]
    assert executed.events == sum(int(bits.sum()) for bits, _ in sources)
    assert executed.synops == sum(reached(bits, geometry, layer.out_channels) for bits, geometry in sources)
    assert executed.spikes == int(expected.sum())
    return words, executed


# -------------------------------------------------------------------------------------------------------- the layers


@given(layers(), st.sampled_from((1, 2, 3)))
def test_layers_give_what_their_equation_says_and_count_it(drawn, n_threads):
    with use_threads(n_threads, split_small=True):
        check(*drawn)


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


def conv_layer(weight, bound=50, steps=1, shape=(5, 6), rng=None, **options):
    """A layer of 3x3 weights [O, C, 3, 3] with thresholds at `bound`, and frames of all ones."""
    full = np.full(len(weight), bound, np.int32)
    zero = np.zeros_like(full)
    dynamics = Dynamics(steps, full[None], full, zero, zero, 1.0)
    g = Geometry((3, 3), (1, 1), (1, 1), (1, 1))
    synapses = Synapses(("a",), weight, np.ones_like(full))
    layer = SpikingLayer("layer", g, dynamics, zero, frames=synapses)
    return layer, {"frames": (np.ones((steps, weight.shape[1], *shape), np.uint8),)}


@pytest.mark.parametrize("total", [32767, 32768, -32767, -32768, 40000])
def test_sums_at_and_beyond_the_limits_of_int16_are_exact(total):
    sign = np.sign(total)
    weight = np.zeros((16, 32, 3, 3), np.int16)
    weight[:] = sign * (abs(total) // weight[0].size)
    weight[:, 0, 0, 0] += sign * (abs(total) - abs(int(weight[0].astype(int).sum())))
    assert (weight.reshape(16, -1).astype(int).sum(axis=1) == total).all()
    layer, inputs = conv_layer(weight, bound=max(total, 1))
    words, _ = check(layer, inputs)
    fired = unpack(words, 16)[0, 0, 1:-1, 1:-1]
    assert (fired == (total > 0)).all()  # the membrane is at its threshold, exactly


@pytest.mark.parametrize("sources", [(8, 8), (16, 3, 33), (64, 64), (130, 1)])
@pytest.mark.parametrize("levels", [1, 2])
def test_sources_of_different_words_and_levels_are_seen_side_by_side(sources, levels, rng):
    weight = rng.integers(-9, 10, (33, sum(sources), 3, 3)).astype(np.int8)
    layer, _ = conv_layer(weight, steps=2)
    arrays = [
        (rng.random((2 * (1 + i % 2 * (levels - 1)), c, 5, 6)) < 0.3).astype(np.uint8) for i, c in enumerate(sources)
    ]
    check(layer, {"frames": tuple(arrays)})


@given(layers())
def test_nothing_depends_on_the_number_of_threads(drawn):
    layer, inputs = drawn
    results = []
    for n in (1, 2, 5):
        with use_threads(n, split_small=True):
            results.append(run(layer, inputs))
    for words, executed in results[1:]:
        assert np.array_equal(words, results[0][0])
        assert executed == results[0][1]


def test_scratch_of_one_thread_serves_many(rng):
    layer, inputs = conv_layer(rng.integers(-9, 10, (16, 16, 3, 3)).astype(np.int8), shape=(40, 200))
    memory = np.empty(300_064, np.uint8)
    start = -memory.ctypes.data % 64
    with use_threads(4, split_small=True):
        check(layer, inputs, scratch=memory[start : start + 300_000])
        with pytest.raises(ValueError, match="scratch must have at least"):
            run(layer, inputs, scratch=memory[start : start + 640])


def test_grouped_layers_are_handed_over(rng):
    weight = rng.integers(-9, 10, (16, 8, 3, 3)).astype(np.int8)
    layer, _ = conv_layer(weight)
    grouped = Geometry((3, 3), (1, 1), (1, 1), (1, 1), groups=2)
    layer = SpikingLayer("layer", grouped, layer.dynamics, layer.bias, frames=layer.frames)
    bits = (rng.random((1, 16, 5, 6)) < 0.3).astype(np.uint8)
    words, executed = run(layer, {"frames": (bits,)})
    halves = [conv_layer(weight[i : i + 8])[0] for i in (0, 8)]
    expected = [run(half, {"frames": (bits[:, i : i + 8],)}) for half, i in zip(halves, (0, 8), strict=True)]
    assert np.array_equal(unpack(words, 16), np.concatenate([unpack(w, 8) for w, _ in expected], axis=1))
    assert executed.synops == sum(e.synops for _, e in expected)


def test_a_layer_of_more_taps_than_an_event_can_name_is_handed_over(rng):
    weight = rng.integers(-1, 2, (2, 700, 7, 7, 1)).astype(np.int8)
    layer, _ = conv_layer(np.zeros((2, 1, 3, 3), np.int8))
    g = Geometry((7, 7, 1), (1,) * 3, (3, 3, 0), (1,) * 3)
    layer = SpikingLayer("layer", g, layer.dynamics, layer.bias, frames=Synapses(("a",), weight, layer.bias + 1))
    check(layer, {"frames": ((rng.random((1, 700, 2, 2, 3)) < 0.1).astype(np.uint8),)})


@given(st.data())
@settings(max_examples=40)
def test_an_event_is_spread_over_the_sixteen_outputs_of_a_plane(data):
    """Four taps and stride 2, as a layer of its own and beside frames, over chunks that begin at any row."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n = data.draw(st.sampled_from((2, 3)))
    low = tuple(data.draw(st.integers(1, 9)) for _ in range(n))
    below = Geometry((4,) * n, (2,) * n, (1,) * n, (1,) * n, transposed=True)
    kind, outputs = data.draw(st.sampled_from((np.int8, np.int16, np.float32))), data.draw(st.sampled_from(CHANNELS))
    number = np.float32 if kind == np.float32 else np.int32
    thresholds, rest = numbers(rng, (1, outputs), number), np.zeros(outputs, number)
    dynamics = Dynamics(2, thresholds, rest + 1, rest, rest, leak=1.0)
    weight = numbers(rng, (outputs, 20, *below.kernel), kind)
    bits = (rng.random((4, 20, *low)) < data.draw(st.sampled_from((0.1, 0.9)))).astype(np.uint8)
    factor = np.ones(outputs, number)
    alone = SpikingLayer("layer", below, dynamics, rest, frames=Synapses(("a",), weight, factor))
    same = Geometry((3,) * n, (1,) * n, (1,) * n, (1,) * n)
    beside = Synapses(("b",), numbers(rng, (outputs, 3, *same.kernel), kind), factor)
    raised = Raised(("a",), weight, below)
    both = SpikingLayer("layer", same, dynamics, rest, frames=beside, raised=raised)
    others = (rng.random((2, 3, *below.output_shape(low))) < 0.3).astype(np.uint8)
    with use_threads(data.draw(st.sampled_from((1, 3))), split_small=True):
        check(alone, {"frames": (bits,)})
        check(both, {"frames": (others,), "raised": (bits,)})


# ------------------------------------------------------------------------------------------------------ the read-out


@given(st.data())
def test_read_outs_give_what_their_equation_says(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    g = data.draw(geometries())
    shape = data.draw(shapes(g))
    sizes = [data.draw(st.sampled_from(CHANNELS)) for _ in range(data.draw(st.integers(1, 2)))]
    n_out = data.draw(st.sampled_from((1, 2, 3, 12, 16, 65)))
    kind = data.draw(st.sampled_from((np.int8, np.int16, np.float32)))
    rate = data.draw(st.sampled_from((0.0, 0.13, 1.0)))
    arrays = [(rng.random((data.draw(st.integers(1, 6)), c, *shape)) < rate).astype(np.uint8) for c in sizes]
    weight = numbers(rng, (n_out, sum(sizes), *g.kernel), kind)
    factor, bias = (rng.normal(size=n_out).astype(np.float32) for _ in range(2))
    operation = ReadOut("head", g, Synapses(("a", "b")[: len(sizes)], weight, factor), bias)
    need = kernels.layer_scratch(operation, shape)
    memory = np.empty(need + 64, np.uint8)
    start = -memory.ctypes.data % 64
    packed = tuple(Packed(pack(bits), bits.shape[1]) for bits in arrays)
    with use_threads(data.draw(st.sampled_from((1, 2, 3))), split_small=True):
        values, executed = kernels.read_out(operation, packed, scratch=memory[start : start + need])
    x = np.concatenate([values_of(bits, 1)[0] for bits in arrays])
    sums = dense_conv(x.astype(np.float64), weight.astype(np.float64), g).astype(np.float32)  # exact
    assert np.array_equal(values, per_channel(factor, g.ndim) * sums + per_channel(bias, g.ndim))
    assert executed.events == sum(int(bits.sum()) for bits in arrays)
    assert executed.synops == sum(reached(bits, g, n_out) for bits in arrays)


@pytest.mark.parametrize("n_out", [3, 12])
def test_read_outs_of_few_and_many_channels_are_the_same_for_every_number_of_threads(n_out, rng):
    same = Geometry((3, 3), (1, 1), (1, 1), (1, 1))
    weight = rng.integers(-9, 10, (n_out, 4, 3, 3)).astype(np.int8)
    synapses = Synapses(("a",), weight, np.ones(n_out, np.float32))
    words = Packed(pack((rng.random((2, 4, 16, 16)) < 0.3).astype(np.uint8)), 4)
    found = []
    for n_threads in (1, 2, 3):
        with use_threads(n_threads, split_small=True):
            found.append(kernels.read_out(ReadOut("head", same, synapses, np.zeros(n_out, np.float32)), (words,))[0])
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


# ------------------------------------------------------------------------------------------- pooling and repetition


@given(st.data())
def test_pooling_and_repetition_move_bits(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    size, n = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.integers(size, 9)) for _ in range(n))
    channels, slots = data.draw(st.sampled_from(CHANNELS)), data.draw(st.integers(1, 4))
    bits = (rng.random((slots, channels, *shape)) < 0.2).astype(np.uint8)
    words = pack(bits)
    pooled = tuple(m // size for m in shape)
    windows = np.array([bits[(..., *at)] for at in window_slices(pooled, size)])  # [window, slots, C, *S']
    assert np.array_equal(unpack(kernels.pool_spikes(words, size, "or"), channels), windows.max(axis=0))
    by_slot = np.moveaxis(windows, 0, 1).reshape(-1, channels, *pooled)
    assert np.array_equal(unpack(kernels.pool_spikes(words, size, "sum"), channels), by_slot)
    repeated = bits
    for axis in range(2, 2 + n):
        repeated = repeated.repeat(size, axis=axis)
    out = np.empty((slots, *(m * size for m in shape), words.shape[-1]), words.dtype)
    assert kernels.repeat_spikes(words, size, out) is out
    assert np.array_equal(unpack(out, channels), repeated)


def window_slices(pooled, size):
    for place in itertools.product(range(size), repeat=len(pooled)):
        yield tuple(slice(p, p + (m - 1) * size + 1, size) for p, m in zip(place, pooled, strict=True))


def test_layers_of_one_name_keep_their_own_weights():
    """Prepared weights are remembered layer by layer: two programs may call different layers the same."""
    words = pack(np.ones((1, 4, 3, 3), bool))
    found = []
    for weight in (1, -1):
        layer = SpikingLayer(
            "conv",
            Geometry((1, 1), (1, 1), (0, 0), (1, 1)),
            Dynamics(1, np.ones((1, 2), np.int32), *(np.zeros(2, np.int32) for _ in range(3)), leak=1),
            np.zeros(2, np.int32),
            frames=Synapses(("x",), np.full((2, 4, 1, 1), weight, np.int8), np.ones(2, np.int32)),
        )
        found.append(kernels.spiking_layer(layer, (Packed(words, 4),), (), (), ())[1].spikes)
    assert found == [18, 0]


# ---------------------------------------------------------------------------------------------------- many spikes


@pytest.mark.parametrize(
    ("geometry", "shape"),
    [
        (Geometry((3, 3), (1, 1), (1, 1), (1, 1)), (48, 50)),
        (Geometry((2, 3), (2, 2), (1, 2), (1, 1)), (40, 61)),
        (Geometry((3, 4), (2, 2), (1, 1), (1, 1), 1, True), (40, 41)),
    ],
)
@pytest.mark.parametrize("outputs", [16, 40, 130])
@pytest.mark.parametrize("part", ["frames", "rates"])
def test_many_spikes_are_looked_up_in_tables_and_counted_alike(geometry, shape, outputs, part, rng):
    weight = rng.integers(-20, 21, (outputs, 24 + 16, *geometry.kernel)).astype(np.int8)
    layer, _ = conv_layer(weight[..., :1, :1], steps=2)
    synapses = Synapses(("a", "b"), weight, rng.integers(1, 3, outputs).astype(np.int32))
    layer = SpikingLayer("layer", geometry, layer.dynamics, layer.bias, **{part: synapses})
    arrays = tuple((rng.random((n, c, *shape)) < 0.9).astype(np.uint8) for n, c in ((2, 24), (4, 16)))
    _, executed = check(layer, {part: arrays})
    assert executed.table_adds > 0
    if part == "frames" and geometry.transposed:
        raised = Raised(("c",), weight[:, :24], geometry)
        same = Synapses(("a",), weight[:, :1, :1, :1], synapses.factor)
        outputs_at = geometry.output_shape(shape)
        one = Geometry((1, 1), (1, 1), (0, 0), (1, 1))
        layer = SpikingLayer("layer", one, layer.dynamics, layer.bias, frames=same, raised=raised)
        few = (rng.random((2, 1, *outputs_at)) < 0.1).astype(np.uint8)
        _, executed = check(layer, {"frames": (few,), "raised": arrays[:1]})
        assert executed.table_adds > 0


def test_few_spikes_are_added_one_by_one(rng):
    layer, _ = conv_layer(rng.integers(-20, 21, (16, 64, 3, 3)).astype(np.int8))
    bits = (rng.random((1, 64, 200, 200)) < 0.05).astype(np.uint8)
    _, executed = run(layer, {"frames": (bits,)})
    assert executed.events > 1 << 16
    assert executed.table_adds == 0
