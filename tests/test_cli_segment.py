"""`pysnnmed segment`: files, folders, failures, and nothing written over."""

import json

import numpy as np
import pytest
from tiny_segmenters import VOLUMES, save_tiny

from pysnnmed import segment
from pysnnmed.cli import main
from pysnnmed.data import Image, read_nifti, read_picture, write_nifti
from pysnnmed.data.masks import read_mask
from pysnnmed.models.medspikeformer import SegmentationTeacher
from pysnnmed.synops import Report

pillow = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "pictures": save_tiny(folder / "pictures.safetensors"),
        "volumes": save_tiny(folder / "volumes.safetensors", VOLUMES),
        "teacher": save_tiny(folder / "teacher.safetensors", kind=SegmentationTeacher),
    }


@pytest.fixture
def pictures(tmp_path, rng):
    """Three pictures in a folder, and what macOS leaves beside them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("a.png", (20, 30)), ("b.jpg", (33, 17)), ("c.tif", (16, 16))):
        pillow.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    (folder / "._a.png").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("nothing")
    return folder


def run(capsys, *arguments):
    status = main(["segment", *(str(a) for a in arguments), "--backend", "numpy", "-j", "1"])
    out, err = capsys.readouterr()
    return status, out, err


def test_a_picture_with_everything(models, pictures, tmp_path, capsys):
    outputs = [tmp_path / name for name in ("mask.png", "sure.png", "drawn.png")]
    options = ("--weights", "trained", "--window", "16x24", "--overlap", 0.25, "--threshold", 0.4)
    status, out, err = run(
        capsys,
        *("-i", pictures / "a.png", "-o", outputs[0], "--model", models["pictures"], *options),
        *("--probability", outputs[1], "--overlay", outputs[2], "--json"),
    )
    assert status == 0, err
    expected = segment(
        pictures / "a.png",
        models["pictures"],
        probability=True,
        weights="trained",
        window=(16, 24),
        overlap=0.25,
        threshold=0.4,
        backend="numpy",
    )
    np.testing.assert_array_equal(read_mask(outputs[0]).data, expected.mask)
    np.testing.assert_allclose(read_picture(outputs[1]).unit(), expected.probability, atol=1e-5)
    assert read_picture(outputs[2]).data.shape == (3, 20, 30)
    assert 0 < expected.mask.mean() < 1
    facts = json.loads(out)
    assert facts["windows"] == expected.windows > 1
    assert facts["sizes_pixels"] == {"foreground": float(expected.mask.sum())}
    assert "bytes for" in err  # said before it ran


def test_what_is_said_without_json(models, pictures, tmp_path, capsys):
    common = ("-i", pictures / "a.png", "-o", tmp_path / "mask.png", "--weights", "trained")
    status, out, _ = run(capsys, *common, "--model", models["pictures"])
    assert status == 0
    assert "segmented with pictures (trained weights) on the numpy backend" in out
    assert "spike rate" in out
    status, out, _ = run(capsys, *common, "--model", models["teacher"])
    assert status == 0
    assert "spike rate" not in out


def test_a_volume_keeps_its_geometry(models, tmp_path, rng, capsys):
    affine = np.array([[0, -1.5, 0.2, 10], [0.9, 0, 0, -20], [0, 0.3, -2.0, 5], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "in.nii.gz", Image(rng.random((9, 7, 8)).astype(np.float32), affine))
    status, _, err = run(
        capsys,
        *("-i", tmp_path / "in.nii.gz", "-o", tmp_path / "out.nii.gz", "--model", models["volumes"]),
        *("--overlay", tmp_path / "o.png", "--probability", tmp_path / "p.nii", "--weights", "trained"),
    )
    assert status == 0, err
    before, after = read_nifti(tmp_path / "in.nii.gz"), read_nifti(tmp_path / "out.nii.gz")
    assert after.data.dtype == np.uint8
    np.testing.assert_array_equal(after.affine, before.affine)
    assert set(np.unique(after.data)) == {0, 1, 2}
    assert read_picture(tmp_path / "o.png").data.shape[0] == 3


def test_a_folder_goes_on_after_failures_names_them_and_keeps_what_is_done(models, pictures, tmp_path, capsys):
    content = (pictures / "a.png").read_bytes()
    (pictures / "aa.png").write_bytes(content[: len(content) // 2])
    write_nifti(pictures / "b2.nii.gz", Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)))
    out_folder = tmp_path / "masks"
    common = ("--model", models["pictures"], "--weights", "trained")
    status, out, err = run(capsys, "-i", pictures, "-o", out_folder, "--overlay", tmp_path / "drawn", *common)
    assert status == 2
    assert "2 of 5 images failed" in err
    assert "aa: " in err
    assert "cut short" in err
    assert "b2.nii.gz: pictures has learned from pictures" in err
    assert sorted(p.name for p in out_folder.iterdir()) == ["a.png", "b.png", "c.png"]
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["a.png", "b.png", "c.png"]
    for name in ("a.png", "b.jpg", "c.tif"):
        alone = segment(pictures / name, models["pictures"], weights="trained", backend="numpy")
        np.testing.assert_array_equal(read_mask(out_folder / f"{name[0]}.png").data, alone.mask)
    assert "3 of 5 images segmented" in out
    status, out, _ = run(capsys, "-i", pictures, "-o", out_folder, "--json", *common)
    assert status == 2
    found = json.loads(out)
    assert [case["name"] for case in found["cases"]] == ["a", "b", "c"]
    assert set(found["failed"]) == {"aa", "b2"}


def test_a_dry_run_says_the_memory_and_writes_nothing(models, pictures, tmp_path, capsys):
    status, out, _ = run(
        capsys,
        "-i",
        pictures,
        "-o",
        tmp_path / "masks",
        "--model",
        models["pictures"],
        "--dry-run",
        "--weights",
        "trained",
    )
    assert status == 0
    assert out.count("bytes for 1 window of 16 x 16") == 3
    assert not (tmp_path / "masks").exists()


def same_folder(pictures, tmp_path):
    return "-i", pictures, "-o", pictures


def same_file(pictures, tmp_path):
    return "-i", pictures / "a.png", "-o", pictures / ".." / "pictures" / "a.png"


def same_outputs(pictures, tmp_path):
    return "-i", pictures, "-o", tmp_path / "m", "--overlay", tmp_path / "m"


def over_energy(pictures, tmp_path):
    return "-i", pictures / "a.png", "-o", tmp_path / "m.png", "--probability", tmp_path / "m.png"


def not_a_folder(pictures, tmp_path):
    (tmp_path / "file").write_text("")
    return "-i", pictures, "-o", tmp_path / "file"


def a_folder(pictures, tmp_path):
    return "-i", pictures / "a.png", "-o", tmp_path


def two_of_a_name(pictures, tmp_path):
    (pictures / "a.tif").write_bytes((pictures / "c.tif").read_bytes())
    return "-i", pictures, "-o", tmp_path / "m"


def nothing_inside(pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    return "-i", tmp_path / "empty", "-o", tmp_path / "m"


def not_there(pictures, tmp_path):
    return "-i", tmp_path / "nowhere.png", "-o", tmp_path / "m.png"


def no_png(pictures, tmp_path):
    return "-i", pictures / "a.png", "-o", tmp_path / "m.jpg"


def energy_as_trained(pictures, tmp_path):
    return "-i", pictures / "a.png", "-o", tmp_path / "m.png", "--energy", tmp_path / "e.json"


def memory_as_trained(pictures, tmp_path):
    return "-i", pictures / "a.png", "-o", tmp_path / "m.png", "--memory", "1G"


def a_window_that_does_not_fit(pictures, tmp_path):
    return "-i", pictures / "a.png", "-o", tmp_path / "m.png", "--window", 15


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (same_folder, "is the folder of the images"),
        (same_file, "is an input, and would be written over"),
        (same_outputs, "is another output"),
        (over_energy, "is another output"),
        (not_a_folder, "must be a folder"),
        (a_folder, "is a folder, and the input is one file"),
        (two_of_a_name, "the name 'a' is already that of"),
        (nothing_inside, "holds no image"),
        (not_there, "nowhere.png: cannot be read"),
        (no_png, r"must end in .png"),
        (energy_as_trained, "needs exact counts"),
        (memory_as_trained, "memory_limit needs a program"),
        (a_window_that_does_not_fit, "multiples of 2"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_touched(models, pictures, tmp_path, capsys, make, words):
    arguments = make(pictures, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, _, err = run(capsys, *arguments, "--model", models["pictures"], "--weights", "trained")
    assert status == 2
    assert words in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_networks_of_another_task_are_refused_by_both_commands(models, pictures, tmp_path, capsys, rng):
    status, _, err = run(capsys, "-i", pictures / "a.png", "-o", tmp_path / "m.png", "--model", "hippocampus")
    assert status == 2
    assert "holds a SpikeReg, segmentation needs a MedSpikeFormer" in err
    volume = str(tmp_path / "v.nii")
    write_nifti(volume, Image(rng.random((8, 8, 8)).astype(np.float32), np.eye(4)))
    for weights in ("trained", "int8"):
        options = ("--moving", volume, "--fixed", volume, "--weights", weights, "--backend", "numpy")
        status = main(["register", *options, "--model", str(models["pictures"])])
        err = capsys.readouterr().err
        assert status == 2
        assert "MedSpikeFormer" in err


def test_energy_of_one_and_of_many(models, pictures, tmp_path, capsys):
    common = ("--model", models["pictures"], "--energy", tmp_path / "e.json", "--json")
    status, out, err = run(capsys, "-i", pictures / "a.png", "-o", tmp_path / "m.png", *common)
    assert status == 0, err
    one = json.loads((tmp_path / "e.json").read_text())
    assert one["operations"]["total"]["synops"] == json.loads(out)["synops"] > 0
    assert "projected" in one["projected_energy"]["conditions"]
    status, out, err = run(capsys, "-i", pictures, "-o", tmp_path / "masks", *common)
    assert status == 0, err
    many = json.loads((tmp_path / "e.json").read_text())
    assert many["operations"]["total"]["synops"] == sum(case["synops"] for case in json.loads(out)["cases"])
    assert many["cases"][0]["synops"] == one["synops"]
    assert Report.from_json(json.dumps(many["operations"])).ann_macs == 3 * one["ann_macs"]
    assert "projected" in many["projected_energy"]["conditions"]
