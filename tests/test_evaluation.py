"""Evaluation of pairs of one's own: scores, rows, summaries, comparisons, and what happens when a pair is bad."""

import csv
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ALL_48, turned

from pysnnmed import __version__
from pysnnmed.cli import main
from pysnnmed.data import Image, read_nifti, write_nifti
from pysnnmed.data.generate import generate_pair
from pysnnmed.data.pairs_table import read_pairs
from pysnnmed.deploy.pretrained import save_model
from pysnnmed.errors import FileError, ImageError, MissingExtraError, ParameterError
from pysnnmed.evaluation.cases import FileCase, Network, Registered, Settings, read_labels
from pysnnmed.evaluation.comparison import compare
from pysnnmed.evaluation.learn2reg import learn2reg_scores
from pysnnmed.evaluation.progress import Row, evaluate
from pysnnmed.evaluation.scores import SCORES, score
from pysnnmed.evaluation.tables import as_json, summary, write_cases
from pysnnmed.metrics import dice, folding_fraction, hd95, mean_dice, sd_log_jacobian
from pysnnmed.metrics.surface_distance import label_surface_distances
from pysnnmed.models.spikereg import SpikeReg, SpikeRegConfig, Teacher
from pysnnmed.registration import register
from pysnnmed.synops import Report

