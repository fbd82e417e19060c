"""Overlap, surface distances and deformation against definitions, plain loops and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.metrics import (
    Confusion,
    assd,
    dice,
    folding_fraction,
    hausdorff,
    hd95,
    iou,
    jacobian_determinant,
    mean_dice,
    nanmean,
    sd_log_jacobian,
    segmentation_scores,
    surface_distances,
)

spatial = hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=6)
label_pairs = spatial.flatmap(lambda s: st.tuples(*[hnp.arrays(np.uint8, s, elements=st.integers(0, 3))] * 2))
mask_pairs = spatial.flatmap(lambda s: st.tuples(*[hnp.arrays(bool, s)] * 2))

# ---------------------------------------------------------------------------------------------------- overlap


@given(label_pairs)
def test_dice_is_the_set_formula(pair):
    a, b = pair
    for k, got in zip(range(4), dice(a, b, range(4)), strict=True):
        in_a, in_b = set(np.flatnonzero(a == k)), set(np.flatnonzero(b == k))
        if in_a and in_b:
            assert got == pytest.approx(2 * len(in_a & in_b) / (len(in_a) + len(in_b)))
        else:
            assert np.isnan(got)


@given(label_pairs)
def test_dice_and_iou_determine_each_other(pair):
    j = iou(*pair, range(4), absent="both")
    np.testing.assert_allclose(dice(*pair, range(4), absent="both"), 2 * j / (1 + j))


@given(label_pairs)
def test_dice_is_symmetric_bounded_and_one_for_equal_maps(pair):
    a, b = pair
    np.testing.assert_array_equal(dice(a, b, range(4)), dice(b, a, range(4)))
    scores = dice(a, b, range(4), absent="both")
    assert np.all((scores >= 0) & (scores <= 1) | np.isnan(scores))
    assert mean_dice(a, a, range(4)) == 1


def test_the_two_policies_for_absent_labels():
    a, b = np.array([1, 1, 2]), np.array([1, 1, 0])
    np.testing.assert_array_equal(dice(a, b, [1, 2, 3], absent="either"), [1, np.nan, np.nan])
    np.testing.assert_array_equal(dice(a, b, [1, 2, 3], absent="both"), [1, 0, np.nan])
    assert mean_dice(a, b, [1, 2, 3]) == 1
    assert mean_dice(a, b, [1, 2, 3], absent="both") == 0.5
    assert np.isnan(mean_dice(a, b, [7]))
    assert dice(a, b, []).shape == (0,)
    with pytest.raises(ParameterError, match="absent"):
        dice(a, b, [1], absent="never")
    with pytest.raises(ShapeError, match="one shape"):
        dice(a, b[:2], [1])


@given(mask_pairs)
def test_pooled_scores_of_one_image_are_its_scores(pair):
    p, t = pair
    pooled, image = (segmentation_scores([p], [t], aggregate=a) for a in ("pooled", "image"))
    assert pooled == image
    assert pooled.dice == pytest.approx(2 * pooled.iou / (1 + pooled.iou))
    assert pooled.accuracy == pytest.approx((p == t).mean())


def test_pooled_and_image_means_differ_and_empty_masks_are_a_policy():
    full, none = np.ones(8, bool), np.zeros(8, bool)
    half = np.arange(8) < 4
    predictions, targets = [half, full, none], [full, full, none]
    pooled = segmentation_scores(predictions, targets)
    assert pooled.iou == 12 / 16
    assert pooled.dice == 24 / 28
    assert segmentation_scores(predictions, targets, "image").iou == pytest.approx((0.5 + 1 + 1) / 3)
    assert segmentation_scores(predictions, targets, "image", empty=0).iou == pytest.approx((0.5 + 1 + 0) / 3)
    assert segmentation_scores(predictions, targets, "image", empty=float("nan")).iou == pytest.approx(0.75)
    with pytest.raises(ParameterError, match="aggregate"):
        segmentation_scores(predictions, targets, "median")
    with pytest.raises(ParameterError, match="at least one"):
        segmentation_scores([], [])
    with pytest.raises(ShapeError, match="one shape"):
        Confusion.of(full, full[:2])


@given(mask_pairs)
def test_confusion_counts_every_pixel_once(pair):
    c = Confusion.of(*pair)
    assert c.tp + c.fp + c.fn + c.tn == pair[0].size
    assert Confusion.of(pair[1], pair[0]) == Confusion(c.tp, c.fn, c.fp, c.tn)


# --------------------------------------------------------------------------------------------------- surfaces


def brute_force_distances(a, b, spacing):
    """Every surface voxel against every other, in plain loops."""

    def surface(mask):
        points = []
        for p in np.argwhere(mask):
            neighbours = [p + sign * np.eye(mask.ndim, dtype=int)[ax] for ax in range(mask.ndim) for sign in (-1, 1)]
            if any((q < 0).any() or (q >= mask.shape).any() or not mask[tuple(q)] for q in neighbours):
                points.append(p * np.array(spacing))
        return points

    sa, sb = surface(a), surface(b)
    if not sa or not sb:
        return [], []
    nearest = [[min(np.linalg.norm(p - q) for q in others) for p in points] for points, others in [(sa, sb), (sb, sa)]]
    return nearest[0], nearest[1]


@given(pair=mask_pairs, data=st.data())
def test_surface_distances_are_those_of_plain_loops(pair, data):
    spacing = data.draw(st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * pair[0].ndim))
    for got, want in zip(surface_distances(*pair, spacing), brute_force_distances(*pair, spacing), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-9)


def test_shifted_cubes_have_known_distances():
    a, b = np.zeros((2, 16, 12, 12), np.uint8)
    a[2:8, 3:9, 3:9] = 1
    b[5:11, 3:9, 3:9] = 1
    assert hausdorff(a, b, [1]) == [3]
    assert hausdorff(a, b, [1], spacing=(2, 1, 1)) == [6]
    assert hd95(a, b, [1])[0] <= 3
    assert 0 < assd(a, b, [1])[0] < hd95(a, b, [1])[0]
    assert hd95(a, a, [1]) == [0]
    assert assd(a, a, [1]) == [0]


def test_hd95_takes_the_worse_direction():
    a, b = np.zeros((2, 40, 9), bool)
    a[2:6, 2:6] = b[2:6, 2:6] = True
    b[34:38, 2:6] = True  # far from a: a's surface is near b, half of b's is far from a
    ab, ba = surface_distances(a, b)
    assert np.percentile(ab, 95) == 0
    assert hd95(a, b, [1])[0] == np.percentile(ba, 95) > 28


def test_an_empty_mask_has_no_distance():
    a = np.ones((4, 4), int)
    assert np.isnan(hd95(a, np.zeros_like(a), [1])).all()
    assert np.isnan(assd(a, a, [2])).all()
    assert nanmean(np.array([np.nan, 2.0])) == 2


def test_surface_distance_refuses_nonsense():
    a = np.ones((4, 4), bool)
    with pytest.raises(ShapeError, match="one shape"):
        surface_distances(a, a[:2])
    with pytest.raises(ParameterError, match="spacing"):
        surface_distances(a, a, (1.0, 0.0))
    with pytest.raises(ParameterError, match="percentile"):
        hausdorff(a, a, [1], percentile=101)


# ------------------------------------------------------------------------------------------------ deformation

matrices = st.integers(1, 3).flatmap(lambda n: hnp.arrays(float, (n, n), elements=st.floats(-2, 2)))


@given(matrices)
def test_the_jacobian_of_an_affine_map_is_its_determinant(matrix):
    n = len(matrix)
    grid = np.indices((4, 5, 6)[:n], dtype=float)
    u = np.tensordot(matrix, grid, 1) - grid
    np.testing.assert_allclose(jacobian_determinant(u), np.linalg.det(matrix), atol=1e-9)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_jacobian_is_that_of_voxelmorph(ndim, rng):
    shape = (6, 7, 8)[:ndim]
    u = rng.normal(size=(ndim, *shape))
    gradient = [np.gradient(c) for c in u + np.indices(shape)] if ndim > 1 else [[np.gradient(u[0] + np.arange(6))]]
    want = np.linalg.det(np.moveaxis(np.array(gradient), (0, 1), (-2, -1)))
    np.testing.assert_allclose(jacobian_determinant(u), want, atol=1e-12)


def test_translation_neither_folds_nor_deforms():
    u = np.full((3, 8, 8, 8), 1.5, np.float32)
    assert folding_fraction(u) == 0
    assert sd_log_jacobian(u) == 0
    assert sd_log_jacobian(u, definition="learn2reg") == 0
    assert jacobian_determinant(u).dtype == np.float32


def test_a_reflection_folds_everywhere_and_masks_and_interiors_select():
    x = np.arange(8.0)
    u = np.where(x > 3, 0, -2 * x)[None]  # x -> -x on the left, identity on the right
    assert folding_fraction(u) == np.mean(jacobian_determinant(u) <= 0)
    assert folding_fraction(u, mask=x < 3) == 1
    assert folding_fraction(u, mask=x > 5) == 0
    assert folding_fraction(u, interior=True) == np.mean(jacobian_determinant(u)[1:-1] <= 0)
    assert np.isnan(folding_fraction(u, mask=np.zeros(8)))
    with pytest.raises(ShapeError, match="mask"):
        folding_fraction(u, mask=np.ones(7))


@pytest.mark.parametrize("masked", [False, True])
def test_sd_log_jacobian_of_learn2reg_is_that_of_its_evaluation_code(masked, rng):
    """Correlation with [-0.5, 0, 0.5], zero padding, crop 2, + 3, clip, log, standard deviation."""
    from scipy import ndimage

    u = rng.normal(0, 1.5, (3, 10, 11, 12))
    kernel = np.array([-0.5, 0, 0.5])
    rows = [[ndimage.correlate1d(c, kernel, axis, mode="constant") for axis in range(3)] for c in u]
    j = np.linalg.det(np.moveaxis(np.array(rows), (0, 1), (-2, -1)) + np.eye(3))[2:-2, 2:-2, 2:-2]
    mask = rng.random(u.shape[1:]) < 0.5 if masked else None
    inner = j[mask[2:-2, 2:-2, 2:-2]] if masked else j
    assert (inner < 0).any()
    want = np.log(np.clip(inner + 3, 1e-9, 1e9)).std()
    assert sd_log_jacobian(u, mask, definition="learn2reg") == pytest.approx(want)


def test_plain_sd_log_jacobian_leaves_folds_out(rng):
    u = rng.normal(0, 1.5, (2, 12, 12))
    j = jacobian_determinant(u)
    assert sd_log_jacobian(u) == pytest.approx(np.log(j[j > 0]).std())
    with pytest.raises(ParameterError, match="definition"):
        sd_log_jacobian(u, definition="other")


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 4, 4, 4), (1,), (2, 1, 4), (4, 3, 3, 3, 3)])
def test_what_is_no_displacement_is_refused(shape):
    with pytest.raises(ShapeError, match=r"\[ndim, \*S\]"):
        jacobian_determinant(np.zeros(shape))
