"""Scores of segmentations: counts that add up, both aggregations, and what happens where there is nothing to find."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.metrics import (
    Confusion,
    case_scores,
    hausdorff,
    segmentation_report,
    segmentation_scores,
)

shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)
pairs = shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 2))
sets = st.lists(pairs, min_size=1, max_size=5)


def report_of(images, empty=1.0):
    return segmentation_report([case_scores(str(i), p, t) for i, (p, t) in enumerate(images)], empty)


@given(pairs)
def test_counts_are_those_of_plain_loops(pair):
    found = {(p, t): 0 for p, t in itertools.product((False, True), repeat=2)}
    for p, t in zip(*(mask.ravel().tolist() for mask in pair), strict=True):
        found[p, t] += 1
    counts = Confusion.of(*pair)
    assert counts == Confusion(found[True, True], found[True, False], found[False, True], found[False, False])
    assert counts.pixels == pair[0].size
    assert counts.background == Confusion.of(~pair[0], ~pair[1])


@given(pairs, st.data())
def test_counts_add_up_over_any_split_of_the_pixels(pair, data):
    part = data.draw(hnp.arrays(np.uint8, pair[0].shape, elements=st.integers(0, 3)))
    pieces = [Confusion.of(*(mask[part == i] for mask in pair)) for i in range(4)]
    assert sum(pieces, Confusion(0, 0, 0, 0)) == Confusion.of(*pair)


@given(sets)
def test_pooled_scores_are_those_of_all_pixels_at_once(images):
    report = report_of(images)
    p, t = (np.concatenate([pair[side].ravel() for pair in images]) for side in (0, 1))
    assert report.counts == Confusion.of(p, t)
    assert report.pooled == Confusion.of(p, t).scores()
    assert report.pooled == segmentation_scores(*zip(*images, strict=True), "pooled")
    assert report.image == segmentation_scores(*zip(*images, strict=True), "image")


@given(sets)
def test_pooled_iou_and_dice_determine_each_other(images):
    pooled = report_of(images).pooled
    assert pooled.iou == pytest.approx(pooled.dice / (2 - pooled.dice))


@given(sets)
def test_the_mean_dice_of_images_is_never_above_that_of_their_mean_iou(images):
    image = report_of(images).image
    assert image.dice <= 2 * image.iou / (1 + image.iou) + 1e-12  # Jensen: 2 x / (1 + x) is concave


@given(sets, st.randoms(use_true_random=False), st.sampled_from([0.0, 1.0, math.nan]))
def test_the_order_of_the_images_changes_nothing(images, random, empty):
    cases = [case_scores(str(i), p, t) for i, (p, t) in enumerate(images)]
    shuffled = random.sample(cases, len(cases))
    assert repr(segmentation_report(shuffled, empty)) == repr(segmentation_report(cases, empty))


@given(sets)
def test_the_background_has_the_same_means_and_the_other_rates(images):
    scores, other = (report_of(one).pooled for one in (images, [(~p, ~t) for p, t in images]))
    assert (scores.mean_iou, scores.mean_dice) == pytest.approx((other.mean_iou, other.mean_dice))
    assert (scores.sensitivity, scores.specificity) == (other.specificity, other.sensitivity)
    assert scores.accuracy == other.accuracy
    assert scores.mean_iou == pytest.approx((scores.iou + other.iou) / 2)


@given(pairs)
def test_scores_lie_in_the_unit_interval_and_are_one_for_equal_masks(pair):
    scores = Confusion.of(*pair).scores()
    assert all(0 <= value <= 1 for value in vars(scores).values())
    assert set(vars(Confusion.of(pair[0], pair[0]).scores()).values()) == {1.0}


@given(pairs)
def test_the_five_columns_are_their_formulas(pair):
    p, t = (mask.astype(int) for mask in pair)
    assume(0 < t.sum() < t.size)
    table = segmentation_report([case_scores("a", *pair)]).pooled.table
    assert list(table) == ["mIoU", "DSC", "Acc", "Spe", "Sen"]
    expected = (
        (p * t).sum() / (p + t - p * t).sum(),
        2 * (p * t).sum() / (p.sum() + t.sum()),
        (p == t).mean(),
        ((1 - p) * (1 - t)).sum() / (1 - t).sum(),
        (p * t).sum() / t.sum(),
    )
    assert tuple(table.values()) == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------------- empty masks

FULL, NOTHING = np.ones((4, 4), bool), np.zeros((4, 4), bool)
LEFT = FULL.copy()
LEFT[:, 2:] = False


def test_the_value_of_nothing_is_a_policy():
    images = [(LEFT, FULL), (NOTHING, NOTHING)]
    for empty, expected in ((1.0, 0.75), (0.0, 0.25), (math.nan, 0.5)):
        report = report_of(images, empty)
        assert report.image.iou == expected
        assert report.pooled.iou == 0.5  # nothing is empty once it is pooled
    assert math.isnan(report_of([(NOTHING, NOTHING)], math.nan).image.iou)


def test_false_alarms_on_a_normal_image_show_whatever_the_policy():
    for empty in (0.0, 1.0, math.nan):
        scores = report_of([(LEFT, NOTHING)], empty).image
        assert (scores.iou, scores.dice, scores.specificity) == (0, 0, 0.5)
        assert scores.sensitivity == empty or math.isnan(empty)


def test_contours_that_do_not_exist_are_counted():
    shifted = np.roll(LEFT, 1, axis=1)
    report = report_of([(LEFT, shifted), (LEFT, NOTHING), (NOTHING, LEFT), (NOTHING, NOTHING), (LEFT, LEFT)])
    assert (report.one_empty, report.both_empty) == (2, 1)
    assert report.hd95 == 0.5  # of 1 and 0
    nowhere = report_of([(LEFT, NOTHING)])
    assert math.isnan(nowhere.hd95)
    assert nowhere.one_empty == 1


def test_distances_are_in_the_unit_of_the_spacing():
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:10] = True
    moved = np.roll(mask, 3, axis=0)
    for spacing in (None, (0.5, 2.0)):
        (expected,) = hausdorff(mask, moved, [1], spacing)
        assert expected == 3 * (spacing or (1, 1))[0]
        assert case_scores("a", mask, moved, spacing).hd95 == expected


# ---------------------------------------------------------------------------------------------------- refusals


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ShapeError, match=r"\(4, 4\) and \(2, 4\)"):
        case_scores("a", FULL, FULL[:2])
    with pytest.raises(ParameterError, match="threshold"):
        case_scores("a", np.full((4, 4), 0.3), FULL)
    with pytest.raises(ParameterError, match="at least one image"):
        segmentation_report([])
    with pytest.raises(ParameterError, match="'a' is there twice"):
        segmentation_report([case_scores("a", FULL, FULL)] * 2)
