"""Whatever the orientation, spacing and obliqueness of two images, the same points of the world meet."""

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ALL_48, between_voxels, random_affine, seen, shifted, turned, voxel_indices, world_points
from scipy import ndimage

from pysnnmed.data import Displacement, Image, ModelGrid, read_nifti, reorient, warp_image
from pysnnmed.data.sampling import resample, sample
from pysnnmed.errors import ImageError, ParameterError, ShapeError

RAS = np.array([[2.0, 0, 0, -7], [0, 1.5, 0, -4], [0, 0, 3, -6], [0, 0, 0, 1]])
SHAPE = (9, 8, 7)
seeds = st.integers(0, 2**32 - 1)


def ramp(x):
    return 3 + 0.5 * x[0] - 0.25 * x[1] + 2 * x[2]


def phantom(rng, shape=SHAPE, affine=RAS, dtype=np.float32):
    return Image((rng.random(shape) * 100).astype(dtype), affine)


def smooth_displacement(rng, shape, scale=1.5):
    coarse = rng.normal(size=(3, 4, 4, 4)) * scale
    zoom = [n / 4 for n in shape]
    return np.stack([ndimage.zoom(c, zoom, order=1) for c in coarse])


# Orientation


@pytest.mark.parametrize(("order", "signs"), ALL_48, ids=str)
def test_reorientation_undoes_any_of_the_48_axis_orientations_exactly(order, signs, rng):
    image = phantom(rng)
    other = turned(image, order, signs)
    again = reorient(other)
    assert again.orientation == "RAS"
    np.testing.assert_array_equal(again.data, image.data)
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-12)
    back = reorient(again, other.orientation)
    np.testing.assert_array_equal(back.data, other.data)
    np.testing.assert_allclose(back.affine, other.affine, atol=1e-12)


@given(seeds)
def test_reorientation_of_oblique_images_agrees_with_nibabel(seed):
    rng = np.random.default_rng(seed)
    image = phantom(rng, affine=random_affine(rng, degrees=40))
    theirs = nibabel.as_closest_canonical(nibabel.Nifti1Image(image.data, image.affine))
    ours = reorient(image)
    np.testing.assert_array_equal(ours.data, np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-10)


@pytest.mark.parametrize("codes", ["RA", "RAI ", "RLS", "ras", "RRR", ""])
def test_codes_must_name_each_axis_once(codes, rng):
    with pytest.raises(ParameterError, match="as in 'RAS'"):
        reorient(phantom(rng), codes)


def test_real_maps_in_other_orientations(real_data):
    for path, codes in zip(sorted(real_data.glob("ixi_label_maps/*")), ("PSR", "LAS"), strict=True):
        image = read_nifti(path)
        assert image.orientation == codes
        theirs = nibabel.as_closest_canonical(nibabel.load(path))
        np.testing.assert_array_equal(reorient(image).data, np.asarray(theirs.dataobj))
        np.testing.assert_allclose(reorient(image).affine, theirs.affine, atol=1e-4)


# Sampling


@given(seeds, st.sampled_from(["linear", "nearest"]))
def test_sampling_inside_agrees_with_scipy(seed, interpolation):
    rng = np.random.default_rng(seed)
    data = rng.random(SHAPE)
    points = rng.uniform(0, 1, (3, 50)) * (np.array(SHAPE)[:, None] - 1)
    expected = ndimage.map_coordinates(data, points, order={"linear": 1, "nearest": 0}[interpolation])
    np.testing.assert_allclose(sample(data, points, interpolation, 0.0), expected, atol=1e-12)


def test_a_volume_reaches_half_a_voxel_beyond_its_centres():
    data = np.array([1.0, 2.0]).reshape(2, 1, 1)
    x = np.array([-0.51, -0.5, -0.4, 0, 0.5, 1, 1.49, 1.5])
    points = np.stack([x, 0 * x, 0 * x])
    np.testing.assert_array_equal(sample(data, points, "linear", -9.0), [-9, 1, 1, 1, 1.5, 2, 2, -9])
    np.testing.assert_array_equal(sample(data, points, "linear", None), [1, 1, 1, 1, 1.5, 2, 2, 2])
    np.testing.assert_array_equal(sample(data, points, "nearest", -9.0), [-9, 1, 1, 1, 2, 2, 2, -9])


