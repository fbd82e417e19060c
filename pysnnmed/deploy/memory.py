"""Where the values of a program lie while it runs: one arena, planned before anything is allocated.

A value lives from the operation that returns it to the last one that reads it; two values whose lives do not meet may
share memory. Values are placed largest first, each into the smallest gap that holds it between those that live at the
same time ("greedy by size", Pisarchyk and Lee 2020, arXiv 2001.03288). What is returned to the caller lies outside
of the arena, and is written where it stays.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ProgramError
from . import running
from .operations import Enlarge, Integrate, Operation, Warp
from .program import Program
from .values import Real, Sizes, Value

ALIGNMENT = 64  # a cache line, and the widest vector register
ROW = 48  # bytes that interpolation keeps for each voxel of one row: where its samples lie
VOLUME = 3  # kernels that interpolate lay out fields of fewer axes as volumes


@dataclass(frozen=True)
class Place:
    """Bytes [start, start + nbytes) of the arena, in use from operation `first` to operation `last`."""

    name: str
    start: int
    nbytes: int
    first: int
    last: int

    def meets(self, other: Place) -> bool:
        """Whether both are in use at some time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """The memory of one run.

    values      type of every value, inputs first
    places      of the values in the arena, by name
    scratch     of the kernels in the arena, by operation
    returned    bytes outside of the arena, by value, for one sample of the batch
    temporaries bytes that a kernel allocates for itself beside its result, by operation. Those of interpolation are
                declared here; the reference kernels of packed layers leave theirs to NumPy, undeclared
    """

    shape: Sizes
    batch: int
    values: Mapping[str, Value]
    places: Mapping[str, Place]
    scratch: Mapping[str, Place]
    returned: Mapping[str, int]
    temporaries: Mapping[str, int]

    @property
    def arena(self) -> int:
        """Bytes to allocate for the arena, with what aligning it may cost."""
        end = max((place.start + place.nbytes for place in self._all()), default=0)
        return allocation(end)

    @property
    def busiest(self) -> int:
        """Bytes in use at the busiest operation: no plan could need less."""
        steps = {place.first for place in self._all()}
        return max((sum(p.nbytes for p in self._all() if p.first <= i <= p.last) for i in steps), default=0)

    @property
    def peak(self) -> int:
        """Bytes that a run allocates, inputs of the caller not included."""
        returned = sum(allocation(nbytes * self.batch) for nbytes in self.returned.values())
        return self.arena + returned + max(self.temporaries.values(), default=0)

    def _all(self) -> Iterator[Place]:
        return itertools.chain(self.places.values(), self.scratch.values())

    def table(self) -> str:
        """The plan as text, one line a value, in the order of operations."""
        width = max(len(name) for name in ("value", *self.values))
        lines = [f"{'value':<{width}}  {'type':<36}{'bytes':>16}{'from':>16}{'lives':>10}{'scratch':>14}{'kernel':>14}"]
        for name, value in self.values.items():
            place = self.places.get(name)
            where, lives = ("returned" if name in self.returned else "given"), ""
            if place is not None:
                where, lives = f"{place.start:,}", f"{place.first}-{place.last}"
            scratch = self.scratch[name].nbytes if name in self.scratch else 0
            lines.append(
                f"{name:<{width}}  {value!s:<36}{value.nbytes:>16,}{where:>16}{lives:>10}{scratch:>14,}"
                f"{self.temporaries.get(name, 0):>14,}"
            )
        lines.append(
            f"peak {self.peak:,} bytes for {self.batch} sample{'s' if self.batch > 1 else ''} of {list(self.shape)}: "
            f"arena {self.arena:,} (its busiest operation uses {self.busiest:,}), "
            f"returned {sum(self.returned.values()) * self.batch:,}, "
            f"kernels {max(self.temporaries.values(), default=0):,}"
        )
        return "\n".join(lines)


