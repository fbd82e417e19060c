"""How well a network registers pairs whose labels are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from ..deploy.executor import Executor
from ..deploy.program import Program
from ..deploy.programs import mean_rate
from ..metrics.deformation import folding_fraction
from ..metrics.overlap import mean_dice
from ..models.operations import count_analog_operations, count_operations
from ..models.spikereg import FIELD, SpikeReg, Teacher
from ..synops import Report
from ..tensor import Tensor, no_grad
from ..warp import warp_nearest
from .pairs import Pair


class NetworkRun(NamedTuple):
    """What a network makes of a pair: displacement [n, *S] in voxels, and how.

    rate         spikes for each neuron and time step; None without spikes
    seconds      that the network took
    operations   called, counts them: they are exact, and not free for a network that is no program
    """

    displacement: np.ndarray
    rate: float | None
    seconds: float
    operations: Callable[[], Report]


Runner: TypeAlias = Callable[[np.ndarray, np.ndarray], NetworkRun]


def batch(image: np.ndarray) -> Tensor:
    """[*S] -> [1, 1, *S] float32"""
    return Tensor(image[None, None].astype(np.float32, copy=False))


def evaluate_pairs(
    network: Teacher | SpikeReg | Program, pairs: Sequence[Pair], labels: Sequence[int]
) -> list[dict[str, float]]:
    """Scores of every pair, by name, of a network or of its program: the few that training watches.

    before, dice   mean Dice over `labels` before and after registration, labels moved by nearest neighbour
    folding        per cent of the voxels with Jacobian determinant <= 0
    rate           of a spiking network: spikes per neuron and step
    """
    run_network, results = runner(network), []
    for pair in pairs:
        run = run_network(pair.fixed.image, pair.moving.image)
        moved = warp_nearest(pair.moving.labels[None, None], run.displacement[None])[0, 0]
        scores = {
            "before": mean_dice(pair.fixed.labels, pair.moving.labels, labels),
            "dice": mean_dice(pair.fixed.labels, moved, labels),
            "folding": 100 * folding_fraction(run.displacement),
        }
        if run.rate is not None:
            scores["rate"] = run.rate
        results.append(scores)
    return results


def runner(network: Teacher | SpikeReg | Program, memory_limit: int | None = None) -> Runner:
    """What runs a network, or its program, on fixed and moving [*S]. `memory_limit`, bytes, is that of a program."""
    if isinstance(network, Program):
        executor = Executor(network, memory_limit=memory_limit)

        def by_program(fixed: np.ndarray, moving: np.ndarray) -> NetworkRun:
            run = executor({"fixed": fixed[None], "moving": moving[None]})
            (displacement,) = run.outputs.values()
            report = run.report  # alone: the rest of the run is large
            return NetworkRun(displacement, mean_rate(run), run.total_seconds, lambda: report)

        return by_program
    network.eval()

    def as_trained(fixed: np.ndarray, moving: np.ndarray) -> NetworkRun:
        seen: dict[str, Tensor] = {}
        began = time.perf_counter()
        with no_grad():
            displacement = network(batch(fixed), batch(moving), observe=seen.__setitem__).data[0]
        seconds = time.perf_counter() - began
        layers = {name: x.data for name, x in seen.items() if name != FIELD}
        images = np.stack([fixed, moving])[None]
        if isinstance(network, Teacher):
            return NetworkRun(
                displacement, None, seconds, lambda: count_analog_operations(network.config, images, layers)
            )
        rate = float(sum(s.sum() for s in layers.values()) / sum(s.size for s in layers.values()))
        spikes = {name: s.astype(np.uint8) for name, s in layers.items()}
        return NetworkRun(displacement, rate, seconds, lambda: count_operations(network.config, images, spikes))

    return as_trained


def means(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every column."""
    return {key: float(np.mean([row[key] for row in results])) for key in results[0]}