@given(seeds, st.sampled_from(["linear", "nearest"]), st.sampled_from([None, 0.0, 5.0]))
def test_axis_by_axis_resampling_equals_sampling_point_by_point(seed, interpolation, fill):
    rng = np.random.default_rng(seed)
    data = rng.random(SHAPE)
    index_map = np.eye(4)
    order, signs = ALL_48[rng.integers(48)]
    index_map[:3, :3] = (np.diag(rng.choice([0.5, 1, 1.7], 3)) * signs)[:, order]
    index_map[:3, 3] = rng.uniform(-3, 9, 3)
    shape = (6, 5, 7)
    points = world_points(index_map, shape)
    np.testing.assert_allclose(
        resample(data, index_map, shape, interpolation, fill), sample(data, points, interpolation, fill), atol=1e-12
    )


def test_an_unknown_interpolation_is_refused(rng):
    for call in (lambda: resample(rng.random(SHAPE), np.eye(4), SHAPE, "cubic"),
                 lambda: sample(rng.random(SHAPE), np.zeros((3, 1)), "cubic", None)):  # fmt: skip
        with pytest.raises(ParameterError, match="'cubic'"):
            call()


# The grid of a model


@pytest.mark.parametrize("align", ["world", "centre"])
def test_images_of_the_right_spacing_are_only_padded(align, rng):
    fixed = phantom(rng, (5, 6, 7), np.eye(4))
    moving = phantom(rng, (6, 5, 4), np.eye(4))
    grid = ModelGrid.around(fixed, moving, spacing=1, shape=(8, 8, 8), align=align)
    expected = np.zeros((8, 8, 8), np.float32)
    expected[1:6, 1:7, 0:7] = fixed.data  # floor((8 - n) / 2) voxels in front
    np.testing.assert_array_equal(grid.fixed_on_grid(fixed.data), expected)
    start = (1, 1, 2) if align == "centre" else (1, 1, 0)
    expected = np.zeros((8, 8, 8), np.float32)
    expected[tuple(slice(s, s + n) for s, n in zip(start, moving.shape, strict=True))] = moving.data
    np.testing.assert_array_equal(grid.moving_on_grid(moving.data), expected)
    labels = (fixed.data > 50).astype(np.uint8)
    assert grid.fixed_on_grid(labels, "nearest").dtype == np.uint8
    np.testing.assert_array_equal(grid.to_fixed(grid.fixed_on_grid(labels, "nearest"), "nearest"), labels)


@given(seeds, st.sampled_from(["world", "centre"]), st.sampled_from([1, 8]))
def test_padding_and_going_back_is_exact_for_any_affine(seed, align, multiple):
    rng = np.random.default_rng(seed)
    image = phantom(rng, affine=random_affine(rng))
    other = Image(image.data, random_affine(rng)) if align == "centre" else image
    grid = ModelGrid.around(image, other, multiple=multiple, align=align)
    assert all(n % multiple == 0 for n in grid.shape)
    np.testing.assert_array_equal(grid.to_fixed(grid.fixed_on_grid(image.data)), image.data)


@given(seeds)
def test_each_voxel_of_the_grid_shows_its_point_of_the_world(seed):
    """A linear function of the world is interpolated without error, whatever the two geometries."""
    rng = np.random.default_rng(seed)
    fixed = seen(ramp, random_affine(rng), (12, 13, 14))
    moving_affine = random_affine(rng)
    moving_affine[:3, 3] += (fixed.affine @ [6, 6, 7, 1] - moving_affine @ [10, 10, 10, 1])[:3]
    moving = seen(ramp, moving_affine, (21, 21, 21))
    grid = ModelGrid.around(fixed, moving, spacing=1.3)
    points = world_points(grid.affine, grid.shape)
    for place, on_grid in ((fixed, grid.fixed_on_grid), (moving, grid.moving_on_grid)):
        values = on_grid(place.data, fill=np.nan)
        inner = between_voxels(voxel_indices(points, place.affine), place.shape)
        assert not np.isnan(values[inner]).any()
        np.testing.assert_allclose(values[inner], ramp(points)[inner], atol=1e-6)


