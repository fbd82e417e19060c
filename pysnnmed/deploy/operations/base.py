"""What every operation of a program has: a name, sources, and the type of the value it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...errors import ProgramError
from ..values import Real, Reals, Spikes, Value

INT32 = 2**31 - 1
EXACT_IN_FLOAT32 = 2**24
LONGEST = 2**12  # of steps, and of anything that a geometry counts: far beyond networks, far below what would overflow
MOST_SLOTS = 2**16
MOST_SQUARINGS = 32


@dataclass(frozen=True, eq=False)  # else all layers of one name would be equal
class Operation:
    """One step of a program. `name` is also the name of the value it returns."""

    name: str
    kinds: ClassVar[dict[str, type[Operation]]] = {}

    def __init_subclass__(cls) -> None:
        Operation.kinds[cls.__name__] = cls

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the values it reads."""
        raise NotImplementedError

    @property
    def reads(self) -> tuple[str, ...]:
        """Of the sources, those whose content it needs and not only the shape."""
        return self.sources

    def result(self, values: Mapping[str, Value]) -> Value:
        """The type of what it returns, given those of everything before it."""
        raise NotImplementedError

    def _require(self, holds: bool, rule: str) -> None:
        if not holds:
            raise ProgramError(f"{type(self).__name__} {self.name!r}: {rule}")

    def _spikes(self, values: Mapping[str, Value], source: str) -> Spikes:
        value = values[source]
        if not isinstance(value, Spikes):
            raise ProgramError(f"{type(self).__name__} {self.name!r}: {source!r} must be spikes, not {value}")
        return value

    def _real(self, values: Mapping[str, Value], source: str) -> Real:
        value = values[source]
        if not isinstance(value, Real):
            raise ProgramError(f"{type(self).__name__} {self.name!r}: {source!r} must be real numbers, not {value}")
        return value

    def _no_spikes(self, values: Mapping[str, Value], source: str) -> Real | Reals:
        value = values[source]
        if isinstance(value, Spikes):
            raise ProgramError(f"{type(self).__name__} {self.name!r}: {source!r} must be real numbers, not {value}")
        return value
