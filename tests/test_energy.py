"""From counts to figures: parts of a layer, reports, cost tables, projected energy."""

import json
import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.errors import ParameterError
from pysnnmed.synops import (
    ACCESS,
    ARITHMETIC,
    PLACEMENTS,
    TABLES,
    CostTable,
    LayerCount,
    Report,
    access_energy,
    biases,
    cost_table,
    count_synops,
    counted_synapses,
    fanout,
    interpolation,
    leak_of,
    neurons,
    projected_energy,
    record,
    record_conv,
    synapses,
)

REPORT = Report(
    (
        LayerCount(
            "stem",
            macs=1000,
            nonzero_macs=900,
            dense_macs=1000,
            ann_macs=1000,
            bias_adds=10,
            ann_adds=10,
            weight_reads=1010,
            value_reads=50,
            ann_weight_reads=1010,
            ann_reads=50,
        ),
        LayerCount(
            "enc",
            steps=4,
            sites=400,
            events=40,
            synops=700,
            dense_macs=8000,
            ann_macs=2000,
            neurons=20,
            neuron_updates=80,
            comparisons=80,
            reset_subtractions=30,
            leak_multiplies=80,
            weight_reads=700,
            state_reads=80,
            state_writes=80,
            spike_bytes_read=50,
            spike_bytes_written=10,
            ann_adds=20,
            ann_weight_reads=2000,
            ann_reads=100,
            ann_writes=20,
        ),
        LayerCount("dec", 4, 100, 30, 900, 0, 0, 4000, 1000, neurons=5, neuron_updates=20, leak_shifts=20),
    )
)

COUNTS = [field.name for field in fields(LayerCount)[1:]]


def layers(name="layer"):
    counts = {n: st.integers(0, 10**12) for n in COUNTS} | {"steps": st.integers(1, 9)}
    return st.builds(LayerCount, st.just(name), **counts).map(with_reads)


def with_reads(count):
    """The count with at least the reads that its operations need."""
    reads = count.weight_reads + count.synops
    return replace(count, weight_reads=reads, ann_weight_reads=count.ann_weight_reads + count.ann_macs)


def reports():
    return st.lists(st.sampled_from("abcde"), max_size=5, unique=True).flatmap(
        lambda names: st.tuples(*map(layers, names)).map(Report)
    )


# ------------------------------------------------------------------------------------------- the parts of a layer


def simulated(current, beta, reset, levels):
    """Neurons as plain loops over [T, N] that count every operation where they do it."""
    steps, n = current.shape
    count, v, written = dict.fromkeys(COUNTS, 0), [0.0] * n, 0
    for t in range(steps):
        for i in range(n):
            count["state_reads"] += 1
            potential = v[i]
            if leak_of(beta) == "shift":
                potential -= potential * (1 - beta)
                count["leak_shifts"] += 1
            elif leak_of(beta) == "multiply":
                potential *= beta
                count["leak_multiplies"] += 1
            potential += current[t, i]
            count["neuron_updates"] += 1
            spike = 0
            for level in range(1, levels + 1):
                count["comparisons"] += 1
                spike += potential >= level
            for _ in range(spike):
                if reset == "soft":
                    potential -= 1
                    count["reset_subtractions"] += 1
                elif reset == "hard":
                    potential = 0
                    count["reset_writes"] += 1
            v[i] = potential
            count["state_writes"] += 1
            written += spike
    return count, written


