"""The checker itself: it finds what it is there to find."""

import numpy as np
import pytest

from pysnnmed import ops
from pysnnmed.errors import ParameterError
from pysnnmed.tensor import Function
from pysnnmed.testing import GradientMismatch, check_gradient

X, Y = np.array([0.5, -1.0, 2.0]), np.array([1.5, 0.25, -3.0])


class _Twice(Function):
    def forward(ctx, x, claimed=2.0):
        ctx.claimed = claimed
        return 2 * x

    def backward(ctx, grad):
        return ctx.claimed * grad


class _Product(Function):
    """x y, whose gradient of input `spoilt` is `wrong(gradient)`."""

    def forward(ctx, x, y, spoilt, wrong):
        ctx.save(x, y)
        ctx.spoilt, ctx.wrong = spoilt, wrong
        return x * y

    def backward(ctx, grad):
        x, y = ctx.saved
        grads = [grad * y, grad * x]
        grads[ctx.spoilt] = ctx.wrong(grads[ctx.spoilt])
        return tuple(grads)


def test_a_right_gradient_passes():
    check_gradient(_Twice, [X])
    check_gradient(lambda x, y: ops.tanh(x * y).sum(), [X, Y])
    check_gradient(ops.softmax, [X], {"axis": 0})


def test_a_scalar_input_passes():
    check_gradient(ops.exp, [np.array(0.5)])


def test_a_factor_that_is_slightly_off_is_found():
    with pytest.raises(GradientMismatch, match="_Twice: the gradient of input 0"):
        check_gradient(_Twice, [X], {"claimed": 2.001})


@pytest.mark.parametrize("spoilt", [0, 1])
@pytest.mark.parametrize("wrong", [lambda g: -g, lambda g: g[::-1], lambda g: g + 1e-3, lambda g: g * np.nan])
def test_a_fault_in_one_input_is_found_and_named(spoilt, wrong):
    with pytest.raises(GradientMismatch, match=f"_Product: the gradient of input {spoilt}"):
        check_gradient(_Product, [X, Y], {"spoilt": spoilt, "wrong": wrong})


@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_missing_gradient_is_found(spoilt):
    with pytest.raises(GradientMismatch, match=f"input {spoilt} gives 0 along"):
        check_gradient(_Product, [X, Y], {"spoilt": spoilt, "wrong": lambda g: None})


def test_a_fault_in_one_element_is_found():
    with pytest.raises(GradientMismatch):
        check_gradient(_Product, [X, Y], {"spoilt": 0, "wrong": lambda g: g * np.array([1, 1, 1.001])})


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_anything_but_float64_is_refused(dtype):
    with pytest.raises(ParameterError, match="input 1 must be float64"):
        check_gradient(ops.mul, [X, Y.astype(dtype)])


def test_the_inputs_are_left_alone():
    x = X.copy()
    check_gradient(ops.exp, [x])
    np.testing.assert_array_equal(x, X)
