"""Slices of volumes, sizes of pictures, and augmentation: what must come back unchanged, and what must change."""

import itertools

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysnnmed.data import (
    Augmentation,
    Image,
    augment,
    read_nifti,
    reorient,
    resize,
    resize_mask,
    slice_spacing,
    slices_of,
    volume_of,
    write_nifti,
)
from pysnnmed.errors import ParameterError, ShapeError

PLANES = ("sagittal", "coronal", "axial")
ORIENTATIONS = [
    "".join(letters[i][j] for i, j in zip(order, ends, strict=True))
    for letters in [("LR", "PA", "IS")]
    for order in itertools.permutations(range(3))
    for ends in itertools.product((0, 1), repeat=3)
]
DATA = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
RAS = Image(DATA, np.array([[2.0, 0.1, 0, -7], [-0.1, 1.5, 0, -4], [0, 0, 3, -6], [0, 0, 0, 1]]), "scan", 2, "text")

# ---------------------------------------------------------------------------------------------------- slices


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_slices_show_every_scan_the_same_way_and_come_back_exactly(codes, plane, tmp_path):
    image = reorient(RAS, codes)
    stack = slices_of(image, plane)
    np.testing.assert_array_equal(stack[:, 0], np.moveaxis(DATA, PLANES.index(plane), 0))
    back = volume_of(stack[:, 0] > 50, image, plane)
    np.testing.assert_array_equal(back.data, image.data > 50)
    np.testing.assert_array_equal(back.affine, image.affine)
    assert (back.form_code, back.description) == (2, "text")
    if plane == "axial":
        write_nifti(tmp_path / "a.nii.gz", image)
        stored = read_nifti(tmp_path / "a.nii.gz")
        write_nifti(tmp_path / "a.nii.gz", stored)
        write_nifti(tmp_path / "b.nii.gz", volume_of(slices_of(stored)[:, 0], stored))
        assert (tmp_path / "b.nii.gz").read_bytes() == (tmp_path / "a.nii.gz").read_bytes()
        np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz").affine, stored.affine)


@pytest.mark.parametrize("plane", PLANES)
def test_context_is_the_neighbouring_slices(plane):
    plain, wide = slices_of(RAS, plane)[:, 0], slices_of(RAS, plane, context=2)
    assert wide.shape == (len(plain), 5, *plain.shape[1:])
    for i, c in itertools.product(range(len(plain)), range(5)):
        np.testing.assert_array_equal(wide[i, c], plain[min(max(i + c - 2, 0), len(plain) - 1)])


def test_slices_know_the_size_of_their_pixels():
    expected = {"sagittal": (1, 2), "coronal": (0, 2), "axial": (0, 1)}
    for plane, axes in expected.items():
        assert slice_spacing(reorient(RAS, "SAL"), plane) == pytest.approx([RAS.spacing[a] for a in axes])


def test_slices_that_do_not_fit_are_refused():
    stack = slices_of(RAS)[:, 0]
    for wrong in (stack[1:], stack[:, 1:], [*stack[1:], stack[0, 1:]], []):
        with pytest.raises(ShapeError, match=r"scan: volume_of expects 6 slices of \(4, 5\)"):
            volume_of(wrong, RAS)
    with pytest.raises(ParameterError, match="plane must be one of sagittal"):
        slices_of(RAS, "oblique")
    with pytest.raises(ParameterError, match="context"):
        slices_of(RAS, context=-1)


# ---------------------------------------------------------------------------------------------------- sizes

planes = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9), elements=st.floats(0, 1, width=32)
)
shapes = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(planes, shapes)
def test_a_resized_picture_has_its_size_and_stays_within_its_values(data, shape):
    new = resize(data, shape)
    assert new.shape == (*data.shape[:-2], *shape)
    assert new.min() >= data.min() - 1e-6
    assert new.max() <= data.max() + 1e-6
    np.testing.assert_array_equal(resize(data, data.shape[-2:]), data)
    np.testing.assert_allclose(resize(data[..., ::-1], shape), new[..., ::-1], atol=1e-5)
    np.testing.assert_allclose(resize(np.swapaxes(data, -1, -2), shape[::-1]), np.swapaxes(new, -1, -2), atol=1e-5)


@given(hnp.arrays(np.float32, (7, 11), elements=st.floats(0, 1, width=32)), shapes)
def test_resizing_is_that_of_pillow(data, shape):
    image = PIL.Image.fromarray(data).resize(shape[::-1], PIL.Image.Resampling.BILINEAR)
    np.testing.assert_allclose(resize(data, shape), np.asarray(image), atol=1e-5)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)), st.integers(1, 4))
