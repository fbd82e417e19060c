"""Affine registration: its parts one by one, known maps found again, and no mirror image, ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import ALL_48, between_voxels, random_affine, shifted, turned, voxel_indices, world_points
from scipy import linalg
from test_fields import gentle

from pysnnmed import Tensor
from pysnnmed.affine import align_affine
from pysnnmed.affine.guesses import Moments, exponential, guesses, otsu, proper_turns, rotation
from pysnnmed.affine.mutual import BINS, Comparison, Samples
from pysnnmed.affine.pyramid import Level, pyramid
from pysnnmed.affine.search import _basis, rotation_angle
from pysnnmed.data import Image, ModelGrid, read_nifti, warp_image
from pysnnmed.data.brains import Variety, paint, random_contrast, read_heads, t1_contrast
from pysnnmed.data.fields import PointMap, invert
from pysnnmed.data.generate import gaussian_blur, generate_pair, random_shapes, random_velocity, synthesize_contrast
from pysnnmed.data.generate import random_contrast as any_contrast
from pysnnmed.data.sampling import resample, transformed
from pysnnmed.errors import ImageError, ParameterError
from pysnnmed.warp import scaling_and_squaring

seeds = st.integers(0, 2**32 - 1)
SHAPE = (44, 40, 36)
GRID = np.array([[2.0, 0, 0, -44], [0, 2, 0, -38], [0, 0, 2, -36], [0, 0, 0, 1]])


def random_map(rng, centre, degrees=30.0, shift=40.0):
    """Rotation up to `degrees`, shift up to `shift` mm, scales 0.8 to 1.25, shears up to 0.05; never a mirror."""
    axis, way = rng.normal(size=(2, 3))
    linear = rotation(axis / np.linalg.norm(axis) * np.radians(degrees) * rng.uniform())
    linear = linear @ np.diag(np.exp(rng.uniform(-1, 1, 3) * 0.05 + rng.uniform(-1, 1) * 0.17))
    linear = linear @ (np.eye(3) + np.triu(rng.uniform(-0.05, 0.05, (3, 3)), 1))
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre - linear @ centre + way / np.linalg.norm(way) * shift * rng.uniform()
    return matrix


def moved_by(data, affine, truth, rng, how="linear", slack=6.0):
    """`data` resampled on a grid about where the map `truth` (fixed to moving world) takes it -> (data, its affine)."""
    middle = transformed(affine, (np.array(data.shape) - 1.0) / 2)
    placed = shifted(affine, *(transformed(truth, middle) - middle + rng.uniform(-slack, slack, 3)))
    return resample(data, np.linalg.inv(truth @ affine) @ placed, data.shape, how), placed


def error_mm(found, truth, affine, inside):
    """Mean distance between where two maps take the voxels `inside`, mm."""
    points = transformed(affine, np.argwhere(inside).T.astype(float))
    return float(np.linalg.norm(transformed(found, points) - transformed(truth, points), axis=0).mean())


def shapes(rng, truth=None, *, degrees=30.0, same_contrast=True, shape=SHAPE, affine=GRID):
    """Generated shapes, and the same moved by a known affine map and painted anew -> (fixed, moving, truth, inside)."""
    labels = random_shapes(shape, 6, rng)
    if truth is None:
        truth = random_map(rng, transformed(affine, (np.array(shape) - 1.0) / 2), degrees)
    there, placed = moved_by(labels, affine, truth, rng, "nearest")
    contrast = any_contrast(6, rng)
    fixed = synthesize_contrast(labels, rng, contrast)
    moving = synthesize_contrast(there, rng, contrast if same_contrast else any_contrast(6, rng))
    return Image(fixed, affine), Image(moving, placed), truth, labels > 0


# Mutual information


def comparison(rng, n=4000):
    """Two different smooth volumes that overlap partly."""
    volumes = [gaussian_blur(rng.random((16, 14, 12)).astype(np.float32), 1.5) for _ in range(2)]
    fixed, moving = ((v - v.min()) / np.ptp(v) for v in volumes)
    affine = random_affine(rng, spacing=(1.0, 2.0))
    placed = shifted(affine, *rng.uniform(-2, 2, 3))
    voxels = rng.uniform(0, 1, (3, n)) * (np.array(fixed.shape)[:, None] - 1)
    bins = np.minimum((fixed[tuple(np.rint(voxels).astype(int))] * BINS).astype(int), BINS - 1)
    samples = Samples(transformed(affine, voxels), bins)
    middle = transformed(placed, np.array([7.5, 6.5, 5.5]))
    return Comparison(samples, Level(moving.astype(np.float32), placed), middle, 10.0)


def moved(compare, generator, matrix):
    linear = exponential(generator[:9].reshape(3, 3) / compare.radius)
    step = np.eye(4)
    step[:3, :3] = linear
    step[:3, 3] = compare.centre - linear @ compare.centre + generator[9:]
    return step @ matrix


@given(seeds)
@settings(max_examples=10)
def test_the_slope_of_mutual_information_is_that_of_differences(seed):
    rng = np.random.default_rng(seed)
    compare = comparison(rng)
    matrix = gentle(rng, 0.02)
    matrix[:3, 3] += compare.centre - transformed(matrix, compare.centre)
    compare.samples = compare.samples._replace(points=compare.samples.points * 0.4 + 0.6 * compare.centre[:, None])
    found = compare(matrix)
    assert found.overlap == 1  # where samples come and go the slope leaves out what their weights do
    h = 2e-3
    for _ in range(4):
        way = rng.normal(size=12)
        way /= np.linalg.norm(way)
        ends = [compare(moved(compare, sign * h * way, matrix), slopes=False).mutual for sign in (1, -1)]
        assert found.slope @ way == pytest.approx(
            (ends[0] - ends[1]) / (2 * h), abs=2e-3 * np.abs(found.slope).max() + 2e-4
        )


@given(seeds)
@settings(max_examples=10)
def test_mutual_information_obeys_its_bounds_and_the_curvature_is_positive(seed):
    found = comparison(np.random.default_rng(seed))(np.eye(4))
    assert 0 <= found.mutual <= np.log(BINS)
    assert 1 <= found.normalized <= 2
    np.testing.assert_allclose(found.curvature, found.curvature.T, atol=1e-12)
    assert np.linalg.eigvalsh(found.curvature).min() > -1e-12


def test_an_image_knows_itself_best_and_any_contrast_of_itself_as_well(rng):
    compare = comparison(rng)
    data = compare.moving.data
    inside = rng.uniform(1, 10, (3, 5000))
    points = transformed(compare.moving.affine, inside)
    index = tuple(np.rint(inside).astype(int))
    on_voxels = transformed(compare.moving.affine, np.stack(index).astype(float))
    own = Samples(on_voxels, np.minimum((data[index] * BINS).astype(int), BINS - 1))
    unrelated = Samples(points, rng.integers(0, BINS, 5000))

    def mutual(samples, level):
        return Comparison(samples, level, compare.centre, 10.0)(np.eye(4), slopes=False).mutual

    level = compare.moving
    assert mutual(own, level) > 1.5
    assert mutual(own, level._replace(data=1 - data)) == pytest.approx(mutual(own, level), rel=0.03)  # inverted
    assert mutual(unrelated, level) < 0.15


def test_nothing_in_common_is_no_similarity(rng):
    found = comparison(rng)(shifted(np.eye(4), 1000, 0, 0))
    assert (found.mutual, found.normalized, found.overlap) == (0, 1, 0)
    assert not found.slope.any()


# Guesses


def test_there_are_24_proper_turns():
    turns = [t.astype(int).tobytes() for t in proper_turns()]
    assert len(set(turns)) == 24
    assert all(np.linalg.det(t) == pytest.approx(1) for t in proper_turns())


@given(seeds)
def test_the_exponential_is_that_of_scipy(seed):
    rng = np.random.default_rng(seed)
    generator = rng.normal(size=(3, 3)) * rng.choice([1e-6, 0.1, 3])
    np.testing.assert_allclose(exponential(generator), linalg.expm(generator), rtol=1e-9, atol=1e-9)
    assert np.linalg.det(exponential(generator)) == pytest.approx(np.exp(np.trace(generator)), rel=1e-6)


def test_no_guess_mirrors(rng):
    fixed, moving, _, _ = shapes(rng)
    (f,), (m,) = pyramid(fixed, [4000]), pyramid(moving, [4000])
    found = list(guesses(f, m, "search"))
    assert len(found) > 100
    assert all(np.linalg.det(g[:3, :3]) > 0.3 for g in found)
    assert len(list(guesses(f, m, "world"))) == len(list(guesses(f, m, "centre"))) == 1


def test_moments_are_those_of_a_box():
    data = np.zeros((30, 30, 30), np.float32)
    data[5:25, 10:20, 12:17] = 1
    found = Moments.of(Level(data, np.diag([2.0, 2, 2, 1])))
    np.testing.assert_allclose(found.centre, [29, 29, 28])
    np.testing.assert_allclose(np.abs(found.axes), np.eye(3)[::-1], atol=1e-9)
    assert np.linalg.det(found.axes) == pytest.approx(1)
    assert found.size == pytest.approx((20 * 10 * 5 * 8) ** (1 / 3))


def test_otsu_splits_two_classes(rng):
    data = np.concatenate([rng.normal(0.2, 0.05, 5000), rng.normal(0.7, 0.05, 1000)]).clip(0, 1)
    assert 0.35 < otsu(data) < 0.55
    assert 0 <= otsu(np.array([0.0, 1.0])) <= 1


@pytest.mark.parametrize(("kind", "free"), [("rigid", 6), ("similarity", 7), ("affine", 12)])
def test_generators_are_orthonormal_and_of_their_kind(kind, free, rng):
    basis = _basis(kind)
    np.testing.assert_allclose(basis.T @ basis, np.eye(free), atol=1e-12)
    linear = exponential((basis @ rng.normal(size=free))[:9].reshape(3, 3))
    gram = linear.T @ linear
    if kind != "affine":
        np.testing.assert_allclose(gram / gram[0, 0], np.eye(3), atol=1e-9)
    if kind == "rigid":
        assert gram[0, 0] == pytest.approx(1)


# The pyramid


@pytest.mark.parametrize(("order", "signs"), ALL_48, ids=str)
def test_the_pyramid_is_the_same_for_48_orientations(order, signs):
    image = Image(np.random.default_rng(1).random((13, 20, 17)).astype(np.float32), np.diag([2.0, 1.25, 1.5, 1.0]))
    for level, other in zip(pyramid(image, (100, 900)), pyramid(turned(image, order, signs), (100, 900)), strict=True):
        np.testing.assert_array_equal(other.data, level.data)
        np.testing.assert_array_equal(other.affine, level.affine)


@given(seeds)
def test_levels_show_the_world_where_it_is(seed):
    """Block means of a linear function are its values in the middle of the blocks."""
    rng = np.random.default_rng(seed)
    affine = random_affine(rng, spacing=(1.0, 1.15))
    ramp = world_points(affine, (32, 28, 30))[0]
    (level,) = pyramid(Image(ramp, affine), [ramp.size // 8])
    assert level.spacing == pytest.approx(2 * np.cbrt(abs(np.linalg.det(affine[:3, :3]))))
    inner = (slice(3, -3),) * 3  # blur and incomplete blocks repeat the border
    place, values = world_points(level.affine, level.data.shape)[0][inner], level.data[inner]
    linear = (values > 0.02) & (values < 0.98)  # percentiles cut the ends off
    slope, offset = np.polyfit(place[linear], values[linear], 1)
    np.testing.assert_allclose(slope * place[linear] + offset, values[linear], atol=0.01)
    middle = np.median(ramp)
    assert slope * middle + offset == pytest.approx(0.5, abs=0.004)  # half a voxel aside it would be 0.01 off


@pytest.mark.parametrize(("value", "message"), [(0.0, "constant image"), (np.nan, "NaN"), (np.inf, "NaN or infinite")])
def test_images_without_contrast_or_numbers_are_refused(value, message, rng):
    good, bad = Image(rng.random(SHAPE), GRID), Image(np.full(SHAPE, value), GRID, "bad.nii")
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ImageError, match=f"bad.nii: .*{message}"):
            align_affine(*pair)


# Known maps are found again


@pytest.mark.parametrize(("seed", "same_contrast"), [(0, True), (1, False), (2, False)])
def test_a_known_map_is_found(seed, same_contrast):
    fixed, moving, truth, inside = shapes(np.random.default_rng([seed, 5]), same_contrast=same_contrast)
    found = align_affine(fixed, moving)
    assert error_mm(np.eye(4), truth, GRID, inside) > 4
    assert error_mm(found.matrix, truth, GRID, inside) < 0.6  # of 2 mm voxels
    assert np.linalg.det(found.matrix[:3, :3]) > 0
    assert found.similarity > found.before
    assert found.rotation == pytest.approx(rotation_angle(truth), abs=1.5)


def test_a_map_turned_far_is_found_by_the_moments(rng):
    truth = random_map(rng, np.zeros(3), degrees=0)
    truth[:3, :3] = rotation(np.array([0.3, -0.5, 1.0]) * 2.2) @ truth[:3, :3]
    fixed, moving, _, inside = shapes(rng, truth, shape=(52, 40, 30))
    assert rotation_angle(truth) > 120
    assert error_mm(align_affine(fixed, moving).matrix, truth, GRID, inside) < 0.6


@pytest.mark.parametrize("kind", ["rigid", "similarity"])
def test_the_kind_of_the_map_is_kept(kind):
    rng = np.random.default_rng(8)
    truth = random_map(rng, np.zeros(3))
    u, s, vt = np.linalg.svd(truth[:3, :3])
    truth[:3, :3] = u @ vt * (1 if kind == "rigid" else s.mean())
    fixed, moving, _, inside = shapes(rng, truth)
    found = align_affine(fixed, moving, kind)
    assert error_mm(found.matrix, truth, GRID, inside) < 0.6
    largest, _, least = found.scales
    assert largest == pytest.approx(least)
    if kind == "rigid":
        assert largest == pytest.approx(1)
    assert found.summary()["kind"] == kind


def test_an_image_lies_on_itself_every_time(rng):
    fixed, _, _, inside = shapes(rng)
    found = align_affine(fixed, fixed)
    again = [align_affine(fixed, fixed, start="world").matrix for _ in range(2)]
    np.testing.assert_array_equal(*again)
    assert error_mm(found.matrix, np.eye(4), GRID, inside) < 0.02
    assert found.similarity == pytest.approx(found.before, rel=1e-3)


def test_a_mirrored_header_is_never_answered_by_a_mirror(rng):
    """The data are those of the moving image, the header says left where right is: no map without mirror is right."""
    fixed, moving, _, _ = shapes(rng, np.eye(4))
    mirrored = Image(moving.data, moving.affine @ np.diag([-1.0, 1, 1, 1]))
    found = align_affine(fixed, mirrored)
    assert np.linalg.det(found.matrix[:3, :3]) > 0.1
    assert found.similarity < 0.8 * align_affine(fixed, moving, start="world").similarity


def test_starts_are_obeyed_and_images_apart_refused(rng):
    fixed, moving, _, inside = shapes(rng, random_map(rng, np.zeros(3), degrees=5, shift=3))
    far = Image(moving.data, shifted(moving.affine, 500, 0, 0))
    with pytest.raises(ImageError, match="do not overlap as the headers place them"):
        align_affine(fixed, far, start="world")
    found = align_affine(fixed, far, start="centre")
    near = shifted(found.matrix, -500, 0, 0)
    assert error_mm(near, align_affine(fixed, moving, start="world").matrix, GRID, inside) < 0.6
    assert found.before == 0
    with pytest.raises(ParameterError, match="rigid, similarity, affine, not 'elastic'"):
        align_affine(fixed, moving, "elastic")
    with pytest.raises(ParameterError, match="not 'left'"):
        align_affine(fixed, moving, start="left")


def test_a_crop_of_the_hippocampus_is_found_again(real_data):
    paths = sorted((real_data / "msd_hippocampus" / "images").glob("*.nii.gz"))
    rng = np.random.default_rng(171)
    image = read_nifti(paths[171])
    truth = random_map(rng, transformed(image.affine, (np.array(image.shape) - 1.0) / 2))
    data, placed = moved_by(image.data.astype(np.float32), image.affine, truth, rng, slack=3.0)
    data = (data / data.max()) ** 0.8 + 0.02 * rng.standard_normal(data.shape).astype(np.float32)
    found = align_affine(image, Image(data, placed))
    assert error_mm(found.matrix, truth, image.affine, np.ones(image.shape)) < 0.5


@pytest.mark.parametrize("contrasts", ["t1", pytest.param("random", marks=pytest.mark.slow)])
def test_heads_are_found_again(contrasts, real_data):
    (head,), atlas = read_heads(real_data, (17, 18))
    affine = np.diag([2.0, 2, 2, 1])
    rng = np.random.default_rng(2)
    brain = atlas.structures[head.labels] > 0
    truth = random_map(rng, transformed(affine, np.argwhere(brain).mean(axis=0)))
    there, placed = moved_by(head.labels, affine, truth, rng, "nearest", slack=10.0)
    draw = t1_contrast if contrasts == "t1" else random_contrast
    images = [
        paint(labels, draw(atlas, rng, Variety()), atlas, rng, Variety(), False) for labels in (head.labels, there)
    ]
    found = align_affine(Image(images[0], affine), Image(images[1], placed))
    assert error_mm(found.matrix, truth, affine, brain) < 2.0


# The map in the grid of a model


@given(seeds)
def test_the_grid_of_a_model_goes_through_the_map(seed):
    """What the network moved on its grid is what T(x) = P (x + G u) moves: an affine field of u is exact."""
    rng = np.random.default_rng(seed)
    fixed, moving = Image(rng.random((9, 8, 7)), random_affine(rng)), Image(rng.random((9, 8, 7)), random_affine(rng))
    prior = gentle(rng, 0.2)
    prior[:3, 3] += (moving.affine @ [4, 4, 3, 1] - prior @ fixed.affine @ [4, 4, 3, 1])[:3]
    grid = ModelGrid.around(fixed, moving, spacing=1.5, align=prior)
    points = rng.uniform(-20, 20, (3, 10))
    np.testing.assert_allclose(
        points + PointMap(grid.start()).displacement(points), transformed(prior, points), atol=2e-3
    )
    own = gentle(rng, 0.1)  # what the network finds, as an affine map of the grid's voxels
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij")).astype(float)
    u = transformed(own, index) - index
    places = world_points(fixed.affine, fixed.shape)
    expected = transformed(prior @ grid.affine @ own @ np.linalg.inv(grid.affine), places) - places
    inner = between_voxels(voxel_indices(places, grid.affine), grid.shape)  # beyond, u keeps its value at the border
    assert inner.mean() > 0.2
    np.testing.assert_allclose(grid.displacement(u).world[:, inner], expected[:, inner], atol=1e-6)


@given(seeds)
def test_a_velocity_run_backwards_leads_back_through_the_map(seed):
    """exp(-v) on the grid of a model, as a displacement of the moving image, undoes exp(v) and the map with it."""
    rng = np.random.default_rng(seed)
    affine = random_affine(rng, spacing=(1.0, 1.5))
    fixed = Image(rng.random((16, 15, 14)), affine)
    prior = gentle(rng, 0.15)
    prior[:3, 3] += (affine @ [8, 7, 7, 1] - prior @ affine @ [8, 7, 7, 1])[:3]
    moving = Image(rng.random((16, 15, 14)), random_affine(rng, spacing=(1.0, 1.5)))
    moving.affine[:3, 3] += (affine @ [8, 7, 7, 1] - moving.affine @ [8, 7, 7, 1])[:3]
    grid = ModelGrid.around(fixed, moving, align=prior)
    velocity = random_velocity(grid.shape, 1.0, 6.0, rng)[None].astype(np.float64)
    there, back = (scaling_and_squaring(Tensor(sign * velocity)).data[0] for sign in (1, -1))
    inverse = grid.inverse_displacement(back)
    points = world_points(moving.affine, moving.shape)
    middle = points + inverse.world
    inner = between_voxels(voxel_indices(middle, affine), (16, 15, 14))
    assert inner.mean() > 0.2
    again = middle + PointMap(grid.displacement(there)).displacement(middle)
    missing = np.linalg.norm((again - points)[:, inner], axis=0)
    assert missing.mean() < 0.03
    assert missing.max() < 0.3
    np.testing.assert_array_equal(inverse.affine, moving.affine)
    np.testing.assert_array_equal(inverse.moving_affine, fixed.affine)
    exact = invert(grid.displacement(there), moving).displacement
    assert np.abs((inverse.world - exact.world)[:, inner]).max() < 0.4


def test_the_moving_image_is_seen_through_the_map(rng):
    fixed, moving, truth, _ = shapes(rng)
    grid = ModelGrid.around(fixed, moving, align=truth)
    seen = grid.moving_on_grid(moving.data)
    np.testing.assert_allclose(grid.to_fixed(seen), warp_image(moving, grid.start()).data, atol=1e-4)


def test_a_map_that_mirrors_or_leads_away_is_refused(rng):
    image = Image(rng.random(SHAPE), GRID)
    with pytest.raises(ImageError, match=r"mirrors.*left and right"):
        ModelGrid.around(image, image, align=np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(ImageError, match="covers 0%"):
        ModelGrid.around(image, image, align=shifted(np.eye(4), 0, 900, 0))
    with pytest.raises(ImageError, match="4x4"):
        ModelGrid.around(image, image, align=np.eye(3))


def test_what_generate_pair_moves_is_left_to_the_network():
    """The affine map of a pair that differs only elastically is near the identity."""
    pair = generate_pair((40, 40, 40), np.random.default_rng(3))
    found = align_affine(Image(pair.fixed, np.eye(4)), Image(pair.moving, np.eye(4)))
    assert error_mm(found.matrix, np.eye(4), np.eye(4), pair.fixed_labels > 0) < 2.5