def plan(program: Program, shape: Sizes, keep: tuple[str, ...] = (), batch: int = 1) -> Plan:
    """Plan a run of `program` on inputs of spatial `shape` with the kernels and threads now in use.

    `keep` names values to return besides the outputs. Raises ProgramError if the program does not fit such inputs.
    """
    values = program.values(tuple(shape))
    for name in keep:
        if name not in values:
            raise ProgramError(f"keep: the program has no value {name!r}; it has {', '.join(values)}")
    returned = {name: values[name].nbytes for name in dict.fromkeys((*program.outputs, *keep))}
    last = {name: i for i, operation in enumerate(program.operations) for name in (*operation.reads, operation.name)}
    wanted: list[Place] = []
    scratch: list[Place] = []
    for i, operation in enumerate(program.operations):
        if operation.name not in returned:
            wanted.append(Place(operation.name, 0, values[operation.name].nbytes, i, last[operation.name]))
        nbytes = running.scratch_bytes(operation, values)
        if nbytes:
            scratch.append(Place(operation.name, 0, nbytes, i, i))
    found = placed([*wanted, *scratch])
    return Plan(
        shape=tuple(shape),
        batch=batch,
        values=values,
        places={place.name: place for place in found[: len(wanted)]},
        scratch={place.name: place for place in found[len(wanted) :]},
        returned=returned,
        temporaries={op.name: nbytes for op in program.operations if (nbytes := _temporaries(op, values))},
    )


def placed(wanted: list[Place]) -> list[Place]:
    """The same places with a start each, in the same order."""
    done: dict[int, Place] = {}
    for i in sorted(range(len(wanted)), key=lambda i: (-wanted[i].nbytes, i)):
        place = wanted[i]
        neighbours = sorted((p for p in done.values() if p.meets(place)), key=lambda p: p.start)
        start, best = 0, None
        for other in neighbours:
            room = other.start - start
            if room >= place.nbytes and (best is None or room < best[0]):
                best = (room, start)
            start = max(start, _aligned(other.start + other.nbytes))
        start = start if best is None else best[1]
        done[i] = Place(place.name, start, place.nbytes, place.first, place.last)
    return [done[i] for i in range(len(wanted))]


def _temporaries(operation: Operation, values: Mapping[str, Value]) -> int:
    """Bytes that interpolation allocates besides the value it returns, see `running`."""
    out = values[operation.name]
    voxels, row = math.prod(out.shape) * out.dtype.itemsize, ROW * max(out.shape)
    if isinstance(operation, Warp | Integrate):
        # The samples, and a field of fewer than three axes with zeros for the others, twice while it is put together.
        still = VOLUME - len(out.shape)
        field = VOLUME * voxels if still else 0
        samples = voxels if isinstance(operation, Warp) else out.nbytes
        return max(still * voxels + field, field + samples + row)
    if isinstance(operation, Enlarge):
        # One axis after another: what an axis makes, beside what the one before it made.
        source, axes = values[operation.source], range(1, len(out.shape) + 1)
        together = 1 if isinstance(source, Real) else source.channels
        made = [Real(together, (*out.shape[:axis], *source.shape[axis:])).nbytes for axis in axes]
        return max(after + before for before, after in itertools.pairwise([0, *made])) + row
    return 0


# ---------------------------------------------------------------------------------------------------- allocating


def allocation(nbytes: int) -> int:
    """Bytes allocated for an aligned array of `nbytes`."""
    return nbytes + ALIGNMENT if nbytes else 0


def allocate(nbytes: int) -> np.ndarray:
    """Aligned memory, uint8 [nbytes], whose content is arbitrary. Raises ProgramError if there is not enough."""
    try:
        memory = np.empty(allocation(nbytes), np.uint8)
    except (MemoryError, ValueError) as error:
        raise ProgramError(f"the program needs an array of {nbytes:,} bytes, which this machine refuses") from error
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + nbytes]


def machine_memory() -> int | None:
    """Bytes of physical memory, None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def require_room(plan: Plan, limit: int | None) -> None:
    """Raise ProgramError, with the table of the plan, if a run takes more than `limit` bytes."""
    if limit is not None and plan.peak > limit:
        raise ProgramError(
            f"a run on {plan.batch} x {list(plan.shape)} takes {plan.peak:,} bytes, the limit is {limit:,}; "
            f"use smaller inputs or batches, keep less, or allow more:\n{plan.table()}"
        )


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
