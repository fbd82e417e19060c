"""Learn2Reg's scores and files, against the challenge's formulas stated here once more with SciPy and nibabel.

The formulas: labels moved by map_coordinates of order 0; a label missing from the fixed or the moving map has no score;
central differences with zeros beyond the border, two voxels cut off each side, log(J + 3) clipped to [1e-9, 1e9].
"""

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from phantoms import random_affine
from scipy import ndimage

from pysnnmed.data import Displacement, Image, read_displacement, warp_image
from pysnnmed.data.displacements import displacement_to_indices
from pysnnmed.data.pairs_table import PairFiles
from pysnnmed.errors import ImageError, ParameterError
from pysnnmed.evaluation.learn2reg import Submission, field_name, learn2reg_scores, warp_labels
from pysnnmed.metrics.surface_distance import compare_surfaces


def official_warp(moving, field):
    """moving [*S'], field [*S, n] -> labels [*S]"""
    identity = np.stack(np.meshgrid(*map(np.arange, field.shape[:-1]), indexing="ij"))
    return ndimage.map_coordinates(moving, identity + np.moveaxis(field, -1, 0), order=0)


def official_dice(fixed, moving, moved, labels):
    scores = []
    for label in labels:
        a, b = fixed == label, moved == label
        missing = not a.any() or not (moving == label).any()
        scores.append(math.nan if missing else 2 * np.logical_and(a, b).sum() / (a.sum() + b.sum()))
    return scores


def official_sdlogj(field):
    """The 3-point stencil by correlation, entry by entry, and the determinant of NumPy."""
    stencil, jacobian = np.array([-0.5, 0, 0.5]), np.empty((*field.shape[:-1], 3, 3))
    for i in range(3):
        for k in range(3):
            slope = ndimage.correlate1d(field[..., i], stencil, axis=k, mode="constant", cval=0.0)
            jacobian[..., i, k] = slope + (i == k)
    determinant = np.linalg.det(jacobian[2:-2, 2:-2, 2:-2])
    return np.log(np.clip(determinant + 3, 1e-9, 1e9)).std()


def random_pair(rng, shape=(14, 12, 13), moving_shape=None, strength=2.0, labels=4):
    """Blobs of labels and a bumpy field [*S, 3] that folds here and there."""

    def blobs(shape):
        return ndimage.gaussian_filter(rng.normal(size=(labels + 1, *shape)), (0, 2, 2, 2)).argmax(axis=0)

    field = ndimage.gaussian_filter(rng.normal(size=(*shape, 3)), (1, 1, 1, 0))
    return blobs(shape), blobs(moving_shape or shape), strength * field / field.std()


# ------------------------------------------------------------------------------------------------------ scores


@given(
    field=hnp.arrays(np.float32, (5, 4, 6, 3), elements=st.floats(-7, 7, width=16)),
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    seed=st.integers(0, 99),
)
def test_labels_move_as_map_coordinates_moves_them(field, shape, seed):
    """Half-way positions and the border included: elements of width 16 hit them often."""
    moving = np.random.default_rng(seed).integers(0, 5, shape)
    np.testing.assert_array_equal(warp_labels(moving, np.moveaxis(field, -1, 0)), official_warp(moving, field))


@pytest.mark.parametrize("half", [-1.5, -0.5, 0.5, 1.5, 0.0, -1.0])
def test_halves_and_borders_are_those_of_map_coordinates(half):
    moving = np.arange(1, 1 + 4 * 3 * 5).reshape(4, 3, 5)
    field = np.full((4, 3, 5, 3), half)
    np.testing.assert_array_equal(warp_labels(moving, np.moveaxis(field, -1, 0)), official_warp(moving, field))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("moving_shape", [None, (10, 15, 12)])
def test_scores_are_the_official_formulas(seed, moving_shape):
    rng = np.random.default_rng(seed)
    fixed, moving, field = random_pair(rng, moving_shape=moving_shape)
    labels = [1, 2, 3, 4, 9]
    moved = official_warp(moving, field)
    scores = learn2reg_scores(fixed, moving, np.moveaxis(field, -1, 0), labels)
    np.testing.assert_allclose(scores.dice, official_dice(fixed, moving, moved, labels))
    assert scores.sd_log_jacobian == pytest.approx(official_sdlogj(field), rel=1e-9)
    assert official_sdlogj(field) > 0.1
    for label, hd95 in zip(labels, scores.hd95, strict=True):
        if (fixed == label).any() and (moving == label).any():
            assert hd95 == compare_surfaces(fixed == label, moved == label).hausdorff(95)
        else:
            assert math.isnan(hd95)


