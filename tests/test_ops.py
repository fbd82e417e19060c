"""Operations: the values of NumPy, the limits of functions, adjoints of moves. Gradients proper: test_gradients."""

import importlib
import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysnnmed import ops
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.tensor import Function, Tensor

FLOATS = [np.float32, np.float64]
small = st.integers(-8, 8).map(float)  # sums and products of these are exact in any order
nonzero = small.filter(bool)


def arrays_of(elements=small, dtypes=FLOATS, min_dims=0, min_side=1):
    shapes = hnp.array_shapes(min_dims=min_dims, max_dims=4, min_side=min_side, max_side=4)
    return st.sampled_from(dtypes).flatmap(lambda dtype: hnp.arrays(dtype, shapes, elements=elements))


@st.composite
def broadcasting(draw, n=2, elements=small):
    """n arrays of one type whose shapes broadcast together."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=4, max_side=4)).input_shapes
    dtype = draw(st.sampled_from(FLOATS))
    return [draw(hnp.arrays(dtype, shape, elements=elements)) for shape in shapes]


def gradient(operation, x, weight=None):
    """The gradient of <weight, operation(x)> with respect to x; weights of 1 if omitted."""
    tensor = Tensor(x, requires_grad=True)
    out = operation(tensor)
    out.backward(np.ones(out.shape) if weight is None else weight)
    return tensor.grad


def same(tensor, array):
    assert isinstance(tensor, Tensor)
    assert tensor.dtype == array.dtype
    np.testing.assert_array_equal(tensor.data, array, strict=True)


# ------------------------------------------------------------------------------------------------ NumPy's values

BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


@pytest.mark.parametrize("name", BINARY)
@given(pair=broadcasting(elements=nonzero))
def test_binary_operations_are_numpy_s(name, pair):
    x, y = pair
    same(getattr(ops, name)(Tensor(x), Tensor(y)), np.asarray(BINARY[name](x, y)))


@given(pair=broadcasting(elements=nonzero))
def test_operators_are_numpy_s(pair):
    x, y = pair
    a, b = Tensor(x), Tensor(y)
    for ours, numpy_s in [
        (a + b, x + y),
        (a - b, x - y),
        (a * b, x * y),
        (a / b, x / y),
        (a + y, x + y),
        (x - b, x - y),
        (x / b, x / y),
        (-a, -x),
        (abs(a), abs(x)),
        (a**2, x**2),
        (a**-1, x**-1.0),
    ]:
        same(ours, np.asarray(numpy_s))
    for comparison, numpy_s in [
        (a < b, x < y),
        (a <= y, x <= y),
        (a > b, x > y),
        (a >= y, x >= y),
        (a == b, x == y),
        (a != y, x != y),
    ]:
        assert not isinstance(comparison, Tensor)
        np.testing.assert_array_equal(comparison, numpy_s, strict=True)


@given(triple=broadcasting(n=3))
def test_where_is_numpy_s_and_takes_any_kind_of_condition(triple):
    condition, x, y = triple
    for mask in (condition > 0, Tensor(condition > 0), Tensor(condition) > 0):
        same(ops.where(mask, Tensor(x), Tensor(y)), np.where(condition > 0, x, y))


@pytest.mark.parametrize("name", ["exp", "sqrt", "log", "tanh"])
@given(x=arrays_of(st.floats(0.125, 8, width=32)))
def test_elementary_functions_are_numpy_s(name, x):
    same(getattr(ops, name)(Tensor(x)), np.asarray(getattr(np, name)(x)))


@given(x=arrays_of(), low=st.none() | small, width=st.none() | st.integers(0, 5))
def test_clip_is_numpy_s(x, low, width):
    high = None if width is None else (low or 0) + width
    same(ops.clip(Tensor(x), low, high), np.asarray(np.clip(x, low, high)))


@given(x=arrays_of(), slope=st.sampled_from([0.25, 0.5]))
def test_rectifiers(x, slope):
    same(ops.relu(Tensor(x)), np.asarray(np.maximum(x, 0)))
    same(ops.leaky_relu(Tensor(x), slope), np.asarray(np.where(x > 0, x, slope * x)))


@st.composite
def reductions(draw):
    x = draw(arrays_of(min_dims=1))
    axis = draw(st.none() | st.integers(-x.ndim, x.ndim - 1) | hnp.valid_tuple_axes(x.ndim, min_size=1))
    return x, {"axis": axis, "keepdims": draw(st.booleans())}


@pytest.mark.parametrize("name", ["sum", "mean", "max", "var"])
@given(case=reductions())
def test_reductions_are_numpy_s(name, case):
    x, options = case
    ours, numpy_s = getattr(ops, name)(Tensor(x), **options), np.asarray(getattr(np, name)(x, **options))
    assert ours.dtype == x.dtype
    np.testing.assert_allclose(ours.data, numpy_s, rtol=1e-5, atol=1e-6, strict=True)


def test_var_with_another_number_of_degrees_of_freedom():
    x = np.array([1.0, 2.0, 4.0])
    assert ops.var(x, ddof=1).item() == pytest.approx(np.var(x, ddof=1))


@given(data=st.data(), dtype=st.sampled_from(FLOATS))
def test_matmul_is_numpy_s(data, dtype):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_side=4, max_dims=2))
    x, y = (data.draw(hnp.arrays(dtype, shape, elements=small)) for shape in shapes.input_shapes)
    same(Tensor(x) @ Tensor(y), np.asarray(x @ y))
    gx, gy = Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)
    out = gx @ gy
    w = data.draw(hnp.arrays(dtype, out.shape, elements=small))
    out.backward(w)  # matmul is linear in each factor, so <w, x y> = <gradient of x, x> = <gradient of y, y>
    assert (w * out.data).sum() == (gx.grad * x).sum() == (gy.grad * y).sum()


# ------------------------------------------------------------------------------------------------ stable functions


@pytest.mark.parametrize("dtype", FLOATS)
def test_stable_functions_bear_large_inputs_without_a_warning(dtype):
    x = np.array([-1e30, -1e4, -50, 0, 50, 1e4, 1e30], dtype)
    np.testing.assert_allclose(ops.sigmoid(x).data, [0, 0, math.exp(-50), 0.5, 1, 1, 1], rtol=1e-6, atol=0)
    np.testing.assert_allclose(ops.softplus(x).data, [0, 0, math.exp(-50), math.log(2), *x[4:]], rtol=1e-6, atol=0)
    np.testing.assert_array_equal(ops.softmax(x).data, [0, 0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(ops.log_softmax(x[-2:]).data, [-x[-1], 0])
    for function in (ops.sigmoid, ops.softplus, ops.tanh, ops.softmax, ops.log_softmax):
        assert function(Tensor(x)).dtype == dtype
        assert np.isfinite(gradient(function, x)).all()


@given(x=arrays_of(st.floats(-50, 50, width=32), dtypes=[np.float64], min_dims=1), shift=small, data=st.data())
def test_softmax_is_a_shift_invariant_distribution(x, shift, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    p = ops.softmax(Tensor(x), axis)
    assert (p.data >= 0).all()
    np.testing.assert_allclose(p.data.sum(axis), 1)
    np.testing.assert_allclose(ops.softmax(Tensor(x + shift), axis).data, p.data, rtol=1e-9)
    np.testing.assert_allclose(np.exp(ops.log_softmax(Tensor(x), axis).data), p.data, rtol=1e-9)
    np.testing.assert_allclose(gradient(lambda t: ops.softmax(t, axis), x), 0, atol=1e-12)  # the sum is constant


@given(x=arrays_of(st.floats(-30, 30), dtypes=[np.float64]))
def test_sigmoid_and_softplus_identities(x):
    np.testing.assert_allclose(ops.sigmoid(x).data + ops.sigmoid(-x).data, 1)
    np.testing.assert_allclose(ops.softplus(x).data - ops.softplus(-x).data, x, atol=1e-12)
    np.testing.assert_allclose(gradient(ops.softplus, x), ops.sigmoid(x).data)


# ------------------------------------------------------------------------------------------------ kinks and ties


@pytest.mark.parametrize(
    ("operation", "x", "expected"),
    [
        (ops.relu, [-1, 0, 1], [0, 0, 1]),
        (ops.abs, [-1, 0, 1], [-1, 0, 1]),
        (lambda x: ops.leaky_relu(x, 0.25), [-1, 0, 1], [0.25, 0.25, 1]),
        (lambda x: ops.clip(x, -1, 1), [-2, -1, 0, 1, 2], [0, 1, 1, 1, 0]),
        (lambda x: ops.clip(x, high=1), [-2, 1, 2], [1, 1, 0]),
        (lambda x: ops.maximum(x, 0), [-1, 0, 1], [0, 0.5, 1]),
        (lambda x: ops.minimum(0, x), [-1, 0, 1], [1, 0.5, 0]),
        (lambda x: ops.maximum(x, x), [-1, 0, 1], [1, 1, 1]),
        (lambda x: x**0, [-1, 0, 1], [0, 0, 0]),
        (lambda x: x**1, [-1, 0, 1], [1, 1, 1]),
        (lambda x: x**2, [-1, 0, 1], [-2, 0, 2]),
    ],
)
def test_derivatives_at_kinks_are_the_documented_ones(operation, x, expected):
    np.testing.assert_array_equal(gradient(operation, np.array(x, float)), expected)


def test_ties_of_a_maximum_share_the_gradient():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(gradient(lambda t: t.max(axis=1), x), [[0, 0.5, 0.5], [1 / 3] * 3])
    np.testing.assert_array_equal(gradient(lambda t: t.max(), x), [[0, 0.5, 0.5], [0, 0, 0]])


@given(case=reductions())
def test_the_gradient_of_a_maximum_distributes_one_per_result(case):
    x, options = case
    g = gradient(lambda t: t.max(**options), x)
    assert (g[x < np.max(x, axis=options["axis"], keepdims=True)] == 0).all()
    np.testing.assert_allclose(g.sum(axis=options["axis"]), 1, rtol=1e-6)


def test_where_keeps_the_gradient_of_the_other_branch_out():
    x = np.array([0.0, 4.0])
    with np.errstate(divide="ignore"):
        g = gradient(lambda t: ops.where(x > 0, 1 / ops.where(x > 0, t, 1), 0), x)
    np.testing.assert_array_equal(g, [0, -1 / 16])


# ------------------------------------------------------------------------------------------------ moves


@given(data=st.data(), x=arrays_of(min_dims=1))
def test_basic_indexing_is_numpy_s_and_its_gradient_the_adjoint(data, x):
    check_indexing(data, x, data.draw(hnp.basic_indices(x.shape, allow_newaxis=True)))


@given(data=st.data(), x=arrays_of(min_dims=1))
def test_indexing_by_integer_arrays_sums_repeated_elements(data, x):
    shape = hnp.broadcastable_shapes((2, 3), max_dims=2)
    index = data.draw(hnp.integer_array_indices(x.shape, result_shape=shape))
    check_indexing(data, x, index)
    check_indexing(data, x, index[0].tolist())


@given(data=st.data(), x=arrays_of(min_dims=1))
def test_indexing_by_a_mask_puts_the_gradient_back(data, x):
    check_indexing(data, x, data.draw(hnp.arrays(bool, x.shape)))
    check_indexing(data, x, (..., data.draw(hnp.arrays(bool, x.shape[-1]))))


def check_indexing(data, x, index):
    """<w, x[index]> = <gradient of x, x>, exactly on small integers."""
    tensor = Tensor(x, requires_grad=True)
    out = tensor[index]
    same(out, np.asarray(x[index]))
    w = data.draw(hnp.arrays(x.dtype, out.shape, elements=small))
    out.backward(w)
    assert tensor.grad.dtype == x.dtype
    assert (w * out.data).sum() == (tensor.grad * x).sum()


@pytest.mark.parametrize("index", [1, np.int64(1), slice(0, 1), (..., None), (0, slice(None)), np.array([True, False])])
def test_indexing_that_cannot_repeat_does_without_add_at(index, monkeypatch):
    class _Add:
        @staticmethod
        def at(*args):
            raise RuntimeError("np.add.at was used")

    monkeypatch.setattr(np, "add", _Add)
    gradient(lambda t: t[index], np.ones((2, 3)))


def test_indices_out_of_range_stay_index_errors():
    with pytest.raises(IndexError):
        Tensor(np.zeros(3))[3]


@given(x=arrays_of(), data=st.data())
def test_reshape_and_transpose_are_numpy_s(x, data):
    t = Tensor(x)
    same(t.reshape(-1), x.reshape(-1))
    same(t.reshape((1, x.size)), x.reshape(1, x.size))
    same(t.reshape(x.size, 1), x.reshape(x.size, 1))
    same(t.transpose(), x.T)
    axes = data.draw(st.permutations(range(x.ndim)))
    axes = [a - data.draw(st.sampled_from([0, x.ndim])) for a in axes]
    same(t.transpose(axes), x.transpose(axes))
    if axes:
        same(t.transpose(*axes), x.transpose(axes))
        source, destination = (data.draw(st.integers(-x.ndim, x.ndim - 1)) for _ in range(2))
        same(ops.moveaxis(t, source, destination), np.moveaxis(x, source, destination))
        same(ops.swapaxes(t, source, destination), np.swapaxes(x, source, destination))
    w = np.arange(x.size, dtype=x.dtype).reshape(x.transpose(axes).shape)
    np.testing.assert_array_equal(gradient(lambda t: t.transpose(axes), x, w).transpose(axes), w)


@given(data=st.data())
def test_broadcast_to_is_numpy_s_and_sums_back(data):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=1, base_shape=(2, 1, 3), max_dims=4))
    (shape,), result = shapes
    x = data.draw(hnp.arrays(np.float64, shape, elements=small))
    same(ops.broadcast_to(x, result), np.broadcast_to(x, result))
    np.testing.assert_array_equal(gradient(lambda t: ops.broadcast_to(t, result), x), math.prod(result) / x.size)


@given(x=arrays_of(min_dims=1), data=st.data())
def test_gradients_of_concatenate_and_stack_split_back(x, data):
    n = data.draw(st.integers(1, 4))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    cut = data.draw(st.integers(0, x.shape[axis]))
    for join, numpy_s, parts in [
        (ops.concatenate, np.concatenate, np.split(x, [cut], axis)),
        (ops.concatenate, np.concatenate, [x] * n),
        (ops.stack, np.stack, [x + i for i in range(n)]),
    ]:
        tensors = [Tensor(part, requires_grad=True) for part in parts]
        out = join(tensors, axis)
        same(out, numpy_s(parts, axis))
        out.backward(out.data)
        for tensor in tensors:
            np.testing.assert_array_equal(tensor.grad, tensor.data, strict=True)


@given(x=arrays_of(min_dims=1), data=st.data())
def test_pad_surrounds_with_zeros_and_cuts_the_gradient_out(x, data):
    widths = data.draw(st.lists(st.tuples(*[st.integers(0, 2)] * 2), min_size=x.ndim, max_size=x.ndim))
    for w in (widths, 1, (1, 2), np.array(widths)):
        out = ops.pad(Tensor(x), w)
        same(out, np.pad(x, w))
        np.testing.assert_array_equal(gradient(lambda t, w=w: ops.pad(t, w), x, out.data), x)


# ------------------------------------------------------------------------------------------------ types and mistakes

SAMPLES = {
    name: samples
    for kind in ("elementwise", "reduction", "movement", "linalg")
    for name, samples in importlib.import_module(f"gradient_samples.{kind}").SAMPLES.items()
}


@pytest.mark.parametrize("name", SAMPLES)
def test_float32_stays_float32_forward_and_backward(name):
    for arrays, options in SAMPLES[name]:
        tensors = [Tensor(a.astype(np.float32), requires_grad=True) for a in arrays]
        out = Function.registry[name].apply(*tensors, **options)
        assert out.dtype == np.float32
        grads = out.call.backward(np.ones_like(out.data))  # before the engine casts them
        for g in grads if isinstance(grads, tuple) else (grads,):
            assert g.dtype == np.float32


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x ** np.float64(2),
        lambda x: ops.clip(x, np.float64(0), np.float64(1)),
        lambda x: ops.leaky_relu(x, np.float64(0.1)),
        lambda x: ops.where(x > 0, x, np.zeros(3)),
        lambda x: ops.var(x, axis=0),
        lambda x: ops.concatenate([x, np.zeros(1)]),
        lambda x: ops.stack([np.ones(3), x]),
        lambda x: ops.minimum(x, 0.5),
    ],
)
def test_float64_constants_do_not_widen_float32(operation):
    x = Tensor(np.array([0.5, 1.5, 2.5], np.float32), requires_grad=True)
    assert operation(x).dtype == np.float32


@pytest.mark.parametrize("name", ops.__all__)
def test_every_operation_is_documented_and_annotated(name):
    function = getattr(ops, name)
    assert inspect.getdoc(function)
    signature = inspect.signature(function)
    assert signature.return_annotation == "Tensor"
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


def test_plain_arrays_and_numbers_are_operands_too():
    same(ops.add(np.ones(2), 1), np.full(2, 2.0))
    same(ops.concatenate([[1.0], np.zeros(1)]), np.array([1.0, 0.0]))
    assert ops.mean([1.0, 2.0]).item() == 1.5


def test_the_exponent_must_be_a_constant_number():
    for exponent in (Tensor(2.0), np.ones(2), "2"):
        with pytest.raises(ParameterError, match="constant number"):
            Tensor(np.ones(2)) ** exponent


def test_clip_limits_must_be_in_order():
    with pytest.raises(ParameterError, match=r"low must not exceed high, but 1 > 0"):
        ops.clip(np.ones(2), 1, 0)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda x: x.sum(axis=2), "Sum: cannot take inputs of shape .*axis 2 is out of bounds"),
        (lambda x: x.reshape(4), "Reshape: .*cannot reshape array of size 6"),
        (lambda x: x @ np.ones((2, 2)), "Matmul: "),
        (lambda x: ops.concatenate([x, np.ones((1, 1))]), "Concatenate: "),
        (lambda x: ops.stack([x, np.ones(3)]), "Stack: "),
        (lambda x: ops.stack([]), "Stack: "),
        (lambda x: ops.pad(x, -1), "Pad: "),
        (lambda x: ops.pad(x, [(1, 1)] * 3), "Pad: "),
        (lambda x: ops.moveaxis(x, 0, 2), "from -2 to 1, not 2"),
        (lambda x: ops.swapaxes(x, -3, 0), "from -2 to 1, not -3"),
        (lambda x: ops.transpose(x, (0, 0)), "Transpose: "),
    ],
)
def test_shapes_and_axes_that_do_not_fit_are_shape_errors(mistake, message):
    with pytest.raises(ShapeError, match=message):
        mistake(Tensor(np.ones((2, 3))))


def test_nothing_writes_to_its_inputs():
    for name, samples in SAMPLES.items():
        for arrays, options in samples:
            tensors = [Tensor(np.copy(a), requires_grad=True) for a in arrays]
            for t in tensors:
                t.data.setflags(write=False)
            out = Function.registry[name].apply(*tensors, **options)
            weight = np.ones_like(out.data)
            weight.setflags(write=False)
            out.backward(weight)
