"""Batch normalisation: its moments, its two modes, its gradient, and data that is hard on float32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.normalize import batch_norm
from pysnnmed.testing import check_gradient

BACKENDS = st.sampled_from(kernels.available())
SHAPES = st.tuples(st.integers(2, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


def ones_and_zeros(channels, dtype=np.float64):
    """gamma, beta, running mean, running variance of a fresh layer."""
    one, zero = np.ones(channels, dtype), np.zeros(channels, dtype)
    return Tensor(one), Tensor(zero), zero.copy(), one.copy()


@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1), backend=BACKENDS)
def test_training_output_has_mean_beta_and_deviation_gamma(shape, seed, backend):
    rng = np.random.default_rng(seed)
    x = Tensor(rng.normal(3, 2, shape))
    gamma, beta = rng.normal(size=(2, shape[1]))
    _, _, mean, variance = ones_and_zeros(shape[1])
    with kernels.use_backend(backend):
        y = batch_norm(x, Tensor(gamma), Tensor(beta), mean, variance, training=True, epsilon=1e-12).data
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), beta, atol=1e-9)
    spread = x.data.std(axis=(0, 2, 3)) > 1e-3
    np.testing.assert_allclose(y.std(axis=(0, 2, 3))[spread], np.abs(gamma)[spread], atol=1e-5)


@pytest.mark.parametrize("backend", kernels.available())
def test_running_estimates_approach_the_unbiased_moments(backend, rng):
    x = Tensor(rng.normal(3, 2, (2, 3, 4)))
    gamma, beta, mean, variance = ones_and_zeros(3)
    with kernels.use_backend(backend):
        batch_norm(x, gamma, beta, mean, variance, training=True, momentum=0.25)
        np.testing.assert_allclose(mean, 0.25 * x.data.mean(axis=(0, 2)))
        np.testing.assert_allclose(variance, 0.75 + 0.25 * x.data.var(axis=(0, 2), ddof=1))
        batch_norm(x, gamma, beta, mean, variance, training=True, momentum=1)
        np.testing.assert_allclose(mean, x.data.mean(axis=(0, 2)))


@pytest.mark.parametrize("backend", kernels.available())
def test_evaluation_uses_the_running_estimates_and_leaves_them(backend, rng):
    x, mean, variance = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=3), rng.uniform(1, 2, size=3)
    gamma, beta = rng.normal(size=(2, 3))
    keep = mean.copy(), variance.copy()
    with kernels.use_backend(backend):
        y = batch_norm(Tensor(x), Tensor(gamma), Tensor(beta), mean, variance, training=False, epsilon=1e-3).data
    m, v, g, b = (a.reshape(3, 1, 1) for a in (mean, variance, gamma, beta))
    np.testing.assert_allclose(y, g * (x - m) / np.sqrt(v + 1e-3) + b, atol=1e-12)
    np.testing.assert_array_equal((mean, variance), keep)


@pytest.mark.parametrize("backend", kernels.available())
def test_both_modes_agree_where_the_estimates_are_those_of_the_batch(backend, rng):
    x = Tensor(rng.normal(3, 2, (2, 3, 40)))
    gamma, beta, _, _ = ones_and_zeros(3)
    moments = x.data.mean(axis=(0, 2)), x.data.var(axis=(0, 2))
    with kernels.use_backend(backend):
        trained = batch_norm(x, gamma, beta, np.zeros(3), np.ones(3), training=True).data
        evaluated = batch_norm(x, gamma, beta, *moments, training=False).data
    np.testing.assert_allclose(trained, evaluated, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", kernels.available())
def test_gradient_through_the_moments(training, backend, rng):
    mean, variance = rng.normal(size=2), rng.uniform(1, 2, size=2)

    def run(x, gamma, beta):
        return batch_norm(x, gamma, beta, mean, variance, training, momentum=0)

    with kernels.use_backend(backend):
        check_gradient(run, [rng.normal(size=(2, 2, 3, 4)), rng.normal(size=2), rng.normal(size=2)])


@pytest.mark.parametrize("backend", kernels.available())
def test_training_gradient_ignores_what_normalisation_removes(backend, rng):
    """Moving or stretching a whole channel does not change the output, so no gradient points there."""
    x = Tensor(rng.normal(3, 2, (2, 3, 50)), requires_grad=True)
    with kernels.use_backend(backend):
        batch_norm(x, *ones_and_zeros(3), training=True, epsilon=1e-12).backward(rng.normal(size=x.shape))
    np.testing.assert_allclose(x.grad.sum(axis=(0, 2)), 0, atol=1e-9)
    np.testing.assert_allclose((x.grad * x.data).sum(axis=(0, 2)), 0, atol=1e-9)


@pytest.mark.parametrize("backend", kernels.available())
def test_large_offset_in_float32(backend, rng):
    """Deviation 1 around 10 000: squares of float32 numbers could not tell this variance."""
    x = (rng.normal(size=(2, 2, 500)) + 1e4).astype(np.float32)
    gamma, beta, mean, variance = ones_and_zeros(2, np.float32)
    with kernels.use_backend(backend):
        y = batch_norm(Tensor(x), gamma, beta, mean, variance, training=True).data
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(axis=(0, 2), keepdims=True)) / exact.std(axis=(0, 2), keepdims=True)
    assert y.dtype == mean.dtype == np.float32
    np.testing.assert_allclose(y, exact, atol=2e-3)  # the mean itself is rounded to 5e-4


@pytest.mark.parametrize("backend", kernels.available())
def test_constant_channel_stays_finite(backend):
    x = Tensor(np.full((1, 1, 9), 0.1, np.float32), requires_grad=True)
    with kernels.use_backend(backend):
        y = batch_norm(x, *ones_and_zeros(1, np.float32), training=True)
        y.backward(np.ones_like(y.data))
    np.testing.assert_allclose(y.data, 0, atol=1e-4)
    assert np.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("shape", "change", "error", "message"),
    [
        ((2, 3, 4), {"gamma": Tensor(np.ones(2))}, ShapeError, r"gamma of shape \(3,\), got \(2,\)"),
        ((2, 3, 4), {"running_mean": np.ones((3, 1))}, ShapeError, "running_mean of shape"),
        ((2, 3, 4), {"epsilon": 0.0}, ParameterError, "epsilon must be positive"),
        ((2, 3, 4), {"momentum": 1.5}, ParameterError, r"momentum must be in \[0, 1\], not 1.5"),
        ((1, 3), {}, ShapeError, "more than one value per channel"),
        ((3,), {}, ShapeError, r"images \[B, C, \*S\]"),
    ],
)
def test_unfit_inputs_are_refused(shape, change, error, message):
    names = ("gamma", "beta", "running_mean", "running_variance")
    options = dict(zip(names, ones_and_zeros(3), strict=True)) | {"training": True} | change
    with pytest.raises(error, match=message):
        batch_norm(Tensor(np.zeros(shape)), **options)
