"""Training segmentation: what is read and drawn, how it is judged, and runs that resume exactly."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from pysnnmed import kernels
from pysnnmed.data import Image, write_nifti
from pysnnmed.data.augment import Augmentation
from pysnnmed.data.cases import Case
from pysnnmed.data.network_input import NetworkInput
from pysnnmed.deploy.pretrained import load_model
from pysnnmed.errors import ImageError, ParameterError, WeightsError
from pysnnmed.metrics.overlap import dice as overlap_dice
from pysnnmed.models.medspikeformer import MedSpikeFormer, SegmentationTeacher
from pysnnmed.tensor import Tensor, no_grad
from pysnnmed.train import segmentation, segmentation_cases
from pysnnmed.train.progress import read_log
from pysnnmed.train.segmentation import segmentation_terms, start_at_shares, supervision, train
from pysnnmed.train.segmentation_batches import BatchSampler, fitted
from pysnnmed.train.segmentation_cases import Drawn, Volumes, load_split, split
from pysnnmed.train.segmentation_recipe import SegmentationDataRecipe, load_segmentation_recipe
from pysnnmed.train.segmentation_scores import evaluate_cases, probabilities, segmented

SMALL = """
task = "segment"
seed = 1
[network]
preset = "tiny"
widths = [4, 4]
softmax_axes = ["channel", "token"]
steps = 2
[input]
size = [16, 16]
[data]
kind = "lesions"
generated = 6
test = 3
[teacher]
steps = 2
batch = 2
warm_up = 1
checkpoint_every = 1
evaluate_every = 2
[student]
steps = 3
batch = 2
warm_up = 1
checkpoint_every = 1
evaluate_every = 2
"""
VOLUMES = """
task = "segment"
[network]
preset = "tiny"
widths = [4, 4]
softmax_axes = ["channel", "token"]
in_channels = 3
classes = 2
[input]
kind = "volumes"
channels = 1
size = [16, 16]
padding = "zeros"
plane = "sagittal"
context = 1
labels = { 1 = "front", 5 = "back" }
[data]
kind = "volumes"
split = "last"
test = 2
"""


def recipe_of(tmp_path, text, *changes):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "mine.toml").write_text(text)
    return load_segmentation_recipe(tmp_path / "mine.toml")


@pytest.fixture
def small(tmp_path):
    return recipe_of(tmp_path, SMALL)


# ------------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('kind = "lesions"', 'kind = "films"'), "kind must be one of pictures, volumes, lesions"),
        (('kind = "lesions"', 'kind = "volumes"'), "has kind 'volumes', and .* 'pictures'; make them agree"),
        (("test = 3", "test = 0"), "test must be at least 1, not 0; without a held-out case"),
        (("test = 3", "testing = 3"), "unknown key 'testing'"),
        (("size = [16, 16]", "size = [16, 15]"), "multiples of 2"),
        (("size = [16, 16]", "channels = 1"), "in_channels = 1"),
        (("widths", "classes = 2\nwidths"), "classes = 1, one for each label"),
        (("widths", "heads = 3\nwidths"), "heads must divide"),
        (("seed = 1", "seed = 1\n[loss]\nkind = 'cosine'"), "kind must be one of bernoulli"),
        (("seed = 1", "seed = 1\n[loss]\nbce = 0\ndice = 0"), "nothing would be learned"),
        (("seed = 1", "seed = 1\n[loss]\nstages = [1, 1, 1]"), "stages must be 2 numbers"),
        (("seed = 1", "seed = 1\n[loss]\nlabel_weights = [1, 1]"), "label_weights must be 1 numbers"),
        (("seed = 1", "seed = 1\n[augmentation]\nscale = 0.5"), r"scale must be in \[1, 10\]"),
        (("steps = 3", "steps = 0"), "at least one step"),
        (("steps = 3\nbatch = 2\nwarm_up = 1", "steps = 3\nwarm_up = 3"), "warm_up must be 1 to 2"),
        (("steps = 3", "steps = 3\noptimizer = 'sgd'"), "optimizer must be one of adam, adamw"),
        (('task = "segment"', ""), "of the task 'register', not of 'segment'"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path, change, says):
    with pytest.raises(ParameterError, match=says):
        recipe_of(tmp_path, SMALL, change)


def test_a_recipe_is_what_its_file_says(tmp_path):
    recipe = recipe_of(tmp_path, VOLUMES)
    assert recipe.input.labels == {1: "front", 5: "back"}
    assert recipe.input.in_channels == recipe.network.in_channels == 3
    assert recipe.network.widths == (4, 4)


# ------------------------------------------------------------------------------------------------- data


def write_pictures(folder, n, size=(20, 24), channels=3, mask_size=None):
    rng = np.random.default_rng(0)
    for sub in ("images", "masks"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        mask = np.zeros(mask_size or size, np.uint8)
        mask[4:12, 3 + i % 5 : 14] = 255
        shape = (*size, 3) if channels == 3 else size
        Picture.fromarray(rng.integers(0, 255, shape, np.uint8)).save(folder / "images" / f"p{i:02}.png")
        Picture.fromarray(mask).save(folder / "masks" / f"p{i:02}.png")
    return folder


def pictures_recipe(tmp_path, *changes):
    return recipe_of(tmp_path, SMALL, ('kind = "lesions"', 'kind = "pictures"'), *changes)


def test_pictures_are_split_by_hash_and_resized(tmp_path):
    recipe, folder = pictures_recipe(tmp_path), write_pictures(tmp_path / "set", 9)
    training, held_out = load_split(recipe, folder)
    assert (len(training), len(held_out)) == (6, 3)
    names = {case.name for case in training.cases}, {case.name for case in held_out}
    assert not names[0] & names[1]
    assert {case.picture.shape for case in training.cases} == {(3, 16, 16)}
    again = load_split(recipe, write_pictures(folder, 9))
    assert [case.name for case in again.held_out] == [case.name for case in held_out]
    other = load_split(replace(recipe, data=replace(recipe.data, salt="other")), folder)
    assert {case.name for case in other.held_out} != names[1]


def test_copies_of_a_picture_stay_on_one_side(tmp_path):
    recipe, folder = pictures_recipe(tmp_path), write_pictures(tmp_path / "set", 9)
    names = {case.name for case in load_split(recipe, folder).held_out}
    moved = 0
    for name in [f"p{i:02}" for i in range(9)]:
        for sub in ("images", "masks"):
            (folder / sub / "copy.png").write_bytes((folder / sub / f"{name}.png").read_bytes())
        training, held_out = load_split(recipe, folder)
        sides = [{case.name for case in side} for side in (training.cases, held_out)]
        assert any({"copy", name} <= side for side in sides)
        moved += (name in names) != (name in sides[1])  # the copy decides where both go
    assert moved


@given(n=st.integers(2, 30), test=st.integers(1, 29))
def test_the_last_are_the_last_by_name(n, test):
    from pathlib import Path

    cases = [Case(f"c{i:02}", Path(f"c{i:02}.png"), ()) for i in range(n)]
    data = SegmentationDataRecipe(split="last", test=test)
    if test >= n:
        with pytest.raises(ParameterError, match=f"has {n} cases, and .* test = {test} would hold out all"):
            split(cases, data, Path("set"))
        return
    training, held_out = split(cases, data, Path("set"))
    assert [*training, *held_out] == cases
    assert len(held_out) == test


def test_the_folders_own_sides_are_used_and_must_not_be_empty(tmp_path):
    for side, n in (("train", 3), ("val", 2)):
        write_pictures(tmp_path / "set" / side, n)
    recipe = pictures_recipe(tmp_path, ("test = 3", "split = 'folder'"))
    training, held_out = load_split(recipe, tmp_path / "set")
    assert (len(training), len(held_out)) == (3, 2)
    write_pictures(tmp_path / "plain", 4)
    with pytest.raises(ParameterError, match="split = 'folder' leaves no training case"):
        load_split(recipe, tmp_path / "plain")


def test_data_that_cannot_be_trained_on_are_refused_by_name(tmp_path):
    recipe = pictures_recipe(tmp_path)
    (tmp_path / "empty").mkdir()
    folders = {
        "folder is empty": tmp_path / "empty",
        "needs one mask": write_pictures(tmp_path / "unmasked", 5),
        "do not show the same": write_pictures(tmp_path / "shapes", 5, mask_size=(20, 40)),
        "would hold out all": write_pictures(tmp_path / "few", 3),
    }
    (folders["needs one mask"] / "masks" / "p03.png").unlink()
    for says, folder in folders.items():
        with pytest.raises((ParameterError, ImageError), match=says):
            load_split(recipe, folder)
    strict = pictures_recipe(tmp_path, ("size = [16, 16]", "size = [16, 16]\nconvert = false"))
    with pytest.raises(ImageError, match=r"p0\d.png.*channel"):
        load_split(strict, write_pictures(tmp_path / "grey", 5, channels=1))
    with pytest.raises(ParameterError, match="--data"):
        load_split(recipe, None)
    with pytest.raises(ParameterError, match="is a picture, and the recipe is for volumes"):
        load_split(recipe_of(tmp_path, VOLUMES), write_pictures(tmp_path / "pictures", 5))


def test_a_set_that_is_too_large_for_memory_is_refused_early(tmp_path, monkeypatch):
    monkeypatch.setattr(segmentation_cases, "LARGEST", 3000)
    read = []
    real = segmentation_cases.load_case
    monkeypatch.setattr(segmentation_cases, "load_case", lambda case, *a, **k: read.append(case) or real(case, *a, **k))
    with pytest.raises(ParameterError, match="the first 3 cases take"):
        load_split(pictures_recipe(tmp_path), write_pictures(tmp_path / "set", 9))
    assert len(read) == 3


AFFINE = np.array([[0, 1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1.0]])  # first axis posterior


def write_volumes(folder, n):
    rng = np.random.default_rng(1)
    for sub in ("images", "labels"):
        (folder / sub).mkdir(parents=True)
    for i in range(n):
        labels = np.zeros((18, 7, 12), np.uint8)
        labels[3:8, 2 : 4 + i % 3, 3:9] = 1
        labels[8:14, 2:5, 3:9] = 5
        labels[0, 0, 0] = 9  # of no class
        write_nifti(folder / "images" / f"v{i}.nii.gz", Image(labels % 9 * 40.0 + rng.random(labels.shape), AFFINE))
        write_nifti(folder / "labels" / f"v{i}.nii.gz", Image(labels, AFFINE))
    return folder


def test_volumes_are_read_upright_with_their_labels_numbered(tmp_path):
    training, held_out = load_split(recipe_of(tmp_path, VOLUMES), write_volumes(tmp_path / "set", 4))
    assert [case.name for case in held_out] == ["v2", "v3"]
    case = held_out[0]
    assert case.truth.shape == (7, 18, 12)  # sagittal: slices to the right, [anterior, superior]
    assert set(np.unique(case.truth)) == {0, 1, 2}
    assert (case.truth == 1).sum() == 5 * 4 * 6
    assert case.labels is case.truth
    front, back = (np.argwhere(case.truth == k)[:, 1].mean() for k in (1, 2))
    assert front > back  # posterior came first in the file
    assert case.image.data.dtype == np.float16
    assert 0 <= case.image.data.min() < case.image.data.max() <= 1
    assert training.nbytes == sum(c.image.data.nbytes + c.truth.nbytes for c in training.cases)


def test_at_another_spacing_labels_lie_on_the_pixels_of_the_slices(tmp_path):
    recipe = recipe_of(tmp_path, VOLUMES, ('plane = "sagittal"', 'plane = "sagittal"\nspacing = [2.0, 2.0]'))
    _, held_out = load_split(recipe, write_volumes(tmp_path / "set", 4))
    assert held_out[0].labels.shape == (7, 9, 12)
    assert held_out[0].truth.shape == (7, 18, 12)


# ------------------------------------------------------------------------------------------------- batches


class Marked:
    """Pictures whose every channel is their mask."""

    def __init__(self, size):
        self.mask = np.zeros(size, bool)
        self.mask[0:7, 3:5] = True

    def draw(self, rng):
        return Drawn(np.stack([self.mask] * 3).astype(np.float32), self.mask[None])


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(8, 40), width=st.integers(8, 40), shift=st.integers(0, 5))
def test_picture_and_masks_are_brought_to_size_together(seed, height, width, shift):
    form = NetworkInput(size=(16, 24), padding="zeros")
    augmentation = Augmentation(scale=1, brightness=0, contrast=1)
    sampler = BatchSampler(Marked((height, width)), form, augmentation, 3, shift)
    images, targets = sampler(np.random.default_rng(seed))
    assert (images.shape, targets.shape) == ((3, 3, 16, 24), (3, 1, 16, 24))
    np.testing.assert_array_equal(images.data, np.repeat(targets.data, 3, axis=1))
    again = sampler(np.random.default_rng(seed))
    np.testing.assert_array_equal(again.images.data, images.data)


def test_small_slices_lie_within_the_shift_of_the_middle():
    form, drawn = NetworkInput(size=(16, 16), padding="zeros"), Marked((8, 8)).draw(None)
    centred = fitted(drawn, form, 0, np.random.default_rng(0)).masks
    places = set()
    for seed in range(200):
        masks = fitted(drawn, form, 2, np.random.default_rng(seed)).masks
        assert masks.sum() == drawn.masks.sum()
        places.add(tuple(np.argwhere(masks[0])[0] - np.argwhere(centred[0])[0]))
    assert places == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}


def test_slices_with_structures_are_drawn_as_often_as_wanted_and_neighbours_are_channels(tmp_path):
    recipe = recipe_of(tmp_path, VOLUMES)
    cases = load_split(recipe, write_volumes(tmp_path / "set", 4)).training.cases
    for structures, low, high in ((1.0, 1.0, 1.0), (0.0, 0.3, 0.6), (0.5, 0.6, 0.85)):
        drawn = [Volumes(cases, recipe.input, structures, False).draw(np.random.default_rng(i)) for i in range(200)]
        assert low <= np.mean([masks.any() for _, masks in drawn]) <= high
    for picture, masks in drawn:
        assert picture.shape == (3, 18, 12)
        assert masks.shape == (2, 18, 12)
        if masks[0].any():
            assert picture[1][masks[0]].mean() > picture[1][~masks.any(axis=0)].mean()


def test_a_mirrored_slice_is_that_of_the_mirrored_volume(tmp_path):
    for plane in ("sagittal", "coronal", "axial"):
        form = NetworkInput("volumes", 1, plane=plane, context=1, size=(16, 16))
        rng = np.random.default_rng(4)
        volume = Image(rng.random((5, 6, 7), np.float32), np.eye(4))
        mirrored = Image(volume.data[::-1], np.eye(4))
        ours, theirs = form.slices(volume), form.slices(mirrored)
        theirs = theirs[::-1] if plane == "sagittal" else theirs
        for a, b in zip(ours, theirs, strict=True):
            picture, masks = segmentation_cases.mirror_left_right(a, a[:1] > 0.5, form)
            np.testing.assert_array_equal(picture, b)
            if plane != "sagittal":
                np.testing.assert_array_equal(masks, b[:1] > 0.5)


# ------------------------------------------------------------------------------------------------- judging


class Seer:
    """Says where a channel lies in (low, high], for each class; counts how many pictures it sees at once."""

    def __init__(self, channel, *ranges):
        self.channel, self.ranges = channel, ranges

    def eval(self):
        return self

    def __call__(self, images, observe=None):
        x = images.data[:, self.channel]
        return Tensor(np.stack([np.where((x > low) & (x <= high), 9.0, -9.0) for low, high in self.ranges], axis=1))


def test_a_network_that_sees_everything_scores_1_on_the_volumes_own_voxels(tmp_path):
    recipe = recipe_of(tmp_path, VOLUMES)
    folder = write_volumes(tmp_path / "set", 4)
    _, held_out = load_split(recipe, folder)
    seer = Seer(1, (0.1, 0.5), (0.5, 1.0))  # the middle channel is the slice itself
    scores = evaluate_cases(seer, held_out, recipe.input)
    assert scores["dice_front"] == scores["dice_back"] == scores["dice"] == 1
    assert scores["image_iou"] == scores["pooled_dice"] == 1
    blind = evaluate_cases(Seer(1, (0.1, 0.5), (2.0, 3.0)), held_out, recipe.input)
    assert (blind["dice_front"], blind["dice_back"], blind["dice"]) == (1, 0, 0.5)
    coarse = replace(recipe.input, spacing=(2.0, 2.0))
    _, held_out = load_split(replace(recipe, input=coarse), folder)
    found = segmented(seer, held_out[0], coarse)
    assert found.shape == held_out[0].truth.shape
    assert (overlap_dice(found, held_out[0].truth, (1, 2)) > 0.75).all()


@pytest.mark.parametrize("size", [(16, 16), (11, 16), (30, 21)])
def test_pictures_of_any_size_are_seen_whole(size, rng):
    picture = rng.random((2, 3, *size), np.float32)
    form = NetworkInput(size=(16, 16), fit="window")
    seen = probabilities(Seer(0, (0.5, 1.0)), picture, form)
    assert seen.shape == (2, 1, *size)
    np.testing.assert_array_equal(seen[:, 0] > 0.5, picture[:, 0] > 0.5)


def test_scores_of_pictures_are_per_image_and_pooled(tmp_path):
    recipe = pictures_recipe(tmp_path)
    _, held_out = load_split(recipe, write_pictures(tmp_path / "set", 9))
    nothing = evaluate_cases(Seer(0, (2.0, 3.0)), held_out, recipe.input)
    assert nothing["image_iou"] == nothing["pooled_iou"] == nothing["image_sensitivity"] == 0
    assert nothing["pooled_specificity"] == 1
    assert "rate" not in nothing
    network = MedSpikeFormer(recipe.network, rng=np.random.default_rng(0))
    assert 0 < evaluate_cases(network, held_out, recipe.input)["rate"] < 1


# ------------------------------------------------------------------------------------------------- objective


def batch_of(recipe, n=2):
    return BatchSampler(load_split(recipe, None).training, recipe.input, recipe.augmentation, n)(
        np.random.default_rng(0)
    )


def test_teachers_are_supervised_at_every_stage_and_students_aligned(small):
    batch, rng = batch_of(small), np.random.default_rng(0)
    teacher, student = (kind(small.network, rng=rng) for kind in (SegmentationTeacher, MedSpikeFormer))
    assert set(segmentation_terms(teacher, batch, small.loss)) == {"bce_loss", "dice_loss", "supervision_loss"}
    assert set(segmentation_terms(student, batch, small.loss)) == {"bce_loss", "dice_loss"}
    assert set(segmentation_terms(student, batch, replace(small.loss, alignment=0), teacher)) == {
        "bce_loss",
        "dice_loss",
    }
    terms = segmentation_terms(student, batch, small.loss, teacher.eval())
    assert set(terms) == {"bce_loss", "dice_loss", "alignment_loss"}
    terms["alignment_loss"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None and p.grad.any() for p in student.parameters())
    plain = segmentation_terms(student, batch, replace(small.loss, bce=0, dice=2.0))
    with no_grad():
        np.testing.assert_allclose(
            plain["dice_loss"].item(), 2 * segmentation_terms(student, batch, small.loss)["dice_loss"].item()
        )


def test_supervision_vanishes_where_maps_say_the_share_of_foreground():
    rng = np.random.default_rng(0)
    targets = np.zeros((1, 2, 16, 16), np.float32)
    targets[0, 0, :8, :8], targets[0, 1, 8:, 8:] = 1, 1
    either = targets.max(axis=1, keepdims=True)
    right = [Tensor((either[..., ::k, ::k] * 60 - 30).astype(np.float32)) for k in (1,)]
    assert supervision(right, Tensor(targets)).item() < 1e-9
    wrong = [Tensor(rng.normal(size=(1, 1, n, n)).astype(np.float32)) for n in (16, 8, 4, 2)]
    assert supervision(wrong, Tensor(targets)).item() > 0.5


# ------------------------------------------------------------------------------------------------- whole runs


class Killed(BaseException):
    pass


def test_a_run_writes_networks_and_resumes_exactly(tmp_path, small, monkeypatch):
    lines = []
    whole = train(small, None, tmp_path / "whole", report=lines.append)
    network, card = load_model(whole)
    assert (card.network, card.config) == ("MedSpikeFormer", small.network)
    assert NetworkInput.from_facts(card.facts) == small.input
    rows = [row for row in read_log(tmp_path / "whole" / "student" / "log.jsonl") if "image_iou" in row]
    assert [row["step"] for row in rows] == [2, 3]
    assert card.facts["held_out"]["image_iou"] == rows[-1]["image_iou"]
    assert card.facts["best_held_out"]["image_iou"] == max(row["image_iou"] for row in rows)
    assert any("last step, saved" in line for line in lines)
    assert any("best image_iou" in line and "not saved" in line for line in lines)
    for name, term in (("teacher", "supervision_loss"), ("student", "alignment_loss")):
        assert any(term in row for row in read_log(tmp_path / "whole" / name / "log.jsonl"))
    held_out = load_split(small, None).held_out
    assert evaluate_cases(network, held_out, small.input) == pytest.approx(card.facts["held_out"])

    real = segmentation.segmentation_terms
    for stop in (1, 4):  # once in the teacher's stage, once in the student's
        steps = 0

        def dying(*arguments, stop=stop):
            nonlocal steps
            steps += 1
            if steps > stop:
                raise Killed
            return real(*arguments)

        monkeypatch.setattr(segmentation, "segmentation_terms", dying)
        with pytest.raises(Killed):
            train(small, None, tmp_path / f"killed{stop}")
        monkeypatch.undo()
        again = train(small, None, tmp_path / f"killed{stop}")
        assert again.read_bytes() == whole.read_bytes()


def test_a_teacher_that_is_there_serves_other_students(tmp_path, small):
    whole = train(small, None, tmp_path / "whole")
    teacher = tmp_path / "whole" / "teacher.safetensors"
    before = teacher.read_bytes()
    untrained = replace(small, teacher=replace(small.teacher, steps=10**6))
    again = train(untrained, None, tmp_path / "again", teacher=teacher)
    ours, theirs = (load_model(path)[0].state_dict() for path in (again, whole))
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)
    assert not (tmp_path / "again" / "teacher").exists()
    assert teacher.read_bytes() == before
    other = replace(untrained, network=replace(small.network, attention="spiking", steps=1))
    lines = []
    train(other, None, tmp_path / "other", teacher=teacher, report=lines.append)
    assert any("teacher on the held-out cases" in line for line in lines)
    with pytest.raises(ParameterError, match="not the same: teacher_sha256"):
        train(untrained, None, tmp_path / "again")
    wider = replace(small, network=replace(small.network, widths=(8, 4)))
    with pytest.raises(WeightsError, match="widths"):
        train(wider, None, tmp_path / "wider", teacher=teacher)
    with pytest.raises(WeightsError, match="must be a SegmentationTeacher, not a MedSpikeFormer"):
        train(small, None, tmp_path / "wider", teacher=whole)


def test_without_steps_of_a_teacher_there_is_none_and_no_alignment(tmp_path, small):
    lonely = replace(small, teacher=replace(small.teacher, steps=0))
    train(lonely, None, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "recipe.json",
        "student",
        "student.safetensors",
    ]
    assert not any("alignment_loss" in row for row in read_log(tmp_path / "run" / "student" / "log.jsonl"))


def test_every_kind_of_cases_trains(tmp_path):
    volumes = recipe_of(
        tmp_path,
        VOLUMES + "mirror = true\nshift = 2\n[teacher]\nsteps = 0\n[student]\nsteps = 2\nbatch = 2\nwarm_up = 1\n",
    )
    path = train(volumes, write_volumes(tmp_path / "volumes", 4), tmp_path / "run")
    facts = load_model(path)[1].facts
    assert {"dice", "dice_front", "dice_back", "pooled_iou", "rate"} <= set(facts["held_out"])
    assert facts["best_held_out"] == {"step": 2, "dice": facts["held_out"]["dice"]}
    log = read_log(tmp_path / "run" / "student" / "log.jsonl")
    assert not any({"loss", "dice"} <= set(row) for row in log)  # scores and losses share no name
    change = ("test = 3", "test = 3\n[loss]\nkind = 'softmax'\ntemperature = 2.0")
    windows = pictures_recipe(tmp_path, ("size = [16, 16]", "size = [16, 16]\nfit = 'window'"), change)
    train(windows, write_pictures(tmp_path / "pictures", 5), tmp_path / "windows")
    new = recipe_of(tmp_path, SMALL, ("generated = 6", "generated = 0"))
    lines = []
    train(new, None, tmp_path / "new", report=lines.append)
    assert "ever new" in lines[0]


def test_an_untrained_network_expects_what_is_usual(small):
    network = MedSpikeFormer(small.network, rng=np.random.default_rng(0))
    sampler = BatchSampler(load_split(small, None).training, small.input, Augmentation.none(), 4)
    start_at_shares(network, sampler, np.random.default_rng(0))
    share = np.mean([case.mask.mean() for case in sampler.cases.cases])
    bias = network.head.logits.conv.bias.data
    assert bias.dtype == np.float32
    assert abs(1 / (1 + np.exp(-bias[0])) - share) < 0.1 * share


@pytest.mark.slow
def test_a_tiny_network_learns_lesions(tmp_path):
    text = SMALL.replace("checkpoint_every = 1\nevaluate_every = 2", "learning_rate = 0.01")
    for steps in (2, 3):
        text = text.replace(f"steps = {steps}\nbatch = 2\nwarm_up = 1", "steps = 100\nbatch = 4\nwarm_up = 10")
    changes = (("size = [16, 16]", "size = [32, 32]"), ("generated = 6", "generated = 200"), ("test = 3", "test = 20"))
    with kernels.use_backend(kernels.fastest()):
        train(recipe_of(tmp_path, text, *changes), None, tmp_path / "run")
    for name in ("teacher", "student"):
        scores = load_model(tmp_path / "run" / f"{name}.safetensors")[1].facts["held_out"]
        assert scores["pooled_iou"] > 0.5, name


# ------------------------------------------------------------------------------------------------- command


def test_the_command_trains_and_refuses_in_sentences(tmp_path, capsys):
    from pysnnmed.cli import main

    (tmp_path / "mine.toml").write_text(SMALL)
    call = ["train", "segment", "--backend", "numpy", "-j", "1", "--recipe", str(tmp_path / "mine.toml"), "--out"]
    assert main([*call, str(tmp_path / "run"), "--seed", "5"]) == 0
    out, _ = capsys.readouterr()
    assert "wrote" in out
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["seed"] == 5
    teacher = str(tmp_path / "run" / "teacher.safetensors")
    assert main([*call, str(tmp_path / "second"), "--teacher", teacher]) == 0
    capsys.readouterr()

    (tmp_path / "pictures.toml").write_text(SMALL.replace('"lesions"', '"pictures"'))
    (tmp_path / "empty").mkdir()
    call[call.index(str(tmp_path / "mine.toml"))] = str(tmp_path / "pictures.toml")
    for arguments, says in (
        (["--data", str(tmp_path / "empty")], "the folder is empty"),
        (["--data", str(write_pictures(tmp_path / "few", 3))], "would hold out all of them"),
        (["--data", str(write_pictures(tmp_path / "shapes", 4, mask_size=(9, 40)))], "do not show the same"),
        ([], "give their folder with --data"),
        (["--teacher", "absent"], "no model 'absent'"),
        (["--recipe", "hippocampus"], "of the task 'register', not of 'segment'"),
    ):
        assert main([*call, str(tmp_path / "none"), *arguments]) == 2
        _, err = capsys.readouterr()
        assert says in err
        assert err.startswith("pysnnmed: ")
        assert not (tmp_path / "none").exists()
