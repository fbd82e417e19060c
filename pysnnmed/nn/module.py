"""Module: a tree of named parameters and buffers, found among plain attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from ..errors import ParameterError, WeightsError, require_same_names
from ..tensor import Tensor


class Parameter(Tensor):
    """A Tensor that training changes."""

    __slots__ = ()

    def __init__(self, data: Any):
        super().__init__(data, requires_grad=True)


class Buffer:
    """An array that belongs to the state of a module and receives no gradient, such as running statistics."""

    def __init__(self, data: Any):
        self.data: np.ndarray = np.asarray(data)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype


class Module:
    """Subclass, assign Parameters, Buffers and Modules to attributes in __init__, and define `forward`.

    Members are ordinary attributes, or elements of a list or tuple that is an attribute; their names are the paths
    ("encoder.0.weight"). A member hidden deeper, in a dict or a nested list, would silently not be trained: it raises
    ParameterError. A member that two paths share is listed once, under the first.
    """

    training: bool = True  # set by train() and eval()
    name: str = ""  # the path in the whole network, once name_layers() has been called: used in error messages

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.forward(*args, **options)

    def forward(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    # ------------------------------------------------------------------------------------------------ the tree

    def children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of every direct child."""
        return ((name, member) for name, member in self._members() if isinstance(member, Module))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module, whose path is "", and of all below it."""
        return ((path, member) for path, member in self._walk() if isinstance(member, Module))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return ((path, member) for path, member in self._walk() if isinstance(member, Parameter))

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        return ((path, member) for path, member in self._walk() if isinstance(member, Buffer))

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    @property
    def n_parameters(self) -> int:
        """Number of trainable values."""
        return sum(parameter.size for parameter in self.parameters())

    def _members(self) -> Iterator[tuple[str, Module | Parameter | Buffer]]:
        for name, value in vars(self).items():
            listed = isinstance(value, (list, tuple))
            for path, member in ((f"{name}.{i}", v) for i, v in enumerate(value)) if listed else [(name, value)]:
                if isinstance(member, (Module, Parameter, Buffer)):
                    yield path, member
                elif _hides_members(member):
                    raise ParameterError(
                        f"{type(self).__name__}.{path}: parameters and modules must be attributes or elements of a "
                        f"list, not inside a {type(member).__name__}, where training would not find them"
                    )

    def _walk(self) -> Iterator[tuple[str, Module | Parameter | Buffer]]:
        """Every member of the tree once, parents first, in the order of assignment."""
        seen: set[int] = set()

        def visit(path: str, member: Module | Parameter | Buffer) -> Iterator[tuple[str, Any]]:
            if id(member) in seen:
                return
            seen.add(id(member))
            yield path, member
            if isinstance(member, Module):
                for name, inner in member._members():
                    yield from visit(f"{path}.{name}" if path else name, inner)

        return visit("", self)

    # ------------------------------------------------------------------------------------------------ the state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the parameters and buffers, by path."""
        return {path: member.data.copy() for path, member in self._walk() if not isinstance(member, Module)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Overwrite parameters and buffers with `state`, keeping their types. All or nothing.

        Raises WeightsError if names are missing or unexpected, or if a shape differs.
        """
        own = {path: member for path, member in self._walk() if not isinstance(member, Module)}
        title = f"{type(self).__name__}.load_state_dict"
        require_same_names(title, "parameters and buffers of this module", own.keys(), state.keys())
        for path, member in own.items():
            if np.shape(state[path]) != member.shape:
                raise WeightsError(
                    f"{title}: {path} has shape {member.shape} in this module and {np.shape(state[path])} in the "
                    f"state, which was made for another network"
                )
        for path, member in own.items():
            member.data = np.array(state[path], dtype=member.dtype)

    # ------------------------------------------------------------------------------------------------ modes

    def train(self, training: bool = True) -> Self:
        """Switch layers that learn statistics or drop units, here and below, to training; returns self."""
        for _, module in self.named_modules():
            module.training = training
        return self

    def eval(self) -> Self:
        """Switch to inference: the opposite of train(); returns self."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or unfreeze all parameters; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def astype(self, dtype: Any) -> Self:
        """Convert parameters and buffers to the floating-point type `dtype`, in place; returns self."""
        if np.dtype(dtype).kind != "f":
            raise ParameterError(f"{type(self).__name__}.astype: the type must be floating-point, not {dtype}")
        for _, member in self._walk():
            if not isinstance(member, Module) and member.dtype.kind == "f":
                member.data = member.data.astype(dtype)
        return self

    def name_layers(self) -> Self:
        """Tell every module below its path, so that its errors say where it stands; returns self."""
        for path, module in self.named_modules():
            module.name = path
        return self

    # ------------------------------------------------------------------------------------------------ for people

    @property
    def label(self) -> str:
        """How this module calls itself in errors: its path, or its type."""
        return self.name or type(self).__name__

    def describe(self) -> str:
        """The settings shown in repr, on one line."""
        return ""

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}({self.describe()})"]
        for name, child in self.children():
            lines += [f"  {line}" for line in f"{name}: {child!r}".splitlines()]
        return "\n".join(lines)


def _hides_members(value: object) -> bool:
    """Whether a container holds a Module, Parameter or Buffer at any depth."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, (list, tuple, set, frozenset)):
        return False
    return any(isinstance(v, (Module, Parameter, Buffer)) or _hides_members(v) for v in value)