def test_a_mask_survives_becoming_larger_and_small_again(mask, factor):
    np.testing.assert_array_equal(resize_mask(mask.repeat(factor, 0).repeat(factor, 1), mask.shape), mask)


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ParameterError, match="at least 1"):
        resize(np.zeros((3, 3)), (0, 3))
    with pytest.raises(ShapeError, match="at least one pixel"):
        resize(np.zeros((0, 3)), (3, 3))


# ---------------------------------------------------------------------------------------------------- augmentation

MASK = np.zeros((12, 12), bool)
MASK[2:5, 2:9] = True


@given(st.integers(0, 2**32))
def test_one_seed_is_one_picture_and_the_input_is_untouched(seed):
    picture = np.random.default_rng(seed).random((3, 12, 12), np.float32)
    kept, mask = picture.copy(), MASK.copy()
    first, second = (augment(picture, mask, np.random.default_rng(seed)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].dtype == np.float32
    assert first[1].dtype == bool
    assert first[0].min() >= 0
    assert first[0].max() <= 1
    np.testing.assert_array_equal(picture, kept)
    np.testing.assert_array_equal(mask, MASK)


@given(st.integers(0, 2**32), st.booleans())
def test_picture_and_mask_move_together(seed, square):
    mask = MASK if square else MASK[:9]
    picture = np.stack([mask] * 3).astype(np.float32)
    for settings_ in (Augmentation(brightness=0, contrast=1), Augmentation(brightness=0, contrast=1, scale=1)):
        new, moved = augment(picture, mask, np.random.default_rng(seed), settings_)
        np.testing.assert_array_equal(new[0] >= 0.5, moved)
        assert new.shape == picture.shape
        if settings_.scale == 1:
            assert moved.sum() == mask.sum()


def test_nothing_is_changed_by_no_augmentation(rng):
    picture = rng.random((1, 12, 12)).astype(np.float32)
    for _ in range(9):
        new, mask = augment(picture, MASK, rng, Augmentation.none())
        np.testing.assert_array_equal(new, picture)
        np.testing.assert_array_equal(mask, MASK)


def test_all_eight_ways_round_occur_equally_often(rng):
    ways = {np.rot90(m, k).tobytes() for m in (MASK, MASK[::-1]) for k in range(4)}
    assert len(ways) == 8
    settings_ = Augmentation(scale=1, brightness=0, contrast=1)
    picture = np.zeros((1, 12, 12), np.float32)
    found = [augment(picture, MASK, rng, settings_)[1].tobytes() for _ in range(1600)]
    assert set(found) == ways
    assert all(130 < found.count(way) < 270 for way in ways)  # five standard deviations around 200


def test_brightness_and_contrast_leave_the_mask_alone(rng):
    picture = np.full((1, 12, 12), 0.5, np.float32)
    settings_ = Augmentation(flips=False, turns=False, scale=1)
    levels = []
    for _ in range(300):
        new, mask = augment(picture, MASK, rng, settings_)
        np.testing.assert_array_equal(mask, MASK)
        levels.append(float(new[0, 0, 0]))
    assert 0.4 <= min(levels) < 0.42
    assert 0.58 < max(levels) <= 0.6


def test_a_zoom_is_about_the_centre(rng):
    mask = np.zeros((41, 41), bool)
    mask[10:31, 10:31] = True
    settings_ = Augmentation(flips=False, turns=False, scale=1.5, brightness=0, contrast=1)
    sides = []
    for _ in range(60):
        moved = augment(np.zeros((1, 41, 41), np.float32), mask, rng, settings_)[1]
        np.testing.assert_array_equal(moved, moved[::-1, ::-1])
        sides.append(int(moved[20].sum()))
    assert 13 <= min(sides) <= 16
    assert 28 <= max(sides) <= 33


def test_settings_that_are_none_are_refused(rng):
    for wrong in ({"scale": 0.9}, {"contrast": float("nan")}, {"brightness": -1}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            Augmentation(**wrong)
    with pytest.raises(ShapeError, match="augment"):
        augment(np.zeros((3, 12, 12), np.float32), MASK[1:], rng)


def test_several_masks_of_a_picture_go_the_way_of_one(rng):
    picture, masks = rng.random((2, 12, 9), np.float32), rng.random((3, 12, 9)) < 0.5
    for seed in range(12):
        same, together = augment(picture, masks, np.random.default_rng(seed))
        for one, moved in zip(masks, together, strict=True):
            alone, expected = augment(picture, one, np.random.default_rng(seed))
            np.testing.assert_array_equal(moved, expected)
            np.testing.assert_array_equal(same, alone)