AFFINE = np.array([[-1.5, 0, 0, 20], [0, 1.2, 0, -10], [0, 0, 2.0, 5], [0, 0, 0, 1.0]])
SETTINGS = Settings(backend="numpy", threads=1)
QUICK = ("--backend", "numpy", "-j", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three subjects with labels, a small spiking network with a visible field, and a teacher."""
    folder = tmp_path_factory.mktemp("evaluation")
    pairs = [generate_pair((16, 20, 12), np.random.default_rng(seed), n_labels=3) for seed in (0, 1)]
    subjects = [(pairs[0].fixed, pairs[0].fixed_labels), (pairs[0].moving, pairs[0].moving_labels)]
    subjects.append((pairs[1].fixed, pairs[1].fixed_labels))
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for i, (image, labels) in enumerate(subjects):
        write_nifti(folder / "images" / f"S_{i:04}_0000.nii.gz", Image(image, AFFINE))
        write_nifti(folder / "labels" / f"S_{i:04}_0000.nii.gz", Image(labels, AFFINE))
    config = SpikeRegConfig(encoder=(4,), decoder=(4,), steps=2)
    network = SpikeReg(config, np.random.default_rng(1))
    network.head.bias.data[:] = (1.4, -1.3, 0.8)
    network.head.weight.data[:] = np.random.default_rng(2).normal(scale=0.2, size=network.head.weight.shape)
    save_model(folder / "net.safetensors", network, {"align": "world", "recipe": "shapes"})
    save_model(folder / "bare.safetensors", network, {})
    save_model(folder / "teacher.safetensors", Teacher(config, np.random.default_rng(0)), {"align": "world"})
    return folder


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def evaluated(folder, *more, pairs=None):
    return (
        "evaluate",
        "register",
        *("--model", folder / "net.safetensors", "--pairs", pairs or folder, *QUICK, *more),
    )


def registered(fixed, moving, moved, **changes):
    """What a network that moves nothing leaves behind."""
    zero = np.zeros((fixed.ndim, *fixed.shape), np.float32)
    facts = {"start_labels": moving, "voxels": zero, "indices": zero, "spacing": (1.0,) * fixed.ndim}
    facts.update({"seconds": 1.0, "seconds_all": 2.0, "rate": 0.1, "operations": Report(()), **changes})
    return Registered(fixed_labels=fixed, moving_labels=moving, moved_labels=moved, **facts)


# ------------------------------------------------------------------------------------------------------ scores


def test_every_score_is_that_of_its_metric(folder):
    """Registered once through `register`, measured by hand."""
    files = read_pairs(folder)[0]
    found = score(FileCase(files).register(Network.load(str(folder / "net.safetensors"), SETTINGS)))
    result = register(
        files.moving, files.fixed, moving_labels=files.moving_labels, model=folder / "net.safetensors", backend="numpy"
    )
    fixed, moving = read_nifti(files.fixed_labels).data, read_nifti(files.moving_labels).data
    moved, labels = result.moved_labels.data, [1, 2, 3]
    inverse = np.linalg.inv(AFFINE[:3, :3])
    voxels = np.tensordot(inverse, result.displacement.world, 1).astype(np.float32)
    hausdorff, assd = label_surface_distances(fixed, moved, labels, (1.5, 1.2, 2.0))
    official = learn2reg_scores(fixed, moving, voxels, labels)
    want = {
        "dice_before": mean_dice(fixed, moving, labels),
        "dice": mean_dice(fixed, moved, labels),
        "labels": 3,
        "labels_missing": 0,
        "hd95_mm": hausdorff.mean(),
        "assd_mm": assd.mean(),
        "hd95_voxel_surface_mm": hd95(fixed, moved, labels, (1.5, 1.2, 2.0)).mean(),
        "folding_percent": 100 * folding_fraction(voxels),
        "sdlogj": sd_log_jacobian(voxels),
        "dice_learn2reg": official.dice.mean(),
        "hd95_learn2reg": official.hd95.mean(),
        "sdlogj_learn2reg": official.sd_log_jacobian,
        "rate": result.spike_rate,
        "synops": result.operations.total.synops,
        "macs": result.operations.total.macs,
        "ann_macs": result.operations.ann_macs,
    }
    assert {name: found.scores[name] for name in want} == pytest.approx(want, rel=1e-5)
    assert found.label_dice == pytest.approx(dict(zip(labels, dice(fixed, moved, labels), strict=True)))
    assert found.scores["dice"] != found.scores["dice_before"]
    assert found.scores["seconds_all"] > found.scores["seconds"] > 0
    assert found.scores["sdlogj"] > found.scores["sdlogj_learn2reg"] > 1e-3
    assert list(found.scores) == list(SCORES)


def test_labels_that_one_map_lacks():
    """1 in both; 2 in fixed alone; 3 in moving alone; 4 in both but pushed out of the image; 5 in neither."""
    fixed, moving, moved = np.zeros((3, 6, 6, 6), np.int32)
    fixed[1:3], moving[1:3], moved[1:3] = 1, 1, 1
    fixed[4, :3], moving[5, :3], moved[5, :3] = 2, 3, 3
    fixed[3, 5], moving[3, 5] = 4, 4
    found = score(registered(fixed, moving, moved))
    assert found.label_dice == {1: 1, 2: 0, 3: 0, 4: 0}
    assert found.scores["dice"] == 0.25
    assert found.scores["labels"] == 4
    assert found.scores["labels_missing"] == 3
    assert found.scores["hd95_mm"] == found.scores["assd_mm"] == 0  # of label 1
    assert found.scores["dice_learn2reg"] == 1  # labels 1 and 4, by the field: nothing was pushed
    assert score(registered(fixed, moving, moved), labels=[1, 5]).label_dice == {1: 1}
    nothing = score(registered(fixed, moving, moved), labels=[5]).scores
    assert nothing["labels"] == 0
    assert math.isnan(nothing["dice"])
    assert math.isnan(nothing["hd95_mm"])


def test_maps_without_labels_have_no_overlap_and_the_field_is_scored_all_the_same():
    empty = np.zeros((6, 6, 6), np.int32)
    found = score(registered(empty, empty, empty))
    assert math.isnan(found.scores["dice"])
    assert found.scores["sdlogj"] == found.scores["folding_percent"] == 0
    assert not found.label_dice


@pytest.mark.parametrize(("order", "signs"), ALL_48[5::9])
def test_a_pair_may_lie_in_any_orientation(folder, tmp_path, order, signs):
    """The same anatomy in other voxels: labels move as well, and what is measured in the world is equal."""
    files = read_pairs(folder)[0]
    network = Network.load(str(folder / "net.safetensors"), SETTINGS)
    straight = score(FileCase(files).register(network)).scores
    for path in (files.moving, files.moving_labels):
        (tmp_path / path.parent.name).mkdir()
        write_nifti(tmp_path / path.parent.name / path.name, turned(read_nifti(path), order, signs))
    table = tmp_path / "pairs.csv"
    names = [files.fixed, f"images/{files.moving.name}", files.fixed_labels, f"labels/{files.moving.name}"]
    table.write_text("fixed,moving,fixed_labels,moving_labels\n" + ",".join(map(str, names)))
    other = score(FileCase(read_pairs(table)[0]).register(network)).scores
    for name in ("dice_before", "dice", "hd95_mm", "assd_mm", "sdlogj", "folding_percent", "dice_learn2reg"):
        assert other[name] == pytest.approx(straight[name], abs=2e-3), name


# ------------------------------------------------------------------------------------------------------- rows


class Broken:
    """A case that fails as it is told."""

    fixed = moving = "nowhere"

    def __init__(self, name, error):
        self.name, self.error = name, error

    def register(self, network):
        raise self.error


def test_a_case_that_fails_is_a_row_and_the_others_go_on(folder):
    network = Network.load(str(folder / "net.safetensors"), SETTINGS)
    good = [FileCase(pair) for pair in read_pairs(folder)]
    bad = [Broken("bad", ImageError("holds NaN")), Broken("full", MemoryError())]
    rows = list(evaluate(network, [bad[0], good[0], bad[1], good[1]]))
    assert [row.error for row in rows] == ["holds NaN", "", "MemoryError", ""]
    assert [bool(row.scores) for row in rows] == [False, True, False, True]


@pytest.mark.parametrize("error", [FileError(28, "disk full", "x"), MissingExtraError("scipy"), RuntimeError("a bug")])
def test_what_would_meet_every_case_ends_the_evaluation(folder, error):
    network = Network.load(str(folder / "net.safetensors"), SETTINGS)
    with pytest.raises(type(error)):
        list(evaluate(network, [Broken("bad", error)]))


values = st.one_of(st.floats(-1e6, 1e6), st.just(math.nan), st.just(math.inf), st.integers(0, 2**60))


rows_of_scores = st.tuples(st.text(max_size=12), values, st.dictionaries(st.integers(1, 40), values, max_size=4))


@given(st.lists(rows_of_scores, max_size=5))
def test_csv_keeps_every_number_and_its_columns_are_stable(tmp_path_factory, rows):
    rows = [Row("m", name, 'a "b", c', "d\ne", scores={"dice": v}, label_dice=labels) for name, v, labels in rows]
    path = tmp_path_factory.mktemp("csv") / "cases.csv"
    write_cases(path, rows)
    with open(path, newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        back = list(reader)
    labels = sorted({label for row in rows for label in row.label_dice})
    names = ["model", "name", "fixed", "moving", "error", *SCORES]
    assert reader.fieldnames == [*names, *(f"dice_{label}" for label in labels)]
    assert len(back) == len(rows) == path.read_text(encoding="utf-8").count("\n") - 1
    for row, found in zip(rows, back, strict=True):
        assert found["name"] == "".join(c if c.isprintable() else " " for c in row.name)
        assert (found["fixed"], found["moving"]) == ('a "b", c', "d e")
        wanted = {"dice": row.scores["dice"], **{f"dice_{k}": v for k, v in row.label_dice.items()}}
        for column, value in wanted.items():
            assert found[column] == "" if math.isnan(value) else float(found[column]) == value


def test_a_summary_by_hand():
    rows = [
        Row("m", "a", "f", "m", scores=dict.fromkeys(SCORES, 0.5), label_dice={1: 0.5, 2: 0.25}),
        Row("m", "b", "f", "m", scores=dict.fromkeys(SCORES, 0.9), label_dice={1: 0.9}),
        Row("m", "c", "f", "m", error="broken"),
        Row("m", "d", "f", "m", scores=dict.fromkeys(SCORES, 0.7) | {"dice": math.nan, "hd95_learn2reg": math.inf}),
    ]
    content = summary(rows)
    assert content["cases"] == 4
    assert content["failed"] == [{"name": "c", "error": "broken"}]
    assert content["scores"]["dice"] == pytest.approx(
        {"n": 2, "mean": 0.7, "std": math.sqrt(0.08), "median": 0.7, "worst": 0.5}
    )
    assert content["scores"]["hd95_mm"]["worst"] == 0.9
    assert content["scores"]["hd95_learn2reg"]["mean"] == math.inf
    assert content["label_dice"]["2"] == pytest.approx(
        {"n": 1, "mean": 0.25, "std": math.nan, "median": 0.25, "worst": 0.25}, nan_ok=True
    )
    text = json.loads(as_json(content))
    assert text["scores"]["hd95_learn2reg"]["mean"] == "inf"
    assert text["scores"]["hd95_learn2reg"]["std"] is None
    assert summary([])["scores"]["dice"]["n"] == 0


def test_networks_are_compared_on_the_cases_that_both_finished():
    ours = [Row("a", str(i), "", "", scores={"dice": d, "hd95_mm": 1.0}) for i, d in enumerate((0.7, 0.8, 0.9, 0.5))]
    theirs = [Row("b", str(i), "", "", scores={"dice": d}) for i, d in enumerate((0.7, 0.79, math.nan, 0.51))]
    ours.append(Row("a", "4", "", "", scores={"dice": 0.1}))
    theirs.append(Row("b", "4", "", "", error="broken"))
    for bad in (math.nan, math.inf):
        ours.append(Row("a", f"{bad}", "", "", scores={"dice": bad}))
        theirs.append(Row("b", f"{bad}", "", "", scores={"dice": 0.3}))
    by_score = {c.score: c for c in compare(ours, theirs, margin=0.05)}
    found = by_score["dice"]
    assert found.paired.n == found.effect.n == found.equivalence.n == 3
    assert found.paired.difference == pytest.approx(0)
    assert found.equivalence.equivalent
    assert by_score["hd95_mm"].paired.n == 0
    assert by_score["hd95_mm"].equivalence is None
    assert json.loads(as_json(found.facts()))["tost"]["margin"] == 0.05
    assert "TOST" in str(found)


# -------------------------------------------------------------------------------------------------- commands


def test_a_folder_gives_rows_a_summary_a_comparison_and_a_submission(folder, tmp_path, capsys):
    table, content, fields = tmp_path / "cases.csv", tmp_path / "summary.json", tmp_path / "fields"
    options = ("--against", folder / "teacher.safetensors", "--margin", 0.02, "--csv", table, "--json", content)
    command = evaluated(folder, "--pairing", "all", "--submission", fields, *options)
    status, out, err = run(capsys, *command)
    assert status == 0, err
    assert "6/6 " in out
    assert "TOST p = " in out
    rows = read_csv(table)
    assert len(rows) == 12
    assert [float(row["rate"] or "nan") > 0 for row in rows] == [True] * 6 + [False] * 6
    assert {path.name for path in fields.iterdir()} == {
        f"disp_{f:04}_{m:04}.nii.gz" for f in range(3) for m in range(3) if f != m
    }
    summed = json.loads(content.read_text())
    assert summed["version"] == __version__
    assert summed["settings"]["margin"] == 0.02
    assert summed["settings"]["models"][str(folder / "teacher.safetensors")]["weights"] == "trained"
    assert summed["definitions"].keys() == SCORES.keys()
    ours = summed["models"][str(folder / "net.safetensors")]
    assert ours["cases"] == 6
    dices = [float(row["dice"]) for row in rows[:6]]
    assert ours["scores"]["dice"]["mean"] == pytest.approx(np.mean(dices))
    assert ours["scores"]["dice"]["worst"] == min(dices)
    difference = np.mean(dices) - np.mean([float(row["dice"]) for row in rows[6:]])
    assert summed["comparison"]["dice"]["difference"] == pytest.approx(difference)
    status, again, _ = run(capsys, *evaluated(folder, "--json"))
    printed = json.loads(again)[str(folder / "net.safetensors")]
    assert [row["name"] for row in printed] == ["S_0000_0000_S_0001_0000", "S_0001_0000_S_0002_0000"]
    first = next(row for row in rows if row["name"] == printed[0]["name"])
    assert float(first["dice"]) == printed[0]["dice"]
    assert printed[0]["label_dice"] == {k: float(first[f"dice_{k}"]) for k in "123"}


def test_half_precision_fields_are_scored_as_they_are_stored(folder, tmp_path, capsys):
    command = evaluated(folder, "--submission", tmp_path, "--submission-format", "npz", "--json")
    status, out, err = run(capsys, *command)
    assert status == 0, err
    (rows,) = json.loads(out).values()
    for row, name in zip(rows, ("disp_0000_0001.npz", "disp_0001_0002.npz"), strict=True):
        with np.load(tmp_path / name) as content:
            field = np.moveaxis(content["arr_0"].astype(np.float32), -1, 0)
        fixed, moving = (read_nifti(str(row[role]).replace("images", "labels")).data for role in ("fixed", "moving"))
        want = learn2reg_scores(fixed, moving, field, [1, 2, 3])
        assert row["dice_learn2reg"] == pytest.approx(np.nanmean(want.dice))
        assert row["sdlogj_learn2reg"] == pytest.approx(want.sd_log_jacobian)


def test_bad_pairs_are_named_the_others_finish_and_the_status_tells(folder, tmp_path, capsys):
    """NaN, labels of another shape, labels elsewhere, an image for a label map, a text for an image."""
    good = read_nifti(folder / "images" / "S_0000_0000.nii.gz")
    labels = read_nifti(folder / "labels" / "S_0000_0000.nii.gz")
    moved = labels.affine.copy()
    moved[0, 3] += 5
    write_nifti(tmp_path / "short.nii.gz", Image(labels.data[1:], labels.affine))
    write_nifti(tmp_path / "elsewhere.nii.gz", Image(labels.data, moved))
    write_nifti(tmp_path / "negative.nii.gz", Image(labels.data.astype(np.int16) - 1, labels.affine))
    nan = good.data.astype(np.float32)
    write_nifti(tmp_path / "nan.nii", Image(nan, good.affine))
    content = bytearray((tmp_path / "nan.nii").read_bytes())
    content[-4:] = np.array([np.nan], "<f4").tobytes()
    (tmp_path / "nan.nii").write_bytes(content)
    (tmp_path / "text.nii.gz").write_text("no image")
    image, own = folder / "images" / "S_0000_0000.nii.gz", folder / "labels" / "S_0000_0000.nii.gz"
    other, its = folder / "images" / "S_0001_0000.nii.gz", folder / "labels" / "S_0001_0000.nii.gz"
    rows = {
        "fine": (image, other, own, its),
        "nan": ("nan.nii", other, own, its),
        "short": (image, other, own, "short.nii.gz"),
        "elsewhere": (image, other, "elsewhere.nii.gz", its),
        "image for labels": (image, other, image, its),
        "negative": (image, other, "negative.nii.gz", its),
        "text": (image, "text.nii.gz", own, its),
        "fine too": (other, image, its, own),
    }
    table, cases = tmp_path / "pairs.csv", tmp_path / "cases.csv"
    lines = [",".join([name, *map(str, paths)]) for name, paths in rows.items()]
    table.write_text("\n".join(["name,fixed,moving,fixed_labels,moving_labels", *lines]))
    status, out, err = run(capsys, *evaluated(folder, "--csv", cases, pairs=table))
    assert status == 2
    assert "6 of 8 registrations failed" in err
    found = {row["name"]: row for row in read_csv(cases)}
    assert list(found) == list(rows)
    for name, says in {
        "nan": "NaN",
        "short": "must lie on the voxels",
        "elsewhere": "voxels away from",
        "image for labels": "whole numbers",
        "negative": "whole numbers",
        "text": "text.nii.gz",
    }.items():
        assert says in found[name]["error"], name
        assert f"{name} by " in err
        assert not found[name]["dice"]
    assert all(float(found[name]["dice"]) > 0 for name in ("fine", "fine too"))
    assert "failed: " in out


def test_finished_cases_survive_what_ends_the_evaluation(folder, tmp_path, capsys, monkeypatch):
    cases = tmp_path / "cases.csv"
    real = FileCase.register

    def interrupted(self, network):
        if self.name.startswith("S_0001"):
            raise KeyboardInterrupt
        return real(self, network)

    monkeypatch.setattr(FileCase, "register", interrupted)
    status, _, err = run(capsys, *evaluated(folder, "--csv", cases))
    assert status == 130
    assert "interrupted" in err
    assert [row["name"] for row in read_csv(cases)] == ["S_0000_0000_S_0001_0000"]
    assert [path.name for path in tmp_path.iterdir()] == ["cases.csv"]


def test_the_recipe_is_that_of_the_model_unless_another_is_given(folder, capsys, monkeypatch):
    from pysnnmed.cli import evaluate_registration as command
    from pysnnmed.train.pairs import generated_pairs

    seen = []

    def held_out(recipe, data):
        seen.append((recipe.name, data))
        return generated_pairs(2, (16, 16, 16), 5)

    monkeypatch.setattr(command, "held_out_pairs", held_out)
    options = ("evaluate", "register", *QUICK, "--json", "--model")
    assert run(capsys, *options, folder / "net.safetensors")[0] == 0
    status, out, _ = run(capsys, *options, folder / "net.safetensors", "--recipe", "brain")
    assert seen == [("shapes", None), ("brain", None)]
    (rows,) = json.loads(out).values()
    assert rows[0]["synops"] > 0
    assert rows[0]["hd95_mm"] == pytest.approx(2 * rows[0]["hd95_learn2reg"])  # brain: voxels of 2 mm
    status, _, err = run(capsys, *options, folder / "bare.safetensors")
    assert status == 2
    assert "does not say which recipe" in err


@pytest.mark.parametrize(("weights", "refine"), [("int8", 0), ("trained", 0), ("int8", 2)])
def test_a_pair_of_a_recipe_is_registered_as_one_in_files(folder, weights, refine):
    """One network, one pair, as arrays and as files: equal fields and equal counts."""
    from pysnnmed.data.images import normalize_intensity
    from pysnnmed.evaluation.cases import ArrayCase
    from pysnnmed.train.pairs import Pair, Subject

    files = read_pairs(folder)[0]
    network = Network.load(str(folder / "bare.safetensors"), Settings(weights, refine=refine, backend="numpy"))
    subjects = [
        Subject("s", normalize_intensity(read_nifti(image).data)[::-1].copy(), read_nifti(labels).data[::-1].copy())
        for image, labels in ((files.fixed, files.fixed_labels), (files.moving, files.moving_labels))
    ]
    arrays = ArrayCase(Pair(*subjects), 1.0).register(network)
    found = FileCase(files).register(network)  # the network sees RAS; the files are LAS
    np.testing.assert_allclose(found.voxels[0], -arrays.voxels[0][::-1], atol=1e-3 if refine else 1e-5)
    assert found.rate == pytest.approx(arrays.rate)
    assert found.operations.total.synops == arrays.operations.total.synops > 0
    assert found.operations.ann_macs == arrays.operations.ann_macs > 0


def test_a_teacher_has_macs_and_no_spikes(folder):
    network = Network.load(str(folder / "teacher.safetensors"), SETTINGS)
    found = score(FileCase(read_pairs(folder)[0]).register(network)).scores
    assert math.isnan(found["rate"])
    assert found["synops"] == 0
    assert found["macs"] == found["ann_macs"] > 0


def test_affine_and_refinement_reach_the_registration_of_files(folder):
    files, model = read_pairs(folder)[0], folder / "net.safetensors"
    settings = Settings(affine="rigid", refine=2, backend="numpy")
    found = FileCase(files).register(Network.load(str(model), settings))
    want = register(files.moving, files.fixed, model=model, affine="rigid", refine=2, backend="numpy")
    np.testing.assert_array_equal(found.displacement.world, want.displacement.world)
    assert want.affine.kind == "rigid"
    assert want.refinement.iterations == 2
    with pytest.raises(ParameterError, match="belong to spiking ones"):
        Network.load(str(folder / "teacher.safetensors"), settings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--pairs", "x.csv", "--recipe", "shapes"), "exclude each other"),
        (("--pairing", "all"), "--pairing needs --pairs"),
        (("--align", "world"), "--align needs --pairs"),
        (("--affine",), "--affine needs --pairs"),
        (("--refine", "-1"), "must be a whole number"),
        (("--submission", "out"), "--submission needs --pairs"),
        (("--submission-format", "npz"), "--submission-format needs --submission"),
        (("--pairs", "x.csv", "--pairing", "all"), "--pairing is for a folder"),
        (("--pairs", "x.csv"), "cannot be read"),
        (("--margin", "0.01"), "--margin needs --against"),
        (("--against", "brain", "--margin", "0"), "--margin must lie between 0 and 1"),
        (("--against", "hippocampus"), "another model"),
        (("--weights", "trained", "--memory", "2G"), "--memory needs a program"),
        (("--against", "absent"), "no model 'absent'"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_the_work(tmp_path, monkeypatch, capsys, options, says):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "evaluate", "register", *options)
    assert status == 2
    assert says in err
    assert not out
    assert not list(tmp_path.iterdir())


def test_labels_stored_as_numbers_with_a_point_are_labels(tmp_path):
    image = Image(np.zeros((4, 5, 6)), AFFINE)
    labels = np.arange(120).reshape(4, 5, 6).astype(np.float32)
    write_nifti(tmp_path / "l.nii.gz", Image(labels, AFFINE))
    found = read_labels(tmp_path / "l.nii.gz", image)
    assert found.data.dtype == np.int32
    np.testing.assert_array_equal(found.data, labels)
    write_nifti(tmp_path / "l.nii.gz", Image(np.full((4, 5, 6), 2.0**40), AFFINE))
    with pytest.raises(ImageError, match="whole numbers"):
        read_labels(tmp_path / "l.nii.gz", image)
