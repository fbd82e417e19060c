"""Differentiable operations on tensors, and the operators and methods of `Tensor` that call them.

Every function accepts tensors, arrays and numbers, and returns a Tensor. Shapes, axes and broadcasting are NumPy's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Operand, Tensor
from .elementwise import (
    abs,
    add,
    clip,
    div,
    exp,
    leaky_relu,
    log,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    relu,
    sigmoid,
    softplus,
    sqrt,
    sub,
    tanh,
    where,
)
from .linalg import matmul
from .movement import broadcast_to, concatenate, index, moveaxis, pad, reshape, stack, swapaxes, transpose
from .reduction import log_softmax, max, mean, softmax, sum, var

__all__ = [
    "abs",
    "add",
    "broadcast_to",
    "clip",
    "concatenate",
    "div",
    "exp",
    "index",
    "leaky_relu",
    "log",
    "log_softmax",
    "matmul",
    "max",
    "maximum",
    "mean",
    "minimum",
    "moveaxis",
    "mul",
    "neg",
    "pad",
    "pow",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "softplus",
    "sqrt",
    "stack",
    "sub",
    "sum",
    "swapaxes",
    "tanh",
    "transpose",
    "var",
    "where",
]


def _swapped(operation: Callable[[Operand, Operand], Tensor]) -> Callable[[Tensor, Operand], Tensor]:
    return lambda y, x: operation(x, y)


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Tensor, Operand], np.ndarray]:
    return lambda x, y: compare(x.data, y.data if isinstance(y, Tensor) else y)


def _unpacked(lengths: tuple[Any, ...]) -> Any:
    """x.reshape(2, 3) and x.reshape((2, 3)) mean the same."""
    return lengths[0] if len(lengths) == 1 and not isinstance(lengths[0], int) else lengths


_OPERATORS: dict[str, Callable[..., Any]] = {
    "__neg__": neg,
    "__abs__": abs,
    "__add__": add,
    "__radd__": _swapped(add),
    "__sub__": sub,
    "__rsub__": _swapped(sub),
    "__mul__": mul,
    "__rmul__": _swapped(mul),
    "__truediv__": div,
    "__rtruediv__": _swapped(div),
    "__matmul__": matmul,
    "__rmatmul__": _swapped(matmul),
    "__pow__": pow,
    "__getitem__": index,
    "__eq__": _comparison(operator.eq),
    "__ne__": _comparison(operator.ne),
    "__lt__": _comparison(operator.lt),
    "__le__": _comparison(operator.le),
    "__gt__": _comparison(operator.gt),
    "__ge__": _comparison(operator.ge),
}
_METHODS: dict[str, Callable[..., Any]] = {
    "exp": exp,
    "log": log,
    "sum": sum,
    "mean": mean,
    "max": max,
    "reshape": lambda x, *shape: reshape(x, _unpacked(shape)),
    "transpose": lambda x, *axes: transpose(x, _unpacked(axes) if axes else None),
}
for _name, _function in (_OPERATORS | _METHODS).items():
    setattr(Tensor, _name, _function)
