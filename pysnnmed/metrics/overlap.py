"""How much two label maps overlap: Dice and IoU, with the two questions every table hides asked aloud.

1. What does a label score that is absent? In registration (`dice`, `iou`) it is left out, as NaN: with
   `absent="either"` when either map lacks it (Learn2Reg's evaluation), with `absent="both"` only when both do, so
   that a structure lost by one of them scores 0.
2. Over what is the average taken? In segmentation (`segmentation_scores`) `aggregate="pooled"` makes one confusion
   matrix of all pixels of all images (VM-UNet's evaluation), `aggregate="image"` averages the scores of the images
   (MedSpikeFormer's). Dice = 2 IoU / (1 + IoU) holds for pooled scores, not for means over images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from ..errors import ParameterError, ShapeError

Absent = Literal["either", "both"]


def dice(a: np.ndarray, b: np.ndarray, labels: Iterable[int], absent: Absent = "either") -> np.ndarray:
    """Dice of each label, [len(labels)] float64: 2 |A and B| / (|A| + |B|); NaN where the label is `absent`."""
    both, in_a, in_b = _counts(a, b, labels)
    return _ratio(2 * both, in_a + in_b, in_a, in_b, absent)


def iou(a: np.ndarray, b: np.ndarray, labels: Iterable[int], absent: Absent = "either") -> np.ndarray:
    """Intersection over union of each label, [len(labels)] float64: |A and B| / |A or B|; NaN where it is `absent`."""
    both, in_a, in_b = _counts(a, b, labels)
    return _ratio(both, in_a + in_b - both, in_a, in_b, absent)


def mean_dice(a: np.ndarray, b: np.ndarray, labels: Iterable[int], absent: Absent = "either") -> float:
    """Mean of `dice` over the labels that are present; NaN if none is."""
    return nanmean(dice(a, b, labels, absent))


def nanmean(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN, without a warning, if nothing is left."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")


def _counts(a: np.ndarray, b: np.ndarray, labels: Iterable[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels of each label in both maps, in a, in b."""
    if a.shape != b.shape:
        raise ShapeError(f"overlap: the two label maps must have one shape, not {a.shape} and {b.shape}")
    masks = [(a == label, b == label) for label in labels]
    counts = np.array([(np.count_nonzero(p & q), np.count_nonzero(p), np.count_nonzero(q)) for p, q in masks])
    both, in_a, in_b = counts.reshape(-1, 3).T
    return both, in_a, in_b


def _ratio(top: np.ndarray, bottom: np.ndarray, in_a: np.ndarray, in_b: np.ndarray, absent: Absent) -> np.ndarray:
    if absent == "either":
        missing = (in_a == 0) | (in_b == 0)
    elif absent == "both":
        missing = (in_a == 0) & (in_b == 0)
    else:
        raise ParameterError(f"overlap: absent must be 'either' or 'both', not {absent!r}")
    return np.where(missing, np.nan, top / np.maximum(bottom, 1))


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of two binary masks, in pixels. Matrices add up: the sum of all images is the pooled one."""

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, prediction: np.ndarray, target: np.ndarray) -> Confusion:
        """Compare two masks of one shape; nonzero is foreground."""
        if prediction.shape != target.shape:
            raise ShapeError(f"Confusion: the masks must have one shape, not {prediction.shape} and {target.shape}")
        p, t = prediction != 0, target != 0
        tp, positive, true = (int(np.count_nonzero(m)) for m in (p & t, p, t))
        return cls(tp, positive - tp, true - tp, p.size - positive - true + tp)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    def scores(self, empty: float = 1.0) -> SegmentationScores:
        """The ratios; one whose denominator is zero (nothing there and nothing claimed) takes the value `empty`."""

        def ratio(top: int, bottom: int) -> float:
            return top / bottom if bottom else empty

        return SegmentationScores(
            dice=ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn),
            iou=ratio(self.tp, self.tp + self.fp + self.fn),
            accuracy=ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn),
            sensitivity=ratio(self.tp, self.tp + self.fn),
            specificity=ratio(self.tn, self.tn + self.fp),
        )


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a binary segmentation, each in [0, 1]."""

    dice: float
    iou: float
    accuracy: float
    sensitivity: float
    specificity: float


def segmentation_scores(
    predictions: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    aggregate: Literal["pooled", "image"] = "pooled",
    empty: float = 1.0,
) -> SegmentationScores:
    """Scores over a set of binary masks, pooled over pixels or averaged over images; see the module for the difference.

    `empty` is what an image scores that has no foreground and is predicted to have none: 1 (it is right), 0 (what
    published code often does, which punishes BUSI's normal images), or NaN (leave it out of the mean over images).
    """
    matrices = [Confusion.of(p, t) for p, t in zip(predictions, targets, strict=True)]
    if not matrices:
        raise ParameterError("segmentation_scores: at least one image is needed, not 0")
    combine: dict[str, Callable[[], SegmentationScores]] = {
        "pooled": lambda: sum(matrices, Confusion(0, 0, 0, 0)).scores(empty),
        "image": lambda: _mean([m.scores(empty) for m in matrices]),
    }
    if aggregate not in combine:
        raise ParameterError(f"segmentation_scores: aggregate must be 'pooled' or 'image', not {aggregate!r}")
    return combine[aggregate]()


def _mean(scores: list[SegmentationScores]) -> SegmentationScores:
    names = [f.name for f in fields(SegmentationScores)]
    return SegmentationScores(**{n: nanmean(np.array([getattr(s, n) for s in scores])) for n in names})