def test_scores_by_hand():
    """A cube of 4 voxels a side, moved by one voxel: 3 of 4 planes overlap, the surfaces are a voxel apart."""
    fixed = np.zeros((12, 12, 12), int)
    fixed[4:8, 4:8, 4:8] = 7
    field = np.zeros((3, 12, 12, 12))
    field[0] = 1
    scores = learn2reg_scores(fixed, fixed, field, [7])
    assert scores.dice == pytest.approx([0.75])
    assert scores.hd95 == pytest.approx([1])
    assert scores.sd_log_jacobian == 0
    stretched = np.zeros((3, 12, 12, 12))
    stretched[1] = np.where(np.arange(12) < 6, 0, 0.5 * (np.arange(12) - 6))[
        :, None, None
    ]  # slope 0, then 1/4, then 1/2
    logs = np.log(np.array([1, 1, 1, 1, 1, 1, 1, 1]) + 3.0)
    assert learn2reg_scores(fixed, fixed, stretched, [7]).sd_log_jacobian == pytest.approx(logs.std())  # a shear
    stretched[[0, 1]] = stretched[[1, 0]]
    logs = np.log(np.array([1, 1, 1, 1, 1.25, 1.5, 1.5, 1.5]) + 3.0)
    assert learn2reg_scores(fixed, fixed, stretched, [7]).sd_log_jacobian == pytest.approx(logs.std())


