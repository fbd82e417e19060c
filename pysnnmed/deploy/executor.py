"""Runs programs on the active backend: `execute` once, an `Executor` again and again in the same memory."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .. import kernels, synops
from ..errors import ProgramError
from . import counts, memory, running
from .execution import Execution, Returned
from .memory import Plan
from .observation import Observation
from .program import Program
from .seen import Seen, together
from .values import Sizes, Spikes, Value, pack

MOST_PLANS = 32
WARMING_POSITIONS = 2**11
Progress = Callable[[int, int, str], object]


def execute(
    program: Program,
    inputs: Mapping[str, np.ndarray],
    *,
    keep: tuple[str, ...] = (),
    memory_limit: int | None = None,
) -> Execution:
    """Run `program` once. See `Executor`."""
    return Executor(program, keep=keep, memory_limit=memory_limit)(inputs)


class Executor:
    """A program, ready to run: its plans and its memory are kept from one call to the next.

    keep            names of values to return besides the outputs, as `Execution.kept`: spikes, mostly
    memory_limit    bytes that a run may take (`Plan.peak`); None for the memory of this machine

    Kernels and threads are those of the block it is called in (`kernels.use_backend`, `kernels.use_threads`); what
    whole numbers compute depends on neither. Calls from several threads run one after another.
    """

    def __init__(self, program: Program, *, keep: tuple[str, ...] = (), memory_limit: int | None = None):
        self.program, self.keep = program, tuple(dict.fromkeys(keep))
        self.memory_limit = memory.machine_memory() if memory_limit is None else memory_limit
        self._lock = threading.Lock()
        self._arena = np.empty(0, np.uint8)
        self._plans: dict[tuple[Sizes, int, str, int], Plan] = {}
        self.plan(program.example)  # refuses unknown names

    def plan(self, shape: Sizes, batch: int = 1) -> Plan:
        """The memory of a run on inputs of spatial `shape`, with the kernels and threads now in use."""
        key = (tuple(shape), batch, kernels.active(), kernels.threads())
        if key not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[key] = memory.plan(self.program, key[0], self.keep, batch)
        return self._plans[key]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Execution:
        """Run on inputs {name: float32 [C, *S] or [B, C, *S]}; a batch runs sample by sample.

        Raises ProgramError for inputs that do not fit or are not finite, and before anything is allocated for a run
        that would take more than the limit.
        """
        execution = self._run(inputs)
        if synops.metering():
            for layer in execution.report.layers:
                synops.record(layer)
        return execution

    def warm_up(self, progress: Progress | None = None) -> float:
        """Run every operation on few voxels, so that everything is compiled; the seconds it took.

        Each runs twice, on silent sources and on full ones, because kernels may treat rare and frequent spikes
        differently. `progress(done, total, name)` is called before each operation and, with done = total, at the end.
        """
        began, operations = time.perf_counter(), self.program.operations
        plan = self.plan(self._warming_shape())
        memory.require_room(plan, self.memory_limit)
        for i, operation in enumerate(operations):
            if progress:
                progress(i, len(operations), operation.name)
            scratch = memory.allocate(plan.scratch[operation.name].nbytes) if operation.name in plan.scratch else None
            for full in (False, True):
                arrays = {name: _filled(plan.values[name], full) for name in (*operation.reads, operation.name)}
                running.run(operation, plan.values, arrays, scratch)
        if progress:
            progress(len(operations), len(operations), "")
        return time.perf_counter() - began

    def _warming_shape(self) -> Sizes:
        """The example, doubled as often as the program allows until it has enough positions to be typical."""
        shape = self.program.example
        while math.prod(shape) < WARMING_POSITIONS:
            try:
                self.program.values(tuple(2 * n for n in shape))
            except ProgramError:
                break
            shape = tuple(2 * n for n in shape)
        return shape

    def _run(self, inputs: Mapping[str, np.ndarray]) -> Execution:
        began = time.perf_counter()
        given, batched = _checked_shapes(self.program, inputs)
        batch, _, *shape = next(iter(given.values())).shape
        plan = self.plan(tuple(shape), batch)
        memory.require_room(plan, self.memory_limit)
        arrays = {name: _float32(name, array) for name, array in given.items()}
        returned = {name: _returned_array(plan.values[name], batch) for name in plan.returned}
        samples: list[dict[str, _Step]] = []
        with self._lock:
            arena = self._room(plan)
            for b in range(batch):
                own = {name: array[b] for name, array in arrays.items()}
                for name, array in returned.items():
                    if name in own:
                        array[b] = own[name]
                    else:
                        own[name] = array[b]
                samples.append(_run_sample(self.program, plan, arena, own))
        seen = {name: together(steps[name].seen for steps in samples) for name in samples[0]}
        return Execution(
            outputs=_select(plan, returned, self.program.outputs, batched),
            kept=_select(plan, returned, self.keep, batched),
            observation=Observation(self.program, plan.values, batch, seen),
            seconds={name: sum(steps[name].seconds for steps in samples) for name in samples[0]},
            total_seconds=time.perf_counter() - began,
            plan=plan,
        )

    def _room(self, plan: Plan) -> np.ndarray:
        nbytes = max(0, plan.arena - memory.ALIGNMENT)
        if self._arena.nbytes < nbytes:
            self._arena = np.empty(0, np.uint8)  # let go of the old one first
            self._arena = memory.allocate(nbytes)
        return self._arena


@dataclass(frozen=True)
class _Step:
    """What became of one operation on one sample."""

    seen: Seen
    seconds: float


def _run_sample(program: Program, plan: Plan, arena: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, _Step]:
    """Run all operations on one sample; `arrays` holds the inputs and the places of what is returned."""
    for name, place in plan.places.items():
        arrays[name] = _view(arena, place.start, plan.values[name])
    steps = {}
    for operation in program.operations:
        began = time.perf_counter()
        scratch = plan.scratch.get(operation.name)
        room = None if scratch is None else arena[scratch.start : scratch.start + scratch.nbytes]
        try:
            executed = running.run(operation, plan.values, arrays, room)
        except MemoryError as error:
            raise ProgramError(f"{type(operation).__name__} {operation.name!r}: there is no memory left") from error
        seen = counts.look(operation, plan.values, arrays, executed)
        steps[operation.name] = _Step(seen, time.perf_counter() - began)
    return steps


# ------------------------------------------------------------------------------------------------ arrays in and out


def _checked_shapes(program: Program, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], bool]:
    """(inputs as [B, C, *S], whether the caller gave a batch); nothing is copied."""
    if set(inputs) != set(program.inputs):
        raise ProgramError(
            f"the program has the inputs {', '.join(sorted(program.inputs))}, not {', '.join(sorted(inputs)) or 'none'}"
        )
    given = {name: np.asarray(inputs[name]) for name in program.inputs}
    batched = next(iter(given.values())).ndim == program.ndim + 2
    arrays = {name: array if batched else array[None] for name, array in given.items()}
    first = next(iter(arrays.values()))
    for name, channels in program.inputs.items():
        array, wanted = arrays[name], (len(first), channels, *first.shape[2:])
        if array.dtype.kind not in "fiub":
            raise ProgramError(f"input {name!r}: must be real numbers, not {array.dtype}")
        if array.ndim != program.ndim + 2 or array.shape != wanted or array.size == 0:
            raise ProgramError(
                f"input {name!r}: must have {channels} channels over {program.ndim} spatial axes, [C, *S] or "
                f"[B, C, *S], and the batch and spatial shape of the others, not {given[name].shape}"
            )
    return arrays, batched


def _float32(name: str, array: np.ndarray) -> np.ndarray:
    """The array itself if it is contiguous float32, else a copy that is. Raises ProgramError if it is not finite."""
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        array = np.ascontiguousarray(array, np.float32)
    if not (math.isfinite(array.min()) and math.isfinite(array.max())):  # of NaN, both are NaN
        raise ProgramError(f"input {name!r}: must be finite in float32; it holds NaN or infinity")
    return array


def _filled(value: Value, full: bool) -> np.ndarray:
    """Spikes everywhere or nowhere, ones or zeros."""
    array = _view(memory.allocate(value.nbytes), 0, value)
    array[...] = 0
    if full:
        one = np.ones((1, value.channels, *[1] * len(value.shape)), bool)
        array[...] = pack(one) if isinstance(value, Spikes) else 1
    return array


def _returned_array(value: Value, batch: int) -> np.ndarray:
    return _view(memory.allocate(value.nbytes * batch), 0, value, batch)


def _view(room: np.ndarray, start: int, value: Value, *batch: int) -> np.ndarray:
    nbytes = value.nbytes * math.prod(batch)
    return room[start : start + nbytes].view(value.dtype).reshape(*batch, *value.array_shape)


def _select(plan: Plan, arrays: Mapping[str, np.ndarray], names: tuple[str, ...], batched: bool) -> Returned:
    return Returned({n: plan.values[n] for n in names}, {n: arrays[n] for n in names}, batched)
