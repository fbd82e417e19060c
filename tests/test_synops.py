"""Three independent counts agree: the separable fan-out, a convolution with unit weights, an event loop."""

import contextvars
import json
import threading
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.synops import (
    TABLES,
    LayerCount,
    Report,
    axis_fanout,
    conv_macs,
    conv_synops,
    count_synops,
    fanout,
    is_spiking,
    matmul_synops,
    metering,
    projected_energy,
    record,
    record_conv,
)


@st.composite
def convolutions(draw):
    """An input shape [T, C, *S] and the geometry of a (transposed) convolution that leaves an output."""
    ndim = draw(st.integers(1, 3))

    def per_axis(low, high):
        return st.tuples(*[st.integers(low, high)] * ndim)

    groups = draw(st.integers(1, 2))
    transposed = draw(st.booleans())
    kernel, stride, dilation = draw(per_axis(1, 3)), draw(per_axis(1, 3)), draw(per_axis(1, 2))
    padding = tuple(draw(st.integers(0, d * (k - 1))) for k, d in zip(kernel, dilation, strict=True))
    output_padding = tuple(draw(st.integers(0, s - 1)) if transposed else 0 for s in stride)
    shape = tuple(draw(st.integers(d * (k - 1) + 1, 6)) for k, d in zip(kernel, dilation, strict=True))
    geometry = dict(
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        out_channels=groups * draw(st.integers(1, 3)),
        groups=groups,
        transposed=transposed,
        output_padding=output_padding,
    )
    return (draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), *shape), geometry


def spikes_of(shape, highest, seed):
    return np.random.default_rng(seed).integers(0, highest + 1, shape).astype(np.float32)


def output_size(n, k, s, p, d, transposed, extra):
    return (n - 1) * s - 2 * p + d * (k - 1) + extra + 1 if transposed else (n + 2 * p - d * (k - 1) - 1) // s + 1


def connections(shape, g):
    """Every existing (input position, output position, tap), in plain loops: one for each axis, and their product."""
    axes = []
    for n, k, s, p, d, extra in zip(
        shape, g["kernel"], g["stride"], g["padding"], g["dilation"], g["output_padding"], strict=True
    ):
        out = output_size(n, k, s, p, d, g["transposed"], extra)
        if g["transposed"]:
            axes.append([(i, i * s - p + t * d) for i in range(n) for t in range(k) if 0 <= i * s - p + t * d < out])
        else:
            axes.append([(o * s - p + t * d, o) for o in range(out) for t in range(k) if 0 <= o * s - p + t * d < n])
    return [tuple(zip(*pairs, strict=True)) for pairs in product(*axes)]


def loop_count(spikes, g):
    """What an event loop would count: each unit of each spike, each output it is added to."""
    total = 0
    reached = connections(spikes.shape[2:], g)
    for t, c in np.ndindex(spikes.shape[:2]):
        for source, _ in reached:
            total += int(spikes[(t, c, *source)]) * (g["out_channels"] // g["groups"])
    return total


def unit_convolution(spikes, g):
    """The sum of the output of the convolution whose weights are all 1."""
    reached = connections(spikes.shape[2:], g)
    sizes = [
        output_size(n, k, s, p, d, g["transposed"], e)
        for n, k, s, p, d, e in zip(
            spikes.shape[2:], g["kernel"], g["stride"], g["padding"], g["dilation"], g["output_padding"], strict=True
        )
    ]
    out = np.zeros((len(spikes), g["out_channels"], *sizes), np.int64)
    for group in range(g["groups"]):
        inputs = np.array_split(spikes, g["groups"], axis=1)[group].sum(axis=1)
        for o in np.array_split(np.arange(g["out_channels"]), g["groups"])[group]:
            for source, target in reached:
                out[(slice(None), o, *target)] += inputs[(slice(None), *source)].astype(np.int64)
    return int(out.sum())


@given(case=convolutions(), highest=st.sampled_from([1, 1, 4]), seed=st.integers(0, 999))
def test_three_counts_agree(case, highest, seed):
    shape, geometry = case
    spikes = spikes_of(shape, highest, seed)
    fan = fanout(shape[2:], **geometry)
    exact = conv_synops(spikes, fan)
    assert exact == loop_count(spikes, geometry) == unit_convolution(spikes, geometry)
    assert exact == int((spikes.sum(axis=(0, 1)) * fan.dense()).sum())


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
    with pytest.raises(ParameterError, match="table"):
        projected_energy(Report(()), "fp64")


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


# --------------------------------------------------------------------------------------------- report and energy

REPORT = Report(
    (
        LayerCount("stem", steps=1, macs=1000, nonzero_macs=900, dense_macs=1000, ann_macs=1000, bias_adds=10),
        LayerCount("enc", 4, 400, 40, 700, dense_macs=8000, ann_macs=2000, neurons=20, neuron_updates=80),
        LayerCount("dec", 4, 100, 30, 900, dense_macs=4000, ann_macs=1000, neurons=5, neuron_updates=20),
    )
)


def test_the_report_adds_up():
    total = REPORT.total
    assert (total.synops, total.macs, total.neurons, total.neuron_updates) == (1600, 1000, 25, 100)
    assert REPORT.steps == 4
    assert REPORT.ann_macs == 1000 + 2000 + 1000
    assert REPORT.rate_times_macs == pytest.approx(0.1 * 8000 + 0.3 * 4000)
    assert total.rate == 70 / 500
    text = REPORT.table()
    assert len({len(line) for line in text.splitlines()[:-1]}) == 1
    assert "T = 4" in text
    assert "1,600" in text
    parsed = json.loads(REPORT.to_json())
    assert parsed["total"]["synops"] == 1600
    assert [layer["name"] for layer in parsed["layers"]] == ["stem", "enc", "dec"]
    assert Report(()).table()


def test_energy_is_projected_from_the_table_and_says_so():
    energy = projected_energy(REPORT, "fp32")
    assert energy.synaptic == pytest.approx(1600 * 0.9)
    assert energy.analog == pytest.approx(1000 * 4.6)
    assert energy.neuronal == pytest.approx(100 * 4.6 + 10 * 0.9)
    assert energy.ann == pytest.approx(4000 * 4.6 + 10 * 0.9)
    assert float(energy) == energy.total == pytest.approx(energy.synaptic + energy.analog + energy.neuronal)
    for part in ("projected", "fp32", "45 nm", "T = 4", "rate 14.0%", "not included"):
        assert part in str(energy)


@pytest.mark.parametrize("table", TABLES)
def test_at_the_break_even_rate_both_networks_cost_the_same(table):
    energy = projected_energy(REPORT, table)
    synaptic = energy.break_even_rate * REPORT.total.dense_synops * TABLES[table].add
    assert synaptic + energy.analog + energy.neuronal == pytest.approx(energy.ann)


def test_energy_grows_with_every_spike():
    fan, energies = fanout((8,), 3, padding=1), []
    spikes = np.zeros((1, 1, 8))
    for i in range(8):
        spikes[..., i] = 1
        with count_synops() as meter:
            record_conv("conv", spikes, fan)
        energies.append(float(projected_energy(meter.report())))
    assert energies == sorted(set(energies))
