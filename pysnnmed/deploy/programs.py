"""Programs of trained networks, by name or file, each lowered once in a process."""

from __future__ import annotations

import functools
from pathlib import Path

from .lower import Weights, lower
from .pretrained import Card, find_model, load_model
from .program import Program

_REMEMBERED = 8


def load_program(name: str | Path, weights: Weights = "int8") -> tuple[Program, Card]:
    """The program of a network in a weights file, or of one that is shipped, and the card of that network.

    A file that changed is read again. Raises WeightsError for an unknown or damaged file, ProgramError for a network
    that has no program.
    """
    path = find_model(name).resolve()
    state = path.stat()
    return _lowered(name, path, state.st_mtime_ns, state.st_size, weights)


@functools.lru_cache(maxsize=_REMEMBERED)
def _lowered(name: str | Path, path: Path, changed: int, size: int, weights: Weights) -> tuple[Program, Card]:
    del path, changed, size  # they tell one content of the file from another
    network, card = load_model(name)
    return lower(network, weights, {**card.facts, "name": card.name}), card
