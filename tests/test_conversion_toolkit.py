"""The conversion toolkit: calibration as sets of numbers, rescaling over all kinds of skips, reports, sweeps, files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysnnmed import viz
from pysnnmed.cli import main
from pysnnmed.convert import (
    PercentileSketch,
    calibrate,
    compared,
    convert,
    scales_for,
    sweep,
    transfer,
)
from pysnnmed.data import Image, write_nifti
from pysnnmed.data.generate import generate_pair
from pysnnmed.deploy.executor import execute
from pysnnmed.deploy.lower import lower
from pysnnmed.deploy.pretrained import load_model, save_model
from pysnnmed.errors import ImageError, ParameterError
from pysnnmed.models.operations import count_operations
from pysnnmed.models.spikereg import FIELD, SpikeReg, SpikeRegConfig, Teacher
from pysnnmed.tensor import Tensor, no_grad
from pysnnmed.train.calibration import FolderPairs, GeneratedPairs

# groups of unequal widths at the concatenations, an average, and a level without skip
CONFIG = SpikeRegConfig(encoder=(4, 5, 7), decoder=(6, 4, 3), average_skips=(1,), head_kernel=3)


def lively_teacher(config, rng):
    """A teacher whose batch norms do something and whose head is visible."""
    network = Teacher(config, rng)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            parameter.data = rng.uniform(0.5, 1.2, parameter.shape).astype(np.float32)
        elif name.endswith("beta"):
            parameter.data = rng.normal(0, 0.2, parameter.shape).astype(np.float32)
    for name, buffer in network.named_buffers():
        spread = (0.3, 1.2) if name.endswith("variance") else (-0.2, 0.2)
        buffer.data = rng.uniform(*spread, buffer.shape).astype(np.float32)
    network.head.weight.data = rng.normal(0, 0.3, network.head.weight.shape).astype(np.float32)
    return network.eval()


def pairs(rng, n=2, shape=(8, 16, 8)):
    return [tuple(Tensor(rng.random((1, 1, *shape), dtype=np.float32)) for _ in range(2)) for _ in range(n)]


# --- percentiles


@given(
    values=st.lists(st.floats(-4, 4, width=32), min_size=12, max_size=60),
    p=st.floats(1, 100),
    convention=st.sampled_from(["positive", "all"]),
    channelwise=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_the_sketch_is_the_percentile_of_its_convention(values, p, convention, channelwise, order):
    x = np.array(values[: len(values) // 3 * 3], np.float32).reshape(-1, 3, 1)
    x[np.abs(x) < 0.5] = 0  # as many zeros as a ReLU leaves
    found = []
    for batches in (1, 3):
        sketch = PercentileSketch(convention, 3 if channelwise else None)
        parts = np.array_split(x, batches)
        for look in (sketch.widen, sketch.count):
            order.shuffle(parts)
            for part in parts:
                look(part)
        found.append(np.atleast_1d(sketch.percentile(p)))
    np.testing.assert_array_equal(found[0], found[1])  # neither order nor batches change a bit
    for i, scale in enumerate(found[0]):
        mine = (x[:, i] if channelwise else x).ravel()
        mine = np.sort(np.abs(mine) if convention == "all" else mine[mine > 0])
        if not mine.size or mine.max() == 0:
            assert scale == 1
            continue
        exact = mine[max(int(np.ceil(p / 100 * mine.size)) - 1, 0)]
        wanted = mine.max() if exact == 0 else exact
        # interpolated from the value below where the target is exactly its count
        allowed = 2 * mine.max() / sketch.bins
        below = mine[max(int(np.floor(p / 100 * mine.size)) - 1, 0)]
        assert min(abs(scale - wanted), abs(scale - max(below, 1e-9))) <= allowed or scale == mine.max()


def test_memory_of_the_sketch_does_not_grow_with_the_volume():
    assert PercentileSketch().counts.nbytes == 512 * 1024
    assert PercentileSketch("all", channels=128).counts.nbytes == 128 * 64 * 1024


def test_examples_are_asked_for_one_at_a_time(rng):
    class Lazy:
        """Hands out pairs made when asked."""

        asked: list = []

        def __len__(self):
            return 3

        def __getitem__(self, i):
            self.asked.append(i)
            return pairs(np.random.default_rng(i), 1)[0]

    teacher = lively_teacher(CONFIG, rng)
    once = calibrate(teacher, Lazy())
    assert Lazy.asked == [0, 1, 2] * 2
    assert once == calibrate(teacher, [Lazy()[i] for i in (2, 0, 1)])


@pytest.mark.parametrize("convention", ["positive", "all"])
def test_conventions_are_ordered(convention, rng):
    teacher, examples = lively_teacher(CONFIG, rng), pairs(rng)
    scales = calibrate(teacher, examples, 99, convention)
    positive = calibrate(teacher, examples, 99, "positive")
    assert all(scales[name] <= positive[name] * 1.001 for name in scales)  # zeros push a percentile down


# --- rescaling


@given(granularity=st.sampled_from(["layer", "channel"]), slope=st.sampled_from([0.0, 0.2]), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_rescaled_weights_compute_the_teacher_over_concatenations_and_averages(granularity, slope, seed):
    rng = np.random.default_rng(seed)
    config = replace(CONFIG, negative_slope=slope)
    teacher, (example,) = lively_teacher(config, rng), pairs(rng, 1)
    scales = calibrate(teacher, [example], granularity=granularity)
    spiking = SpikeReg(config, rng)
    transfer(teacher, spiking, scales)
    analog = Teacher(config, rng).eval()
    for layer in config.layers():
        analog.unit(layer.name).conv = spiking.unit(layer.name).conv
        analog.unit(layer.name).norm.running_variance.data -= np.float32(1e-5)  # what epsilon adds
    analog.head = spiking.head
    seen, want = {}, {}
    with no_grad():
        analog(*example, observe=seen.__setitem__)
        teacher(*example, observe=want.__setitem__)
    for name, scale in scales.items():
        factor = np.reshape(scale, (-1, 1, 1, 1))
        np.testing.assert_allclose(seen[name].data * factor, want[name].data, rtol=1e-3, atol=1e-4 * np.max(factor))
    np.testing.assert_allclose(seen[FIELD].data, want[FIELD].data, rtol=1e-3, atol=1e-4)


# --- exact as T grows


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0], ids=["ReLU", "LeakyReLU", "linear"])
@pytest.mark.parametrize("granularity", ["layer", "channel"])
def test_conversion_is_exact_in_the_limit(slope, granularity, rng):
    config = SpikeRegConfig(encoder=(4, 5), decoder=(4, 3), average_skips=(0,), negative_slope=slope)
    teacher, examples = lively_teacher(config, rng), pairs(rng, 1, (8, 8, 8))
    scales = calibrate(teacher, examples, 100, "all", granularity)
    scales = {name: np.float32(1.05) * scale for name, scale in scales.items()}  # nothing saturates
    points = sweep(teacher, lambda c: SpikeReg(c, rng), config, examples, scales, (8, 32, 128))
    errors = np.array([point.field_error for point in points])
    assert (errors[1:] < errors[:-1]).all()
    slope_of_decay = np.polyfit(np.log([8, 32, 128]), np.log(errors), 1)[0]
    assert -1.3 < slope_of_decay < -0.7  # error ~ 1 / T
    assert points[-1].relative_error < 0.06
    assert all(layer.saturated == 0 for layer in points[-1].layers)


def test_two_populations_carry_positive_and_negative_activations(rng):
    config = SpikeRegConfig(encoder=(4,), decoder=(4,), steps=64, negative_slope=0.2)
    teacher, examples = lively_teacher(config, rng), pairs(rng, 1, (8, 8, 8))
    spiking = SpikeReg(config, rng)
    scales = scales_for(teacher, spiking, examples, 100, "all")
    transfer(teacher, spiking, scales)
    a, s = {}, {}
    with no_grad():
        teacher(*examples[0], observe=a.__setitem__)
        spiking(*examples[0], observe=s.__setitem__)
    name = "encoder.0.conv1"
    rates = s[name].data.mean(axis=0)
    on, off = rates[:, :4], rates[:, 4:]
    want = a[name].data / scales[name]
    assert want.min() < -0.02
    np.testing.assert_allclose(on, np.clip(want, 0, 1), atol=1 / 128 + 1e-4)
    np.testing.assert_allclose(off, np.clip(-want, 0, 1), atol=1 / 128 + 1e-4)
    assert not np.isin(s[name].data, (0, 1), invert=True).any()


def test_events_of_two_populations_are_counted_with_synapses_of_their_own(rng):
    config = SpikeRegConfig(encoder=(4,), decoder=(4,), negative_slope=0.2)
    teacher, ((fixed, moving),) = lively_teacher(config, rng), pairs(rng, 1, (8, 8, 8))
    spiking = SpikeReg(config, rng)
    convert(teacher, spiking, [(fixed, moving)])
    seen = {}
    with no_grad():
        spiking(fixed, moving, observe=seen.__setitem__)
    spikes = {name: x.data for name, x in seen.items() if name != FIELD}
    images = np.concatenate([fixed.data, moving.data], axis=1)
    found = {row.name: row for row in count_operations(config, images, spikes).layers}
    plain = replace(config, negative_slope=0.0)
    folded = {n: x[:, :, :4] + x[:, :, 4:] for n, x in spikes.items()}
    once = {row.name: row for row in count_operations(plain, images, folded).layers}
    for layer in config.layers():
        ours, theirs = found[layer.name], once[layer.name]
        assert ours.ann_macs == theirs.ann_macs
        assert ours.events == theirs.events
        assert (ours.synops, ours.macs) == (2 * theirs.synops, 2 * theirs.macs)
        assert ours.neurons == 2 * theirs.neurons == spikes[layer.name][0].size
        assert ours.reset_subtractions == spikes[layer.name].sum()
        assert ours.ann_adds == theirs.ann_adds
    assert found["head"].synops == once["head"].synops


def test_two_populations_run_as_a_program(rng):
    config = SpikeRegConfig(encoder=(4, 5), decoder=(4, 3), average_skips=(0,), negative_slope=0.2)
    teacher, ((fixed, moving),) = lively_teacher(config, rng), pairs(rng, 1, (8, 8, 8))
    spiking = SpikeReg(config, rng)
    convert(teacher, spiking, [(fixed, moving)])
    with no_grad():
        field = spiking(fixed, moving).data[0]
    for weights, apart in (("float32", 0.02), ("int16", 0.1), ("int8", 0.2)):
        found = execute(lower(spiking, weights), {"fixed": fixed.data[0], "moving": moving.data[0]})
        (ours,) = found.outputs.values()
        assert np.abs(ours - field).mean() < apart * np.abs(field).mean(), weights


# --- reports


def test_the_report_finds_dead_neurons_and_saturation(rng):
    config = SpikeRegConfig(encoder=(4,), decoder=(4,), steps=4)
    teacher, examples = lively_teacher(config, rng), pairs(rng, 3, (8, 8, 8))
    teacher.unit("encoder.0.conv2").norm.beta.data[1] = -100  # never active
    spiking = SpikeReg(config, rng)
    scales = scales_for(teacher, spiking, examples, 60)
    transfer(teacher, spiking, scales)
    report = {row.name: row for row in compared(teacher, spiking, examples, scales).layers}
    fired, beyond = 0, []
    for example in examples:
        a, s = {}, {}
        with no_grad():
            teacher(*example, observe=a.__setitem__)
            spiking(*example, observe=s.__setitem__)
        fired = fired + s["encoder.0.conv2"].data.sum(axis=(0, 1))
        beyond.append((a["encoder.0.conv2"].data > scales["encoder.0.conv2"]).mean())
    row = report["encoder.0.conv2"]
    assert row.dead == pytest.approx((fired == 0).mean())
    assert row.dead >= 0.25
    assert row.saturated == pytest.approx(np.mean(beyond))
    assert row.saturated > 0.05


def test_a_perfect_copy_has_no_error(rng):
    """A network that never moves anything: both fields are zero."""
    config = SpikeRegConfig(encoder=(2,), decoder=(2,))
    teacher, examples = Teacher(config, rng).eval(), pairs(rng, 1, (4, 4, 4))
    teacher.head.weight.data[:] = 0
    spiking = SpikeReg(config, rng)
    scales = scales_for(teacher, spiking, examples)
    transfer(teacher, spiking, scales)
    found = compared(teacher, spiking, examples, scales)
    assert (found.field_error, found.relative_error) == (0.0, 0.0)


def test_the_figure_shows_what_it_is_given():
    pytest.importorskip("matplotlib", reason="draws: needs the extra plot")
    ax = viz.conversion_error([8, 2], [0.1, 0.4], {"a": [0.01, 0.02]})
    line = next(line for line in ax.lines if line.get_label() == "field")
    np.testing.assert_array_equal(line.get_xdata(), [2, 8])
    np.testing.assert_array_equal(line.get_ydata(), [0.4, 0.1])
    with pytest.raises(ParameterError, match="at least two"):
        viz.conversion_error([1], [0.1])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t, e: calibrate(t, e, convention="some"), "convention"),
        (lambda t, e: calibrate(t, e, granularity="voxel"), "granularity"),
        (lambda t, e: sweep(t, SpikeReg, t.config, e, {}, (4, 4)), "different"),
        (lambda t, e: sweep(t, SpikeReg, t.config, e, {}, ()), "different"),
    ],
)
def test_bad_requests_are_refused(call, says, rng):
    with pytest.raises(ParameterError, match=says):
        call(lively_teacher(CONFIG, rng), pairs(rng, 1))


# --- pairs


def test_pairs_of_a_folder_are_read_when_asked_for(tmp_path, rng):
    for i in range(3):
        pair = generate_pair((20, 24, 16), np.random.default_rng(i))
        write_nifti(tmp_path / f"{i}.nii.gz", Image(pair.fixed, np.eye(4)))
    found = FolderPairs(tmp_path, 8, CONFIG, None, "world")
    assert len(found) == len(list(found)) == 2
    fixed, moving = found[1]
    assert fixed.shape == moving.shape == (1, 1, 24, 24, 16)
    assert 0 <= fixed.data.min() < fixed.data.max() <= 1
    assert len(FolderPairs(tmp_path, 1, CONFIG, None, "world")) == 1
    (tmp_path / "2.nii.gz").unlink()
    (tmp_path / "1.nii.gz").unlink()
    with pytest.raises(ImageError, match="there are 1"):
        FolderPairs(tmp_path, 8, CONFIG, None, "world")


def test_generated_pairs_are_the_same_each_time():
    found = GeneratedPairs(2, CONFIG, 3)
    for a, b in zip(found[1], found[1], strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert len(list(found)) == 2
    assert found[0][0].shape == (1, 1, 48, 48, 48)


# --- the command


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("convert") / "teacher.safetensors"
    config = SpikeRegConfig(encoder=(3, 4), decoder=(3, 2), steps=2)
    save_model(path, lively_teacher(config, np.random.default_rng(0)), {"align": "world", "held_out": {"dice": 0.5}})
    return path


def command(capsys, *arguments):
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("mode", ["sound", "paper"])
def test_the_command_writes_a_model_that_registers(mode, teacher_file, tmp_path, capsys):
    out, report, figure = (tmp_path / name for name in ("net.safetensors", "report.json", "sweep.png"))
    pytest.importorskip("matplotlib", reason="draws: needs the extra plot")
    backend = ("--backend", "numpy", "-j", 1)
    status, said, err = command(
        capsys,
        *("convert", "--teacher", teacher_file, "--out", out, "--mode", mode, "--pairs", 1, "--sweep", "1,3"),
        *("--figure", figure, "--json", report, *backend),
    )
    assert status == 0, err
    assert "encoder.0.conv1" in said
    assert figure.read_bytes().startswith(b"\x89PNG")
    content = json.loads(report.read_text())
    assert [point["steps"] for point in content["sweep"]] == [1, 3]
    assert content["percentile"] == {"sound": 99.0, "paper": 50.0}[mode]
    assert {row["name"] for row in content["layers"]} == {row["name"] for row in content["sweep"][0]["layers"]}
    network, card = load_model(out)
    assert isinstance(network, SpikeReg)
    assert card.config.mode == mode
    assert "held_out" not in card.facts
    status, said, err = command(capsys, "info", out, "--json", *backend)
    assert status == 0, err
    facts = json.loads(said)
    assert facts["mode"] == mode
    assert "program" in facts
    assert "no_program" not in facts
    pair = generate_pair((16, 16, 16), np.random.default_rng(4))
    for name in ("moving", "fixed"):
        write_nifti(tmp_path / f"{name}.nii.gz", Image(getattr(pair, name), np.eye(4)))
    register = ("register", "--moving", tmp_path / "moving.nii.gz", "--fixed", tmp_path / "fixed.nii.gz")
    for weights in ("trained", "int8"):
        status, said, err = command(capsys, *register, "--model", out, "--weights", weights, "--json", *backend)
        assert status == 0, err
        assert 0 < json.loads(said)["spike_rate"] < 1


def test_a_network_without_a_program_says_so(tmp_path, rng, capsys):
    config = SpikeRegConfig(encoder=(2,), decoder=(2,), mode="paper", winners=0.5)
    save_model(tmp_path / "net.safetensors", SpikeReg(config, rng), {"spacing": 1.0, "align": "world"})
    status, said, err = command(capsys, "info", tmp_path / "net.safetensors", "--json")
    assert status == 0, err
    assert "winners" in json.loads(said)["no_program"]
    write_nifti(tmp_path / "image.nii.gz", Image(rng.random((8, 8, 8), dtype=np.float32), np.eye(4)))
    register = ("register", "--moving", tmp_path / "image.nii.gz", "--fixed", tmp_path / "image.nii.gz")
    status, _, err = command(capsys, *register, "--model", tmp_path / "net.safetensors")
    assert status == 2
    assert "weights 'trained'" in err


def test_neurons_may_be_left_to_learn(teacher_file, tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    options = ("--pairs", 1, "--steps", 3, "--mode", "paper", "--learn-neurons", "--backend", "numpy")
    status, _, err = command(capsys, "convert", "--teacher", teacher_file, "--out", out, *options)
    assert status == 0, err
    network, card = load_model(out)
    assert (card.config.steps, card.config.learn_leak, card.config.learn_threshold) == (3, True, True)
    assert float(network.unit("bottleneck").neuron.current_neuron().v_threshold.data) != pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--figure", "a.png"), "--sweep"),
        (("--pairs", 0), "--pairs"),
        (("--percentile", 0), "percentile"),
        (("--mode", "paper", "--granularity", "channel"), "one threshold"),
        (("--data", "nowhere"), "there are 0"),
        (("--sweep", "4,4"), "different"),
    ],
)
def test_bad_input_to_the_command_is_a_sentence_and_writes_nothing(options, says, teacher_file, tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    status, _, err = command(capsys, "convert", "--teacher", teacher_file, "--out", out, *options, "--backend", "numpy")
    assert status == 2
    assert says in err
    assert not list(tmp_path.iterdir())


def test_a_spiking_network_cannot_be_converted_again(tmp_path, rng, capsys):
    path = tmp_path / "net.safetensors"
    save_model(path, SpikeReg(SpikeRegConfig(encoder=(2,), decoder=(2,)), rng))
    status, _, err = command(capsys, "convert", "--teacher", path, "--out", tmp_path / "again.safetensors")
    assert status == 2
    assert "only a Teacher" in err
