"""Convolutions of groups with few outputs and of one element: the compiled loops against the reference, both exact on
whole numbers; and the rest of what makes training of 2D networks fast."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import kernels, ops
from pysnnmed.conv import Conv, conv
from pysnnmed.tensor import Function, Tensor
from pysnnmed.testing import check_gradient

pytest.importorskip("numba")
from pysnnmed.backends.numba_kernels import conv as compiled
from pysnnmed.backends.numba_kernels import depthwise, pointwise
from pysnnmed.backends.numba_kernels.exponential import exp_of_negative
from pysnnmed.backends.numba_kernels.masked import MASKED
from pysnnmed.backends.numba_kernels.steps import copy_from_steps, copy_to_steps
from pysnnmed.backends.numpy_kernels import conv as reference

EPSILON = {np.float32: 2.0**-23, np.float64: 2.0**-52}
dtypes = st.sampled_from([np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)


@st.composite
def few_outputs(draw):
    """Convolutions whose groups have up to 4 outputs, most of kernel 3x3; wider and higher than a tile, or smaller."""
    ndim = draw(st.sampled_from([1, 2, 2, 2, 3]))
    plain = draw(st.booleans())
    kernel = (3,) * ndim if plain else tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    stride = (1,) * ndim if plain or draw(st.booleans()) else tuple(draw(st.integers(1, 3)) for _ in range(ndim))
    dilation = (1,) * ndim if plain else tuple(draw(st.integers(1, 3)) for _ in range(ndim))
    padding = tuple(draw(st.integers(0, 4)) for _ in range(ndim))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    most = ((4, 19, 70) if ndim == 3 else (19, 70))[-ndim:]
    size = tuple(draw(st.integers(a, max(a, b))) for a, b in zip(least, most, strict=True))
    groups, n_in, n_out = draw(st.integers(1, 5)), draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 4))
    batch = draw(st.integers(1, 3))
    return (batch, groups * n_in, *size), (groups * n_out, n_in, *kernel), (stride, padding, dilation, groups)


@st.composite
def one_element(draw):
    """Convolutions with a kernel of one element, of rows shorter than a tile, of a few tiles, and in between."""
    size = draw(st.sampled_from([(draw(st.integers(1, 200)),), (8, 8), (16, 16), (5, 13), (4, 4, 4), (3, 5, 9)]))
    groups, n_in, n_out = draw(st.integers(1, 3)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    one = (1,) * len(size)
    batch = draw(st.integers(1, 3))
    return (batch, groups * n_in, *size), (groups * n_out, n_in, *one), (one, (0,) * len(size), one, groups)


def all_three(module, x, weight, bias, g, geometry):
    return (
        module.conv_forward(x, weight, bias, *geometry),
        module.conv_backward_input(g, weight, x.shape, *geometry),
        module.conv_backward_weight(g, x, weight.shape[2:], *geometry),
    )


def operands(make, x_shape, weight_shape, geometry):
    x, weight, bias = make(x_shape), make(weight_shape), make(weight_shape[:1])
    return x, weight, bias, make(reference.conv_forward(x, weight, None, *geometry).shape), geometry


@pytest.mark.parametrize("geometries", [few_outputs(), one_element()], ids=["few outputs", "one element"])
@given(data=st.data(), dtype=dtypes, seed=seeds)
def test_whole_numbers_come_out_exactly(geometries, data, dtype, seed):
    rng = np.random.default_rng(seed)
    case = operands(lambda shape: rng.integers(-4, 5, shape).astype(dtype), *data.draw(geometries))
    for got, want in zip(all_three(compiled, *case), all_three(reference, *case), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("geometries", [few_outputs(), one_element()], ids=["few outputs", "one element"])
@given(data=st.data(), dtype=dtypes, threads=st.integers(2, 5), seed=seeds)
def test_real_numbers_are_near_and_equal_on_any_number_of_threads(geometries, data, dtype, threads, seed):
    """Within 16 units in the last place of the sum of the magnitudes, which bounds 300 and more terms in any order that
    a kernel takes."""
    rng = np.random.default_rng(seed)
    case = operands(lambda shape: rng.normal(size=shape).astype(dtype), *data.draw(geometries))
    magnitudes = all_three(reference, *(abs(a).astype(np.float64) for a in case[:4]), case[4])
    exact = all_three(reference, *(a.astype(np.float64) for a in case[:4]), case[4])
    with kernels.use_threads(1):
        alone = all_three(compiled, *case)
    with kernels.use_threads(threads, split_small=True):
        together = all_three(compiled, *case)
    for got, again, want, scale in zip(alone, together, exact, magnitudes, strict=True):
        np.testing.assert_array_equal(got, again)
        assert (abs(got - want) <= 16 * EPSILON[dtype] * scale).all()


@pytest.mark.skipif(not MASKED, reason="without masked vectors the general loops do all the work")
@pytest.mark.parametrize(
    ("x", "weight", "groups", "padding", "forward", "to_input", "to_weight"),
    [
        ((2, 8, 20, 20), (8, 1, 3, 3), 8, 1, "planes", "planes", "planes"),
        ((2, 4, 20, 20), (8, 1, 3, 3), 4, 1, "planes", "planes", "planes"),
        ((2, 4, 20, 20), (4, 1, 5, 5), 4, 2, "planes", "planes", "tiles"),
        ((2, 8, 20, 20), (1, 8, 3, 3), 1, 1, "planes", "tiles", "planes"),
        ((2, 16, 20, 20), (16, 16, 3, 3), 1, 1, "tiles", "tiles", "tiles"),
        ((2, 16, 8, 8), (8, 16, 1, 1), 1, 0, "product", "product", "product"),
        ((2, 16, 7, 9), (8, 16, 1, 1), 1, 0, "product", "product", "tiles"),
        ((2, 16, 8, 8), (8, 16, 1, 1), 1, 1, "tiles", "tiles", "tiles"),
    ],
)
def test_which_loops_do_the_work(x, weight, groups, padding, forward, to_input, to_weight, monkeypatch, rng):
    used = []
    for module, title in ((depthwise, "planes"), (pointwise, "product")):
        for name in ("sum_taps", "sum_positions"):
            function = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *a, f=function, t=title: (used.append(t), f(*a))[1])
    geometry = ((1, 1), (padding, padding), (1, 1), groups)
    case = operands(lambda shape: rng.normal(size=shape).astype(np.float32), x, weight, geometry)
    got = []
    for call in (
        lambda: compiled.conv_forward(case[0], case[1], None, *geometry),
        lambda: compiled.conv_backward_input(case[3], case[1], x, *geometry),
        lambda: compiled.conv_backward_weight(case[3], case[0], weight[2:], *geometry),
    ):
        used.clear()
        call()
        got.append(used[0] if used else "tiles")
    assert got == [forward, to_input, to_weight]


@pytest.mark.parametrize("backend", kernels.available())
@pytest.mark.parametrize(("outputs", "kernel", "stride"), [(3, 3, 1), (6, 3, 1), (3, 2, 2), (3, 1, 1)])
def test_gradients_of_a_depthwise_layer_are_those_of_its_differences(backend, outputs, kernel, stride, rng):
    arrays = [rng.normal(size=shape) for shape in ((2, 3, 6, 18), (outputs, 1, kernel, kernel), (outputs,))]
    options = {"stride": stride, "padding": kernel // 2 if stride == 1 else 0, "groups": 3}
    with kernels.use_backend(backend):
        check_gradient(conv, arrays, options)


@given(n=st.integers(0, 70), step=st.integers(1, 3), first=st.integers(0, 5), dtype=dtypes)
def test_copies_with_a_step_touch_what_they_should(n, step, first, dtype):
    long, short = np.arange(first + n * step, dtype=dtype), -np.arange(n + 3, dtype=dtype)
    every = slice(first, first + n * step, step)
    got, want = np.full(n + 3, 7, dtype), np.full(n + 3, 7, dtype)
    want[1 : n + 1] = long[every]
    copy_from_steps(got, 1, long[: first + max(0, (n - 1) * step + 1)], first, step, n)
    np.testing.assert_array_equal(got, want)
    got, want = long.copy(), long.copy()
    want[every] = short[2 : n + 2]
    copy_to_steps(got, first, step, short, 2, n)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_errs_by_one_last_place(dtype):
    from numba import njit

    @njit(error_model="numpy")
    def exponentials(x):
        out = np.empty_like(x)
        for i in range(x.size):
            out[i] = exp_of_negative(x[i])
        return out

    least = -87 if dtype is np.float32 else -708
    x = np.concatenate([np.linspace(least, 0, 20011), -np.logspace(-12, 0, 301)]).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    assert (abs(exponentials(x) - exact) <= EPSILON[dtype] * exact).all()
    special = np.array([0, -np.inf, least - 1, np.nan], dtype)
    np.testing.assert_array_equal(exponentials(special), np.array([1, 0, 0, np.nan], dtype))


class GivesWhatItKept(Function):
    """The identity, with twice the gradient in an array that it keeps; for this test."""

    kept: np.ndarray

    def forward(ctx, x):
        return x.copy()

    def backward(ctx, grad):
        GivesWhatItKept.kept = 2 * grad
        return GivesWhatItKept.kept


del Function.registry["GivesWhatItKept"]  # other tests go through all that are registered


@pytest.mark.parametrize("shape", [(3,), (600, 700)], ids=["small", "large"])
def test_gradients_that_add_up_in_place_change_nothing_else(shape, rng):
    data, outer = rng.normal(size=shape), rng.normal(size=shape)
    x, given_outer = Tensor(data, requires_grad=True), outer.copy()
    y = x * 3.0
    total = y + y * y + GivesWhatItKept.apply(y) + ops.broadcast_to(y.sum(), shape) + y
    total.backward(outer)
    np.testing.assert_allclose(x.grad, 3 * (4 * outer + 2 * outer * 3 * data + outer.sum()), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(outer, given_outer)
    np.testing.assert_array_equal(GivesWhatItKept.kept, 2 * outer)
    assert not np.shares_memory(x.grad, outer)


def test_large_sums_that_are_kept_have_memory_of_their_own(rng):
    x, y = rng.normal(size=(2, 500, 600))
    kept = [ops.add(Tensor(x), Tensor(y)).data, ops.mul(Tensor(x), Tensor(y)).data, ops.sub(Tensor(x), Tensor(y)).data]
    for got, want in zip(kept, (x + y, x * y, x - y), strict=True):
        np.testing.assert_array_equal(got, want)
    mixed = ops.add(Tensor(x.astype(np.float32)), Tensor(y)).data
    assert mixed.dtype == np.float64
    np.testing.assert_array_equal(ops.add(Tensor(x), Tensor(y[:1])).data, x + y[:1])


def test_readings_of_one_geometry_are_made_once(rng):
    x, weight = Tensor(rng.normal(size=(1, 2, 9, 9))), Tensor(rng.normal(size=(2, 1, 3, 3)))
    before = reference.forward_reading.cache_info().misses
    for _ in range(3):
        Conv.apply(x, weight, stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=2)
    assert reference.forward_reading.cache_info().misses - before <= 1
