"""`pysnnmed evaluate segment`: scores that can be checked by hand, both aggregates, failures, masks without a model."""

import csv
import json
import math

import numpy as np
import pytest
from tiny_segmenters import VOLUMES, save_tiny

from pysnnmed.cli import main
from pysnnmed.data import Image, write_mask, write_nifti
from pysnnmed.data.picture_output import write_labels
from pysnnmed.evaluation.segmentation_scores import SCORES, score_labels
from pysnnmed.models.medspikeformer import SegmentationTeacher

pillow = pytest.importorskip("PIL.Image")
pytest.importorskip("scipy")


def square(top, left, height, width, shape=(20, 24)):
    mask = np.zeros(shape, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


TRUE = {"a": square(2, 2, 10, 10), "b": square(5, 5, 8, 4), "c": np.zeros((20, 24), np.uint8)}
FOUND = {"a": square(2, 2, 10, 5), "b": square(5, 5, 8, 4), "c": np.zeros((20, 24), np.uint8)}


@pytest.fixture
def data(tmp_path, rng):
    """Three pictures with masks; the last one shows nothing."""
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name, mask in TRUE.items():
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        pillow.fromarray(pixels).save(tmp_path / "data" / "images" / f"{name}.png")
        write_mask(tmp_path / "data" / "masks" / f"{name}.png", mask)
    return tmp_path / "data"


@pytest.fixture
def predictions(tmp_path):
    (tmp_path / "found").mkdir()
    for name, mask in FOUND.items():
        write_mask(tmp_path / "found" / f"{name}_mask.png", mask)
    return tmp_path / "found"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "spiking": save_tiny(folder / "spiking.safetensors"),
        "teacher": save_tiny(folder / "teacher.safetensors", kind=SegmentationTeacher),
        "volumes": save_tiny(folder / "volumes.safetensors", VOLUMES),
    }


def run(capsys, *arguments):
    status = main(["evaluate", "segment", *(str(a) for a in arguments), "--backend", "numpy", "-j", "1"])
    out, err = capsys.readouterr()
    return status, out, err


def results(folder):
    with (folder / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file)), json.loads((folder / "summary.json").read_text())


