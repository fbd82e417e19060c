"""What is measured of a segmentation, by name; how it is measured, `metrics.segmentation` says.

Foreground is every structure that the network knows, together; values in the true map that it does not know are
background. Of several structures each is judged alone as well, and `dice_labels` is their mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ..metrics.overlap import nanmean
from ..metrics.segmentation import CaseScores, SegmentationReport, SegmentationScores, case_scores, segmentation_report
from .tables import spread

SCORES: Mapping[str, str] = MappingProxyType(
    {
        "mIoU": "intersection over union of the foreground: what tables of segmentation call mIoU",
        "DSC": "Dice of the foreground",
        "Acc": "share of pixels that are right",
        "Spe": "specificity: share of the background that is found to be background",
        "Sen": "sensitivity: share of the foreground that is found",
        "mean_iou": "mean of the intersection over union of foreground and background",
        "mean_dice": "mean of the Dice of foreground and background",
        "dice_labels": "mean of the Dice of the structures",
        "hd95": "95th percentile of the distance between surfaces, mm where the spacing is known, else pixels; "
        "infinite where one mask is empty, nothing where both are",
    }
)
FACTS: Mapping[str, str] = MappingProxyType(
    {
        "seconds": "time that the network took",
        "seconds_all": "time of the whole segmentation, without reading files",
        "windows": "how often the network ran",
        "rate": "spikes for each neuron and time step",
        "synops": "synaptic operations, exact",
        "macs": "multiply-accumulates, exact",
        "ann_macs": "multiply-accumulates of the analog network with the same layers",
    }
)
HIGHER_IS_BETTER = frozenset(SCORES) - {"hd95"}
COMPARED = ("mIoU", "DSC", "dice_labels", "hd95")


@dataclass(frozen=True)
class SegmentedScores:
    """The scores of a case by name; `foreground` and `labels` are what they can be pooled from."""

    scores: Mapping[str, float]
    foreground: CaseScores
    labels: Mapping[int, CaseScores]


def score_labels(
    name: str,
    found: np.ndarray,
    truth: np.ndarray,
    labels: Mapping[int, str],
    spacing: Sequence[float] | None = None,
    empty: float = 1.0,
) -> SegmentedScores:
    """Compare two maps of labels [*S]; `empty` is what a ratio without denominator scores."""
    values = list(labels)
    foreground = case_scores(name, np.isin(found, values), np.isin(truth, values), spacing)
    each = (
        {value: case_scores(name, found == value, truth == value, spacing) for value in values}
        if len(values) > 1
        else {values[0]: foreground}
    )
    scores = foreground.counts.scores(empty)
    return SegmentedScores(
        {
            **scores.table,
            "mean_iou": scores.mean_iou,
            "mean_dice": scores.mean_dice,
            "dice_labels": nanmean(np.array([one.counts.dice(empty) for one in each.values()])),
            "hd95": foreground.hd95,
        },
        foreground,
        each,
    )


def summarized(
    cases: Sequence[SegmentedScores], facts: Sequence[Mapping[str, float]], labels: Mapping[int, str], empty: float
) -> dict[str, Any]:
    """Everything about a set of cases: both aggregates of the foreground and of every structure, and what it took."""
    if not cases:
        return {}
    reports = {value: segmentation_report([case.labels[value] for case in cases], empty) for value in labels}
    return {
        "foreground": _facts(segmentation_report([case.foreground for case in cases], empty)),
        "labels": {str(value): {"name": labels[value], **_facts(report)} for value, report in reports.items()},
        "dice_labels": {
            "pooled": nanmean(np.array([report.pooled.dice for report in reports.values()])),
            "image": nanmean(np.array([report.image.dice for report in reports.values()])),
        },
        "spread": {
            **{name: spread([case.scores[name] for case in cases], name in HIGHER_IS_BETTER) for name in SCORES},
            **{name: spread([own.get(name, math.nan) for own in facts]) for name in FACTS},
        },
    }


def _facts(report: SegmentationReport) -> dict[str, Any]:
    return {
        "pooled": _ratios(report.pooled),
        "image": _ratios(report.image),
        "hd95": report.hd95,
        "one_empty": report.one_empty,
        "both_empty": report.both_empty,
        "counts": asdict(report.counts),
    }


def _ratios(scores: SegmentationScores) -> dict[str, float]:
    return {**scores.table, "mean_iou": scores.mean_iou, "mean_dice": scores.mean_dice}
