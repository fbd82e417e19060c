"""Generated data: reproducible, in range, of the promised kind, and with a motion that is the true answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed.data.generate import (
    generate_pair,
    integrate,
    random_contrast,
    random_displacement,
    random_shapes,
    random_velocity,
    smooth_noise,
    synthesize_contrast,
    warp_linear,
    warp_nearest,
)
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.metrics.deformation import folding_fraction
from pysnnmed.metrics.overlap import mean_dice, nanmean

seeds = st.integers(0, 2**32 - 1)
shapes = st.one_of(
    st.tuples(st.integers(16, 60)),
    st.tuples(st.integers(12, 40), st.integers(12, 40)),
    st.tuples(st.integers(12, 20), st.integers(12, 20), st.integers(12, 20)),
)


@given(shape=shapes, seed=seeds)
def test_a_pair_is_what_it_promises(shape, seed):
    pair = generate_pair(shape, np.random.default_rng(seed))
    for image in (pair.moving, pair.fixed):
        assert image.shape == shape
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
    for labels in (pair.moving_labels, pair.fixed_labels):
        assert labels.shape == shape
        assert labels.dtype == np.uint8
        assert labels.max() <= 8
    assert pair.displacement.shape == (len(shape), *shape)
    assert pair.displacement.dtype == np.float32


@given(shape=shapes, seed=seeds)
def test_the_same_seed_gives_the_same_pair(shape, seed):
    first, second = (generate_pair(shape, np.random.default_rng(seed)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@given(shape=shapes, seed=seeds)
def test_the_displacement_is_short_and_does_not_fold(shape, seed):
    amplitude = 0.08 * min(shape)
    u = random_displacement(shape, amplitude, min(shape) / 4, np.random.default_rng(seed))
    assert np.sqrt((u**2).sum(axis=0)).max() <= amplitude * (1 + 1e-4)
    assert folding_fraction(u) == 0


@given(shape=shapes, seed=seeds)
def test_the_true_displacement_aligns_the_labels(shape, seed):
    pair = generate_pair(shape, np.random.default_rng(seed))
    np.testing.assert_array_equal(warp_nearest(pair.moving_labels, pair.displacement), pair.fixed_labels)


@given(shape=st.sampled_from([(64, 64), (32, 32, 32)]), seed=seeds)
def test_the_true_displacement_aligns_the_images(shape, seed):
    pair = generate_pair(shape, np.random.default_rng(seed))
    before = np.abs(pair.moving - pair.fixed).mean()
    after = np.abs(warp_linear(pair.moving, pair.displacement) - pair.fixed).mean()
    assert after < before


@pytest.mark.parametrize("shape", [(96, 96), (48, 48, 48)])
def test_the_problem_has_the_intended_difficulty(shape):
    pairs = [generate_pair(shape, np.random.default_rng(seed)) for seed in range(8)]
    before = [mean_dice(p.moving_labels, p.fixed_labels, range(1, 9)) for p in pairs]
    assert 0.5 < np.mean(before) < 0.7
    longest = [np.sqrt((p.displacement**2).sum(axis=0)).max() for p in pairs]
    assert 0.06 * shape[0] < np.mean(longest) < 0.09 * shape[0]


def test_the_inverse_velocity_undoes_the_motion(rng):
    velocity = random_velocity((40, 40), 3.0, 12.0, rng)
    there, back = integrate(velocity), integrate(-velocity)
    residual = there + warp_linear(back, there)
    assert np.abs(residual[:, 6:-6, 6:-6]).max() < 0.1  # interpolation error; the motion itself is 3 voxels long


def test_background_is_black_and_the_blob_keeps_off_the_border(rng):
    labels = random_shapes((48, 48, 48), 8, rng)
    assert not labels[0].any()
    assert not labels[..., -1].any()
    image = synthesize_contrast(labels, rng)
    assert (image[labels == 0] == 0).mean() > 0.7  # the rest is partial volume
    assert set(np.unique(labels)) == set(range(9))


def test_same_contrast_keeps_the_means_and_another_one_changes_them():
    def label_means(pair):
        moving = [pair.moving[pair.moving_labels == k].mean() for k in range(1, 6)]
        fixed = [pair.fixed[pair.fixed_labels == k].mean() for k in range(1, 6)]
        return nanmean(np.abs(np.subtract(moving, fixed)))

    same = generate_pair((64, 64), np.random.default_rng(3), n_labels=5)
    other = generate_pair((64, 64), np.random.default_rng(3), n_labels=5, same_contrast=False)
    assert label_means(same) < 0.1 < label_means(other)
    np.testing.assert_array_equal(same.fixed_labels, other.fixed_labels)


def test_the_two_images_of_a_pair_have_independent_noise():
    pair = generate_pair((64, 64), np.random.default_rng(5), max_displacement=0.0)
    np.testing.assert_array_equal(pair.moving_labels, pair.fixed_labels)
    inside = pair.moving_labels > 0
    assert np.abs(pair.moving - pair.fixed)[inside].std() > 0.005


def test_noise_has_the_scale_asked_for(rng):
    fine, coarse = (smooth_noise((96, 96), (s,), 1.0, rng) for s in (3, 24))
    roughness = [np.abs(np.diff(n)).mean() / n.std() for n in (fine, coarse)]
    assert roughness[0] > 4 * roughness[1]
    assert smooth_noise((8, 9), (4,), 1.0, rng, leading=(3, 2)).shape == (3, 2, 8, 9)


@given(shape=shapes, seed=seeds)
def test_warps_by_whole_voxels_are_shifts(shape, seed):
    image = np.random.default_rng(seed).random(shape)
    u = np.zeros((len(shape), *shape))
    u[0] = 2
    want = image[np.minimum(np.arange(shape[0]) + 2, shape[0] - 1)]
    np.testing.assert_array_equal(warp_nearest(image, u), want)
    np.testing.assert_allclose(warp_linear(image, u), want)


def test_linear_warp_is_exact_on_linear_images(rng):
    shape = (7, 8, 9)
    grid = np.indices(shape, dtype=float)
    coefficients = np.array([0.5, -2.0, 3.0])
    u = rng.uniform(-0.9, 0.9, (3, *shape))
    points = grid + u
    inside = np.all([(p >= 0) & (p <= n - 1) for p, n in zip(points, shape, strict=True)], axis=0)
    got = warp_linear(np.tensordot(coefficients, grid, 1), u)
    np.testing.assert_allclose(got[inside], np.tensordot(coefficients, points, 1)[inside])


def test_wrong_arguments_are_refused(rng):
    with pytest.raises(ShapeError, match="1, 2 or 3 axes"):
        generate_pair((8, 8, 8, 8), rng)
    with pytest.raises(ParameterError, match="n_labels"):
        random_shapes((16, 16), 300, rng)
    with pytest.raises(ParameterError, match="scale"):
        smooth_noise((16,), (0,), 1.0, rng)
    with pytest.raises(ParameterError, match="amplitude"):
        random_velocity((16,), -1.0, 4, rng)
    with pytest.raises(ParameterError, match="draw it with random_contrast"):
        synthesize_contrast(np.full((4, 4), 5, np.uint8), rng, random_contrast(3, rng))
    with pytest.raises(ShapeError, match="displacement"):
        warp_linear(np.zeros((4, 4)), np.zeros((2, 4, 5)))
