"""Reverse-mode automatic differentiation on NumPy arrays: the whole engine, but for the memory of gradients.

A `Tensor` is an array plus the `Function` call that made it. A `Function` is one differentiable operation: `forward`
maps arrays to an array, `backward` maps the gradient of the output to one gradient per input (the vector-Jacobian
product). `Tensor.backward` walks the calls from the result back to the leaves. The operations themselves live in `ops`,
`conv` and `warp`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .errors import ParameterError, PysnnmedError, ShapeError
from .gradient_memory import add_taken, taken
from .operators import Operators

_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Record no graph inside this block: inference, calibration, optimiser updates."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Tensor(Operators):
    """An ndarray that remembers how it was computed.

    `data` is the array, `grad` an array of its shape and type that `backward` fills on leaves which `requires_grad`.
    `shape`, `dtype`, `ndim`, `size` are those of `data`; operators and methods are those of `ops`. Comparisons give
    plain bool arrays, `==` included; tensors hash by identity.
    """

    __slots__ = ("__weakref__", "call", "data", "grad", "requires_grad")
    __array_ufunc__ = None  # ndarray + Tensor must reach Tensor.__radd__, not become an array of objects

    def __init__(self, data: Any, requires_grad: bool = False):
        self.data: np.ndarray = np.asarray(data)
        if requires_grad and self.data.dtype.kind != "f":
            raise ParameterError(f"Tensor: only floating-point data can require a gradient, not {self.data.dtype}")
        self.grad: np.ndarray | None = None
        self.requires_grad = requires_grad
        self.call: Function | None = None  # the call that produced this tensor; None for a leaf

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise ParameterError("NumPy would lose the gradient of this Tensor; use pysnnmed.ops, or take its .data")

    def __repr__(self) -> str:
        origin = "" if self.call in (None, _FREED) else f", made by {type(self.call).__name__}"
        return f"Tensor(shape={self.shape}, dtype={self.dtype}{origin})"

    def item(self) -> float:
        """The value of a tensor with one element, as a Python number."""
        return self.data.item()

    def detach(self) -> Tensor:
        """The same data, cut off from the graph."""
        return Tensor(self.data)

    def backward(self, grad: np.ndarray | None = None) -> None:
        """Add d(self)/d(leaf) to `.grad` of every leaf that requires it, freeing the graph on the way.

        `grad`: the gradient of some later scalar with respect to this tensor, of its shape; 1 for a scalar if omitted.
        A graph can be walked once: its saved arrays are gone afterwards.
        """
        if not self.requires_grad:
            raise ParameterError(
                "backward: this tensor depends on nothing that requires a gradient; "
                "create a leaf with requires_grad=True and compute outside no_grad()"
            )
        if grad is None:
            if self.size != 1:
                raise ShapeError(
                    f"backward: a tensor of shape {self.shape} is not a scalar; "
                    "reduce it first, or pass a gradient of its shape"
                )
            grad = np.ones_like(self.data)
        elif np.shape(grad) != self.shape:
            raise ShapeError(f"backward: the gradient must have the tensor's shape {self.shape}, not {np.shape(grad)}")
        pending = {id(self): np.asarray(grad, dtype=self.dtype)}
        tensors = _users_first(self)
        del self  # the walk holds no tensor whose users are done: its array is free before the next ones are made
        for tensor in tensors:
            key = id(tensor)
            if tensor.call is None:
                tensor.grad = taken(pending, key) if tensor.grad is None else np.asarray(tensor.grad + pending.pop(key))
                continue
            call, tensor.call = tensor.call, _FREED  # drops the saved arrays as soon as they have been used
            del tensor
            grads = call.gradients(pending.pop(key))
            for i, parent in enumerate(call.parents):
                add_taken(pending, id(parent), grads, i)
            del parent  # leaves `pending` as the only holder


Operand: TypeAlias = Tensor | ArrayLike  # what an operation accepts: a tensor, an array, a number


def _users_first(root: Tensor) -> Iterator[Tensor]:
    """Every tensor the graph of `root` reaches, each after all tensors computed from it.

    Iterative, because a network unrolled over time is deeper than Python's recursion limit.
    """
    n_users, stack = {id(root): 0}, [root]
    while stack:
        for parent in _inputs(stack.pop()):
            if id(parent) not in n_users:
                n_users[id(parent)] = 0
                stack.append(parent)
            n_users[id(parent)] += 1
            del parent
    ready = [root]
    del root
    while ready:
        inputs = _inputs(ready[-1])  # before the yield: backward() cuts the call off
        yield ready.pop()
        for parent in inputs:
            n_users[id(parent)] -= 1
            if n_users[id(parent)] == 0:
                ready.append(parent)
            del parent


def _inputs(tensor: Tensor) -> list[Tensor]:
    if tensor.call is _FREED:
        raise ParameterError(
            "backward: this graph, or a part of it, has been walked and freed; "
            "add the losses and call backward once, or compute the forward pass again"
        )
    call = tensor.call
    return [p for p, needed in zip(call.parents, call.needs, strict=True) if needed] if call else []


class Function:
    """One differentiable operation on plain arrays. An instance is one call of it and carries what backward needs.

        forward(ctx, *arrays, **options) -> array        may `ctx.save(...)` arrays and set attributes on ctx
        backward(ctx, grad)              -> one gradient, or None, per input array (a bare array if there is one input)

    Neither writes to the arrays it is given; gradients may be views; None stands for zero. `ctx.needs[i]` says whether
    input i wants a gradient, so that backward can skip the work. Subclasses are registered by name, except bases, whose
    names start with an underscore; a test compares the gradient of every registered one with finite differences.
    """

    registry: ClassVar[dict[str, type[Function]]] = {}
    forward: ClassVar[Any]
    backward: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        if not cls.__name__.startswith("_"):
            Function.registry[cls.__name__] = cls

    def __init__(self, parents: tuple[Tensor, ...]):
        self.parents = parents
        self.needs = tuple(parent.requires_grad for parent in parents)
        self.saved: tuple[Any, ...] = ()

    def save(self, *arrays: Any) -> None:
        """Keep arrays for backward, in `self.saved`."""
        self.saved = arrays

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Tensor:
        """Run forward on the data of `inputs` and record the call.

        Numbers and arrays among the inputs take the floating-point type of the first tensor that has one.
        """
        dtype = next((x.dtype for x in inputs if isinstance(x, Tensor) and x.dtype.kind == "f"), None)
        parents = tuple(x if isinstance(x, Tensor) else Tensor(np.asarray(x, dtype=dtype)) for x in inputs)
        call = cls(parents)
        recording = _recording.get() and any(call.needs)
        if not recording:
            call.needs = (False,) * len(parents)
        try:
            out = Tensor(call.forward(*(p.data for p in parents), **options))
        except PysnnmedError:
            raise
        except ValueError as error:  # NumPy's word for shapes and axes that do not fit
            shapes = ", ".join(str(p.shape) for p in parents)
            raise ShapeError(f"{cls.__name__}: cannot take inputs of shape {shapes}: {error}") from error
        if recording:
            out.requires_grad, out.call = True, call
        return out

    def gradients(self, grad: np.ndarray) -> list[np.ndarray | None]:
        """backward, checked: for each input that needs it, a gradient of its shape and type; None for the others."""
        grads = self.backward(grad)
        grads = grads if isinstance(grads, tuple) else (grads,)
        name = type(self).__name__
        if len(grads) != len(self.parents):
            raise ShapeError(
                f"{name}.backward: must return one gradient per input, {len(self.parents)} here, not {len(grads)}"
            )
        checked: list[np.ndarray | None] = [None] * len(grads)
        for i, (parent, g) in enumerate(zip(self.parents, grads, strict=True)):
            if not self.needs[i]:
                continue
            if g is None:
                g = np.zeros(parent.shape)
            if np.shape(g) != parent.shape:
                raise ShapeError(f"{name}.backward: gradient {i} has shape {np.shape(g)}, its input {parent.shape}")
            checked[i] = np.asarray(g, dtype=parent.dtype)
        return checked


_FREED = Function(())  # stands for a call whose graph has been walked


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `grad` over the axes that broadcasting added to, or stretched in, an input of shape `shape`."""
    if grad.shape == shape:
        return grad
    added = grad.ndim - len(shape)
    stretched = tuple(added + i for i, n in enumerate(shape) if n == 1 and grad.shape[added + i] != 1)
    return grad.sum(axis=tuple(range(added)) + stretched).reshape(shape)
