"""Convolution against its definition, its adjoints against it, and transposed convolution against zero insertion."""

import importlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from pysnnmed import kernels
from pysnnmed.conv import conv, conv_transpose
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.tensor import Tensor
from pysnnmed.testing.strategies import convolution_geometries

backends = pytest.mark.parametrize("backend", kernels.available())


def by_definition(x, weight, bias, stride, padding, dilation, groups):
    """Every output, channel and tap written out."""
    size, kernel = x.shape[2:], weight.shape[2:]
    axes = list(zip(size, kernel, stride, padding, dilation, strict=True))
    out = np.zeros((len(x), len(weight), *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)), x.dtype)
    n_in, n_out = weight.shape[1], len(weight) // groups
    for o, tap in itertools.product(range(len(weight)), np.ndindex(*kernel)):
        channels = slice(o // n_out * n_in, (o // n_out + 1) * n_in)
        for i in np.ndindex(*out.shape[2:]):
            j = tuple(a * s + k * d - p for a, k, (_, _, s, p, d) in zip(i, tap, axes, strict=True))
            if all(0 <= a < n for a, n in zip(j, size, strict=True)):
                out[(slice(None), o, *i)] += x[(slice(None), channels, *j)] @ weight[(o, slice(None), *tap)]
    return out if bias is None else out + bias.reshape(-1, *[1] * len(size))


def whole_numbers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float64)


@given(convolution_geometries(), st.integers(0, 2**32 - 1))
def test_reference_is_the_definition(geometry, seed):
    x_shape, weight_shape, _, *options = geometry
    rng = np.random.default_rng(seed)
    x, weight, bias = (whole_numbers(rng, *shape) for shape in (x_shape, weight_shape, weight_shape[:1]))
    got = kernels.run("conv_forward", x, weight, bias, *options)
    np.testing.assert_array_equal(got, by_definition(x, weight, bias, *options))


@backends
@given(geometry=convolution_geometries(), seed=st.integers(0, 2**32 - 1))
def test_backward_kernels_are_adjoint_to_forward(backend, geometry, seed):
    x_shape, weight_shape, out_shape, *options = geometry
    rng = np.random.default_rng(seed)
    x, weight, g = (whole_numbers(rng, *shape) for shape in (x_shape, weight_shape, out_shape))
    with kernels.use_backend(backend):
        product = (kernels.run("conv_forward", x, weight, None, *options) * g).sum()
        assert product == (kernels.run("conv_backward_input", g, weight, x_shape, *options) * x).sum()
        assert product == (kernels.run("conv_backward_weight", g, x, weight_shape[2:], *options) * weight).sum()


@backends
@pytest.mark.parametrize("shape", [(33,), (9, 20), (7, 8, 19)])
def test_one_channel_is_the_correlation_of_scipy(backend, shape, rng):
    x, weight = rng.normal(size=shape), rng.normal(size=(3,) * len(shape))
    with kernels.use_backend(backend):
        got = conv(Tensor(x[None, None]), Tensor(weight[None, None]), padding=1).data[0, 0]
    np.testing.assert_allclose(got, ndimage.correlate(x, weight, mode="constant"), rtol=1e-12, atol=1e-12)


@backends
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_volume_of_many_strips_is_right(backend, dtype, rng):
    """Larger than one strip, one panel and one block of outputs, in every direction."""
    x, weight = whole_numbers(rng, 1, 13, 5, 61, 47).astype(dtype), whole_numbers(rng, 17, 13, 3, 3, 3).astype(dtype)
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3), axis=(1, 2, 3))
    with kernels.use_backend(backend):
        out = conv(Tensor(x), Tensor(weight), padding=1).data[0]
        dw = kernels.run("conv_backward_weight", out[None] % 5, x, (3, 3, 3), (1,) * 3, (1,) * 3, (1,) * 3, 1)
    np.testing.assert_array_equal(out, np.einsum("czyxijk,ocijk->ozyx", windows, weight, optimize=True))
    np.testing.assert_array_equal(dw, np.einsum("czyxijk,ozyx->ocijk", windows, out % 5, optimize=True))


PIECES = {"numpy": {"BLOCK": 1, "SHORTEST": 17}, "numba": {"STRIP": 60, "PANEL": 900, "PARTS": 3}}


@backends
@given(geometry=convolution_geometries(), seed=st.integers(0, 2**32 - 1))
def test_cutting_the_work_into_small_pieces_changes_nothing(backend, geometry, seed):
    x_shape, weight_shape, out_shape, *options = geometry
    rng = np.random.default_rng(seed)
    x, weight, g = (whole_numbers(rng, *shape) for shape in (x_shape, weight_shape, out_shape))
    module = importlib.import_module(f"pysnnmed.backends.{backend}_kernels.conv")
    calls = [
        (module.conv_forward, (x, weight, None, *options)),
        (module.conv_backward_input, (g, weight, x_shape, *options)),
        (module.conv_backward_weight, (g, x, weight_shape[2:], *options)),
    ]
    whole = [kernel(*args) for kernel, args in calls]
    with pytest.MonkeyPatch.context() as patch:
        for name, size in PIECES[backend].items():
            patch.setattr(module, name, size)
        for (kernel, args), want in zip(calls, whole, strict=True):
            np.testing.assert_array_equal(kernel(*args), want)


