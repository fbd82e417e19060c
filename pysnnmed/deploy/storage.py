"""Programs in files: the safetensors layout of `weights`, and the operations as JSON in its metadata.

Arrays are named after the operation and the field that holds them, "decoder.0.up.frames.weight"; every other field of
an operation stands in the JSON under its own name. A second checksum covers the JSON and the names, types and shapes
of the arrays, so that no flipped bit gives a slightly different network. What is read is rebuilt through the same
checks as a program made by hand.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import operator
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import ProgramError, PysnnmedError
from .operations import Operation
from .program import Program
from .weights import MAX_HEADER_BYTES, load_arrays, save_arrays

VERSION = 2
_PROGRAM = ("inputs", "outputs", "ndim", "multiple", "example", "analog_channels", "facts")


def save_program(path: str | Path, program: Program) -> None:
    """Write `program` atomically; the same program always gives the same bytes.

    Raises ProgramError if its facts are no JSON or too long, FileError where the system refuses to write.
    """
    text, arrays = to_text(program)
    if 2 * len(text) > MAX_HEADER_BYTES:
        raise ProgramError(f"{path}: the description of a program must stay within {MAX_HEADER_BYTES // 2} bytes")
    save_arrays(path, arrays, {"program": text, "program_sha256": _digest(text, arrays)})


def load_program(path: str | Path) -> Program:
    """Read a program and check all of it.

    Raises WeightsError or ProgramError, naming the file and, where there is one, the operation, for a file that is
    damaged, holds no program, or a program whose operations are unknown, incomplete or do not fit together.
    """
    arrays, metadata = load_arrays(path)
    text = metadata.get("program")
    if text is None:
        raise ProgramError(f"{path}: holds no program; its metadata has {', '.join(metadata) or 'nothing'}")
    if "sha256" not in metadata or metadata.get("program_sha256") != _digest(text, arrays):
        raise ProgramError(f"{path}: the checksum of the program does not match; the file is damaged, fetch it again")
    try:
        return from_text(text, arrays)
    except PysnnmedError as error:
        raise ProgramError(f"{path}: {error}") from error


def to_text(program: Program) -> tuple[str, dict[str, np.ndarray]]:
    """A program as JSON and named arrays; two programs are equal if these are."""
    arrays: dict[str, np.ndarray] = {}
    operations = [
        {"operation": type(operation).__name__, **_fields_to_json(operation, operation.name, arrays)}
        for operation in program.operations
    ]
    facts = {
        "version": VERSION,
        "inputs": dict(program.inputs),
        "outputs": list(program.outputs),
        "ndim": program.ndim,
        "multiple": program.multiple,
        "example": list(program.example),
        "analog_channels": dict(program.analog_channels),
        "facts": dict(program.facts),
        "operations": operations,
    }
    try:
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False), arrays
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramError(f"the facts of a program must be JSON: {error}") from error


def from_text(text: str, arrays: Mapping[str, np.ndarray]) -> Program:
    """The inverse of `to_text`. Raises ProgramError."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"the description of the program is not valid JSON ({error})") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        found = content.get("version") if isinstance(content, dict) else None
        older = isinstance(found, int) and found < VERSION
        cure = "lower the network again" if older else "update pysnnmed"
        raise ProgramError(f"programs of version {VERSION} can be read, not {found!r}; {cure}")
    if set(content) != {"version", "operations", *_PROGRAM}:
        raise ProgramError(f"a program has the fields {', '.join(_PROGRAM)} and operations, not {', '.join(content)}")
    hints = {**_hints(Program), "inputs": dict[str, int], "analog_channels": dict[str, int], "facts": dict[str, Any]}
    fields = {name: _value(hints[name], content[name], name, {}) for name in _PROGRAM}
    if not isinstance(content["operations"], list):
        raise ProgramError("operations must be a list")
    left = dict(arrays)
    operations = tuple(_operation(entry, i, left) for i, entry in enumerate(content["operations"]))
    if left:
        raise ProgramError(f"the array {next(iter(left))!r} belongs to no operation")
    return Program(operations=operations, **fields)


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    table = [[name, array.dtype.name, list(array.shape)] for name, array in sorted(arrays.items())]
    return hashlib.sha256(json.dumps([text, table]).encode()).hexdigest()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of the fields of a dataclass, by name."""
    resolved = typing.get_type_hints(kind)
    return {field.name: resolved[field.name] for field in dataclasses.fields(kind)}


# ------------------------------------------------------------------------------------------------------- to JSON


def _fields_to_json(value: Any, path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The fields of a dataclass but its arrays, which are added to `arrays`."""
    table = {}
    for name in (field.name for field in dataclasses.fields(value)):
        field, where = getattr(value, name), f"{path}.{name}"
        if isinstance(field, np.ndarray):
            arrays[where] = field
        elif dataclasses.is_dataclass(field) and not isinstance(field, type):
            table[name] = _fields_to_json(field, where, arrays)
        else:
            table[name] = _plain(field)
    return table


def _plain(value: Any) -> Any:
    """Numbers of NumPy as those of Python."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, str | bool) or value is None:
        return value
    return operator.index(value) if isinstance(value, int | np.integer) else float(value)


# ----------------------------------------------------------------------------------------------------- from JSON


def _operation(entry: Any, i: int, arrays: dict[str, np.ndarray]) -> Operation:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise ProgramError(f"operation {i} has no name")
    kind = entry.get("operation")
    if not isinstance(kind, str) or kind not in Operation.kinds:
        raise ProgramError(f"operation {name!r}: {kind!r} is unknown; there are {', '.join(Operation.kinds)}")
    try:
        fields = {field: value for field, value in entry.items() if field != "operation"}
        return _dataclass(Operation.kinds[kind], fields, name, arrays)
    except PysnnmedError as error:
        raise ProgramError(f"operation {name!r}: {error}") from error


def _dataclass(kind: type, table: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """A dataclass from the table of its fields and the arrays below `path`, which are taken out of `arrays`."""
    hints = _hints(kind)
    plain = {name for name, hint in hints.items() if hint is not np.ndarray}
    if not isinstance(table, dict) or set(table) != plain:
        found = ", ".join(map(str, table)) if isinstance(table, dict) else type(table).__name__
        raise ProgramError(f"{path}: a {kind.__name__} has the fields {', '.join(sorted(plain))}, not {found}")
    fields = {}
    for name, hint in hints.items():
        where = f"{path}.{name}"
        if hint is not np.ndarray:
            fields[name] = _value(hint, table[name], where, arrays)
        elif where in arrays:
            fields[name] = arrays.pop(where)
        else:
            raise ProgramError(f"the array {where!r} is missing")
    return kind(**fields)


def _value(hint: Any, value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as a field of type `hint`."""
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), value, path, arrays)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _value(arguments[0], value, path, arrays)
    if origin is Literal and isinstance(value, str) and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], v, path, arrays) for v in value)
    if origin is dict and isinstance(value, dict):
        return value if arguments[1] is Any else {k: _value(arguments[1], v, path, arrays) for k, v in value.items()}
    if hint is float and type(value) in (int, float):
        return _finite(value, path)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise ProgramError(f"{path} must be {getattr(hint, '__name__', hint)}, not {_brief(value)}")


def _finite(value: float, path: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ProgramError(f"{path} must be a number that float64 holds") from error


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
