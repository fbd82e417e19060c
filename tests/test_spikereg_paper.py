"""The network of the paper: its table to the last parameter, its neurons step by step, what only it has."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.convert import calibrate, convert, transfer
from pysnnmed.deploy.executor import execute
from pysnnmed.deploy.lower import WEIGHTS, lower
from pysnnmed.deploy.pretrained import load_model, save_model
from pysnnmed.errors import ParameterError, ProgramError
from pysnnmed.models.operations import HEAD, SMOOTHING, count_operations
from pysnnmed.models.spikereg import FIELD, SpikeReg, SpikeRegConfig, Teacher, as_paper, layer_sizes, preset
from pysnnmed.neurons import LIF, WinnersLIF, run, unroll
from pysnnmed.nn import BatchNorm, Spiking
from pysnnmed.tensor import Tensor, no_grad
from pysnnmed.train.recipe import ConversionRecipe, DataRecipe, Recipe, StageRecipe
from pysnnmed.train.registration import train

# name, inputs, outputs, size of the output, GMAC, parameters: the paper's released configuration on 160 x 192 x 224
TABLE = """
encoder.0.conv1      2  16   80 96 112    0.743      912
encoder.0.conv2     16  16   80 96 112    5.945     6960
encoder.1.conv1     16  32   40 48 56     1.486    13920
encoder.1.conv2     32  32   40 48 56     2.973    27744
encoder.2.conv1     32  64   20 24 28     0.743    55488
encoder.2.shortcut  32  64   20 24 28     0.028     2240
encoder.2.conv2     64  64   20 24 28     1.486   110784
encoder.3.conv1     64 128   10 12 14     0.372   221568
encoder.3.shortcut  64 128   10 12 14     0.014     8576
encoder.3.conv2    128 128   10 12 14     0.743   442752
bottleneck         128 128   10 12 14     0.743   442752
decoder.0.up       128  64   20 24 28     0.110    65728
decoder.0.refine   128  64   20 24 28     2.973   221376
decoder.1.up        64  32   40 48 56     0.220    16480
decoder.1.refine    64  32   40 48 56     5.945    55392
decoder.2.up        32  16   80 96 112    0.440     4144
decoder.2.refine    16  16   80 96 112    5.945     6960
decoder.3.up        16  16  160 192 224   1.762     2096
decoder.3.refine    16  16  160 192 224  47.563     6960
head                16   3  160 192 224   0.330       51
smoothing            3   3  160 192 224   0.557       81
"""
ROWS = [
    (name, int(i), int(o), (int(d), int(h), int(w)), float(gmac), int(n))
    for name, i, o, d, h, w, gmac, n in (line.split() for line in TABLE.strip().splitlines())
]
ONLY_SPIKING = ("shortcut", "smoothing")
SMALL = SpikeRegConfig(encoder=(3, 4, 5), decoder=(4, 3, 2), average_skips=(1,), steps=3)


@pytest.mark.parametrize(
    ("kind", "parameters", "gmac"),
    [(Teacher, 1_702_067, 80.52), (SpikeReg, 1_712_964, 81.12)],
    ids=["analog", "spiking"],
)
def test_the_layer_table_is_that_of_the_paper(kind, parameters, gmac, rng):
    network = kind(preset("paper"), rng)
    rows = layer_sizes(network, (160, 192, 224))
    wanted = [row for row in ROWS if kind is SpikeReg or not row[0].endswith(ONLY_SPIKING)]
    assert [(*row[:3], row.shape, round(row.macs / 1e9, 3), row.parameters) for row in rows] == wanted
    assert sum(row.parameters for row in rows) == network.n_parameters == parameters
    assert round(sum(row.macs for row in rows) / 1e9, 2) == gmac


def test_learnt_leaks_and_thresholds_are_one_number_each_a_layer(rng):
    network = SpikeReg(preset("paper", learn_leak=True, learn_threshold=True), rng)
    assert network.n_parameters == 1_712_964 + 2 * 19
    leaks = {
        name: float(network.unit(name).neuron.current_neuron().beta.data) for name in ("bottleneck", "decoder.3.up")
    }
    assert leaks == pytest.approx({"bottleneck": 0.7, "decoder.3.up": 0.9})


def test_every_block_has_its_leak():
    config = preset("paper")
    found = {layer.name: config.leak_of(layer.name) for layer in config.layers(spiking=True)}
    assert [found[f"encoder.{i}.conv2"] for i in range(4)] == [0.9, 0.85, 0.8, 0.75]
    assert found["encoder.3.shortcut"] == 0.75
    assert found["bottleneck"] == 0.7
    assert [found[f"decoder.{i}.refine"] for i in range(4)] == [0.75, 0.8, 0.85, 0.9]
    assert as_paper(preset("small")) == config


def test_the_teacher_has_neither_shortcuts_nor_smoothing(rng):
    config = as_paper(SMALL)
    analog, spiking = Teacher(config, rng), SpikeReg(config, rng)
    assert {layer.name for layer in spiking.layers()} - {layer.name for layer in analog.layers()} == {
        "encoder.2.shortcut"
    }
    assert analog.smoothing is None
    np.testing.assert_array_equal(spiking.smoothing.weight.data, np.float32(1 / 27))


def lively(network, rng):
    """Statistics and weights that make every layer fire, and a visible head."""
    for name, member in network.named_parameters():
        if name.endswith("gamma"):
            member.data = rng.uniform(0.6, 1.4, member.shape).astype(np.float32)
        elif name.endswith("beta"):
            member.data = rng.uniform(-0.2, 0.4, member.shape).astype(np.float32)
    for name, member in network.named_buffers():
        if name.endswith("running_variance"):
            member.data = rng.uniform(0.1, 0.6, member.shape).astype(np.float32)
    network.head.weight.data = rng.normal(0, 0.3, network.head.weight.shape).astype(np.float32)
    return network.eval()


def images(rng, shape=(8, 16, 8)):
    return [Tensor(rng.random((1, 1, *shape), dtype=np.float32)) for _ in range(2)]


def literal(network, fixed, moving):
    """The block diagram, one step of one block at a time: nothing shared with the network but the layers themselves."""
    config, x = network.config, np.concatenate([fixed.data, moving.data], axis=1)
    theta = {layer.name: float(network.unit(layer.name).neuron.v_threshold.data) for layer in network.layers()}
    membranes, spikes = {}, {}

    def fire(name, current):
        unit = network.unit(name)
        current = unit.norm(unit.conv(Tensor(np.ascontiguousarray(current)))).data
        v = np.float32(config.leak_of(name)) * membranes.get(name, np.zeros_like(current)) + current
        s = (v >= theta[name]).astype(np.float32)
        membranes[name] = v * (1 - s)
        spikes.setdefault(name, []).append(s)
        return s

    maps = []
    for i in range(len(config.encoder)):
        out = []
        for _ in range(config.steps):
            b = fire(f"encoder.{i}.conv2", fire(f"encoder.{i}.conv1", x))
            out.append(b + fire(f"encoder.{i}.shortcut", x) if i >= 2 else b)
        x = sum(out) / np.float32(config.steps)
        maps.append(x)
    frames = [fire("bottleneck", x) for _ in range(config.steps)]
    for j in range(len(config.decoder)):
        level, out = len(config.encoder) - 2 - j, []
        for frame in frames:
            up = fire(f"decoder.{j}.up", frame)
            if level >= 0 and j in config.average_skips:
                up = (up + maps[level]) / 2
            elif level >= 0:
                up = np.concatenate([up, maps[level]], axis=1)
            out.append(fire(f"decoder.{j}.refine", up))
        frames = out
    field = network.smoothing(network.head(Tensor(sum(frames) / np.float32(config.steps)))).data
    return field * config.displacement_scale, {name: np.stack(train) for name, train in spikes.items()}


def test_the_network_is_its_block_diagram_step_by_step(rng):
    network = lively(SpikeReg(as_paper(SMALL), rng), rng)
    for layer in network.layers():
        network.unit(layer.name).neuron.set_threshold(rng.uniform(0.3, 0.8))
    fixed, moving = images(rng)
    seen = {}
    with no_grad():
        network(fixed, moving, observe=seen.__setitem__)
        field, spikes = literal(network, fixed, moving)
    for name, fired in spikes.items():
        assert 0.01 < fired.mean() < 0.95, name
        assert (seen[name].data != fired).mean() < 1e-3, name
    np.testing.assert_allclose(seen[FIELD].data, field, atol=2e-2 * np.abs(field).max())
    added = seen["encoder.2.conv2"].data + seen["encoder.2.shortcut"].data
    assert set(np.unique(added)) == {0, 1, 2}


def test_inference_and_training_run_the_same_spikes(rng):
    network = lively(SpikeReg(as_paper(SMALL), rng), rng)
    fixed, moving = images(rng)
    with_graph, without = {}, {}
    network(fixed, moving, observe=with_graph.__setitem__)
    with no_grad():
        network(fixed, moving, observe=without.__setitem__)
    for name, spikes in without.items():
        np.testing.assert_array_equal(spikes.data, with_graph[name].data)


def test_every_parameter_learns_and_frozen_norms_do_not(rng):
    network = lively(SpikeReg(as_paper(SMALL), rng), rng)
    convert(lively(Teacher(SMALL, rng), rng), network, [tuple(images(rng))], percentile=50)  # freezes them
    network.train()
    before = {n: b.data.copy() for n, b in network.named_buffers()}
    out = network(*images(rng))
    (out * out).sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (".norm." in name), name
    assert all((before[n] == b.data).all() for n, b in network.named_buffers())


# --- winner-take-all


@given(fraction=st.floats(0.05, 1), seed=st.integers(0, 999))
def test_only_the_highest_membranes_of_a_sample_keep_their_potential(fraction, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 2, 3, 5)).astype(np.float32)
    neuron = WinnersLIF(beta=0.9, v_threshold=1.5, reset="hard", winners=fraction)
    v = np.zeros_like(x[0])
    spikes, _ = unroll(neuron, Tensor(x))
    for t in range(3):
        for sample in v:
            k = int(np.ceil(fraction * sample.size))
            sample[sample < np.sort(sample.ravel())[-k]] = 0
        v = np.float32(0.9) * v + x[t]
        s = v >= 1.5
        np.testing.assert_array_equal(spikes.data[t], s)
        v[s] = 0


def test_all_winners_are_no_inhibition(rng):
    x = Tensor(rng.normal(size=(4, 2, 3, 5)).astype(np.float32))
    same = {"beta": 0.9, "v_threshold": 0.7, "reset": "hard"}
    np.testing.assert_array_equal(run(WinnersLIF(winners=1.0, **same), x)[0].data, run(LIF(**same), x)[0].data)


def test_inhibition_is_in_the_later_encoder_blocks_and_the_bottleneck(rng):
    network = SpikeReg(SpikeRegConfig(**{**as_paper(SMALL).to_dict(), "winners": 0.1}), rng)
    inhibited = {la.name for la in network.layers() if isinstance(network.unit(la.name).neuron.neuron, WinnersLIF)}
    blocks = {f"encoder.{i}.conv{k}" for i in (1, 2) for k in (1, 2)}
    assert inhibited == {*blocks, "bottleneck"}
    with no_grad():
        assert np.isfinite(network.eval()(*images(rng)).data).all()


# --- conversion


@pytest.fixture
def teacher(rng):
    return lively(Teacher(SMALL, rng), rng)


def test_conversion_copies_weights_and_sets_thresholds_at_the_median(teacher, rng):
    examples = [tuple(images(rng)) for _ in range(2)]
    spiking = SpikeReg(as_paper(SMALL), rng).eval()
    convert(teacher, spiking, examples, percentile=50)
    activations = {}
    with no_grad():
        for example in examples:
            teacher(*example, observe=lambda n, a: activations.setdefault(n, []).append(a.data.ravel()))
    for layer in teacher.layers():
        ours, theirs = spiking.unit(layer.name), teacher.unit(layer.name)
        np.testing.assert_array_equal(ours.conv.weight.data, theirs.conv.weight.data)
        np.testing.assert_array_equal(ours.norm.running_mean.data, theirs.norm.running_mean.data)
        values = np.concatenate(activations[layer.name])
        wanted = np.percentile(values[values > 0], 50, method="inverted_cdf")
        assert float(ours.neuron.v_threshold.data) == pytest.approx(wanted, rel=1e-3), layer.name
        neuron = ours.neuron.current_neuron()
        assert (neuron.reset, neuron.v_initial, neuron.detach_reset) == ("hard", 0.0, False)
    assert float(spiking.unit("encoder.2.shortcut").neuron.v_threshold.data) == 1


def test_thresholds_are_learnt_from_where_conversion_put_them(teacher, rng):
    examples = [tuple(images(rng))]
    scales = calibrate(teacher, examples, 50, common=False)
    spiking = SpikeReg(SpikeRegConfig(**{**as_paper(SMALL).to_dict(), "learn_threshold": True}), rng)
    transfer(teacher, spiking, scales)
    for name, scale in scales.items():
        assert spiking.unit(name).neuron.current_neuron().v_threshold.item() == pytest.approx(scale, rel=1e-4)


def test_one_threshold_for_each_channel_is_refused(teacher, rng):
    with pytest.raises(ParameterError, match=r"one threshold for layer.*granularity 'layer'"):
        convert(teacher, SpikeReg(as_paper(SMALL), rng), [tuple(images(rng))], granularity="channel")


def test_a_file_remembers_thresholds_and_mode(teacher, rng, tmp_path):
    spiking = SpikeReg(as_paper(SMALL), rng).eval()
    example = tuple(images(rng))
    convert(teacher, spiking, [example], percentile=50)
    save_model(tmp_path / "net.safetensors", spiking)
    again, card = load_model(tmp_path / "net.safetensors")
    assert card.config == as_paper(SMALL)
    with no_grad():
        np.testing.assert_array_equal(again(*example).data, spiking(*example).data)


# --- counts and programs


def test_counts_are_events_of_all_maps_and_the_analog_network_has_no_shortcuts(rng):
    config = as_paper(SMALL)
    network = lively(SpikeReg(config, rng), rng)
    fixed, moving = images(rng)
    seen = {}
    with no_grad():
        network(fixed, moving, observe=seen.__setitem__)
    del seen[FIELD]
    spikes = {name: s.data for name, s in seen.items()}
    pair = np.concatenate([fixed.data, moving.data], axis=1)
    report = {row.name: row for row in count_operations(config, pair, spikes).layers}
    plain = {row.name: row for row in count_operations(SMALL, pair, {n: spikes[n] for n in TRUNK}).layers}
    both = int(spikes["encoder.2.conv2"].sum() + spikes["encoder.2.shortcut"].sum())
    assert report["bottleneck"].events == both  # a sum of 2 is two events
    assert report["bottleneck"].synops > plain["bottleneck"].synops
    assert report["encoder.2.shortcut"].events == int(spikes["encoder.1.conv2"].sum())
    for name, row in plain.items():
        assert report[name].ann_macs == row.ann_macs, name
    assert report["encoder.2.shortcut"].ann_macs == report[SMOOTHING].ann_macs == 0
    voxels = 8 * 16 * 8
    assert report[SMOOTHING].macs == 3 * (3 * 8 - 2) * (3 * 16 - 2) * (3 * 8 - 2)
    assert report[SMOOTHING].value_writes == report[HEAD].value_writes == 3 * voxels
    assert report["bottleneck"].reset_writes == int(spikes["bottleneck"].sum())
    assert report["bottleneck"].reset_subtractions == 0
    first = "encoder.0.conv1"  # beta = 0.9 is no shift, 0.75 in the bottleneck is one
    assert report[first].leak_multiplies == spikes[first].size
    assert report["bottleneck"].leak_shifts == spikes["bottleneck"].size


TRUNK = [layer.name for layer in SMALL.layers()]


DEEP = SpikeRegConfig(encoder=(2, 3, 4, 5), decoder=(4, 3, 2), average_skips=(0,), integration_steps=2)
IN_PROGRAMS = {
    "plain": replace(SMALL, mode="paper", leaks=(0.75, 0.5, 0.75, 0.5, 0.5, 0.75, 0.5)),
    "shortcuts": replace(SMALL, mode="paper", shortcuts=True),
    "smoothing": replace(SMALL, mode="paper", smoothing=True, displacement_scale=2.0),
    "both": replace(SMALL, mode="paper", shortcuts=True, smoothing=True, leak=0.75),
    "a mean with a sum": replace(DEEP, mode="paper", shortcuts=True, leak=0.5),
}


def dyadic(network, rng):
    """Numbers in which every current and every membrane is exact, in whatever order it is summed."""
    for name, member in network.named_parameters():
        if name.endswith("gamma"):
            member.data = np.ones_like(member.data)
        elif name.endswith("beta"):  # enough for a spike now and then, if nothing inhibits
            member.data = (rng.integers(24, 64, member.shape) / 64).astype(np.float32)
        elif member.ndim:
            member.data = (np.rint(rng.normal(size=member.shape) * 6) / 64).astype(np.float32)
    for name, member in network.named_buffers():
        if name.endswith("running_variance"):
            member.data = np.full_like(member.data, 1 - 1e-5)  # 1 with the epsilon of the norm
    return network.eval()


@pytest.mark.parametrize("config", IN_PROGRAMS.values(), ids=IN_PROGRAMS)
def test_programs_fire_and_count_as_the_network_does(config, rng):
    config = replace(config, steps=4)  # rates in quarters
    network = dyadic(SpikeReg(config, rng), rng)
    fixed, moving = (Tensor(rng.integers(0, 17, (1, 1, 16, 16, 32)).astype(np.float32) / 16) for _ in range(2))
    seen = {}
    with no_grad():
        field = network(fixed, moving, observe=seen.__setitem__).data[0]
    del seen[FIELD]
    spikes = {name: fired.data for name, fired in seen.items()}
    assert all(0 < fired.mean() < 1 for fired in spikes.values())
    wanted = count_operations(config, np.concatenate([fixed.data, moving.data], axis=1), spikes)
    for weights in WEIGHTS:
        program = lower(network, weights)
        assert all(layer.dynamics.hard for layer in program.layers)
        found = execute(program, {"fixed": fixed.data[0], "moving": moving.data[0]}, keep=tuple(spikes))
        for name, fired in spikes.items():
            np.testing.assert_array_equal(found.kept[name], fired[:, 0], err_msg=f"{weights} {name}")
        (displacement,) = found.outputs.values()
        np.testing.assert_allclose(displacement, field, atol=2e-2 * np.abs(field).max())
        for ours, theirs in zip(found.report.layers, wanted.layers, strict=True):
            if ours.name == SMOOTHING:  # who counts by the spikes does not see the zeros of the field
                theirs = replace(theirs, nonzero_macs=ours.nonzero_macs)
            assert ours == theirs, weights


@pytest.mark.parametrize("option", [{"winners": 0.5}], ids=str)
def test_what_no_program_has_is_named(option, rng):
    config = replace(SMALL, mode="paper", **option)
    with pytest.raises(ProgramError, match=rf"{next(iter(option))}.*'trained'"):
        lower(SpikeReg(config, rng))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "loud"},
        {"shortcuts": True},
        {"smoothing": True},
        {"winners": 0.5},
        {"leaks": (0.5,) * 7},
        {"mode": "paper", "leaks": (0.5,)},
        {"mode": "paper", "leaks": (1.5,) * 7},
        {"mode": "paper", "winners": 0.0},
        {"mode": "paper", "negative_slope": 0.2},
        {"negative_slope": -0.1},
    ],
    ids=json.dumps,
)
def test_impossible_modes_are_refused(wrong):
    with pytest.raises(ParameterError, match="SpikeRegConfig"):
        SpikeRegConfig(**{**SMALL.to_dict(), **wrong})


def test_a_threshold_that_is_not_kept_cannot_be_set():
    with pytest.raises(ParameterError, match="learnt or stored"):
        Spiking(LIF()).set_threshold(2.0)
    with pytest.raises(ParameterError, match="positive"):
        Spiking(LIF(), store_threshold=True).set_threshold(0.0)


def test_a_frozen_norm_in_training_is_one_in_inference(rng):
    x = Tensor(rng.normal(size=(2, 3, 4, 4)).astype(np.float32))
    norm = BatchNorm(3)
    norm.running_mean.data[:] = (1, 2, 3)
    wanted = norm.eval()(x).data
    norm.train().freeze()
    np.testing.assert_array_equal(norm(x).data, wanted)


@pytest.mark.parametrize(
    "network",
    [as_paper(SMALL), SpikeRegConfig(encoder=(3, 4), decoder=(3, 2), negative_slope=0.2, learn_leak=True)],
    ids=["paper", "LeakyReLU"],
)
def test_teacher_conversion_and_fine_tuning_run_in_one(network, tmp_path):
    size = (16, 16, 16)
    recipe = Recipe(
        "short",
        network=network,
        data=DataRecipe(generated_fraction=1.0, generated_pairs=2, held_out_pairs=1, grid=size, test_grid=size),
        teacher=StageRecipe(steps=2, warm_up=1),
        conversion=ConversionRecipe(percentile=50.0, examples=1),
        finetune=StageRecipe(steps=2, warm_up=1, learning_rate=1e-2),
    )
    path = train(recipe, None, tmp_path)
    spiking, card = load_model(path)
    teacher, _ = load_model(tmp_path / "teacher.safetensors")
    assert card.config == network
    assert card.facts["held_out"].keys() >= {"dice", "rate"}
    for name, ours in spiking.named_modules():
        if isinstance(ours, BatchNorm) and "shortcut" not in name:
            theirs = dict(teacher.named_modules())[name]
            for part, array in theirs.state_dict().items():
                np.testing.assert_array_equal(ours.state_dict()[part], array)
    assert (spiking.unit("bottleneck").conv.weight.data != teacher.unit("bottleneck").conv.weight.data).any()


@pytest.mark.slow
def test_inference_keeps_only_what_is_still_read():
    """At half resolution; the full one, 160 x 192 x 224, takes eight times as much."""
    pytest.importorskip("numba", reason="takes minutes without: needs the extra jit")
    code = (
        "import resource, numpy as np; from pysnnmed import kernels; from pysnnmed.registration import predict; "
        "from pysnnmed.models.spikereg import SpikeReg, preset; rng = np.random.default_rng(0); "
        "network = SpikeReg(preset('paper'), rng).eval(); "
        "[network.unit(layer.name).neuron.set_threshold(0.35) for layer in network.layers()]; "
        "images = rng.random((2, 80, 96, 112), dtype=np.float32); kernels.use_backend('numba').__enter__(); "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; predict(network, *images); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    kibibytes = int(done.stdout)
    trains = 4 * 4 * 36_640_000 // 1024  # of all neurons, over 4 steps, in float32
    assert kibibytes < 2 * trains
