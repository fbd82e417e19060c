"""Three independent counts agree: the separable fan-out, a convolution with unit weights, an event loop."""

import contextvars
import math
import threading
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.conv import conv, conv_transpose
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.synops import (
    LayerCount,
    axis_fanout,
    axis_outputs,
    conv_int_macs,
    conv_macs,
    conv_synops,
    count_synops,
    fanout,
    is_spiking,
    matmul_synops,
    metering,
    packed_bytes,
    record,
    record_conv,
)
from pysnnmed.tensor import Tensor


def any_convolution(integer):
    """(input shape [T, C, *S], geometry) of a (transposed) convolution with an output; integer(low, high) draws."""
    ndim = integer(1, 3)

    def per_axis(low, high):
        return tuple(integer(low, high) for _ in range(ndim))

    groups, transposed = integer(1, 2), bool(integer(0, 1))
    kernel, stride, dilation = per_axis(1, 3), per_axis(1, 3), per_axis(1, 2)
    padding = tuple(integer(0, d * (k - 1)) for k, d in zip(kernel, dilation, strict=True))
    output_padding = tuple(integer(0, s - 1) if transposed else 0 for s in stride)
    shape = tuple(integer(d * (k - 1) + 1, 6) for k, d in zip(kernel, dilation, strict=True))
    geometry = dict(
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        out_channels=groups * integer(1, 3),
        groups=groups,
        transposed=transposed,
        output_padding=output_padding,
    )
    return (integer(1, 2), groups * integer(1, 2), *shape), geometry


@st.composite
def convolutions(draw):
    return any_convolution(lambda low, high: draw(st.integers(low, high)))


def spikes_of(shape, highest, seed):
    return np.random.default_rng(seed).integers(0, highest + 1, shape).astype(np.float32)


def sizes(shape, g):
    """Outputs along each axis."""
    fields = zip(shape, g["kernel"], g["stride"], g["padding"], g["dilation"], g["output_padding"], strict=True)
    if g["transposed"]:
        return tuple((n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, d, extra in fields)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in fields)


def loop_count(spikes, g, unit=True):
    """What a naive event loop counts: for each spike, each output channel, each tap, whether there is an output.

    `unit`: each unit of a spike k is an event of its own.
    """
    total, outputs = 0, sizes(spikes.shape[2:], g)
    channels = spikes.shape[1] // g["groups"]
    for step, channel, *where in np.argwhere(spikes):
        for o in range(g["out_channels"]):
            if o // (g["out_channels"] // g["groups"]) != channel // channels:
                continue
            for tap in product(*map(range, g["kernel"])):
                exists = True
                for i, k, s, p, d, n in zip(where, tap, g["stride"], g["padding"], g["dilation"], outputs, strict=True):
                    if g["transposed"]:
                        target = i * s - p + k * d
                    else:
                        target, between = divmod(i + p - k * d, s)
                        exists = exists and between == 0
                    exists = exists and 0 <= target < n
                if exists:
                    total += abs(int(spikes[(step, channel, *where)])) if unit else 1
    return total


