"""The engine: gradients add up, graphs are walked once and freed, mistakes are named."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pysnnmed
from pysnnmed import ops
from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.tensor import Function, Tensor, no_grad, unbroadcast


class _Probe(Function):  # the underscore keeps it out of the registry
    """Identity whose backward returns what it is told to, and remembers having been asked."""

    def forward(ctx, *arrays, grads):
        ctx.grads = grads
        return arrays[0]

    def backward(ctx, grad):
        return ctx.grads(grad)


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype=dtype), requires_grad=True)


# ---------------------------------------------------------------------------------------------- gradients add up


def test_gradients_of_several_uses_add():
    x = leaf(2.0, 3.0)
    (x * x + x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data + 1)


def test_gradients_of_several_graphs_add():
    x = leaf(2.0, 3.0)
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, [5, 5])


def test_a_scalar_leaf_gets_an_array_as_gradient_however_often_it_is_used():
    x = Tensor(2.0, requires_grad=True)
    for expected in (4.0, 8.0):
        (x * x).backward()
        assert isinstance(x.grad, np.ndarray)
        assert x.grad == expected


def test_a_given_gradient_weighs_the_result():
    x = leaf(1.0, 2.0)
    (x * x).backward(np.array([10.0, 100.0]))
    np.testing.assert_array_equal(x.grad, [20, 400])


def test_a_diamond_is_walked_after_all_its_users():
    x = leaf(0.5)
    y = x.exp()
    z = y * y + (y + 1) * y
    z.sum().backward()
    np.testing.assert_allclose(x.grad, 4 * np.exp(0.5) ** 2 + np.exp(0.5))


def test_gradients_of_two_leaves_never_share_memory():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = np.ones(2)
    (x + y).backward(seed)
    assert not np.shares_memory(x.grad, y.grad)
    assert not np.shares_memory(x.grad, seed)
    z = leaf(1.0, 2.0)
    z.backward(seed)
    assert not np.shares_memory(z.grad, seed)
    z.sum().backward()
    z.grad += 1  # writable, although Sum hands out a read-only view


# ---------------------------------------------------------------------------------------------- what is recorded


def test_no_grad_records_nothing_and_nests():
    x = leaf(1.0)
    with no_grad():
        with no_grad():
            pass
        y = x * 2
    assert not y.requires_grad
    assert y.call is None
    assert (x * 2).requires_grad


def test_no_grad_ends_with_an_error_inside():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (leaf(1.0) * 2).requires_grad


def test_constants_make_no_graph():
    y = Tensor(np.ones(3)) * Tensor(np.ones(3)) + 1
    assert not y.requires_grad
    assert y.call is None


def test_detach_cuts_the_graph_and_shares_the_data():
    x = leaf(3.0)
    y = (x * 2).detach()
    assert not y.requires_grad
    (x * y).sum().backward()
    assert x.grad == 6
    assert np.shares_memory(x.detach().data, x.data)


def test_needs_tell_which_inputs_want_a_gradient():
    seen = []

    class _Needs(Function):
        def forward(ctx, x, y):
            seen.append(ctx.needs)
            return x + y

    x, constant = leaf(1.0), Tensor(np.ones(1))
    _Needs.apply(x, constant)
    _Needs.apply(constant, x)
    with no_grad():
        _Needs.apply(x, x)
    assert seen == [(True, False), (False, True), (False, False)]


@pytest.mark.parametrize("operation", [ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.matmul])
def test_operations_skip_the_gradient_of_a_constant(operation):
    y = operation(Tensor(np.ones((2, 2)), requires_grad=True), np.ones((2, 2)))
    wanted, unwanted = y.call.backward(np.ones((2, 2)))
    assert wanted is not None
    assert unwanted is None


# ---------------------------------------------------------------------------------------------- depth and memory


def test_a_graph_of_twenty_thousand_calls_is_walked():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1
    y.backward()
    assert x.grad == 1


def test_a_deep_graph_is_discarded_without_being_walked():
    y = leaf(1.0)
    for _ in range(20_000):
        y = y + 1
    alive = weakref.ref(y.call.parents[0])
    del y
    assert alive() is None


def test_backward_frees_saved_arrays_as_it_proceeds():
    x = leaf(1.0, 2.0)
    early = x.exp()
    saved = weakref.ref(early.call.saved[0])
    watched = []

    def watch(grad):
        watched.append(late())
        return grad

    middle = _Probe.apply(early, grads=watch)
    last = middle.exp()
    late = weakref.ref(last)
    total = last.sum()
    del early, middle, last
    assert late() is not None
    total.backward()
    assert watched == [None]  # `last` was gone when the walk reached the probe before it
    assert saved() is None
    assert total.call.saved == ()


def test_no_cycle_keeps_a_discarded_graph_alive():
    gc.collect()
    gc.disable()
    try:
        for walk in (False, True):
            x = leaf(1.0, 2.0)
            y = ops.softmax(ops.relu(x * x)[0:1].reshape(1, 1)).sum()
            refs = [weakref.ref(y), weakref.ref(y.call.parents[0]), weakref.ref(x)]
            if walk:
                y.backward()
            del x, y
            assert [r() for r in refs] == [None] * 3
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------- mistakes


def test_backward_of_several_elements_needs_a_gradient():
    with pytest.raises(ShapeError, match=r"shape \(2,\) is not a scalar"):
        (leaf(1.0, 2.0) * 2).backward()


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"must have the tensor's shape \(2,\), not \(3,\)"):
        (leaf(1.0, 2.0) * 2).backward(np.ones(3))


def test_backward_without_anything_to_derive_is_refused():
    with pytest.raises(ParameterError, match="depends on nothing"):
        Tensor(1.0).backward()
    with no_grad():
        y = leaf(1.0) * 2
    with pytest.raises(ParameterError, match="depends on nothing"):
        y.backward()


@pytest.mark.parametrize("data", [np.arange(3), np.ones(2, bool), np.ones(2, np.uint8)])
def test_only_floats_can_require_a_gradient(data):
    with pytest.raises(ParameterError, match="floating-point"):
        Tensor(data, requires_grad=True)
    assert Tensor(data).dtype == data.dtype


def test_a_graph_is_walked_only_once():
    x = leaf(3.0)
    y = x * 2
    y.backward()
    with pytest.raises(ParameterError, match="walked and freed"):
        y.backward()
    assert x.grad == 2


def test_a_freed_part_of_a_new_graph_is_refused_before_any_gradient_changes():
    x, w = leaf(3.0), leaf(1.0)
    shared = x * 2
    shared.backward()
    with pytest.raises(ParameterError, match="walked and freed"):
        (shared * w).backward()
    assert w.grad is None
    assert x.grad == 2


@pytest.mark.parametrize("wrong", [np.ones(3), np.ones((1, 2)), 1.0])
def test_a_function_with_a_gradient_of_the_wrong_shape_is_named(wrong):
    y = _Probe.apply(leaf(1.0, 2.0), grads=lambda grad: wrong)
    with pytest.raises(ShapeError, match=r"_Probe\.backward: gradient 0 has shape"):
        y.sum().backward()


@pytest.mark.parametrize("n", [1, 3])
def test_a_function_with_the_wrong_number_of_gradients_is_named(n):
    y = _Probe.apply(leaf(1.0), leaf(2.0), grads=lambda grad: (grad,) * n)
    with pytest.raises(ShapeError, match=rf"_Probe\.backward: must return .* 2 here, not {n}"):
        y.backward()


def test_none_stands_for_a_gradient_of_zero():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    _Probe.apply(x * 1, y, grads=lambda grad: (None, grad)).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0])
    np.testing.assert_array_equal(y.grad, [1, 1])


def test_shapes_that_do_not_fit_are_named_with_the_operation():
    with pytest.raises(ShapeError, match=r"Add: cannot take inputs of shape \(2,\), \(3,\)"):
        leaf(1.0, 2.0) + np.ones(3)


def test_numpy_functions_do_not_swallow_a_tensor():
    for misuse in (np.asarray, np.median, Tensor, lambda x: np.stack([x, x]), lambda x: np.ones(3)[x]):
        with pytest.raises(ParameterError, match=r"use pysnnmed.ops, or take its .data"):
            misuse(leaf(1.0, 2.0))


# ---------------------------------------------------------------------------------------------- types and arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("other", [2, 2.0, np.float64(2), np.full(2, 2.0), np.full(2, 2), [2.0, 2.0]])
def test_numbers_and_arrays_take_the_type_of_the_tensor(dtype, other):
    x = leaf(1.0, 2.0, dtype=dtype)
    for y in (x + other, other + x, x - other, other - x, x * other, other * x, x / other, other / x):
        assert isinstance(y, Tensor)
        assert y.dtype == dtype
        y.sum().backward()
    assert x.grad.dtype == dtype


def test_each_of_two_types_keeps_its_own_in_the_gradient():
    x, y = leaf(1.0, dtype=np.float32), leaf(2.0)
    z = x * y
    assert z.dtype == np.float64
    z.backward()
    assert x.grad.dtype == np.float32
    assert y.grad.dtype == np.float64


def test_a_number_is_not_truncated_by_an_integer_tensor():
    np.testing.assert_array_equal((Tensor(np.array([1, 2])) * 0.5).data, [0.5, 1.0])
    assert (Tensor(np.array([1, 2])) * Tensor(np.ones(2, np.float32)) * 1.5).dtype == np.float64


def test_an_array_on_the_left_meets_the_tensor_s_operator():
    x = leaf(1.0, 2.0)
    for y in (np.ones(2) + x, np.ones((3, 2)) @ x, np.float32(2) * x, np.ones(2) - x):
        assert isinstance(y, Tensor)
    np.testing.assert_array_equal(np.array([1.0, 3.0]) >= x, [True, True])


def test_the_operators_come_with_the_package():
    assert (pysnnmed.Tensor([1.0]) + 1).item() == 2.0


def test_tensors_look_like_arrays():
    x = Tensor(np.zeros((2, 3), np.float32))
    assert (x.shape, x.ndim, x.size, len(x), x.dtype) == ((2, 3), 2, 6, 2, np.float32)
    assert repr(x) == "Tensor(shape=(2, 3), dtype=float32)"
    assert [row.shape for row in x] == [(3,), (3,)]
    y = leaf(1.0) * 2
    assert repr(y) == "Tensor(shape=(1,), dtype=float64, made by Mul)"
    y.backward()
    assert repr(y) == "Tensor(shape=(1,), dtype=float64)"
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)
    assert {y: "found"}[y] == "found"  # hashed by identity


@given(data=st.data())
def test_unbroadcast_is_the_adjoint_of_broadcasting(data):
    """<g, broadcast(x)> = <unbroadcast(g), x>, exactly on small integers."""
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_side=4))
    small = st.integers(-8, 8).map(float)
    x = data.draw(hnp.arrays(np.float64, shapes.input_shapes[0], elements=small))
    g = data.draw(hnp.arrays(np.float64, shapes.result_shape, elements=small))
    back = unbroadcast(g, x.shape)
    assert back.shape == x.shape
    assert (g * np.broadcast_to(x, g.shape)).sum() == (back * x).sum()
