"""Similarity and smoothness: ranges, invariances, agreement with the definition written out, and hard cases."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor, kernels
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.losses.registration import bending_energy, diffusion, lncc, mse
from pysnnmed.testing import check_gradient

BACKENDS = st.sampled_from(kernels.available())
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple)


def correlation_by_definition(fixed, moved, window, squared, epsilon):
    """The mean over voxels, one window of one volume at a time."""
    r, n = window // 2, window ** (fixed.ndim - 2)
    found = []
    for volumes in zip(fixed.reshape(-1, *fixed.shape[2:]), moved.reshape(-1, *fixed.shape[2:]), strict=True):
        a, b = (np.pad(volume, r) for volume in volumes)
        for corner in product(*map(range, fixed.shape[2:])):
            box = tuple(slice(c, c + window) for c in corner)
            f, m = a[box] - a[box].mean(), b[box] - b[box].mean()
            cov, var_f, var_m = (f * m).sum() / n, (f * f).sum() / n, (m * m).sum() / n
            both = var_f * var_m + epsilon if squared else np.sqrt((var_f + epsilon) * (var_m + epsilon))
            found.append((cov**2 if squared else cov) / both)
    return np.mean(found)


def images(seed, shape, dtype=np.float64):
    fixed, moved = np.random.default_rng(seed).uniform(size=(2, 1, 2, *shape)).astype(dtype)
    return fixed, (0.5 * fixed + moved).astype(dtype)


@given(shape=SHAPES, seed=SEEDS, window=st.sampled_from([3, 5, 9]), squared=st.booleans(), backend=BACKENDS)
def test_lncc_is_its_definition(shape, seed, window, squared, backend):
    fixed, moved = images(seed, shape)
    with kernels.use_backend(backend):
        value = lncc(Tensor(fixed), Tensor(moved), window, squared).item()
    assert value == pytest.approx(correlation_by_definition(fixed, moved, window, squared, 1e-5), abs=1e-9)


@given(seed=SEEDS, squared=st.booleans(), scale=st.sampled_from([1e-3, 1, 1e4]), backend=BACKENDS)
def test_lncc_stays_in_its_range(seed, squared, scale, backend):
    rng = np.random.default_rng(seed)
    fixed, moved = (Tensor((scale * rng.normal(size=(1, 1, 9, 8))).astype(np.float32)) for _ in range(2))
    with kernels.use_backend(backend):
        for other in (moved, fixed, Tensor(-fixed.data)):
            assert (0 if squared else -1) <= lncc(fixed, other, 5, squared, 1e-8).item() <= 1


@pytest.mark.parametrize("backend", kernels.available())
def test_lncc_of_an_image_with_itself_and_its_negative(backend, rng):
    image = Tensor(rng.normal(size=(1, 1, 8, 9, 10)))
    with kernels.use_backend(backend):
        assert lncc(image, image, squared=True).item() == pytest.approx(1, abs=1e-3)
        assert lncc(image, image, squared=False).item() == pytest.approx(1, abs=1e-3)
        assert lncc(image, Tensor(-image.data), squared=True).item() == pytest.approx(1, abs=1e-3)
        assert lncc(image, Tensor(-image.data), squared=False).item() == pytest.approx(-1, abs=1e-3)


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize(("squared", "gain"), [(True, 3.0), (True, -0.5), (False, 3.0), (False, 0.2)])
def test_lncc_ignores_gain_and_offset_where_windows_lie_inside(backend, squared, gain, rng):
    """The zeros around the images do not take part in the offset, so only they may change: frame both with zeros."""
    fixed, moved = np.zeros((2, 1, 1, 20, 20))
    inner = (..., slice(4, 16), slice(4, 16))
    fixed[inner], moved[inner] = rng.normal(size=(2, 12, 12))
    with kernels.use_backend(backend):
        before = lncc(Tensor(fixed), Tensor(moved), 5, squared, 1e-12).item()
        after = lncc(Tensor(fixed), Tensor(gain * moved), 5, squared, 1e-12).item()
    assert after == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize("squared", [True, False])
def test_gradient_of_lncc_ignores_an_offset_inside(backend, squared, rng):
    """Far from the border no window sees the padding: an offset of 1000 keeps the gradient there, in float32."""
    fixed, moved = rng.uniform(size=(2, 1, 1, 21, 22, 23)).astype(np.float32)
    inner = (..., *[slice(4, -4)] * 3)
    gradients = []
    for offset in (0, 1000):
        m = Tensor((moved + np.float32(offset)).astype(np.float32), requires_grad=True)
        with kernels.use_backend(backend):
            lncc(Tensor(fixed), m, 5, squared).backward()
        gradients.append(m.grad[inner])
    # moved + 1000 itself is rounded to 3e-5, a thousandth of its contrast
    assert np.abs(gradients[1] - gradients[0]).max() < 2e-3 * np.abs(gradients[0]).max()


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize(("squared", "epsilon"), [(True, 1e-5), (False, 1e-8)])
@pytest.mark.parametrize("offset", [0, 1000])
def test_flat_windows_count_nothing_and_have_finite_gradients(backend, squared, epsilon, offset, rng):
    """A flat region after a lively one: running sums must come back to where they started."""
    fixed, moved = rng.uniform(size=(2, 1, 1, 40, 12, 40)).astype(np.float32)
    fixed[:, :, 10:], moved[:, :, 10:] = 0, 0
    fixed, moved = fixed + np.float32(offset), Tensor(moved + np.float32(offset), requires_grad=True)
    with kernels.use_backend(backend):
        lncc(Tensor(fixed), moved, 5, squared, epsilon).backward()
        inside = np.full((1, 1, 11, 11), 0.7 + offset, np.float32)
        flat = Tensor(inside, requires_grad=True)
        lncc(Tensor(inside), flat, 3, squared, epsilon).backward()
    assert np.isfinite(moved.grad).all()
    assert np.abs(moved.grad[:, :, 15:-5, 3:-3, 3:-3]).max() < 1e-4 * np.abs(moved.grad[:, :, :10]).max()
    assert np.abs(flat.grad[:, :, 3:-3, 3:-3]).max() < 1e-6


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize("squared", [True, False])
def test_two_empty_images_have_no_correlation(backend, squared):
    empty = Tensor(np.zeros((1, 1, 6, 6, 6), np.float32), requires_grad=True)
    with kernels.use_backend(backend):
        value = lncc(empty, empty, squared=squared)
        value.backward()
    assert value.item() == 0
    assert value.dtype == np.float32
    np.testing.assert_array_equal(empty.grad, 0)


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize("squared", [True, False])
def test_a_nan_is_not_hidden(backend, squared, rng):
    images = rng.normal(size=(2, 1, 1, 8, 8))
    images[0, 0, 0, 3, 3] = np.nan
    with kernels.use_backend(backend):
        assert np.isnan(lncc(*map(Tensor, images), 3, squared).item())


@pytest.mark.parametrize("backend", kernels.available())
def test_gradients_to_both_images_come_together(backend, rng):
    """One argument, the other and both at once: asking for more must not change an answer."""
    arrays = rng.normal(size=(2, 1, 1, 6, 7))
    grads = {}
    for wanted in ((True, False), (False, True), (True, True)):
        pair = [Tensor(a, requires_grad=w) for a, w in zip(arrays, wanted, strict=True)]
        with kernels.use_backend(backend):
            lncc(*pair, window=3).backward()
        grads[wanted] = [t.grad for t in pair]
    np.testing.assert_array_equal(grads[True, True][0], grads[True, False][0])
    np.testing.assert_array_equal(grads[True, True][1], grads[False, True][1])
    assert grads[True, False][1] is None


def test_voxelmorphs_constant_is_a_matter_of_units():
    """Sums over windows of n voxels and a constant e are means over windows and a constant e / n^2."""
    fixed, moved = images(1, (7, 8))
    n = 5**2
    with_sums = []
    for corner in product(range(7), range(8)):
        box = tuple(slice(c, c + 5) for c in corner)
        f, m = (np.pad(a[0, 0], 2)[box] for a in (fixed, moved))
        cross = ((f - f.mean()) * (m - m.mean())).sum()
        with_sums.append(cross**2 / (n * f.var() * n * m.var() + 1e-5))
    ours = lncc(Tensor(fixed[:, :1]), Tensor(moved[:, :1]), 5, True, 1e-5 / n**2).item()
    assert ours == pytest.approx(np.mean(with_sums), abs=1e-9)


@given(seed=SEEDS, shape=st.lists(st.integers(3, 6), min_size=1, max_size=3).map(tuple), constant=st.floats(-5, 5))
def test_diffusion_is_zero_for_constants_and_bending_for_affine_fields(seed, shape, constant):
    n = len(shape)
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    x = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    affine = Tensor((np.tensordot(matrix, x, 1) + constant)[None])
    flat = Tensor(np.full((1, n, *shape), constant))
    for differences in ("forward", "central"):
        assert diffusion(flat, differences).item() == 0
        # the mean over components of the squared slopes, summed over axes
        assert diffusion(affine, differences).item() == pytest.approx((matrix**2).sum() / n)
    assert bending_energy(affine).item() == pytest.approx(0, abs=1e-20 + 1e-24 * constant**2)


def test_bending_of_quadratic_fields():
    x, y = np.meshgrid(np.arange(6.0), np.arange(7.0), indexing="ij")
    for curve, energy in ((x**2, 4), (y**2, 4), (x * y, 2), (x**2 + 3 * x * y, 4 + 2 * 9)):
        assert bending_energy(Tensor(np.stack([curve, curve])[None])).item() == pytest.approx(energy)


def test_a_checkerboard_escapes_central_differences_only():
    board = (-1.0) ** np.add.outer(np.arange(6), np.arange(6))
    u = Tensor(np.stack([board, board])[None])
    assert diffusion(u, "central").item() == 0
    assert diffusion(u, "forward").item() == 8


@pytest.mark.parametrize("loss", [diffusion, lambda u: diffusion(u, "central"), bending_energy])
@pytest.mark.parametrize("shape", [(4,), (4, 5), (3, 4, 5)])
def test_gradient_of_roughness(loss, shape, rng):
    check_gradient(loss, [rng.normal(size=(2, len(shape), *shape))])


def test_losses_keep_float32(rng):
    u = Tensor(rng.normal(size=(1, 2, 6, 6)).astype(np.float32), requires_grad=True)
    for loss in (diffusion(u), bending_energy(u), mse(u, Tensor(u.data + 1)), lncc(u, Tensor(u.data * 2))):
        loss.backward()
        assert loss.shape == ()
        assert loss.dtype == u.grad.dtype == np.float32


def test_mse_of_known_values():
    a, b = Tensor(np.array([1.0, 2.0]), requires_grad=True), Tensor(np.array([0.0, 4.0]), requires_grad=True)
    value = mse(a, b)
    value.backward()
    assert value.item() == 2.5
    np.testing.assert_array_equal(a.grad, [1, -2])
    np.testing.assert_array_equal(b.grad, [-1, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, u: lncc(a, u), ShapeError, "one shape"),
        (lambda a, u: lncc(a, a, window=4), ParameterError, "odd number .* not 4"),
        (lambda a, u: lncc(a, a, window=1), ParameterError, "not 1"),
        (lambda a, u: lncc(a, a, epsilon=0), ParameterError, "epsilon must be positive"),
        (lambda a, u: lncc(a, Tensor(a.data.astype(np.float32))), ParameterError, "float64 and float32"),
        (lambda a, u: lncc(Tensor(np.zeros((4, 4))), Tensor(np.zeros((4, 4)))), ShapeError, "1 to 3 spatial axes"),
        (lambda a, u: mse(a, u), ShapeError, "one shape"),
        (lambda a, u: diffusion(u, "backward"), ParameterError, "'forward' or 'central', not 'backward'"),
        (lambda a, u: diffusion(a), ShapeError, r"\[B, n, \*S\]"),
        (lambda a, u: diffusion(Tensor(u.data.astype(int))), ParameterError, "int64"),
        (lambda a, u: bending_energy(Tensor(u.data[:, :, :2])), ShapeError, "at least 3 voxels"),
    ],
)
def test_unfit_inputs_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(Tensor(np.zeros((1, 1, 4, 4))), Tensor(np.zeros((1, 2, 4, 4))))
