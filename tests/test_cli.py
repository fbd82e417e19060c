"""The command line: every command, every format, every exit status; nothing half-written."""

import json

import numpy as np
import pytest

from pysnnmed.cli import common, main
from pysnnmed.data import Image, read_nifti, write_nifti
from pysnnmed.data.generate import generate_pair
from pysnnmed.deploy.pretrained import load_model, save_model
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig, Teacher
from pysnnmed.synops import Report, projected_energy

AFFINE = np.array([[-1.5, 0, 0, 20], [0, 1.2, 0, -10], [0, 0, 2.0, 5], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A generated pair in files, and a small network whose head gives a visible, smooth field."""
    folder = tmp_path_factory.mktemp("cli")
    pair = generate_pair((24, 20, 16), np.random.default_rng(0), n_labels=3)
    for name in ("moving", "fixed", "moving_labels"):
        write_nifti(folder / f"{name}.nii.gz", Image(getattr(pair, name), AFFINE))
    config = SpikeRegConfig(encoder=(4, 6), decoder=(4,), steps=2)
    network = SpikeReg(config, np.random.default_rng(1))
    network.head.bias.data[:] = (0.4, -0.3, 0.2)
    save_model(folder / "net.safetensors", network, {"align": "world"})
    return folder


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def registered(files, *more):
    return (
        "register",
        *("--moving", files / "moving.nii.gz", "--fixed", files / "fixed.nii.gz", "--model", files / "net.safetensors"),
        *("--backend", "numpy", "-j", 1, *more),
    )


@pytest.mark.parametrize("form", ["itk", "voxel", "l2r", "vxm"])
def test_applying_the_written_warp_gives_the_moved_image(files, tmp_path, capsys, form):
    moved, warp, again = (tmp_path / name for name in ("moved.nii.gz", "warp.nii.gz", "again.nii.gz"))
    status, out, _ = run(capsys, *registered(files, "--moved", moved, "--warp", warp, "--warp-format", form))
    assert status == 0
    assert "projected" in out
    options = ("--warp", warp, "--warp-format", form, "--fixed", files / "fixed.nii.gz", "--moved", again)
    status, _, err = run(capsys, "apply", "--moving", files / "moving.nii.gz", *options)
    assert status == 0, err
    a, b = read_nifti(moved), read_nifti(again)
    np.testing.assert_allclose(a.data, b.data, atol=2e-4)
    np.testing.assert_allclose(a.affine, AFFINE, atol=1e-5)
    assert np.abs(a.data - read_nifti(files / "moving.nii.gz").data).max() > 0.05


def test_labels_energy_preview_and_json(files, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="draws a preview: needs the extra plot")
    paths = {n: tmp_path / n for n in ("labels.nii.gz", "energy.json", "preview.png")}
    status, out, err = run(
        capsys,
        *registered(files, "--moving-labels", files / "moving_labels.nii.gz", "--moved-labels", paths["labels.nii.gz"]),
        *("--energy", paths["energy.json"], "--preview", paths["preview.png"], "--json"),
    )
    assert status == 0, err
    summary = json.loads(out)
    assert summary.keys() >= {"model", "weights", "backend", "folding_percent", "spike_rate", "synops", "ann_macs"}
    assert "projected" in summary["projected_energy"]["conditions"]
    before = read_nifti(files / "moving_labels.nii.gz").data
    after = read_nifti(paths["labels.nii.gz"]).data
    assert after.dtype == before.dtype
    assert set(np.unique(after)) <= set(np.unique(before)) | {0}
    assert summary["projected_energy"]["table"] == "int8-int32"  # int8 weights, int32 membranes
    energy = json.loads(paths["energy.json"].read_text())
    assert energy["operations"]["total"]["synops"] == summary["synops"]
    assert paths["preview.png"].read_bytes().startswith(b"\x89PNG")


def test_demo_writes_everything(files, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="draws a figure: needs the extra plot")
    status, out, err = run(
        capsys, "demo", "--out", tmp_path, "--model", files / "net.safetensors", "--backend", "numpy", "--json"
    )
    assert status == 0, err
    summary = json.loads(out)
    assert 0 < summary["dice_before"] < 1
    assert summary["data"].startswith("generated")
    names = {path.name for path in tmp_path.iterdir()}
    volumes = {"moving", "fixed", "moved", "moving_labels", "fixed_labels", "moved_labels", "warp"}
    assert names == {f"{v}.nii.gz" for v in volumes} | {"energy.json", "summary.json", "figure.png"}


def test_energy_of_a_pair_of_files(files, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="draws a chart: needs the extra plot")
    content, chart = tmp_path / "energy.json", tmp_path / "energy.png"
    pair = ("--moving", files / "moving.nii.gz", "--fixed", files / "fixed.nii.gz", "--backend", "numpy", "-j", 1)
    options = (
        "--model",
        files / "net.safetensors",
        "--table",
        "fp32",
        "int8@dram",
        "--json",
        content,
        "--chart",
        chart,
    )
    status, out, err = run(capsys, "energy", *pair, *options, "--chart", chart)
    assert status == 0, err
    assert "generated" not in out
    lines = [line for line in out.splitlines() if line.startswith("projected")]
    assert [("fp32 (" in line, "int8@dram (" in line) for line in lines] == [(True, False), (False, True)]
    assert all("T = 2" in line and "rate" in line for line in lines)
    report = Report.from_json(content.read_text())
    assert report.table() in out
    assert report.memory_table() in out
    status, summary, _ = run(capsys, *registered(files, "--json"))
    assert report.total.synops == json.loads(summary)["synops"]
    for facts in json.loads(content.read_text())["projections"]:
        energy = projected_energy(report, facts["table"])
        assert facts["spiking_microjoule"] == pytest.approx(energy.total / 1e6)
        assert ("spiking_with_memory_microjoule" in facts) == ("@" in facts["table"])
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {content.name, chart.name}


def test_programs_and_the_trained_network_report_the_same_numbers_of_equal_spikes(files, tmp_path, capsys):
    """In float32 on the NumPy backend no spike of this pair differs, and so no count may: reads and writes included."""
    pair = ("--moving", files / "moving.nii.gz", "--fixed", files / "fixed.nii.gz", "--backend", "numpy", "-j", 1)
    contents = []
    for weights in ("float32", "trained"):
        path = tmp_path / f"{weights}.json"
        options = ("--model", files / "net.safetensors", "--weights", weights, "--json", path)
        status, out, err = run(capsys, "energy", *pair, *options, "--table", "fp32@sram", "int8-int32@dram")
        assert status == 0, err
        assert f"({weights} weights)" in out
        contents.append(json.loads(path.read_text()))
        assert contents[-1].pop("weights") == weights
    assert contents[0] == contents[1]
    assert contents[0]["total"]["state_reads"] > 0


def test_energy_of_the_generated_pair_counts_the_zeros_of_the_teacher(files, tmp_path, capsys):
    network, _ = load_model(files / "net.safetensors")
    teacher = tmp_path / "analog.safetensors"
    save_model(teacher, Teacher(network.config, np.random.default_rng(0)), {"align": "world"})
    options = ("--model", files / "net.safetensors", "--teacher", teacher, "--table", "fp32", "--backend", "numpy")
    status, out, err = run(capsys, "energy", *options)
    assert status == 0, err
    assert "generated pair, seed" in out
    assert "without its zeros" in " ".join(out.split())
    assert "of the MACs of the analog network meet a zero" in out
    status, _, err = run(capsys, "energy", *options[:2], "--teacher", files / "net.safetensors", *options[4:])
    assert status == 2
    assert "an analog network is a Teacher" in err


def test_info(files, capsys):
    status, out, _ = run(capsys, "info")
    assert status == 0
    assert "numpy" in out
    status, out, _ = run(capsys, "info", files / "net.safetensors", "--json")
    facts = json.loads(out)
    assert facts["network"] == "SpikeReg"
    assert facts["program"]["shape"] == [64, 64, 64]
    layers = [row for row in facts["program"]["operations"] if row["operation"] in ("SpikingLayer", "ReadOut")]
    assert facts["program"]["weight_bytes"] == sum(row["weight_bytes"] for row in layers) > 0
    assert {row["weights"][0].split()[0] for row in layers[1:]} == {"int8"}
    small = ("info", files / "net.safetensors", "--weights", "float32", "--shape", 8, 12, 16, "--json")
    program = json.loads(run(capsys, *small)[1])["program"]
    assert program["shape"] == [8, 12, 16]
    assert program["memory_bytes"] < facts["program"]["memory_bytes"]
    assert not program["whole_numbers"]
    status, out, _ = run(capsys, "info", files / "net.safetensors")
    assert "encoder.0.conv1   SpikingLayer  spikes [T=2, C=4, 32, 32, 32]" in out
    status, out, _ = run(capsys, "info", "hippocampus-teacher")
    assert status == 0
    assert "SpikingLayer" not in out
    status, out, _ = run(capsys, "info", files / "fixed.nii.gz", "--json")
    assert json.loads(out)["shape"] == [24, 20, 16]
    assert json.loads(out)["orientation"] == "LAS"


def test_weights_of_every_kind_register_alike(files, tmp_path, capsys):
    moved = {}
    for weights in ("int8", "int16", "float32", "trained"):
        path = tmp_path / f"{weights}.nii.gz"
        status, out, err = run(capsys, *registered(files, "--weights", weights, "--moved", path))
        assert status == 0, err
        assert f"({weights} weights)" in out
        moved[weights] = read_nifti(path).data
    for data in moved.values():
        assert np.abs(data - moved["trained"]).mean() < 0.01


def test_too_little_memory_is_refused_with_the_plan(files, capsys):
    status, _, err = run(capsys, *registered(files, "--memory", "10K"))
    assert status == 2
    assert "the limit is 10,240" in err
    assert "decoder.0.refine" in err
    assert run(capsys, *registered(files, "--memory", "1.5GiB"))[0] == 0
    with pytest.raises(SystemExit):
        run(capsys, *registered(files, "--memory", "much"))


def test_a_first_run_tells_that_it_compiles(files, capsys, monkeypatch):
    monkeypatch.setattr(common, "PATIENCE", 0.0)
    status, _, err = run(capsys, *registered(files))
    assert status == 0
    assert "compiled kernels in" in err


def test_evaluate_scores_programs_and_teachers(files, capsys, monkeypatch, tmp_path):
    from pysnnmed.cli import evaluate_registration as evaluate
    from pysnnmed.models.spikereg import Teacher
    from pysnnmed.train.pairs import generated_pairs

    monkeypatch.setattr(evaluate, "held_out_pairs", lambda recipe, data: generated_pairs(2, (16, 16, 16), 5))
    teacher = tmp_path / "teacher.safetensors"
    save_model(teacher, Teacher(SpikeRegConfig(encoder=(4,), decoder=(4,)), np.random.default_rng(0)))
    scores = {}
    for weights in ("int8", "trained"):
        command = ("evaluate", "register", "--recipe", "hippocampus", "--model", files / "net.safetensors", "--json")
        options = ("--against", teacher, "--weights", weights, "--backend", "numpy")
        status, out, err = run(capsys, *command, *options)
        assert status == 0, err
        scores[weights] = json.loads(out)
    spiking, analog = scores["int8"][str(files / "net.safetensors")], scores["int8"][str(teacher)]
    same = ("dice", "hd95_mm", "sdlogj", "macs")
    assert [[row[k] for k in same] for row in analog] == [
        [row[k] for k in same] for row in scores["trained"][str(teacher)]
    ]
    assert ["rate" in row for row in (*spiking, *analog)] == [True, True, False, False]
    for ours, theirs in zip(spiking, scores["trained"][str(files / "net.safetensors")], strict=True):
        assert ours["dice"] == pytest.approx(theirs["dice"], abs=0.02)
        assert ours["rate"] == pytest.approx(theirs["rate"], abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("info", "absent.nii.gz"), "absent.nii.gz"),
        (("info", "no-such-model"), "no model 'no-such-model'"),
        (("train", "register", "--data", "nowhere", "--out", "run", "--recipe", "unknown"), "included: brain"),
        (("train", "register", "--recipe", "shapes", "--out", "run", "--teacher", "absent"), "no model 'absent'"),
        (("register", "--moving", "a.nii", "--fixed", "b.nii", "--moving-labels", "c.nii"), "go together"),
        (("energy", "--moving", "a.nii"), "--moving and --fixed go together"),
        (("energy", "--table", "fp33"), "cost table: the name must be one of fp32"),
    ],
)
def test_bad_input_is_a_sentence_and_status_2(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert says in err
    assert err.startswith("pysnnmed: ")
    assert not out
    assert not list(tmp_path.iterdir())


def test_an_unwritable_output_is_refused_and_leaves_nothing(files, tmp_path, capsys):
    status, _, err = run(capsys, *registered(files, "--moved", tmp_path / "no" / "such" / "folder.nii.gz"))
    assert status == 2
    assert "folder.nii.gz" in err


def test_a_teacher_cannot_register(files, tmp_path, capsys):
    from pysnnmed.models.spikereg import Teacher

    path = tmp_path / "teacher.safetensors"
    save_model(path, Teacher(SpikeRegConfig(encoder=(4,), decoder=(4,)), np.random.default_rng(0)))
    arguments = [*registered(files)]
    arguments[arguments.index("--model") + 1] = path
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert "Teacher" in err


def test_a_missing_extra_is_status_3(files, capsys, monkeypatch, tmp_path):
    import builtins

    real = builtins.__import__

    def without_matplotlib(name, *args, **options):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **options)

    import sys

    for name in [m for m in sys.modules if m.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    status, _, err = run(capsys, *registered(files, "--preview", tmp_path / "p.png"))
    assert status == 3
    assert "pysnnmed[plot]" in err


def test_unknown_commands_are_usage_errors(capsys):
    with pytest.raises(SystemExit) as error:
        main(["paint"])
    assert error.value.code == 2
