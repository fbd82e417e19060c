"""Programs of trained networks, by name or file, lowered once per process."""

from __future__ import annotations

import functools
from pathlib import Path

from ..errors import ProgramError
from .lower import Weights, lower
from .pretrained import Card, load_model
from .program import Program


def load_program(name: str | Path, weights: Weights = "int8") -> tuple[Program, Card]:
    """The program of a weights file, or of a network that is shipped, and the card of that network.

    A file that has changed since is read again. Raises WeightsError for an unknown or damaged model, ProgramError,
    naming it, for a network that has no program.
    """
