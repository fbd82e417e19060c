"""Operations that act on each element: arithmetic with broadcasting, elementary functions, choices."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .. import kernels
from ..errors import ParameterError
from ..tensor import Function, Operand, Tensor, unbroadcast

LARGE = 1 << 20  # bytes from which the memory of a result is worth a thought


def _applied(ufunc: np.ufunc, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """ufunc(x, y), a large result in memory that was used before: see backends.buffers."""
    if max(x.nbytes, y.nbytes) < LARGE:
        return ufunc(x, y)
    return ufunc(x, y, out=kernels.empty(np.broadcast_shapes(x.shape, y.shape), np.result_type(x, y)))


class _Binary(Function):
    """z = f(x, y) with NumPy's broadcasting. Subclasses state grad * dz/dx and grad * dz/dy, both of the shape of z."""

    def wrt_x(ctx, grad: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def wrt_y(ctx, grad: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(ctx, grad):
        return tuple(
            unbroadcast(partial(grad), parent.shape) if needed else None
            for partial, parent, needed in zip((ctx.wrt_x, ctx.wrt_y), ctx.parents, ctx.needs, strict=True)
        )


class Add(_Binary):
    def forward(ctx, x, y):
        return _applied(np.add, x, y)

    def wrt_x(ctx, grad):
        return grad

    def wrt_y(ctx, grad):
        return grad


class Sub(_Binary):
    def forward(ctx, x, y):
        return _applied(np.subtract, x, y)

    def wrt_x(ctx, grad):
        return grad

    def wrt_y(ctx, grad):
        return -grad


class Mul(_Binary):
    def forward(ctx, x, y):
        ctx.save(x, y)
        return _applied(np.multiply, x, y)

    def wrt_x(ctx, grad):
        return _applied(np.multiply, grad, ctx.saved[1])

    def wrt_y(ctx, grad):
        return _applied(np.multiply, grad, ctx.saved[0])


class Div(_Binary):
    def forward(ctx, x, y):
        z = x / y
        ctx.save(y, z)
        return z

    def wrt_x(ctx, grad):
        return grad / ctx.saved[0]

    def wrt_y(ctx, grad):
        y, z = ctx.saved
        return -grad * z / y


class _Extremum(_Binary):
    choose: ClassVar[np.ufunc]
    beats: ClassVar[np.ufunc]

    def forward(ctx, x, y):
        ctx.save(x, y)
        return ctx.choose(x, y)

    def wrt_x(ctx, grad):
        x, y = ctx.saved
        return ctx.share(grad, x, y)

    def wrt_y(ctx, grad):
        x, y = ctx.saved
        return ctx.share(grad, y, x)

    def share(ctx, grad: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The gradient of `one`: all where it is chosen, half where the two tie, nothing elsewhere."""
        return np.where(one == other, grad / 2, np.where(ctx.beats(one, other), grad, 0))


class Maximum(_Extremum):
    choose, beats = np.maximum, np.greater


class Minimum(_Extremum):
    choose, beats = np.minimum, np.less


class Where(_Binary):
    def forward(ctx, x, y, condition):
        ctx.save(condition)
        return np.where(condition, x, y)

    def wrt_x(ctx, grad):
        (condition,) = ctx.saved
        return np.where(condition, grad, 0)

    def wrt_y(ctx, grad):
        (condition,) = ctx.saved
        return np.where(condition, 0, grad)


class Pow(Function):
    def forward(ctx, x, exponent):
        ctx.save(x)
        ctx.exponent = exponent
        return x**exponent

    def backward(ctx, grad):
        (x,) = ctx.saved
        if ctx.exponent == 0:  # the formula below would give 0 * inf at x = 0
            return np.zeros_like(grad)
        return grad * (ctx.exponent * x ** (ctx.exponent - 1))


class Neg(Function):
    def forward(ctx, x):
        return -x

    def backward(ctx, grad):
        return -grad


class Abs(Function):
    def forward(ctx, x):
        ctx.save(x)
        return np.abs(x)

    def backward(ctx, grad):
        (x,) = ctx.saved
        return grad * np.sign(x)


class Exp(Function):
    def forward(ctx, x):
        y = np.exp(x)
        ctx.save(y)
        return y

    def backward(ctx, grad):
        (y,) = ctx.saved
        return grad * y


class Log(Function):
    def forward(ctx, x):
        ctx.save(x)
        return np.log(x)

    def backward(ctx, grad):
        (x,) = ctx.saved
        return grad / x


class Sqrt(Function):
    def forward(ctx, x):
        y = np.sqrt(x)
        ctx.save(y)
        return y

    def backward(ctx, grad):
        (y,) = ctx.saved
        return grad / (2 * y)


class Tanh(Function):
    def forward(ctx, x):
        y = np.tanh(x)
        ctx.save(y)
        return y

    def backward(ctx, grad):
        (y,) = ctx.saved
        return grad * (1 - y * y)


class Sigmoid(Function):
    def forward(ctx, x):
        y = _sigmoid(x)
        ctx.save(y)
        return y

    def backward(ctx, grad):
        (y,) = ctx.saved
        return grad * (y * (1 - y))


class Softplus(Function):
    def forward(ctx, x):
        ctx.save(x)
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # no exponential of a positive number: no overflow

    def backward(ctx, grad):
        (x,) = ctx.saved
        return grad * _sigmoid(x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    decay = np.exp(-np.abs(x))  # of a number that is never positive: no overflow
    return np.where(x >= 0, 1, decay) / (1 + decay)


class ReLU(Function):
    def forward(ctx, x):
        ctx.save(x > 0)
        return np.maximum(x, 0)

    def backward(ctx, grad):
        (positive,) = ctx.saved
        return grad * positive


class LeakyReLU(Function):
    def forward(ctx, x, slope):
        positive = x > 0
        ctx.save(positive)
        ctx.slope = slope
        return np.where(positive, x, slope * x)

    def backward(ctx, grad):
        (positive,) = ctx.saved
        return np.where(positive, grad, ctx.slope * grad)


class Clip(Function):
    def forward(ctx, x, low, high):
        y = np.clip(x, low, high)
        ctx.save(y == x)
        return y

    def backward(ctx, grad):
        (inside,) = ctx.saved
        return grad * inside


def add(x: Operand, y: Operand) -> Tensor:
    """x + y."""
    return Add.apply(x, y)


def sub(x: Operand, y: Operand) -> Tensor:
    """x - y."""
    return Sub.apply(x, y)


def mul(x: Operand, y: Operand) -> Tensor:
    """x y, element by element."""
    return Mul.apply(x, y)


def div(x: Operand, y: Operand) -> Tensor:
    """x / y."""
    return Div.apply(x, y)


def maximum(x: Operand, y: Operand) -> Tensor:
    """The larger of x and y. Where they tie, each receives half of the gradient."""
    return Maximum.apply(x, y)


def minimum(x: Operand, y: Operand) -> Tensor:
    """The smaller of x and y. Where they tie, each receives half of the gradient."""
    return Minimum.apply(x, y)


def where(condition: Operand, x: Operand, y: Operand) -> Tensor:
    """x where `condition` holds, y elsewhere. All three broadcast; no gradient reaches the condition."""
    return Where.apply(x, y, condition=condition.data if isinstance(condition, Tensor) else condition)


def pow(x: Operand, exponent: float) -> Tensor:
    """x^exponent, for a constant exponent."""
    if not isinstance(exponent, (int, float, np.integer, np.floating)):
        raise ParameterError(
            f"pow: the exponent must be a constant number, not {type(exponent).__name__}; "
            "write x^y as exp(y * log(x)) for a gradient with respect to y"
        )
    return Pow.apply(x, exponent=float(exponent))


def neg(x: Operand) -> Tensor:
    """-x."""
    return Neg.apply(x)


def abs(x: Operand) -> Tensor:
    """|x|, with derivative 0 at 0."""
    return Abs.apply(x)


def exp(x: Operand) -> Tensor:
    """e^x."""
    return Exp.apply(x)


def log(x: Operand) -> Tensor:
    """Natural logarithm."""
    return Log.apply(x)


def sqrt(x: Operand) -> Tensor:
    """Square root. Its derivative at 0 is infinite: add a small number under the root where x may vanish."""
    return Sqrt.apply(x)


def tanh(x: Operand) -> Tensor:
    """Hyperbolic tangent."""
    return Tanh.apply(x)


def sigmoid(x: Operand) -> Tensor:
    """1 / (1 + e^-x), without overflow for any x."""
    return Sigmoid.apply(x)


def softplus(x: Operand) -> Tensor:
    """log(1 + e^x), without overflow for any x."""
    return Softplus.apply(x)


def relu(x: Operand) -> Tensor:
    """max(x, 0), with derivative 0 at 0."""
    return ReLU.apply(x)


def leaky_relu(x: Operand, slope: float = 0.01) -> Tensor:
    """x where x > 0, else slope x; the derivative at 0 is the slope."""
    return LeakyReLU.apply(x, slope=float(slope))


def clip(x: Operand, low: float | None = None, high: float | None = None) -> Tensor:
    """x limited to [low, high], None leaving a side open. The derivative is 1 inside and on the limits, 0 outside."""
    if low is not None and high is not None and low > high:
        raise ParameterError(f"clip: low must not exceed high, but {low} > {high}")
    return Clip.apply(x, low=None if low is None else float(low), high=None if high is None else float(high))