def test_masks_are_judged_without_a_model_and_both_aggregates_are_named(data, predictions, tmp_path, capsys):
    status, out, err = run(capsys, "--data", data, "--predictions", predictions, "--out", tmp_path / "out")
    assert status == 0, err
    rows, summary = results(tmp_path / "out")
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert [float(row["mIoU"]) for row in rows] == [0.5, 1, 1]
    assert [int(row["fn"]) for row in rows] == [50, 0, 0]
    assert [float(row["DSC"]) for row in rows] == pytest.approx([2 / 3, 1, 1])
    own = summary["models"]["found"]["foreground"]
    assert own["pooled"]["mIoU"] == pytest.approx(82 / 132)
    assert own["image"]["mIoU"] == pytest.approx(2.5 / 3)
    assert own["pooled"]["DSC"] == pytest.approx(164 / 214)
    assert own["image"]["Sen"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert own["pooled"]["Spe"] == 1
    assert own["counts"] == {"tp": 82, "fp": 0, "fn": 50, "tn": 3 * 480 - 132}
    assert own["both_empty"] == 1
    assert own["hd95"] == pytest.approx(2.5)  # 5 pixels too narrow in one image, right in the other
    assert "foreground, pooled" in out
    assert "foreground, per image" in out


@pytest.mark.parametrize(("empty", "expected"), [("1", 2.5 / 3), ("0", 1.5 / 3), ("skip", 1.5 / 2)])
def test_the_policy_for_empty_masks(data, predictions, tmp_path, capsys, empty, expected):
    run(capsys, "--data", data, "--predictions", predictions, "--out", tmp_path / "out", "--empty", empty)
    _, summary = results(tmp_path / "out")
    own = summary["models"]["found"]["foreground"]
    assert own["image"]["mIoU"] == pytest.approx(expected)
    assert own["pooled"]["mIoU"] == pytest.approx(82 / 132)
    assert summary["settings"]["empty"] == empty


def test_a_model_against_its_teacher(data, models, tmp_path, capsys):
    common = ("--data", data, "--model", models["spiking"], "--against", models["teacher"], "--weights", "trained")
    status, out, err = run(capsys, *common, "--out", tmp_path / "out", "--margin", 0.05)
    assert status == 0, err
    rows, summary = results(tmp_path / "out")
    assert len(rows) == 6
    spiking = summary["models"][str(models["spiking"])]
    teacher = summary["models"][str(models["teacher"])]
    assert 0 < spiking["spread"]["rate"]["mean"] < 1
    assert teacher["spread"]["rate"]["n"] == 0
    assert spiking["spread"]["seconds"]["n"] == 3
    comparison = summary["comparison"]["DSC"]
    assert comparison["n"] == 3
    assert comparison["tost"]["margin"] == 0.05
    means = [np.mean([float(r["DSC"]) for r in rows if r["model"] == str(models[m])]) for m in ("spiking", "teacher")]
    assert comparison["means"] == pytest.approx(means)
    assert "against" in out


def test_pictures_and_masks_of_another_size_are_brought_to_one(data, models, tmp_path, capsys):
    """HAM10000 is often kept with small pictures and large masks; without --size that is refused by name."""
    write_mask(data / "masks" / "a.png", TRUE["a"].repeat(3, 0).repeat(3, 1))
    common = ("--data", data, "--model", models["spiking"], "--weights", "trained", "--out", tmp_path / "out")
    status, _, err = run(capsys, *common)
    assert status == 2
    assert "a.png: the mask has 60 x 72 pixels, and the image" in err
    assert "1 of 3 segmentations failed" in err
    rows, summary = results(tmp_path / "out")
    assert [bool(row["error"]) for row in rows] == [True, False, False]
    assert summary["models"][str(models["spiking"])]["failed"][0]["name"] == "a"
    status, _, err = run(capsys, *common, "--size", "16x16")
    assert status == 0, err
    rows, _ = results(tmp_path / "out")
    assert sum(int(rows[0][n]) for n in ("tp", "fp", "fn", "tn")) == 256


def test_a_damaged_image_is_one_failure_among_others(data, models, tmp_path, capsys):
    (data / "images" / "b.png").write_bytes((data / "images" / "b.png").read_bytes()[:100])
    common = ("--data", data, "--model", models["spiking"], "--weights", "trained", "--json")
    status, out, err = run(capsys, *common)
    assert status == 2
    assert "b.png" in err
    content = json.loads(out)["models"][str(models["spiking"])]
    assert content["cases"] == 3
    assert content["foreground"]["counts"]["tn"] > 0


def test_the_same_image_under_two_names_is_told(data, predictions, capsys):
    (data / "images" / "b.png").write_bytes((data / "images" / "a.png").read_bytes())
    status, out, _ = run(capsys, "--data", data, "--predictions", predictions)
    assert status == 0
    assert "same image under several names, counted for each: a, b" in out


@pytest.fixture
def scans(tmp_path, rng):
    """Four volumes with two labels, of which the spacing matters."""
    for folder in ("images", "labels"):
        (tmp_path / "scans" / folder).mkdir(parents=True)
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    for i in range(4):
        labels = np.zeros((6, 12, 10), np.uint8)
        labels[1:4, 2:6, 2:8], labels[1:4, 6:10, 2:8] = 1, 2
        write_nifti(tmp_path / "scans" / "labels" / f"s{i}.nii.gz", Image(labels, affine))
        image = (labels / 2 + rng.random(labels.shape) / 4).astype(np.float32)
        write_nifti(tmp_path / "scans" / "images" / f"s{i}.nii.gz", Image(image, affine))
    return tmp_path / "scans"


def test_volumes_are_judged_in_three_axes_and_millimetres(scans, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    for i in range(4):
        labels = np.zeros((6, 12, 10), np.uint8)
        labels[1:5, 2:6, 2:8], labels[1:4, 6:10, 2:8] = 1, 2  # the first structure one slice of 2 mm too thick
        write_nifti(tmp_path / "mine" / f"s{i}.nii.gz", Image(labels, np.diag([2.0, 1.0, 1.0, 1.0])))
    status, _, err = run(capsys, "--data", scans, "--predictions", tmp_path / "mine", "--out", tmp_path / "out")
    assert status == 0, err
    rows, summary = results(tmp_path / "out")
    own = summary["models"]["mine"]
    assert own["labels"]["1"]["image"]["DSC"] == pytest.approx(2 * 72 / (72 + 96))
    assert own["labels"]["2"]["image"]["DSC"] == 1
    assert own["dice_labels"]["image"] == pytest.approx((6 / 7 + 1) / 2)
    assert float(rows[0]["dice_labels"]) == pytest.approx((6 / 7 + 1) / 2)
    assert own["labels"]["1"]["hd95"] == pytest.approx(2.0)
    assert float(rows[0]["hd95_1"]) == pytest.approx(2.0)


def test_held_out_cases(scans, models, tmp_path, capsys):
    common = ("--data", scans, "--model", models["volumes"], "--weights", "trained", "--out", tmp_path / "out")
    for which, names in (("last:1", ["s3"]), ("hash:4", ["s0", "s1", "s2", "s3"])):
        status, _, err = run(capsys, *common, "--held-out", which)
        assert status == 0, err
        assert [row["name"] for row in results(tmp_path / "out")[0]] == names
    chosen = []
    for salt in ("", ":other"):
        run(capsys, *common, "--held-out", f"hash:1{salt}")
        chosen.append(results(tmp_path / "out")[0][0]["name"])
    assert len(set(chosen)) == 2
    for wrong in ("last:0", "last:5", "hash:x", "last:1:salt", "test", "7"):
        status, _, err = run(capsys, *common, "--held-out", wrong)
        assert status == 2
        assert "--held-out" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--predictions", "X", "--model", "m"), "--model is about a model"),
        (("--predictions", "X", "--window", "16"), "--window is about a model"),
        (("--labels", "1"), "--labels needs --predictions"),
        (("--margin", "0.1"), "--margin needs --against"),
        (("--model", "m", "--against", "m"), "another model"),
        (("--predictions", "nowhere"), "there is no such folder"),
        (("--model", "hippocampus"), "segmentation needs a MedSpikeFormer"),
    ],
)
def test_options_that_do_not_go_together(data, capsys, options, words):
    status, _, err = run(capsys, "--data", data, *options)
    assert status == 2
    assert words in err