def test_the_grid_covers_the_image_at_the_spacing_of_the_model(rng):
    image = phantom(rng, (10, 11, 12), np.diag([1.0, 1, 2, 1]))
    grid = ModelGrid.around(image, image, spacing=1.5, multiple=4)
    assert grid.spacing == pytest.approx((1.5, 1.5, 1.5))
    assert grid.shape == (8, 8, 16)  # 10/1.5, 11/1.5 and 24/1.5, rounded up
    centre = image.affine @ [4.5, 5, 5.5, 1]
    np.testing.assert_allclose(grid.affine @ [3, 3.5, 7.5, 1], centre)  # 7 voxels lie behind floor(1 / 2) empty ones


def test_a_spacing_almost_that_of_the_model_is_kept(rng):
    image = phantom(rng, affine=np.diag([0.995, 1, 1.005, 1]))
    grid = ModelGrid.around(image, image, spacing=1, shape=(16, 16, 16))
    np.testing.assert_array_equal(np.unique(grid.fixed_on_grid(image.data)), np.unique(np.append(image.data, 0)))


def test_images_of_separate_worlds_are_refused_unless_their_centres_are_aligned(rng):
    image, far = phantom(rng), phantom(rng)
    far = Image(far.data, shifted(far.affine, 500, 0, 0), source="far.nii")
    with pytest.raises(ImageError, match=r"far\.nii covers 0%.*align='centre'"):
        ModelGrid.around(image, far)
    grid = ModelGrid.around(image, far, align="centre")
    nothing = grid.displacement(np.zeros((3, *grid.shape), np.float32))
    np.testing.assert_array_equal(grid.start().world, nothing.world, strict=True)
    np.testing.assert_allclose(grid.shift, [500, 0, 0])
    np.testing.assert_array_equal(grid.moving_on_grid(far.data), far.data)


def test_the_grid_says_what_is_wrong(rng):
    image = phantom(rng)
    wrong = [
        (ImageError, "9x8x7 voxels", {"shape": (8, 8, 8)}),
        (ImageError, "does not fit", {"shape": (8, 8)}),
        (ImageError, "check its spacing", {"spacing": 1e-3}),
        (ParameterError, "multiple", {"multiple": 0}),
        (ParameterError, "spacing", {"spacing": 0}),
        (ParameterError, "spacing", {"spacing": (1, 2)}),
        (ParameterError, "spacing", {"spacing": np.nan}),
        (ParameterError, "align", {"align": "left"}),
    ]
    for error, message, arguments in wrong:
        with pytest.raises(error, match=message):
            ModelGrid.around(image, image, **arguments)
    grid = ModelGrid.around(image, image)
    for call in (grid.fixed_on_grid, grid.moving_on_grid, grid.to_fixed, grid.displacement):
        with pytest.raises(ShapeError, match="must have shape"):
            call(np.zeros((3, 3, 3)))


# Warping


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
@given(seed=seeds)
def test_no_displacement_between_equal_geometries_changes_nothing(interpolation, dtype, seed):
    rng = np.random.default_rng(seed)
    image = phantom(rng, affine=random_affine(rng), dtype=dtype)
    moved = warp_image(image, Displacement(np.zeros((3, *SHAPE)), image.affine), interpolation=interpolation)
    np.testing.assert_array_equal(moved.data, image.data)
    assert moved.data.dtype == (dtype if interpolation == "nearest" or np.dtype(dtype).kind == "f" else np.float32)


@given(seeds)
def test_warping_follows_the_world_whatever_the_geometries(seed):
    """moved(x) = moving(x + w(x)) holds for a linear function without interpolation error."""
    rng = np.random.default_rng(seed)
    affine, moving_affine = random_affine(rng), random_affine(rng)
    moving_affine[:3, 3] += (affine @ [4, 4, 3, 1] - moving_affine @ [10, 10, 10, 1])[:3]
    moving = seen(ramp, moving_affine, (21, 21, 21))
    w = smooth_displacement(rng, SHAPE)
    moved = warp_image(moving, Displacement(w, affine, form_code=4), fill=np.nan)
    np.testing.assert_array_equal(moved.affine, affine)
    assert moved.form_code == 4
    target = world_points(affine, SHAPE) + w
    inner = between_voxels(voxel_indices(target, moving_affine), moving.shape)
    assert inner.any()
    np.testing.assert_allclose(moved.data[inner], ramp(target)[inner], atol=1e-6)