def unit_convolution(spikes, g):
    """The sum of all outputs of our own convolution with all weights 1."""
    x, channels, outputs = Tensor(np.abs(spikes).astype(np.float64)), spikes.shape[1], g["out_channels"]
    options = {name: g[name] for name in ("stride", "padding", "dilation", "groups")}
    if g["transposed"]:
        weight = Tensor(np.ones((channels, outputs // g["groups"], *g["kernel"])))
        out = conv_transpose(x, weight, output_padding=g["output_padding"], **options)
    else:
        out = conv(x, Tensor(np.ones((outputs, channels // g["groups"], *g["kernel"]))), **options)
    assert out.shape[2:] == sizes(spikes.shape[2:], g)
    return round(float(out.data.sum()))


@given(case=convolutions(), highest=st.sampled_from([1, 1, 4]), seed=st.integers(0, 999))
def test_three_counts_agree(case, highest, seed):
    shape, geometry = case
    spikes = spikes_of(shape, highest, seed)
    fan = fanout(shape[2:], **geometry)
    exact = conv_synops(spikes, fan)
    assert exact == loop_count(spikes, geometry) == unit_convolution(spikes, geometry)
    assert exact == int((spikes.sum(axis=(0, 1)) * fan.dense()).sum())
    assert conv_int_macs(spikes, fan) == loop_count(spikes, geometry, unit=False)
    assert conv_int_macs(spikes, fan) == unit_convolution(spikes != 0, geometry)


@pytest.mark.slow
def test_three_counts_agree_on_a_thousand_layers():
    rng = np.random.default_rng(20261121)
    different, kinds = [], set()
    for seed in range(1000):
        shape, geometry = any_convolution(lambda low, high: int(rng.integers(low, high, endpoint=True)))
        spikes = spikes_of(shape, rng.choice([1, 4]), seed) * (rng.random(shape) < rng.choice([0.1, 0.5, 1.0]))
        fan = fanout(shape[2:], **geometry)
        units = conv_synops(spikes, fan), loop_count(spikes, geometry), unit_convolution(spikes, geometry)
        values = conv_int_macs(spikes, fan), unit_convolution(spikes != 0, geometry)
        if len(set(units)) + len(set(values)) != 2:
            different.append((shape, geometry, units, values))
        kinds.add((len(shape) - 2, geometry["transposed"], geometry["groups"]))
    assert len(kinds) == 12  # 1 to 3 axes, both directions, with and without groups
    assert different == []


def test_a_planted_border_is_found():
    """The three counts are not three names of one: a fan-out that forgets the border differs from the others."""
    geometry = dict(
        kernel=(3,), stride=(1,), padding=(1,), dilation=(1,), out_channels=2, groups=1, transposed=False,
        output_padding=(0,),
    )  # fmt: skip
    spikes = np.ones((1, 1, 5))
    without_border = int(spikes.sum()) * 3 * 2
    assert loop_count(spikes, geometry) == unit_convolution(spikes, geometry) == 26 != without_border


@given(case=convolutions())
def test_outputs_are_those_of_the_convolution(case):
    shape, g = case
    axes = zip(
        shape[2:], g["kernel"], g["stride"], g["padding"], g["dilation"],
        [g["transposed"]] * len(g["kernel"]), g["output_padding"], strict=True,
    )  # fmt: skip
    assert tuple(axis_outputs(*axis) for axis in axes) == sizes(shape[2:], g)


def test_packed_spikes_take_the_bits_of_their_levels():
    assert [packed_bytes(16, levels) for levels in (1, 3, 4, 8)] == [2, 4, 6, 8]
    assert packed_bytes(17) == math.ceil(17 / 8)
    assert packed_bytes(17, packed=False) == 17


@given(case=convolutions(), seed=st.integers(0, 999))
def test_dense_macs_are_the_synops_of_ones(case, seed):
    shape, geometry = case
    fan = fanout(shape[2:], **geometry)
    assert conv_macs(np.zeros(shape), fan) == conv_synops(np.ones(shape), fan)
    x = spikes_of(shape, 1, seed) * 0.37
    assert conv_macs(x, fan, skip_zeros=True) == conv_synops((x != 0).astype(np.int8), fan)


@given(case=convolutions(), seed=st.integers(0, 999))
def test_counts_add_up_and_silence_costs_nothing(case, seed):
    shape, geometry = case
    fan = fanout(shape[2:], **geometry)
    a, b = spikes_of(shape, 2, seed), spikes_of(shape, 2, seed + 1)
    assert conv_synops(a + b, fan) == conv_synops(a, fan) + conv_synops(b, fan)
    assert conv_synops(np.zeros(shape, bool), fan) == 0
    assert conv_synops(-a, fan) == conv_synops(a, fan)
    assert conv_synops(a / 3, fan, levels=3) == conv_synops(a, fan)
    assert conv_synops(a * np.float32(1 - 1e-6), fan) == conv_synops(a, fan)  # rounding, not truncation


def test_known_fanouts():
    np.testing.assert_array_equal(axis_fanout(5, 3, padding=1), [2, 3, 3, 3, 2])
    np.testing.assert_array_equal(axis_fanout(6, 3, stride=2, padding=1), [1, 2, 1, 2, 1, 1])
    np.testing.assert_array_equal(axis_fanout(3, 2, stride=2, transposed=True), [2, 2, 2])
    assert fanout((6, 6, 6), 2, 2, out_channels=16, transposed=True).dense()[3, 3, 3] == 8 * 16
    assert fanout((), (), out_channels=7).total() == 7
    with pytest.raises(ValueError, match="read-only"):
        axis_fanout(5, 3)[0] = 1


def test_totals_do_not_overflow():
    fan = fanout((224, 224, 224), 3, padding=1, out_channels=64)
    counts = np.full((224, 224, 224), 2, np.int64)
    assert conv_macs(np.broadcast_to(np.float32(1), (4, 64, 224, 224, 224)), fan) == 4 * 64 * 64 * 670**3
    assert fan.weigh(counts) == 2 * 64 * 670**3


def test_coincidences_of_a_product(rng):
    q, k = rng.integers(0, 2, (2, 5, 4)), rng.integers(0, 3, (2, 4, 6))
    assert matmul_synops(q, k) == (q @ k).sum()


def test_wrong_arguments_are_refused():
    with pytest.raises(ParameterError, match="multiple of groups"):
        fanout((4,), 3, out_channels=3, groups=2)
    with pytest.raises(ParameterError, match="one number or 2"):
        fanout((4, 4), (3, 3, 3))
    with pytest.raises(ShapeError, match="no output"):
        fanout((2,), 5)
    with pytest.raises(ParameterError, match="stride"):
        axis_fanout(4, 3, stride=0)
    with pytest.raises(ParameterError, match="whole numbers"):
        conv_synops(np.full((1, 1, 4), 0.5), fanout((4,), 3))
    with pytest.raises(ShapeError, match="spatial shape"):
        conv_synops(np.ones((1, 1, 5)), fanout((4,), 3))


# ---------------------------------------------------------------------------------------------------- the meter


def test_the_meter_counts_by_layer_and_blocks_nest():
    assert not metering()
    record("nobody", synops=1)
    with count_synops() as outer:
        record("conv1", events=2, synops=6, neurons=10, steps=4)
        with count_synops() as inner:
            record("conv1", events=1, synops=3, neurons=10, steps=4)
            record("conv2", macs=5)
        assert metering()
    assert not metering()
    assert outer["conv1"] == LayerCount("conv1", steps=4, events=3, synops=9, neurons=10)
    assert inner["conv1"].synops == 3
    assert [layer.name for layer in outer.report().layers] == ["conv1", "conv2"]


def test_the_meter_is_safe_to_share_between_threads():
    def work():
        for _ in range(500):
            record("layer", synops=1)

    with count_synops() as meter:
        contexts = [contextvars.copy_context() for _ in range(4)]
        threads = [threading.Thread(target=context.run, args=(work,)) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stranger = threading.Thread(target=work)  # an empty context: counts nothing here
        stranger.start()
        stranger.join()
    assert meter["layer"].synops == 2000


def test_the_meter_stops_after_an_error():
    with pytest.raises(RuntimeError), count_synops():
        raise RuntimeError
    assert not metering()


def test_record_conv_tells_spikes_from_real_values(rng):
    fan = fanout((6, 6), 3, padding=1, out_channels=4)
    spikes = (rng.random((3, 1, 2, 6, 6)) < 0.3).astype(np.float32)
    image = rng.random((1, 2, 6, 6)).astype(np.float32)
    record_conv("unmetered", image, fan)
    with count_synops() as meter:
        record_conv("stem", image, fan)
        record_conv("conv", spikes, fan, steps=3, bias_adds=7)
        record_conv("integer", spikes * 2 / 4, fan, steps=3, levels=4)
        record_conv("relu", spikes, fan, spiking=False)
    assert meter["stem"].macs == meter["stem"].dense_macs == conv_macs(image, fan)
    assert meter["stem"].synops == meter["stem"].dense_synops == 0
    conv = meter["conv"]
    assert conv.synops == conv_synops(spikes, fan)
    assert (conv.events, conv.sites, conv.bias_adds) == (spikes.sum(), spikes.size, 7)
    assert conv.rate == pytest.approx(spikes.mean())
    assert meter["integer"].synops == 2 * conv.synops
    assert meter["relu"].nonzero_macs == conv.synops < meter["relu"].macs
    assert is_spiking(spikes)
    assert not is_spiking(image)
