"""Generated lesions: seeded, exact masks whatever lies over them, pigment that dims, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.data import lesions
from pysnnmed.data.generate import gaussian_blur
from pysnnmed.data.lesions import GeneratedLesion, generate_lesion
from pysnnmed.errors import ParameterError, ShapeError

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(16, 70)


@given(seed=seeds, height=sides, width=sides)
def test_a_picture_is_what_it_claims_and_the_same_for_the_same_seed(seed, height, width):
    picture, mask = generate_lesion((height, width), np.random.default_rng(seed))
    assert (picture.dtype, picture.shape) == (np.float32, (3, height, width))
    assert (mask.dtype, mask.shape) == (bool, (height, width))
    assert picture.min() >= 0
    assert picture.max() <= 1
    again = generate_lesion((height, width), np.random.default_rng(seed))
    np.testing.assert_array_equal(again.picture, picture)
    np.testing.assert_array_equal(again.mask, mask)


@given(seed=seeds)
def test_a_lesion_is_always_in_the_picture_unless_there_is_none(seed):
    assert generate_lesion((24, 30), np.random.default_rng(seed), empty=0).mask.any()
    assert not generate_lesion((24, 30), np.random.default_rng(seed), empty=1).mask.any()


def test_about_as_many_have_no_lesion_as_wanted():
    found = [generate_lesion((16, 16), np.random.default_rng([1, i]), empty=0.3).mask.any() for i in range(300)]
    assert 0.22 < 1 - np.mean(found) < 0.38


def test_what_lies_over_a_lesion_leaves_its_mask(monkeypatch):
    with_them = [generate_lesion((48, 48), np.random.default_rng([2, i])) for i in range(20)]
    monkeypatch.setattr(lesions, "_draw_distractors", lambda picture, rng: None)
    without = [generate_lesion((48, 48), np.random.default_rng([2, i])) for i in range(20)]
    for a, b in zip(with_them, without, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
    assert any(np.abs(a.picture - b.picture).max() > 0.2 for a, b in zip(with_them, without, strict=True))


def just_inside_and_outside(lesion: GeneratedLesion) -> tuple[float, float]:
    """Mean green, which pigment takes most of, on both sides of the border, away from its middle."""
    near = gaussian_blur(lesion.mask.astype(np.float32), 4.0)
    green = lesion.picture[1]
    return float(green[(near > 0.6) & (near < 0.95)].mean()), float(green[(near > 0.05) & (near < 0.4)].mean())


def test_the_mask_is_where_the_pigment_is():
    drawn = [generate_lesion((96, 96), np.random.default_rng([3, i]), empty=0) for i in range(60)]
    pairs = [just_inside_and_outside(one) for one in drawn if 0.03 < one.mask.mean() < 0.6]
    assert len(pairs) > 40
    assert np.mean([inside < outside for inside, outside in pairs]) > 0.95
    contrasts = [outside - inside for inside, outside in pairs]
    assert np.median(contrasts) > 0.05
    assert min(contrasts) < 0.06  # some are hard


def test_sizes_contrasts_and_borders_vary():
    shares = [generate_lesion((64, 64), np.random.default_rng([4, i]), empty=0).mask.mean() for i in range(100)]
    low, middle, high = np.percentile(shares, [10, 50, 90])
    assert low < 0.09 < middle < 0.35 < high


def test_impossible_wishes_are_refused(rng):
    for shape in ((15, 40), (40,), (3, 40, 40)):
        with pytest.raises(ShapeError, match="at least 16"):
            generate_lesion(shape, rng)
    with pytest.raises(ParameterError, match="probability"):
        generate_lesion((16, 16), rng, empty=1.5)
