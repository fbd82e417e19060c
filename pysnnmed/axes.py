"""Sizes along the spatial axes: one number for all of them, or one for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from .errors import ParameterError

PerAxis: TypeAlias = int | Sequence[int]


def per_axis(name: str, parameter: str, value: PerAxis, ndim: int, at_least: int) -> tuple[int, ...]:
    """`value` as one integer per spatial axis. Raises ParameterError, naming the operation and its parameter."""
    values = tuple(value) if isinstance(value, Iterable) else (value,) * ndim
    if len(values) != ndim or any(int(v) != v or v < at_least for v in values):
        raise ParameterError(
            f"{name}: {parameter} must be one number or {ndim}, one per spatial axis, "
            f"each whole and at least {at_least}, not {value}"
        )
    return tuple(int(v) for v in values)