@pytest.mark.parametrize("align", ["world", "centre"])
@given(seed=seeds)
def test_what_the_network_moved_on_its_grid_is_what_the_user_gets(align, seed):
    """Equal spacing: warping on the grid by u, and the original image by the world displacement, give the same."""
    rng = np.random.default_rng(seed)
    order, signs = ALL_48[rng.integers(48)]
    fixed = turned(phantom(rng, (8, 9, 10), np.diag([2.0, 2, 2, 1])), order, signs)
    moving = phantom(rng, (10, 9, 8), np.diag([2.0, 2, 2, 1]))
    if align == "centre":
        moving = Image(moving.data, shifted(moving.affine, 300, 0, 0))
    grid = ModelGrid.around(fixed, moving, multiple=4, align=align)
    u = smooth_displacement(rng, grid.shape)
    target = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij")) + u
    on_grid = sample(grid.moving_on_grid(moving.data), target, "linear", None)
    moved = warp_image(moving, grid.displacement(u))
    np.testing.assert_array_equal(moved.affine, fixed.affine)
    moving_on_grid = shifted(grid.affine, *grid.shift)
    points = np.tensordot(moving_on_grid[:3, :3], target, 1) + moving_on_grid[:3, 3].reshape(3, 1, 1, 1)
    inner = between_voxels(voxel_indices(points, moving.affine), moving.shape) & between_voxels(target, grid.shape)
    inner = grid.to_fixed(inner, "nearest")
    assert inner.mean() > 0.1
    np.testing.assert_allclose(moved.data[inner], grid.to_fixed(on_grid)[inner], atol=1e-3)


@pytest.mark.parametrize(("order", "signs"), ALL_48, ids=str)
def test_48_orientations_of_the_moving_image_give_the_same_result(order, signs, rng):
    fixed, moving = phantom(rng), phantom(rng, (10, 9, 8), dtype=np.int16)
    w = Displacement(smooth_displacement(rng, SHAPE), fixed.affine)
    labels = Image((moving.data // 20).astype(np.uint8), moving.affine)
    expected, expected_labels = warp_image(moving, w), warp_image(labels, w, interpolation="nearest")
    np.testing.assert_allclose(warp_image(turned(moving, order, signs), w).data, expected.data, atol=1e-4)
    ours = warp_image(turned(labels, order, signs), w, interpolation="nearest")
    np.testing.assert_array_equal(ours.data, expected_labels.data)


@pytest.mark.parametrize(("order", "signs"), ALL_48, ids=str)
def test_48_orientations_of_the_fixed_image_give_the_same_world(order, signs, rng):
    """The network sees the same grid, so the same u leads each point of the world to the same place."""
    fixed, moving = phantom(rng), phantom(rng, (10, 9, 8))
    grid = ModelGrid.around(fixed, moving, spacing=2, multiple=8)
    other = ModelGrid.around(turned(fixed, order, signs), moving, spacing=2, multiple=8)
    np.testing.assert_allclose(other.affine, grid.affine, atol=1e-12)
    u = smooth_displacement(rng, grid.shape)
    one, two = warp_image(moving, grid.displacement(u)), warp_image(moving, other.displacement(u))
    np.testing.assert_allclose(reorient(two).data, reorient(one).data, atol=1e-4)
    np.testing.assert_allclose(reorient(two).affine, reorient(one).affine, atol=1e-12)


def test_real_volumes_are_padded_as_the_published_protocol_pads_them(real_data):
    """Medical Segmentation Decathlon hippocampus: every crop has its own origin and is centred in 64 voxels."""
    paths = sorted(real_data.glob("msd_hippocampus/images/*.nii.gz"))[:20]
    for first, second in zip(paths[::2], paths[1::2], strict=True):
        fixed, moving = read_nifti(first), read_nifti(second)
        grid = ModelGrid.around(fixed, moving, spacing=1, shape=(64, 64, 64), align="centre")
        for image, values in ((fixed, grid.fixed_on_grid(fixed.data)), (moving, grid.moving_on_grid(moving.data))):
            before = [(64 - n) // 2 for n in image.shape]
            pads = [(b, 64 - n - b) for b, n in zip(before, image.shape, strict=True)]
            np.testing.assert_array_equal(values, np.pad(image.data, pads))
