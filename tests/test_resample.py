"""Pooling and resizing: the definitions written out, adjoints, and what each must keep."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.resample import avg_pool, max_pool, upsample_linear, upsample_nearest

BACKENDS = st.sampled_from(kernels.available())
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def pooling(draw):
    """(image [1, 2, *S], kernel, stride, padding)"""
    n = draw(st.integers(1, 3))
    shape, kernel, stride = (draw(st.tuples(*[st.integers(a, b)] * n)) for a, b in ((3, 7), (1, 3), (1, 3)))
    padding = draw(st.tuples(*[st.integers(0, k // 2) for k in kernel]))
    return np.random.default_rng(draw(SEEDS)).normal(size=(1, 2, *shape)), kernel, stride, padding


@st.composite
def resizing(draw, smallest=1):
    """(image [1, 2, *S], new shape)"""
    n = draw(st.integers(1, 3))
    shape, new_shape = (draw(st.tuples(*[st.integers(smallest, 9)] * n)) for _ in range(2))
    return np.random.default_rng(draw(SEEDS)).normal(size=(1, 2, *shape)), new_shape


def pooled_by_definition(x, kernel, stride, padding, reduce, fill):
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=fill)
    shape = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True)]
    out = np.empty((*x.shape[:2], *shape))
    for window in product(*map(range, shape)):
        box = tuple(slice(i * s, i * s + k) for i, s, k in zip(window, stride, kernel, strict=True))
        out[(..., *window)] = reduce(padded[(..., *box)], axis=tuple(range(2, x.ndim)))
    return out


def assert_adjoint(operation, x, backend):
    """<A x, w> = <x, A^T w>"""
    tensor = Tensor(x, requires_grad=True)
    with kernels.use_backend(backend):
        out = operation(tensor)
        weight = np.random.default_rng(5).normal(size=out.shape)
        out.backward(weight)
    np.testing.assert_allclose((out.data * weight).sum(), (x * tensor.grad).sum(), atol=1e-9)


@given(case=pooling(), backend=BACKENDS)
def test_pooling_is_its_definition(case, backend):
    x, *window = case
    with kernels.use_backend(backend):
        largest, mean = max_pool(Tensor(x), *window), avg_pool(Tensor(x), *window)
    np.testing.assert_array_equal(largest.data, pooled_by_definition(x, *window, np.max, -np.inf))
    np.testing.assert_allclose(mean.data, pooled_by_definition(x, *window, np.mean, 0), atol=1e-12)


@given(case=pooling(), backend=BACKENDS)
def test_pooling_has_its_adjoint(case, backend):
    x, *window = case
    assert_adjoint(lambda t: avg_pool(t, *window), x, backend)
    assert_adjoint(lambda t: max_pool(t, *window), x, backend)  # linear where the maxima keep their places


@pytest.mark.parametrize("backend", kernels.available())
def test_hard_values_survive_max_pooling(backend):
    x = Tensor(np.array([[[-np.inf, -np.inf, np.nan, 1, 2, 2]]]), requires_grad=True)
    with kernels.use_backend(backend):
        largest = max_pool(x, 2)
        largest.backward(np.array([[[3.0, 5.0, 7.0]]]))
    np.testing.assert_array_equal(largest.data[0, 0], [-np.inf, np.nan, 2])
    np.testing.assert_array_equal(x.grad[0, 0], [3, 0, 5, 0, 7, 0])  # the first of equal elements


@given(case=resizing(), factor=st.integers(1, 3), backend=BACKENDS)
def test_nearest_upsampling_is_undone_by_average_pooling(case, factor, backend):
    x, _ = case
    with kernels.use_backend(backend):
        large = upsample_nearest(Tensor(x), factor)
        np.testing.assert_allclose(avg_pool(large, factor).data, x, atol=1e-12)
    assert large.shape[2:] == tuple(factor * n for n in x.shape[2:])
    assert_adjoint(lambda t: upsample_nearest(t, factor), x, backend)


@given(case=resizing(), align_corners=st.booleans(), backend=BACKENDS)
def test_linear_resizing_keeps_constants_and_bounds_and_has_its_adjoint(case, align_corners, backend):
    x, shape = case
    with kernels.use_backend(backend):
        flat = upsample_linear(Tensor(np.full_like(x, 0.7)), shape, align_corners)
        out = upsample_linear(Tensor(x), shape, align_corners)
    assert out.shape == (1, 2, *shape)
    np.testing.assert_allclose(flat.data, 0.7, atol=1e-14)
    assert x.min() - 1e-12 <= out.data.min()
    assert out.data.max() <= x.max() + 1e-12
    assert_adjoint(lambda t: upsample_linear(t, shape, align_corners), x, backend)


@given(case=resizing(), align_corners=st.booleans(), backend=BACKENDS)
def test_resizing_to_the_same_shape_changes_nothing(case, align_corners, backend):
    x, _ = case
    with kernels.use_backend(backend):
        np.testing.assert_array_equal(upsample_linear(Tensor(x), x.shape[2:], align_corners).data, x)


@given(case=resizing(smallest=2), backend=BACKENDS)
def test_aligned_corners_keep_a_ramp(case, backend):
    x, shape = case
    slopes = np.arange(1, len(shape) + 1)

    def ramp(sizes):
        axes = np.meshgrid(*(np.linspace(0, 1, n) for n in sizes), indexing="ij")
        return np.tensordot(slopes, np.stack(axes), 1)[None, None]

    with kernels.use_backend(backend):
        out = upsample_linear(Tensor(ramp(x.shape[2:])), shape, align_corners=True)
    np.testing.assert_allclose(out.data, ramp(shape), atol=1e-12)


@pytest.mark.parametrize("backend", kernels.available())
def test_resizing_by_faces_doubles_the_step(backend):
    with kernels.use_backend(backend):
        out = upsample_linear(Tensor(np.array([[[0.0, 4.0, 8.0]]])), (6,))
    np.testing.assert_array_equal(out.data[0, 0], [0, 1, 3, 5, 7, 8])


def test_float32_stays_float32(rng):
    x = Tensor(rng.normal(size=(1, 1, 6, 6)).astype(np.float32), requires_grad=True)
    for backend in kernels.available():
        with kernels.use_backend(backend):
            for out in (max_pool(x, 2), avg_pool(x, 3, 1, 1), upsample_nearest(x, 2), upsample_linear(x, (9, 5))):
                out.backward(np.ones_like(out.data))
                assert out.dtype == x.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: max_pool(x, 2, padding=2), ParameterError, "at most half the kernel, not 2 for a kernel of 2"),
        (lambda x: avg_pool(x, 0), ParameterError, "kernel must be .* at least 1"),
        (lambda x: avg_pool(x, (2, 2, 2)), ParameterError, "one number or 2"),
        (lambda x: max_pool(x, 6), ShapeError, "a kernel of 6 does not fit into 5 voxels"),
        (lambda x: max_pool(x, 2, stride=0), ParameterError, "stride must be .* at least 1"),
        (lambda x: upsample_nearest(x, (2, 0)), ParameterError, "factors must be .* at least 1"),
        (lambda x: upsample_linear(x, (4,)), ParameterError, "shape must be one number or 2"),
        (lambda x: max_pool(Tensor(x.data[0, 0]), 2), ShapeError, "1 to 3 spatial axes"),
        (lambda x: max_pool(Tensor(x.data.astype(int)), 2), ParameterError, "not int64"),
    ],
)
def test_unfit_inputs_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(Tensor(np.zeros((1, 1, 5, 5))))
