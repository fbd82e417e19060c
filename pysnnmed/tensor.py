"""Reverse-mode automatic differentiation on NumPy arrays: the whole engine.

A `Tensor` is an array plus the `Function` call that made it. A `Function` is one differentiable operation: `forward`
maps arrays to an array, `backward` maps the gradient of the output to one gradient per input (the vector-Jacobian
product). `Tensor.backward` walks the calls from the result back to the leaves. Operations live in `ops`, `conv`, `warp`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .errors import ParameterError, ShapeError

_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Record no graph inside this block: inference, calibration, optimiser updates."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Tensor:
    """An ndarray that remembers how it was computed.

    `data` is the array, `grad` an array of the same shape that `backward` fills on leaves which `requires_grad`.
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

    def __repr__(self) -> str:
        origin = f", made by {type(self.call).__name__}" if self.call else ""
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
            raise ParameterError("backward: this tensor does not depend on anything that requires a gradient")
        if grad is None:
            if self.size != 1:
                raise ShapeError(f"backward: without a gradient the tensor must be a scalar, not of shape {self.shape}")
            grad = np.ones_like(self.data)
        elif np.shape(grad) != self.shape:
            raise ShapeError(f"backward: the gradient has shape {np.shape(grad)}, the tensor {self.shape}")
        pending = {id(self): np.asarray(grad, dtype=self.dtype)}
        for tensor in _users_first(self):
            g = pending.pop(id(tensor))
            if tensor.call is None:
                tensor.grad = g.copy() if tensor.grad is None else tensor.grad + g
                continue
            call, tensor.call = tensor.call, None  # drops the saved arrays as soon as they have been used
            for parent, parent_grad in zip(call.parents, call.gradients(g), strict=True):
                if parent_grad is not None and parent.requires_grad:
                    key = id(parent)
                    pending[key] = pending[key] + parent_grad if key in pending else parent_grad

    if TYPE_CHECKING:  # operators and methods that `ops` attaches to this class
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __matmul__ = (
            lambda self, other: Tensor(0)
        )
        __getitem__ = lambda self, index: Tensor(0)
        __neg__ = lambda self: Tensor(0)
        sum = mean = max = reshape = transpose = lambda self, *args, **options: Tensor(0)


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
    ready = [root]
    while ready:
        tensor = ready.pop()
        inputs = _inputs(tensor)  # before the yield: backward() cuts the call off
        yield tensor
        for parent in inputs:
            n_users[id(parent)] -= 1
            if n_users[id(parent)] == 0:
                ready.append(parent)


def _inputs(tensor: Tensor) -> list[Tensor]:
    return [p for p in tensor.call.parents if p.requires_grad] if tensor.call else []


class Function:
    """One differentiable operation on plain arrays. An instance is one call of it and carries what backward needs.

        forward(ctx, *arrays, **options) -> array        may `ctx.save(...)` arrays and set attributes on ctx
        backward(ctx, grad)              -> one gradient, or None, per input array (a bare array if there is one input)

    `ctx.needs[i]` says whether input i wants a gradient, so that backward can skip the work. Subclasses are registered
    by name; a test compares the gradient of every registered Function with finite differences.
    """

    registry: ClassVar[dict[str, type[Function]]] = {}
    forward: ClassVar[Any]
    backward: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        Function.registry[cls.__name__] = cls

    def __init__(self, parents: tuple[Tensor, ...]):
        self.parents = parents
        self.needs = tuple(parent.requires_grad for parent in parents)
        self.saved: tuple[Any, ...] = ()

    def save(self, *arrays: Any) -> None:
        self.saved = arrays

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Tensor:
        """Run forward on the data of `inputs` and record the call. Numbers and arrays take the type of the tensors."""
        dtype = next((x.dtype for x in inputs if isinstance(x, Tensor)), None)
        parents = tuple(x if isinstance(x, Tensor) else Tensor(np.asarray(x, dtype=dtype)) for x in inputs)
        call = cls(parents)
        recording = _recording.get() and any(call.needs)
        if not recording:
            call.needs = (False,) * len(parents)
        out = Tensor(call.forward(*(p.data for p in parents), **options))
        if recording:
            out.requires_grad, out.call = True, call
        return out

    def gradients(self, grad: np.ndarray) -> tuple[np.ndarray | None, ...]:
        """backward, with its result checked: one gradient per input, each of the shape of its input."""
        grads = self.backward(grad)
        grads = grads if isinstance(grads, tuple) else (grads,)
        for i, (parent, g) in enumerate(zip(self.parents, grads, strict=True)):
            if g is not None and g.shape != parent.shape:
                raise ShapeError(
                    f"{type(self).__name__}.backward: gradient {i} has shape {g.shape}, its input {parent.shape}"
                )
        return grads


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `grad` over the axes that broadcasting added to, or stretched in, an input of shape `shape`."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True) if stretched else grad
