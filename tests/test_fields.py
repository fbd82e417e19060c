"""Displacements as maps of the world: composition, inverse, determinant; whatever the grids and orientations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import ALL_48, random_affine, shifted, turned, voxel_indices, world_points
from scipy import ndimage

from pysnnmed import kernels
from pysnnmed.data import Displacement, Image, fields, warp_image
from pysnnmed.data.displacements import affine_displacement
from pysnnmed.data.fields import TOLERANCE, PointMap, compose, determinant, invert, solve
from pysnnmed.errors import ImageError, ParameterError
from pysnnmed.metrics.deformation import jacobian_determinant

SHAPE = (14, 13, 12)
seeds = st.integers(0, 2**32 - 1)
backends = st.sampled_from(kernels.available())


def bumps(rng, affine, shape=SHAPE, size=1.2, dtype=np.float64, **facts):
    """A smooth invertible displacement, up to `size` voxels long."""
    coarse = rng.uniform(-1, 1, (3, 4, 4, 4))
    voxels = np.stack([ndimage.zoom(c, [n / 4 for n in shape], order=1) for c in coarse]) * size
    return Displacement(np.tensordot(affine[:3, :3], voxels, 1).astype(dtype), affine, **facts)


def gentle(rng, scale=0.3):
    """An affine map of the world that does not mirror."""
    matrix = np.eye(4)
    matrix[:3, :3] += rng.uniform(-scale, scale, (3, 3))
    matrix[:3, 3] = rng.uniform(-5, 5, 3)
    return matrix


def inner_points(rng, affine, shape, n=40, margin=2.5):
    voxels = rng.uniform(margin, np.array(shape)[:, None] - 1 - margin, (3, n))
    return affine[:3, :3] @ voxels + affine[:3, 3:]


def mapped(links, points):
    for link in reversed(links):
        points = points + PointMap(link).displacement(points)
    return points


# Maps


@given(seeds, backends)
def test_the_map_is_the_field_on_its_voxels_and_linear_between_them(seed, backend):
    rng = np.random.default_rng(seed)
    d = bumps(rng, random_affine(rng))
    with kernels.use_backend(backend):
        at_voxels = PointMap(d).displacement(world_points(d.affine, SHAPE))  # many points: the backend samples
    np.testing.assert_allclose(at_voxels, d.world, atol=1e-9)
    points = inner_points(rng, d.affine, SHAPE)
    expected = [
        ndimage.map_coordinates(c, voxel_indices(points.reshape(3, -1, 1, 1), d.affine)[:, :, 0, 0], order=1)
        for c in d.world
    ]
    np.testing.assert_allclose(PointMap(d).displacement(points), expected, atol=1e-9)


@given(seeds)
def test_an_affine_field_is_the_same_affine_map_everywhere(seed):
    rng = np.random.default_rng(seed)
    matrix, affine = gentle(rng), random_affine(rng)
    d = Displacement(affine_displacement(matrix, affine, SHAPE, np.float64), affine)
    far = rng.uniform(-300, 300, (3, 20))
    np.testing.assert_allclose(mapped([d], far), matrix[:3, :3] @ far + matrix[:3, 3:], atol=1e-8)
    np.testing.assert_allclose(mapped([matrix], far), mapped([d], far), atol=1e-8)


def test_where_a_displacement_of_the_identity_is_zero(rng):
    affine = random_affine(rng)
    np.testing.assert_array_equal(affine_displacement(np.eye(4), affine, SHAPE), 0)
    shift = np.array(shifted(np.eye(4), 1, -2, 3))
    moved = affine_displacement(shift, affine, SHAPE)
    np.testing.assert_array_equal(moved, np.broadcast_to(np.reshape([1, -2, 3], (3, 1, 1, 1)), moved.shape))


# Composition


@given(seeds)
def test_composition_is_one_map_after_the_other(seed):
    """(A o B)(x) = A(B(x)) at the voxels of B, whatever the two grids."""
    rng = np.random.default_rng(seed)
    b = bumps(rng, random_affine(rng))
    a_affine = random_affine(rng)
    a_affine[:3, 3] += (b.affine @ [6, 6, 6, 1] - a_affine @ [8, 8, 8, 1])[:3]
    a = bumps(rng, a_affine, (17, 16, 18), moving_affine=random_affine(rng), form_code=4)
    both = compose(a, b)
    points = world_points(b.affine, SHAPE)
    np.testing.assert_allclose(points + both.world, mapped([a, b], points), atol=1e-9)
    np.testing.assert_array_equal(both.affine, b.affine)
    np.testing.assert_array_equal(both.moving_affine, a.moving_affine)
    assert both.form_code == b.form_code
    if np.abs(both.world - compose(b, a, onto=Image(np.zeros(SHAPE), b.affine)).world).max() < 1e-3:
        pytest.fail("the order of the maps makes no difference")


@given(seeds)
def test_three_maps_compose_in_any_grouping(seed):
    """Up to interpolation: affine maps are exact between voxels, so grouping them makes no difference."""
    rng = np.random.default_rng(seed)
    affine = random_affine(rng)
    place = Image(np.zeros(SHAPE), affine)
    a, b, c = (gentle(rng) for _ in range(3))
    at_once = compose(a, b, c, onto=place).world
    by_pairs = compose(compose(a, b, onto=place), compose(c, onto=place)).world
    np.testing.assert_allclose(by_pairs, at_once, atol=1e-3)
    np.testing.assert_allclose(at_once, affine_displacement(a @ b @ c, affine, SHAPE), atol=1e-3)


@given(seeds, st.sampled_from([np.float32, np.float64]))
def test_composing_with_the_identity_changes_nothing(seed, dtype):
    rng = np.random.default_rng(seed)
    d = bumps(rng, random_affine(rng), dtype=dtype)
    other = random_affine(rng)
    nothing = Displacement(np.zeros((3, 5, 6, 7), dtype), other)
    np.testing.assert_array_equal(compose(nothing, d).world, d.world, strict=True)
    np.testing.assert_array_equal(compose(np.eye(4), d).world, d.world, strict=True)
    here = Displacement(np.zeros((3, *SHAPE), dtype), d.affine)
    np.testing.assert_allclose(compose(d, here).world, d.world, atol=1e-5)


def test_an_image_goes_through_the_first_map_first(rng):
    """Moving to middle by `a`, middle to fixed by `b`: the same as both warps one after the other."""
    affine = np.diag([2.0, 1.5, 1.0, 1.0])
    moving = Image(rng.random(SHAPE), affine)
    a = Displacement(affine_displacement(shifted(np.eye(4), 2, 0, 0), affine, SHAPE), affine, affine)
    b = Displacement(affine_displacement(shifted(np.diag([-1.0, -1, 1, 1]), 20, 15, 0), affine, SHAPE), affine, affine)
    inner = (slice(2, 9), slice(2, -2), slice(2, -2))  # what does not leave the middle image on its way
    step_by_step = warp_image(warp_image(moving, a), b).data[inner]
    np.testing.assert_allclose(warp_image(moving, compose(a, b)).data[inner], step_by_step, atol=1e-5)
    assert np.abs(warp_image(moving, compose(b, a)).data[inner] - step_by_step).max() > 0.1


def test_a_composition_without_voxels_is_refused():
    with pytest.raises(ParameterError, match="onto="):
        compose(np.eye(4))
    with pytest.raises(ParameterError, match="at least one"):
        compose()
    with pytest.raises(ImageError, match="affine map"):
        compose(np.zeros((4, 4)), onto=Image(np.zeros(SHAPE), np.eye(4)))


# Inverse


@given(seeds, backends)
def test_the_inverse_undoes_a_smooth_field_within_its_tolerance(seed, backend):
    rng = np.random.default_rng(seed)
    affine, onto = random_affine(rng), random_affine(rng, spacing=(1.0, 2.0))
    d = compose(bumps(rng, affine), gentle(rng, 0.15), onto=Image(np.zeros(SHAPE), affine))
    centre = mapped([d], (affine @ [6, 6, 6, 1])[:3, None])[:, 0]
    onto[:3, 3] += centre - (onto @ [5, 5, 5, 1])[:3]
    with kernels.use_backend(backend):
        found = invert(d, Image(np.zeros((11, 10, 12)), onto, form_code=2))
    back = world_points(onto, (11, 10, 12))
    there = mapped([d], (back + found.displacement.world).reshape(3, -1))
    missing = np.linalg.solve(affine[:3, :3], there - back.reshape(3, -1))
    assert np.abs(missing).max() <= 1.6 * TOLERANCE  # the error is measured where the affine part is undone
    assert found.error.max() <= TOLERANCE
    np.testing.assert_array_equal(found.displacement.affine, onto)
    np.testing.assert_array_equal(found.displacement.moving_affine, affine)
    assert found.displacement.form_code == 2
    assert found.folding == 0


@given(seeds)
def test_the_inverse_of_the_inverse_leads_back(seed):
    rng = np.random.default_rng(seed)
    affine = random_affine(rng)
    d = bumps(rng, affine)
    there = invert(d, tolerance=1e-6).displacement
    points = inner_points(rng, affine, SHAPE, margin=4)
    # the inverse is linear between voxels where the field is not: an error of second order remains
    missing = np.linalg.solve(affine[:3, :3], mapped([there, d], points) - points)
    assert np.abs(missing).max() < 0.3
    exact, error = solve(d, mapped([d], points), tolerance=1e-9)
    np.testing.assert_allclose(exact, points, atol=1e-6)
    assert error.max() <= 1e-9


@given(seeds, st.floats(0, 180))
def test_affine_fields_invert_exactly_however_far_they_turn(seed, degrees):
    """Plain fixed-point iteration would run away from 60 degrees on."""
    rng = np.random.default_rng(seed)
    matrix = random_affine(rng, spacing=(0.8, 1.25), degrees=degrees)
    matrix[:3, :3] *= np.sign(np.linalg.det(matrix[:3, :3]))
    affine = random_affine(rng)
    d = Displacement(affine_displacement(matrix, affine, SHAPE, np.float64), affine)
    found = invert(d, iterations=2)
    np.testing.assert_allclose(
        found.displacement.world, affine_displacement(np.linalg.inv(matrix), affine, SHAPE, np.float64), atol=1e-6
    )
    assert found.error.max() < 1e-8


def test_a_steep_field_is_inverted_where_the_iteration_runs_in_circles():
    """w stretches threefold in the middle: T grows by 3 from voxel to voxel, which no fixed-point iteration undoes."""
    i = np.arange(24.0)
    steep = 2 * np.tanh((i - 11.5) / 1.0) * 1.2
    world = np.zeros((3, 24, 4, 4))
    world[0] = steep.reshape(-1, 1, 1)
    d = Displacement(world, np.eye(4))
    assert determinant(d).min() > 0
    targets = np.stack([np.linspace(4, 19, 60), np.full(60, 1.5), np.full(60, 1.5)])
    points, error = solve(d, targets)
    assert error.max() <= TOLERANCE
    np.testing.assert_allclose(mapped([d], points), targets, atol=2e-3)


def test_a_folding_field_is_refused_or_flagged(rng):
    world = np.zeros((3, 20, 6, 6))
    world[0, 8:12] = np.array([2.5, 0.8, -0.8, -2.5]).reshape(-1, 1, 1)
    d = Displacement(world, np.eye(4))
    with pytest.raises(ImageError, match=r"folds at 1\d\.000% of its voxels.*no inverse"):
        invert(d)
    found = invert(d, allow_folding=True)
    assert 0.1 <= found.folding <= 0.2
    there = mapped([d], (world_points(np.eye(4), d.shape) + found.displacement.world).reshape(3, -1))
    missing = np.abs(there - world_points(np.eye(4), d.shape).reshape(3, -1)).max(axis=0)
    np.testing.assert_allclose(found.error.ravel(), missing, atol=0.05)  # what is not solved is told


def test_what_lies_outside_the_fixed_image_is_told():
    affine = np.eye(4)
    d = Displacement(affine_displacement(shifted(np.eye(4), 4, 0, 0), affine, (8, 4, 4)), affine)
    found = invert(d)
    assert found.outside == pytest.approx(0.5)
    np.testing.assert_allclose(found.displacement.world[0], -4)
    for arguments in ({"tolerance": 0}, {"iterations": 0}, {"tolerance": np.nan}):
        with pytest.raises(ParameterError, match="tolerance must be above 0"):
            invert(d, **arguments)


def test_an_image_goes_there_and_back():
    """A smooth image moved by w and back by the inverse is itself, up to interpolating twice."""
    rng = np.random.default_rng(4)
    affine, fixed_affine = np.diag([1.0, 1.2, 0.9, 1]), np.diag([-1.1, 1.0, 1.0, 1])
    fixed_affine[0, 3] = 22
    moving = Image(ndimage.gaussian_filter(rng.random((24, 22, 26)), 3) * 10, affine)
    d = bumps(rng, fixed_affine, (22, 24, 23), size=1.0, moving_affine=affine)
    moved = warp_image(moving, d)
    back = warp_image(moved, invert(d, moving).displacement)
    inner = (slice(5, -5),) * 3
    np.testing.assert_array_equal(back.affine, moving.affine)
    stayed = warp_image(moved, Displacement(np.zeros((3, *moving.shape)), affine))
    before, after = (np.abs(image.data - moving.data)[inner].mean() for image in (stayed, back))
    assert after < 0.25 * before


# Determinant


@given(seeds)
def test_the_determinant_of_an_affine_map_is_that_of_its_matrix(seed):
    rng = np.random.default_rng(seed)
    matrix, affine = gentle(rng), random_affine(rng)
    d = Displacement(affine_displacement(matrix, affine, SHAPE, np.float64), affine)
    np.testing.assert_allclose(determinant(d), np.linalg.det(matrix[:3, :3]), atol=1e-9)


@given(seeds)
def test_the_determinant_of_a_grid_along_the_axes_is_that_of_the_metrics(seed):
    rng = np.random.default_rng(seed)
    d = bumps(rng, np.eye(4))
    np.testing.assert_allclose(determinant(d), jacobian_determinant(d.world), atol=1e-12)


def test_maps_are_the_same_however_few_planes_are_computed_at_once(rng, monkeypatch):
    affine = random_affine(rng)
    d = bumps(rng, affine)
    whole = determinant(d), compose(d, d).world, invert(d).displacement.world
    monkeypatch.setattr(fields, "_SLAB", 13 * 12 * 3)  # 14 planes: 3, 3, 3, 3 and 2
    parts = determinant(d), compose(d, d).world, invert(d).displacement.world
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-9)
    monkeypatch.setattr(fields, "_SLAB", 1)
    np.testing.assert_allclose(determinant(d), whole[0], atol=1e-12)


def test_a_plane_has_no_determinant():
    with pytest.raises(ImageError, match="at least 2 voxels"):
        determinant(Displacement(np.zeros((3, 4, 4, 1)), np.eye(4)))


# Orientation


@pytest.mark.parametrize(("order", "signs"), ALL_48, ids=str)
def test_48_orientations_of_the_grid_give_the_same_map(order, signs):
    rng = np.random.default_rng(7)
    d = bumps(rng, random_affine(rng))
    components = [turned(Image(c, d.affine), order, signs) for c in d.world]
    other = Displacement(np.stack([c.data for c in components]), components[0].affine)
    points = np.concatenate([inner_points(rng, d.affine, SHAPE), rng.uniform(-200, 200, (3, 10))], axis=1)
    np.testing.assert_allclose(PointMap(other).displacement(points), PointMap(d).displacement(points), atol=1e-8)
    onto = Image(np.zeros((5, 6, 7)), d.affine)
    one, two = invert(d, onto).displacement, invert(other, onto).displacement
    np.testing.assert_allclose(two.world, one.world, atol=1e-8)
    np.testing.assert_allclose(np.sort(determinant(other).ravel()), np.sort(determinant(d).ravel()), atol=1e-9)
