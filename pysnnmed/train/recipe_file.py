"""Recipes as files: TOML that becomes a dataclass, sections nested ones; whatever is not understood is refused."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ..errors import ParameterError
from ..models import medspikeformer, spikereg

RECIPES = Path(__file__).parent / "recipes"
PRESETS: Mapping[type, Any] = {  # sections that may begin with the name of a preset
    spikereg.SpikeRegConfig: spikereg.preset,
    medspikeformer.MedSpikeFormerConfig: medspikeformer.preset,
}
DEFAULT_TASK = "register"

R = TypeVar("R")


def read_recipe(name: str | Path, kind: type[R]) -> R:
    """Read a recipe by file name, or by the name of one that comes with the package.

    kind    the dataclass that it becomes, whose `task` a recipe names at its top: task = "segment"; without, "register"

    Raises ParameterError for a missing file, invalid TOML, another task, an unknown key or a value of the wrong type.
    """
    path = RECIPES / f"{name}.toml" if (RECIPES / f"{name}.toml").exists() else Path(name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise ParameterError(
            f"recipe {str(name)!r} cannot be read ({error.strerror}); those included: {known}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: not valid TOML: {error}") from error
    task, wanted = table.pop("task", DEFAULT_TASK), kind.task  # type: ignore[attr-defined]
    if task != wanted:
        raise ParameterError(f"{path}: is a recipe of the task {task!r}, not of {wanted!r}")
    return _build(kind, {"name": path.stem, **table}, str(path))


def _build(kind: type, table: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a table, sections becoming nested dataclasses, lists tuples."""
    known = {f.name: f for f in fields(kind)}
    types = get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key == "preset" and kind in PRESETS:
            continue
        if key not in known:
            raise ParameterError(f"{where}: unknown key {key!r}; known: {', '.join(known)}")
        if is_dataclass(section := types[key]) and isinstance(section, type):
            if not isinstance(value, dict):
                raise ParameterError(f"{where}: [{key}] must be a section")
            value = _build(section, value, f"{where} [{key}]")
        else:
            value = tuple(value) if isinstance(value, list) else value
            default = None if known[key].default is MISSING else known[key].default
            if default is not None and not isinstance(value, _accepted(default)):
                raise ParameterError(f"{where}: {key} must be {type(default).__name__}, not {value!r}")
        values[key] = value
    return PRESETS[kind](table["preset"], **values) if "preset" in table else kind(**values)


def _accepted(default: Any) -> tuple[type, ...]:
    return (int, float) if type(default) is float else (type(default),)
