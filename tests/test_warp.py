"""Sampling by a displacement: what it must do to images, to fields, and to their gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from pysnnmed import Tensor, kernels
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.warp import compose, inverse, scaling_and_squaring, warp, warp_nearest

BACKENDS = st.sampled_from(kernels.available())
SHAPES = st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)


def smooth_field(shape, size, seed=0):
    """A displacement [1, n, *shape] of smooth bumps with components up to about `size` voxels, zero at the border."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(len(shape), *shape)), (0, *[3] * len(shape)))
    for axis, n in enumerate(shape):
        edge = np.sin(np.pi * np.arange(n) / (n - 1)) ** 2
        field *= edge.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return (field * size / np.abs(field).max())[None]


def constant_field(shape, vector):
    return np.broadcast_to(np.reshape(vector, (1, -1, *[1] * len(shape))), (1, len(shape), *shape)).astype(np.float64)


def position(shape):
    """The coordinates of every voxel [1, n, *shape]."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))[None].astype(np.float64)


@given(shape=SHAPES, seed=SEEDS, dtype=st.sampled_from([np.float32, np.float64]), backend=BACKENDS)
def test_no_displacement_returns_the_image_bit_for_bit(shape, seed, dtype, backend):
    image = np.random.default_rng(seed).normal(size=(2, 3, *shape)).astype(dtype)
    with kernels.use_backend(backend):
        moved = warp(Tensor(image), Tensor(np.zeros((2, len(shape), *shape), dtype)))
    assert moved.dtype == dtype
    np.testing.assert_array_equal(moved.data, image)


@given(shape=SHAPES, seed=SEEDS, data=st.data(), backend=BACKENDS)
def test_whole_displacement_is_a_shift_with_repeated_borders(shape, seed, data, backend):
    image = np.random.default_rng(seed).normal(size=(1, 2, *shape))
    shift = data.draw(st.tuples(*[st.integers(-8, 8)] * len(shape)))
    with kernels.use_backend(backend):
        moved = warp(Tensor(image), Tensor(constant_field(shape, shift)))
    index = np.ix_(*(np.clip(np.arange(n) + s, 0, n - 1) for n, s in zip(shape, shift, strict=True)))
    np.testing.assert_array_equal(moved.data, image[(..., *index)])


@given(shape=SHAPES, seed=SEEDS, backend=BACKENDS)
def test_agrees_with_scipy(shape, seed, backend):
    rng = np.random.default_rng(seed)
    image, u = rng.normal(size=(1, 1, *shape)), rng.normal(scale=3, size=(1, len(shape), *shape))
    with kernels.use_backend(backend):
        moved = warp(Tensor(image), Tensor(u))
    want = ndimage.map_coordinates(image[0, 0], (position(shape) + u)[0], order=1, mode="nearest")
    np.testing.assert_allclose(moved.data[0, 0], want, atol=1e-12)


@pytest.mark.parametrize("backend", kernels.available())
def test_linear_ramp_is_exact_inside(backend, rng):
    shape = (6, 7, 8)
    slope = np.array([2.0, -3.0, 0.5]).reshape(3, 1, 1, 1)
    x = position(shape)
    target = np.stack([rng.uniform(0, n - 1, shape) for n in shape])[None]
    with kernels.use_backend(backend):
        moved = warp(Tensor((slope * x).sum(axis=1, keepdims=True)), Tensor(target - x))
    np.testing.assert_allclose(moved.data, (slope * target).sum(axis=1, keepdims=True), atol=1e-12)


@given(shape=SHAPES, seed=SEEDS, backend=BACKENDS)
def test_gradient_to_the_image_is_the_adjoint(shape, seed, backend):
    rng = np.random.default_rng(seed)
    u = Tensor(rng.normal(scale=2, size=(1, len(shape), *shape)))
    image = Tensor(rng.normal(size=(1, 2, *shape)), requires_grad=True)
    weight = rng.normal(size=image.shape)
    with kernels.use_backend(backend):
        moved = warp(image, u)
        moved.backward(weight)
    np.testing.assert_allclose((image.data * image.grad).sum(), (moved.data * weight).sum(), atol=1e-9)


@pytest.mark.parametrize("backend", kernels.available())
def test_no_gradient_pulls_across_the_border(backend, rng):
    image = Tensor(rng.normal(size=(1, 1, 5)))
    u = Tensor(
        np.array([[[0.0, -1.5, 0.0, 3.0, 0.0]]]), requires_grad=True
    )  # at the border, beyond, inside, beyond, at
    with kernels.use_backend(backend):
        warp(image, u).backward(np.ones((1, 1, 5)))
    np.testing.assert_array_equal(u.grad[0, 0] != 0, [False, False, True, False, False])


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wild_displacements_reach_the_border_and_nan_stays_nan(backend, dtype):
    image = np.arange(4, dtype=dtype).reshape(1, 1, 4)
    u = np.array([[[np.inf, -np.inf, 1e30, np.nan]]], dtype)
    with kernels.use_backend(backend):
        np.testing.assert_array_equal(warp(Tensor(image), Tensor(u)).data[0, 0], [3, 0, 3, np.nan])


def test_only_the_wanted_gradient_is_computed(rng):
    image, u = rng.normal(size=(1, 1, 4, 4)), rng.normal(size=(1, 2, 4, 4))
    for backend in kernels.available():
        to_image, to_u = kernels.load(backend).warp_backward(image, image, u, False, True)
        assert to_image is None
        assert to_u.shape == u.shape


@given(shape=SHAPES, seed=SEEDS, data=st.data())
def test_nearest_warp_of_labels_is_a_shift_for_whole_displacements(shape, seed, data):
    labels = np.random.default_rng(seed).integers(0, 40, (1, 1, *shape)).astype(np.uint8)
    shift = data.draw(st.tuples(*[st.integers(-8, 8)] * len(shape)))
    jitter = data.draw(st.floats(-0.49, 0.49))
    moved = warp_nearest(labels, constant_field(shape, shift) + jitter)
    index = np.ix_(*(np.clip(np.arange(n) + s, 0, n - 1) for n, s in zip(shape, shift, strict=True)))
    assert moved.dtype == np.uint8
    np.testing.assert_array_equal(moved, labels[(..., *index)])


def test_nearest_warp_rounds_half_up():
    labels = np.array([[[1, 2, 3, 4]]])
    np.testing.assert_array_equal(warp_nearest(labels, np.full((1, 1, 4), 0.5))[0, 0], [2, 3, 4, 4])
    np.testing.assert_array_equal(warp_nearest(labels, np.full((1, 1, 4), -0.5))[0, 0], [1, 2, 3, 4])


def test_nearest_warp_gives_every_sample_of_a_batch_its_own_field(rng):
    labels = rng.integers(0, 9, (2, 1, 5, 4))
    u = np.zeros((2, 2, 5, 4))
    u[1, 0] = 1
    moved = warp_nearest(labels, u)
    np.testing.assert_array_equal(moved[0], labels[0])
    np.testing.assert_array_equal(moved[1, :, :-1], labels[1, :, 1:])


@given(shape=SHAPES, data=st.data(), backend=BACKENDS)
def test_constant_displacements_compose_by_addition(shape, data, backend):
    vectors = st.tuples(*[st.integers(-16, 16).map(lambda k: k / 8)] * len(shape))
    u, v = (constant_field(shape, data.draw(vectors)) for _ in range(2))
    with kernels.use_backend(backend):
        np.testing.assert_array_equal(compose(Tensor(u), Tensor(v)).data, u + v)


@pytest.mark.parametrize("backend", kernels.available())
def test_composition_is_u_after_v(backend):
    shape = (24, 26)
    u, v = (Tensor(smooth_field(shape, 2, seed)) for seed in (1, 2))
    ramp = Tensor(position(shape))  # linear, so that interpolating twice makes no error
    with kernels.use_backend(backend):
        twice = warp(warp(ramp, u), v).data
        np.testing.assert_allclose(warp(ramp, compose(u, v)).data, twice, atol=1e-12)
        assert np.abs(warp(ramp, compose(v, u)).data - twice).max() > 0.1


@given(shape=SHAPES, data=st.data(), steps=st.integers(0, 7))
def test_constant_velocity_flows_by_itself(shape, data, steps):
    vector = data.draw(st.tuples(*[st.integers(-16, 16).map(lambda k: k / 8)] * len(shape)))
    velocity = constant_field(shape, vector)
    np.testing.assert_array_equal(scaling_and_squaring(Tensor(velocity), steps).data, velocity)


def test_linear_velocity_flows_exponentially():
    x = position((41,)) - 20.0
    rate = -0.3  # towards the centre, so that no path leaves the grid
    flow = scaling_and_squaring(Tensor(rate * x), steps=10).data
    np.testing.assert_allclose(flow, (np.exp(rate) - 1) * x, atol=2e-3)


def test_squaring_is_composition_with_itself():
    velocity = smooth_field((12, 13), 1.5)
    u = Tensor(velocity / 8)
    for _ in range(3):
        u = compose(u, u)
    np.testing.assert_array_equal(scaling_and_squaring(Tensor(velocity), steps=3).data, u.data)


def test_gradient_of_squaring_is_that_of_composing_step_by_step():
    velocity = Tensor(smooth_field((8, 9), 1.5), requires_grad=True)
    first = Tensor(velocity.data / 8, requires_grad=True)
    weight = np.random.default_rng(4).normal(size=velocity.shape)
    u = first
    for _ in range(3):
        u = compose(u, u)
    u.backward(weight)
    scaling_and_squaring(velocity, steps=3).backward(weight)
    np.testing.assert_allclose(velocity.grad, first.grad / 8, atol=1e-12)


@pytest.mark.parametrize("shape", [(30,), (20, 24), (14, 12, 16)])
def test_inverse_undoes_a_smooth_displacement(shape):
    u = smooth_field(shape, 1)
    v = inverse(u, tolerance=1e-6)
    np.testing.assert_allclose(compose(Tensor(u), Tensor(v)).data, 0, atol=1e-5)
    # interpolating v instead of u on the way back leaves an error of second order
    assert np.abs(compose(Tensor(v), Tensor(u)).data).max() < 0.15


def test_backward_flow_is_the_inverse_of_the_flow():
    velocity = smooth_field((24, 24), 2.0)
    there, back = (scaling_and_squaring(Tensor(sign * velocity)) for sign in (1, -1))
    assert np.abs(compose(there, back).data).max() < 0.1


@pytest.mark.parametrize(
    ("image", "displacement", "error", "message"),
    [
        (np.zeros((1, 1, 4, 4)), np.zeros((1, 3, 4, 4)), ShapeError, r"\(1, 2, 4, 4\), got \(1, 3, 4, 4\)"),
        (np.zeros((2, 1, 4, 4)), np.zeros((1, 2, 4, 4)), ShapeError, r"\(2, 2, 4, 4\)"),
        (np.zeros((4, 4)), np.zeros((4, 4)), ShapeError, "1 to 3 spatial axes"),
        (np.zeros((1, 1, 4), int), np.zeros((1, 1, 4)), ParameterError, "int64 and float64"),
        (np.zeros((1, 1, 4), np.float32), np.zeros((1, 1, 4)), ParameterError, "float32 and float64"),
    ],
)
def test_unfit_inputs_are_refused(image, displacement, error, message):
    with pytest.raises(error, match=message):
        warp(Tensor(image), Tensor(displacement))


def test_other_unfit_inputs_are_refused():
    image, u = np.zeros((1, 1, 4, 4)), np.zeros((1, 2, 4, 4))
    with pytest.raises(ParameterError, match="finite"):
        warp_nearest(image, u + np.nan)
    with pytest.raises(ShapeError, match="one shape"):
        compose(Tensor(image), Tensor(u))
    with pytest.raises(ParameterError, match="at least 0, not -1"):
        scaling_and_squaring(Tensor(u), steps=-1)
    with pytest.raises(ParameterError, match="int64"):
        inverse(u.astype(int))
