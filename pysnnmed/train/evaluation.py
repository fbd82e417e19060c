"""How well a network registers pairs whose labels are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..metrics.deformation import folding_fraction
from ..metrics.overlap import mean_dice
from ..metrics.surface import hd95
from ..models.spikereg import FIELD, SpikeReg, Teacher
from ..tensor import Tensor, no_grad
from ..warp import warp_nearest
from .pairs import Pair


def batch(image: np.ndarray) -> Tensor:
    """[*S] -> [1, 1, *S] float32"""
    return Tensor(image[None, None].astype(np.float32, copy=False))


def evaluate_pairs(
    network: Teacher | SpikeReg, pairs: Sequence[Pair], labels: Sequence[int], surfaces: bool = False
) -> list[dict[str, float]]:
    """Scores of every pair, by name.

    before, dice   mean Dice over `labels` before and after registration, labels moved by nearest neighbour
    folding        per cent of the voxels with Jacobian determinant <= 0
    hd95           with `surfaces`: mean 95th percentile of the surface distance over `labels`, voxels
    rate           of a spiking network: spikes per neuron and step
    """
    network.eval()
    results = []
    for pair in pairs:
        seen: dict[str, Tensor] = {}
        with no_grad():
            displacement = network(batch(pair.fixed.image), batch(pair.moving.image), observe=seen.__setitem__).data
        moved = warp_nearest(pair.moving.labels[None, None], displacement)[0, 0]
        scores = {
            "before": mean_dice(pair.fixed.labels, pair.moving.labels, labels),
            "dice": mean_dice(pair.fixed.labels, moved, labels),
            "folding": 100 * folding_fraction(displacement[0]),
        }
        if surfaces:
            scores["hd95"] = float(np.nanmean(hd95(pair.fixed.labels, moved, labels)))
        if isinstance(network, SpikeReg):
            del seen[FIELD]
            scores["rate"] = float(sum(s.data.sum() for s in seen.values()) / sum(s.size for s in seen.values()))
        results.append(scores)
    return results


def means(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every column."""
    return {key: float(np.mean([row[key] for row in results])) for key in results[0]}
