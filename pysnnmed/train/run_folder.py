"""The folder of a training run: what it was started with, so that nothing else is resumed in it by mistake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..data.files import write_text
from ..errors import ParameterError


def claim_run_folder(out: Path, recipe: Any, facts: Mapping[str, str] | None = None) -> None:
    """Write the note `recipe.json` of a run: the recipe, a dataclass, and `facts` that decide the result besides it.

    Checkpoints mean nothing under another recipe or from another teacher: where the folder has a note already, it must
    be the same. Raises ParameterError naming what differs.
    """
    started = json.loads(json.dumps({**asdict(recipe), **(facts or {})}))
    out.mkdir(parents=True, exist_ok=True)
    note = out / "recipe.json"
    if note.exists():
        differing = _differing(_read(note), started)
        if differing:
            raise ParameterError(
                f"{out}: holds a run of another recipe or teacher (not the same: {', '.join(differing)}); resume with "
                "what it was started with, or give an empty folder"
            )
        return
    write_text(note, json.dumps(started, indent=1, sort_keys=True) + "\n")


def _read(note: Path) -> dict[str, Any]:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"{note}: cannot be read ({error}); give an empty folder") from error
    return found if isinstance(found, dict) else {}


def _differing(found: Mapping[str, Any], started: Mapping[str, Any]) -> list[str]:
    """The keys, sorted, whose values are not the same; a key that is missing differs from every value."""
    absent = object()
    return sorted(key for key in {*found, *started} if found.get(key, absent) != started.get(key, absent))
