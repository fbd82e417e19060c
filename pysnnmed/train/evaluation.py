"""How well a network registers pairs whose labels are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from ..deploy.executor import Executor
from ..deploy.program import Program
from ..deploy.programs import mean_rate
from ..metrics.deformation import folding_fraction
from ..metrics.overlap import mean_dice
from ..metrics.surface import hd95
from ..models.spikereg import FIELD, SpikeReg, Teacher
from ..tensor import Tensor, no_grad
from ..warp import warp_nearest
from .pairs import Pair

Runner: TypeAlias = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float | None]]


def batch(image: np.ndarray) -> Tensor:
    """[*S] -> [1, 1, *S] float32"""
    return Tensor(image[None, None].astype(np.float32, copy=False))


def evaluate_pairs(
    network: Teacher | SpikeReg | Program, pairs: Sequence[Pair], labels: Sequence[int], surfaces: bool = False
) -> list[dict[str, float]]:
    """Scores of every pair, by name, of a network or of its program.

    before, dice   mean Dice over `labels` before and after registration, labels moved by nearest neighbour
    folding        per cent of the voxels with Jacobian determinant <= 0
    hd95           with `surfaces`: mean 95th percentile of the surface distance over `labels`, voxels
    rate           of a spiking network: spikes per neuron and step
    """
    run, results = _runner(network), []
    for pair in pairs:
        displacement, rate = run(pair.fixed.image, pair.moving.image)
        moved = warp_nearest(pair.moving.labels[None, None], displacement[None])[0, 0]
        scores = {
            "before": mean_dice(pair.fixed.labels, pair.moving.labels, labels),
            "dice": mean_dice(pair.fixed.labels, moved, labels),
            "folding": 100 * folding_fraction(displacement),
        }
        if surfaces:
            scores["hd95"] = float(np.nanmean(hd95(pair.fixed.labels, moved, labels)))
        if rate is not None:
            scores["rate"] = rate
        results.append(scores)
    return results


def _runner(network: Teacher | SpikeReg | Program) -> Runner:
    """What maps fixed and moving [*S] to (displacement [n, *S] in voxels, spike rate, None without spikes)."""
    if isinstance(network, Program):
        executor = Executor(network)

        def by_program(fixed: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, float | None]:
            run = executor({"fixed": fixed[None], "moving": moving[None]})
            (displacement,) = run.outputs.values()
            return displacement, mean_rate(run)

        return by_program
    network.eval()

    def as_trained(fixed: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, float | None]:
        seen: dict[str, Tensor] = {}
        with no_grad():
            displacement = network(batch(fixed), batch(moving), observe=seen.__setitem__).data[0]
        if isinstance(network, Teacher):
            return displacement, None
        del seen[FIELD]
        return displacement, float(sum(s.data.sum() for s in seen.values()) / sum(s.size for s in seen.values()))

    return as_trained


def means(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every column."""
    return {key: float(np.mean([row[key] for row in results])) for key in results[0]}