@given(
    beta=st.sampled_from([1.0, 0.5, 0.75, 0.9375, 0.9, 0.3]),
    reset=st.sampled_from(["soft", "hard", "none"]),
    levels=st.sampled_from([1, 1, 4]),
    steps=st.integers(1, 4),
    n=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_neurons_are_counted_as_a_loop_over_them_counts(beta, reset, levels, steps, n, seed):
    current = np.random.default_rng(seed).normal(0.6, 1.5, (steps, n))
    counted, fired = simulated(current, beta, reset, levels)
    part = neurons("n", n, steps, fired, leak=leak_of(beta), reset=reset, levels=levels)
    seen = {name: value for name, value in counted.items() if value}
    assert {name: getattr(part, name) for name in seen} == seen
    unseen = {"leak_multiplies", "leak_shifts", "reset_subtractions", "reset_writes"} - seen.keys()
    assert not any(getattr(part, name) for name in unseen)
    assert part.spike_bytes_written == math.ceil(n * steps * levels.bit_length() / 8)
    additions = ("neuron_updates", "leak_shifts", "comparisons", "reset_subtractions")
    assert part.additions == sum(counted[name] for name in additions)
    assert (part.neurons, part.ann_adds, part.ann_writes) == (n, n, n)


def test_only_a_leak_that_is_no_shift_multiplies():
    assert [leak_of(beta) for beta in (1, 0, 0.5, 0.75, 1 - 2**-8)] == ["none", "none", "shift", "shift", "shift"]
    assert [leak_of(beta) for beta in (0.25, 0.9, 0.625)] == ["multiply"] * 3
    for beta in (-0.1, 1.5, math.nan):
        with pytest.raises(ParameterError, match="leak_of"):
            leak_of(beta)


def test_synapses_of_spikes_of_values_and_of_rates(rng):
    fan = fanout((6, 6), 3, padding=1, out_channels=4)
    spikes = (rng.random((3, 2, 5, 6, 6)) < 0.3).astype(np.float32)
    whole = synapses("conv", spikes, fan, steps=3)
    assert whole.int_macs == whole.synops == whole.weight_reads
    assert whole.spike_bytes_read == math.ceil(spikes.size / 8)
    assert synapses("conv", spikes, fan, steps=3, packed=False).spike_bytes_read == spikes.size
    assert (whole.ann_reads, whole.ann_macs) == (spikes.size // 3, whole.dense_macs // 3)
    rate = synapses("conv", spikes.sum(axis=0), fan, steps=3, summed=3)
    assert rate.int_macs < rate.synops
    assert replace(rate, int_macs=whole.int_macs) == whole
    own = {"events": whole.events, "synops": whole.synops, "int_macs": whole.int_macs}
    assert counted_synapses("conv", fan, 2 * 5, steps=3, **own) == whole
    image = rng.random((2, 5, 6, 6))
    image[image < 0.5] = 0
    real = synapses("conv", image, fan)
    assert real.nonzero_macs < real.macs == real.ann_macs == real.weight_reads == real.ann_weight_reads
    assert real.value_reads == real.ann_reads == image.size
    assert real.synops == real.spike_bytes_read == 0


def test_integer_spikes_have_two_readings_and_packed_bits_of_their_levels():
    fan = fanout((4,), 1)
    count = synapses("n", np.array([[[0.0, 0.25, 1.0, 0.5]]]), fan, levels=4)
    assert (count.events, count.synops, count.int_macs) == (7, 7, 3)
    assert count.spike_bytes_read == 2  # four counts up to 4, of 3 bits


def test_biases_and_interpolation():
    assert biases("b", 10, times=4) == LayerCount("b", bias_adds=40, weight_reads=40, ann_adds=10, ann_weight_reads=10)
    part = interpolation("up", points=5, components=3, ndim=3)
    assert part.macs == part.ann_macs == part.value_reads == 5 * 3 * 8
    assert part.value_writes == 15
    assert part.dense_synops == 0


def test_counts_are_whole_and_not_negative():
    assert LayerCount("k", synops=np.int64(3)) == LayerCount("k", synops=3)
    assert type(LayerCount("k", synops=np.int64(3)).synops) is int
    with pytest.raises(ParameterError, match="steps must be a whole number of at least 1"):
        LayerCount("k", steps=0)
    with pytest.raises(ParameterError, match="name must be text"):
        LayerCount(3)
    for bad in (-1, 1.5, None, "3"):
        with pytest.raises(ParameterError, match="LayerCount k: events must be a whole number"):
            LayerCount("k", events=bad)


def test_the_meter_takes_parts():
    with count_synops() as meter:
        record(neurons("n", 3, 2, 1))
        record(biases("n", 3))
    assert meter["n"] == neurons("n", 3, 2, 1) + biases("n", 3)


# ---------------------------------------------------------------------------------------------------- the report


def test_the_report_adds_up():
    total = REPORT.total
    assert (total.synops, total.macs, total.neurons, total.neuron_updates) == (1600, 1000, 25, 100)
    assert REPORT.steps == 4
    assert REPORT.ann_macs == 1000 + 2000 + 1000
    assert REPORT.rate_times_macs == pytest.approx(0.1 * 8000 + 0.3 * 4000)
    assert total.rate == 70 / 500
    assert total.synaptic_rate == 1600 / 12000
    for text in (REPORT.table(), REPORT.neuron_table(), REPORT.memory_table()):
        assert len({len(line) for line in text.splitlines()[:-1]}) == 1
        assert max(map(len, text.splitlines())) <= 130
    assert "T = 4" in REPORT.table()
    assert "1,600" in REPORT.table()
    assert Report(()).table()


@given(report=reports())
def test_a_report_comes_back_from_json(report):
    text = report.to_json()
    assert Report.from_json(text) == report
    parsed = json.loads(text)
    assert parsed["total"] == asdict(report.total)
    assert [layer["name"] for layer in parsed["layers"]] == [layer.name for layer in report.layers]
    assert Report.from_json(json.dumps({"data": "generated", **parsed})) == report


@given(a=layers(), b=layers(), c=layers())
def test_layers_add_in_any_order(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + LayerCount("layer") == a


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "must be JSON"),
        ("[]", "must be JSON"),
        ('{"layers": 3}', "must be JSON"),
        ('{"layers": [3]}', "must be JSON"),
        ('{"layers": [{"synops": 1}]}', "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ('{"layers": [{"name": "a", "joules": 1}]}', "joules"),
        ('{"layers": [{"name": "a", "synops": -1}]}', "at least 0"),
        ('{"layers": [{"name": "a", "synops": 1}], "total": {"synops": 2}}', "differ in synops"),
        ('{"layers": [], "total": 5}', "must be JSON"),
    ],
)
def test_text_that_is_no_report_is_refused(text, says):
    with pytest.raises(ParameterError, match=says):
        Report.from_json(text)


def test_an_older_report_reads_with_zeros_for_what_it_did_not_count():
    old = {"layers": [{"name": "a", "synops": 5}], "total": {"name": "total", "synops": 5}}
    assert Report.from_json(json.dumps(old)) == Report((LayerCount("a", synops=5),))


def test_the_zeros_of_the_conventional_network_are_taken_from_a_run_of_it():
    analog = Report(tuple(LayerCount(c.name, macs=c.ann_macs, nonzero_macs=c.ann_macs // 4) for c in REPORT.layers))
    assert REPORT.ann_nonzero_macs is None
    assert math.isnan(projected_energy(REPORT).ann_skipping)
    seen = REPORT.with_activations(analog)
    assert seen.ann_nonzero_macs == 1000
    energy = projected_energy(seen)
    assert energy.ann - energy.ann_skipping == pytest.approx(3000 * 4.6)
    assert energy.ann == projected_energy(REPORT).ann
    with pytest.raises(ParameterError, match="differs in dec, enc, stem"):
        REPORT.with_activations(Report(()))


# ---------------------------------------------------------------------------------------------------- the energy


def test_energy_is_projected_from_the_table_and_says_so():
    energy = projected_energy(REPORT, "fp32")
    assert energy.synaptic == pytest.approx(1600 * 0.9)
    assert energy.analog == pytest.approx(1000 * 4.6)
    additions = 100 + 20 + 80 + 30 + 10  # charges, shifts, comparisons, soft resets, biases
    assert energy.neuronal == pytest.approx(additions * 0.9 + 80 * 3.7)
    assert energy.ann == pytest.approx(4000 * 4.6 + 30 * 0.9)
    assert float(energy) == energy.total == pytest.approx(energy.synaptic + energy.analog + energy.neuronal)
    for part in ("projected", "fp32", "45 nm", "T = 4", "rate 14.0%", "memory and routing not included"):
        assert part in str(energy)


def test_an_update_without_a_leak_is_an_addition_and_with_one_a_multiply_accumulate():
    """What a step of one silent neuron costs, for each of the leaks: the comparison costs the same in all of them."""
    cost = TABLES["fp32"]
    energies = [
        projected_energy(Report((neurons("n", 1, 1, 0, leak=leak),))).neuronal for leak in ("none", "shift", "multiply")
    ]
    assert energies == pytest.approx([2 * cost.add, 3 * cost.add, cost.mac + cost.add])


def test_memory_is_a_number_of_its_own():
    alone, placed = projected_energy(REPORT, "fp32"), projected_energy(REPORT, "fp32@dram")
    assert placed.total == alone.total
    assert placed.ann == alone.ann
    assert alone.memory is None
    for missing in (alone.total_with_memory, alone.ratio_with_memory, alone.break_even_with_memory):
        assert math.isnan(missing)
    word = {place: energy / 64 for place, energy in ACCESS.items()}
    assert placed.memory.weights == pytest.approx((1010 + 700) * 32 * word["DRAM"])
    assert placed.memory.states == pytest.approx((80 + 80) * 32 * word["DRAM"])
    assert placed.memory.spikes == pytest.approx((60 * 8 + 50 * 32) * word["1 MB"])
    assert placed.ann_memory.weights == pytest.approx((1010 + 2000) * 32 * word["DRAM"])
    assert placed.ann_memory.spikes == pytest.approx((150 + 20) * 32 * word["1 MB"])
    assert placed.total_with_memory == pytest.approx(placed.total + placed.memory.total)
    assert placed.ratio_with_memory == pytest.approx(placed.ann_with_memory / placed.total_with_memory)
    assert "with memory" in str(placed)
    assert "weights in DRAM" in str(placed)
    assert "with memory" not in str(alone)


@pytest.mark.parametrize("table", TABLES)
def test_at_the_break_even_rate_both_networks_cost_the_same(table):
    energy, total, cost = projected_energy(REPORT, table), REPORT.total, TABLES[table]
    synaptic = energy.break_even_rate * total.dense_synops * cost.add
    assert synaptic + energy.analog + energy.neuronal == pytest.approx(energy.ann)
    if cost.placement:
        read = access_energy(cost.weight_bits, cost.placement.weights)
        more = energy.break_even_with_memory * total.dense_synops - total.synops
        assert energy.total_with_memory + more * (cost.add + read) == pytest.approx(energy.ann_with_memory)


def test_the_tables_are_those_of_horowitz():
    multiply_and_add = {"fp32": (3.7, 0.9), "fp16": (1.1, 0.4), "int32": (3.1, 0.1), "int8": (0.2, 0.03)}
    for name, (multiply, add) in multiply_and_add.items():
        assert TABLES[name].mac == pytest.approx(multiply + add)
        assert (TABLES[name].add, TABLES[name].leak) == (add, multiply)
    mixed = TABLES["int8-int32"]
    assert mixed.mac == pytest.approx(0.2 + 0.1)
    assert (mixed.add, mixed.leak, mixed.weight_bits, mixed.state_bits) == (0.1, 3.1, 8, 32)
    assert access_energy(32, "8 KB") == 5
    assert access_energy(1, "DRAM") == pytest.approx(20, rel=0.02)
    assert len(TABLES) == len(ARITHMETIC) * (1 + len(PLACEMENTS))
    for name, table in TABLES.items():
        assert table.name == name
        assert "Horowitz" in table.conditions
        assert (table.placement is None) == ("@" not in name)
        for place in (table.placement.weights, table.placement.states) if table.placement else ():
            assert place in table.conditions


@pytest.mark.parametrize("name", ["fp64", "fp32@moon", "", "@dram"])
def test_an_unknown_table_is_refused(name):
    with pytest.raises(ParameterError, match="cost table: the name must be one of fp32"):
        cost_table(name)
    with pytest.raises(ParameterError, match="cost table"):
        projected_energy(Report(()), name)


@pytest.mark.parametrize("missing", ["weight_reads", "ann_weight_reads"])
def test_memory_is_not_projected_from_reads_that_nobody_counted(missing):
    counts = {"synops": 5, "ann_macs": 9, "weight_reads": 5, "ann_weight_reads": 9}
    assert projected_energy(Report((LayerCount("a", **counts),)), "fp32@sram").memory.weights > 0
    incomplete = Report((LayerCount("a", **(counts | {missing: 0})),))
    assert projected_energy(incomplete, "fp32").total > 0
    with pytest.raises(ParameterError, match=r"fp32@sram .* a weight read for every SynOp"):
        projected_energy(incomplete, "fp32@sram")


def test_a_table_of_ones_own():
    own = CostTable("own", mac=2.0, add=1.0, source="guessed", leak=1.0)
    assert projected_energy(REPORT, own).synaptic == 1600
    assert "own (guessed)" in projected_energy(REPORT, own).conditions


def test_energy_grows_with_every_spike():
    fan, energies = fanout((8,), 3, padding=1), []
    spikes = np.zeros((1, 1, 8))
    for i in range(8):
        spikes[..., i] = 1
        with count_synops() as meter:
            record_conv("conv", spikes, fan)
        energies.append(float(projected_energy(meter.report())))
    assert energies == sorted(set(energies))


@given(report=reports(), table=st.sampled_from(sorted(TABLES)))
def test_energy_of_layers_adds_up_and_facts_are_json(report, table):
    whole = projected_energy(report, table)
    parts = [projected_energy(Report((layer,)), table) for layer in report.layers]
    for name in ("synaptic", "analog", "neuronal", "ann", "estimate", "total"):
        assert getattr(whole, name) == pytest.approx(sum(getattr(part, name) for part in parts))
    if TABLES[table].placement:
        assert whole.total_with_memory == pytest.approx(sum(part.total_with_memory for part in parts))
    facts = json.loads(json.dumps(whole.facts(), allow_nan=False))
    assert facts["table"] == table
    assert "projected" in facts["conditions"]


def test_an_empty_report_costs_nothing():
    energy = projected_energy(Report(()), "fp32@sram")
    assert energy.total == energy.total_with_memory == 0
    assert energy.ratio == math.inf
    assert math.isnan(energy.break_even_rate)