@backends
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_inserts_zeros_and_convolves(backend, groups, rng):
    x, weight = whole_numbers(rng, 2, 4, 5, 6), whole_numbers(rng, 4, 3, 3, 2)
    stride, padding, output_padding = (2, 3), (1, 0), (1, 2)
    between = np.zeros((2, 4, 9, 16))
    between[..., ::2, ::3] = x
    reach = [(k - 1 - p, k - 1 - p + e) for k, p, e in zip((3, 2), padding, output_padding, strict=True)]
    between = np.pad(between, [(0, 0), (0, 0), *reach])
    flipped = (
        weight[..., ::-1, ::-1].reshape(groups, 4 // groups, 3, 3, 2).swapaxes(1, 2).reshape(-1, 4 // groups, 3, 2)
    )
    want = by_definition(between, flipped, None, (1, 1), (0, 0), (1, 1), groups)
    with kernels.use_backend(backend):
        got = conv_transpose(
            Tensor(x), Tensor(weight), stride=stride, padding=padding, output_padding=output_padding, groups=groups
        )
    np.testing.assert_array_equal(got.data, want)


@backends
def test_gradients_reach_input_weight_and_bias(backend, rng):
    x, weight, bias = (Tensor(whole_numbers(rng, *s), requires_grad=True) for s in ((2, 3, 8), (4, 3, 3), (4,)))
    with kernels.use_backend(backend):
        out = conv(x, weight, bias, stride=2)
        out.backward(np.ones(out.shape))
    np.testing.assert_array_equal(bias.grad, [6.0] * 4)
    np.testing.assert_array_equal(x.grad[0, 0], x.grad[1, 0])
    assert weight.grad.shape == weight.shape


@pytest.mark.parametrize("function", [conv, conv_transpose])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_one_number_stands_for_every_axis(function, ndim, rng):
    x, weight = Tensor(rng.normal(size=(1, 2, *[7] * ndim))), Tensor(rng.normal(size=(2, 2, *[3] * ndim)))
    one = function(x, weight, stride=2, padding=1, dilation=1)
    each = function(x, weight, stride=[2] * ndim, padding=(1,) * ndim, dilation=np.ones(ndim, int))
    np.testing.assert_array_equal(one.data, each.data)


def zeros(*shape, dtype=np.float64):
    return Tensor(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: conv(zeros(2, 3, 8, 8, 8), zeros(2, 4, 3, 3, 3)),
            ShapeError,
            r"x of shape \[B, C=4, 3 spatial axes\]",
        ),
        (lambda: conv(zeros(2, 4, 8, 8), zeros(2, 4, 3, 3, 3)), ShapeError, r"got \(2, 4, 8, 8\)"),
        (lambda: conv(zeros(2, 4, 0), zeros(2, 4, 3)), ShapeError, r"C=4, 1 spatial axis\]"),
        (lambda: conv(zeros(2, 4), zeros(2, 4)), ShapeError, "1 to 3 spatial axes"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 0)), ShapeError, "without empty axes"),
        (lambda: conv(zeros(1, 4, 8), zeros(3, 2, 3), groups=2), ShapeError, "multiple of groups=2, not 3"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 3), zeros(3)), ShapeError, r"bias of shape \(2,\), got \(3,\)"),
        (lambda: conv(zeros(1, 4, 4), zeros(2, 4, 3), dilation=2), ShapeError, r"spans \(5,\) .* input \(4,\)"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 3), stride=0), ParameterError, "stride .* at least 1, not 0"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 3), padding=-1), ParameterError, "padding .* at least 0"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 3), dilation=1.5), ParameterError, "dilation must be .* whole"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 3), stride=(1, 2)), ParameterError, "one number or 1"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 3), groups=0), ParameterError, "groups must be at least 1"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 3, dtype=np.float32)), ParameterError, "float64 and float32"),
        (lambda: conv(zeros(1, 4, 8), zeros(2, 4, 3), zeros(2, dtype=np.float32)), ParameterError, "bias and weight"),
        (lambda: conv_transpose(zeros(1, 3, 8), zeros(4, 2, 3)), ShapeError, "C=4"),
        (lambda: conv_transpose(zeros(1, 3, 8), zeros(3, 2, 3), groups=2), ShapeError, "channels .* groups=2, not 3"),
        (lambda: conv_transpose(zeros(1, 3, 1), zeros(3, 2, 1), padding=1), ShapeError, "pad less"),
        (
            lambda: conv_transpose(zeros(1, 3, 8), zeros(3, 2, 3), stride=2, output_padding=2),
            ParameterError,
            r"less than stride=\(2,\), not \(2,\)",
        ),
    ],
)
def test_errors_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