def test_predictions_that_do_not_fit(data, predictions, capsys):
    write_mask(predictions / "b_mask.png", np.zeros((5, 5), np.uint8))
    (predictions / "c_mask.png").unlink()
    status, _, err = run(capsys, "--data", data, "--predictions", predictions)
    assert status == 2
    assert "2 of 3 segmentations failed" in err
    assert "b_mask.png: the mask has (5, 5) pixels" in err
    assert "c: no file of that name" in err
    write_mask(predictions / "a.png", TRUE["a"])
    status, _, err = run(capsys, "--data", data, "--predictions", predictions)
    assert status == 2
    assert "already has the mask" in err
    (predictions / "a.png").rename(predictions / "z.png")
    status, _, err = run(capsys, "--data", data, "--predictions", predictions)
    assert status == 2
    assert "belongs to none of the 3 cases" in err


def test_maps_of_several_labels_in_pictures(data, predictions, tmp_path, capsys):
    for name in TRUE:
        write_labels(data / "masks" / f"{name}.png", 3 * TRUE[name])
        write_labels(predictions / f"{name}_mask.png", 3 * FOUND[name])
    status, _, err = run(
        capsys, "--data", data, "--predictions", predictions, "--labels", 3, 4, "--out", tmp_path / "out"
    )
    assert status == 0, err
    _, summary = results(tmp_path / "out")
    own = summary["models"]["found"]
    assert own["labels"]["3"]["pooled"]["mIoU"] == pytest.approx(82 / 132)
    assert own["labels"]["4"]["both_empty"] == 3


def test_every_score_has_a_definition_and_what_nobody_knows_is_background(rng):
    found, truth = rng.integers(0, 4, (2, 9, 9))
    scores = score_labels("x", found, truth, {1: "a", 2: "b"})
    assert set(scores.scores) == set(SCORES)
    assert scores.foreground.counts.tp == np.sum(np.isin(found, (1, 2)) & np.isin(truth, (1, 2)))
    assert scores.labels[2].counts.fp == np.sum((found == 2) & (truth != 2))
    assert not any(math.isnan(value) for value in scores.scores.values())
