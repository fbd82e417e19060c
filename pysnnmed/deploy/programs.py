"""Programs of trained networks, by name or file, each lowered once in a process."""

from __future__ import annotations

import functools
from pathlib import Path

from ..errors import WeightsError
from .execution import Execution
from .lower import NETWORKS, Weights, lower
from .pretrained import Card, find_model, load_model
from .program import Program

_REMEMBERED = 8


def load_program(name: str | Path, weights: Weights = "int8") -> tuple[Program, Card]:
    """The program of a network in a weights file, or of one that is shipped, and the card of that network.

    A file that changed is read again. Raises WeightsError for an unknown or damaged file, and for one that holds a
    network without a program, such as the analog teacher.
    """
    path = find_model(name).resolve()
    state = path.stat()
    return _lowered(name, path, state.st_mtime_ns, state.st_size, weights)


@functools.lru_cache(maxsize=_REMEMBERED)
def _lowered(name: str | Path, path: Path, changed: int, size: int, weights: Weights) -> tuple[Program, Card]:
    del path, changed, size  # they tell one content of the file from another
    network, card = load_model(name)
    if type(network) not in NETWORKS:
        known = " or ".join(kind.__name__ for kind in NETWORKS)
        raise WeightsError(f"{card.path}: holds a {card.network}, which has no program; give a {known}")
    return lower(network, weights, {**card.facts, "name": card.name}), card


def mean_rate(run: Execution) -> float:
    """Spikes for each neuron and time step, over all layers of a run; an integer k counts k."""
    updates = {layer.name: layer.neuron_updates for layer in run.report.layers}
    return sum(rate * updates[name] for name, rate in run.rates.items()) / sum(updates[name] for name in run.rates)
