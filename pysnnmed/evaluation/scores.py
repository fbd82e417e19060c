"""What is measured of a registration, by name.

The labels that count are those of the fixed and of the moving map without 0, the background. One that only one of the
two maps has scores Dice 0; it has no distance, so it is left out of the mean distances and counted in `labels_missing`,
as is one that the registration pushed out of the image. Learn2Reg leaves labels out that one map lacks: its numbers
stand beside ours, under names that say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ..metrics.deformation import folding_fraction, sd_log_jacobian
from ..metrics.overlap import dice, nanmean
from ..metrics.surface import hd95
from ..metrics.surface_distance import label_surface_distances
from .cases import Registered
from .learn2reg import learn2reg_scores

SCORES: Mapping[str, str] = MappingProxyType(
    {
        "dice_before": "mean Dice over the labels before registration",
        "dice": "mean Dice over the labels; a label that one map lacks counts 0",
        "labels": "number of labels",
        "labels_missing": "of them, those that the fixed or the moved map lacks",
        "hd95_mm": "mean 95th percentile of the distance between surfaces, elements weighted by area, mm",
        "assd_mm": "mean average symmetric distance between surfaces, elements weighted by area, mm",
        "hd95_voxel_surface_mm": "mean 95th percentile of the distance between the voxels of the borders, mm",
        "folding_percent": "voxels of the fixed image with a Jacobian determinant <= 0, per cent",
        "sdlogj": "standard deviation of log J over the voxels with J > 0",
        "dice_learn2reg": "mean Dice as Learn2Reg computes it from the field",
        "hd95_learn2reg": "mean 95th percentile as Learn2Reg computes it, voxels; infinite if a label was lost",
        "sdlogj_learn2reg": "standard deviation of log(J + 3) inside a border of 2 voxels (Learn2Reg)",
        "seconds": "time that the network took",
        "seconds_all": "time of the whole registration: files not read, but grids, warping, counting of operations",
        "rate": "spikes for each neuron and time step",
        "synops": "synaptic operations, exact",
        "macs": "multiply-accumulates, exact",
        "ann_macs": "multiply-accumulates of the analog network with the same layers",
    }
)
HIGHER_IS_BETTER = frozenset({"dice_before", "dice", "dice_learn2reg"})
COUNTS = frozenset({"labels", "labels_missing", "synops", "macs", "ann_macs"})


@dataclass(frozen=True)
class CaseScores:
    """The scores of a case by name, NaN for what cannot be said of it, and the Dice of each of its labels."""

    scores: Mapping[str, float]
    label_dice: Mapping[int, float]


def score(registered: Registered, field: np.ndarray | None = None, labels: Sequence[int] | None = None) -> CaseScores:
    """Measure a registration. `labels` None: all that its maps have.

    `field` [ndim, *S] is what Learn2Reg's numbers are computed from, by default the indices in single precision: a
    submission may hold fewer digits.
    """
    fixed, moving, moved = registered.fixed_labels, registered.moving_labels, registered.moved_labels
    present = sorted({int(v) for array in (fixed, moving) for v in np.unique(array)} - {0})
    kept = present if labels is None else [label for label in present if label in set(labels)]
    overlap = _dice(fixed, moved, kept)
    hausdorff, assd = label_surface_distances(fixed, moved, kept, registered.spacing)
    official = learn2reg_scores(fixed, moving, registered.indices.astype(np.float32) if field is None else field, kept)
    total = registered.operations.total
    values = {
        "dice_before": nanmean(_dice(fixed, registered.start_labels, kept)),
        "dice": nanmean(overlap),
        "labels": len(kept),
        "labels_missing": int(np.count_nonzero(~np.isfinite(assd))),
        "hd95_mm": nanmean(_finite(hausdorff)),
        "assd_mm": nanmean(_finite(assd)),
        "hd95_voxel_surface_mm": nanmean(hd95(fixed, moved, kept, registered.spacing)),
        "folding_percent": 100 * folding_fraction(registered.voxels),
        "sdlogj": sd_log_jacobian(registered.voxels),
        "dice_learn2reg": nanmean(official.dice),
        "hd95_learn2reg": nanmean(official.hd95),
        "sdlogj_learn2reg": official.sd_log_jacobian,
        "seconds": registered.seconds,
        "seconds_all": registered.seconds_all,
        "rate": float("nan") if registered.rate is None else registered.rate,
        "synops": total.synops,
        "macs": total.macs,
        "ann_macs": registered.operations.ann_macs,
    }
    return CaseScores(values, dict(zip(kept, map(float, overlap), strict=True)))


def _dice(fixed: np.ndarray, moved: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Dice of labels that at least one of the original maps has: 0 where one lacks it, or both do by now."""
    return np.nan_to_num(dice(fixed, moved, labels, absent="both"), nan=0.0)


def _finite(distances: np.ndarray) -> np.ndarray:
    return distances[np.isfinite(distances)]