def test_a_label_that_one_map_lacks_has_no_score_and_one_that_gets_lost_has_the_worst():
    fixed, moving = np.zeros((2, 9, 9, 9), int)
    fixed[2:4, 2:4, 2:4], fixed[6:8, 6:8, 6:8] = 1, 2
    moving[2:4, 2:4, 2:4], moving[6:8, 2:4, 2:4] = 1, 3
    away = np.full((3, 9, 9, 9), 20.0)
    scores = learn2reg_scores(fixed, moving, away, [1, 2, 3, 4])
    np.testing.assert_array_equal(scores.dice, [0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(scores.hd95, [np.inf, np.nan, np.nan, np.nan])


def test_a_field_without_an_inside_has_no_sdlogj():
    labels = np.ones((9, 4, 9), int)
    assert math.isnan(learn2reg_scores(labels, labels, np.zeros((3, 9, 4, 9)), [1]).sd_log_jacobian)


# ------------------------------------------------------------------------------------------------------- files


def pair_files(fixed, moving, where="pairs.csv: line 2"):
    return PairFiles("pair", Path(fixed), Path(moving), Path("l"), Path("m"), where)


@pytest.mark.parametrize(
    ("fixed", "moving", "name"),
    [
        ("OASIS_0395_0000.nii.gz", "OASIS_0396_0000.nii.gz", "disp_0395_0396"),
        ("imagesTr/AbdomenMRCT_0001_0000.nii.gz", "imagesTr/AbdomenMRCT_0001_0001.nii.gz", "disp_0001_0001"),
        ("ThoraxCBCT_0011_0001.nii.gz", "ThoraxCBCT_0011_0000.nii.gz", "disp_0011_0001_0011_0000"),
        ("img0003.nii.gz", "img0004.nii.gz", "disp_0003_0004"),
        ("hippocampus_305.nii.gz", "hippocampus_308.nii", "disp_hippocampus_305_hippocampus_308"),
        ("OASIS_0395_0000.nii.gz", "template.nii.gz", "disp_OASIS_0395_0000_template"),
        ("a b/ü;x.nii.gz", "..nii.gz", "disp_--x_."),
    ],
)
def test_fields_are_named_as_the_challenge_names_them(fixed, moving, name):
    assert field_name(Path(fixed), Path(moving)) == name


@given(st.lists(st.text(min_size=1, max_size=20).filter(lambda s: "\0" not in s), min_size=2, max_size=2))
def test_no_name_leaves_the_folder(names):
    folder = Path("/somewhere/out")
    path = Submission(folder).path(pair_files(*names))
    assert path.parent == folder
    assert path.name.isascii()
    assert path.name not in (".", "..")


@pytest.fixture(params=[0, 1])
def registered(request):
    """A pair whose images lie differently in the world, and a displacement between them."""
    rng = np.random.default_rng(request.param)
    fixed_affine = random_affine(rng, degrees=15)
    moving_affine = fixed_affine if request.param else random_affine(rng, degrees=15)
    _, labels, field = random_pair(rng, moving_shape=(15, 13, 12))
    moving_affine = moving_affine.copy()
    centres = fixed_affine @ [6.5, 5.5, 6, 1], moving_affine @ [7, 6, 5.5, 1]
    moving_affine[:3, 3] += (centres[0] - centres[1])[:3]
    fixed = Image(np.zeros((14, 12, 13), np.uint8), fixed_affine)
    world = np.moveaxis(field, -1, 0).astype(np.float32)
    return fixed, Image(labels.astype(np.int16), moving_affine), Displacement(world, fixed_affine, moving_affine)


@pytest.mark.parametrize("ending", ["nii.gz", "npz"])
def test_a_submitted_field_read_back_moves_the_labels_that_were_scored(registered, tmp_path, ending):
    fixed, moving, displacement = registered
    submission = Submission(tmp_path / "out", ending)
    files = pair_files("OASIS_0001_0000.nii.gz", "OASIS_0002_0000.nii.gz")
    submission.prepare([files])
    stored = submission.write(files, displacement)
    path = tmp_path / "out" / f"disp_0001_0002.{ending}"
    if ending == "npz":
        with np.load(path) as content:
            assert len(content.files) == 1
            raw = content[content.files[0]]
        assert raw.dtype == np.float16
        raw = raw.astype(np.float32)
    else:
        raw = nibabel.load(path).get_fdata()
        assert nibabel.load(path).get_data_dtype() == np.float32
    assert raw.shape == (*fixed.shape, 3)
    np.testing.assert_array_equal(np.moveaxis(raw, -1, 0), stored)
    np.testing.assert_array_equal(warp_labels(moving.data, stored), official_warp(moving.data, raw))
    again = read_displacement(path, "l2r", fixed=fixed, moving=moving)
    ours = warp_image(moving, again, interpolation="nearest").data
    inside = np.moveaxis(np.indices(fixed.shape), 0, -1) + raw
    inner = ((inside > 0) & (inside < np.array(moving.shape) - 1)).all(axis=-1)
    assert inner.sum() > 100
    np.testing.assert_array_equal(ours[inner], official_warp(moving.data, raw)[inner])
    if ending == "nii.gz":
        direct = warp_image(moving, displacement, interpolation="nearest").data
        np.testing.assert_array_equal(ours, direct)
    exact = displacement_to_indices(displacement.world, displacement.affine, displacement.moving_affine)
    assert np.abs(stored - exact).max() <= (1e-5 if ending == "nii.gz" else 2**-6)


def test_the_format_of_2021_is_read_as_its_evaluation_read_it(tmp_path):
    """Components first, half precision, half resolution; blown up by splines of order 2."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(3, 16, 12, 20)), (0, 3, 3, 3)) * 20
    labels = ndimage.gaussian_filter(rng.normal(size=(5, 16, 12, 20)), (0, 2, 2, 2)).argmax(axis=0)
    displacement = Displacement(field.astype(np.float32), np.eye(4), np.eye(4))
    submission = Submission(tmp_path, "npz-2021")
    files = pair_files("OASIS_0001_0000.nii.gz", "OASIS_0002_0000.nii.gz")
    stored = submission.write(files, displacement)
    with np.load(tmp_path / "disp_0001_0002.npz") as content:
        raw = content["arr_0"]
    assert raw.dtype == np.float16
    assert raw.shape == (3, 8, 6, 10)
    seen = np.array([ndimage.zoom(component, 2, order=2) for component in raw.astype("float32")])
    np.testing.assert_array_equal(stored, seen)
    np.testing.assert_array_equal(warp_labels(labels, stored), official_warp(labels, np.moveaxis(seen, 0, -1)))
    assert np.abs(seen - field).max() < 0.25  # of up to 4 voxels
    np.testing.assert_array_equal(raw[:, [0, -1], [0, -1], [0, -1]], field[:, [0, -1], [0, -1], [0, -1]].astype("f2"))
    odd = Displacement(np.zeros((3, 8, 7, 8), np.float32), np.eye(4), np.eye(4))
    with pytest.raises(ImageError, match=r"even sizes of at least 4 .* not \(8, 7, 8\)"):
        submission.write(files, odd)


def test_two_pairs_of_one_name_are_refused_before_anything_is_written(tmp_path):
    pairs = [pair_files("a_0001_0000.nii.gz", "a_0002_0000.nii.gz", f"list: line {n}") for n in (2, 3)]
    with pytest.raises(ParameterError, match=r"line 3: its field would be disp_0001_0002\.nii\.gz, .* list: line 2"):
        Submission(tmp_path / "out").prepare(pairs)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ParameterError, match="submission holds"):
        Submission(tmp_path, "h5")
