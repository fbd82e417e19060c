"""How good binary segmentations are, with the questions every table hides asked aloud.

1. Over what is the mean taken? "pooled" makes one confusion matrix of all pixels of all images (VM-UNet's evaluation);
   "image" averages the scores of the images (MedSpikeFormer's). Dice = 2 IoU / (1 + IoU) holds for the pooled ones, not
   for means over images, so the two must never share a column. A report has both, and names them.
2. Of what is the IoU? `iou` and `dice` are those of the foreground; what that table calls mIoU is `iou`. `mean_iou` and
   `mean_dice` are the mean of foreground and background, which a large background lifts.
3. What does an image score that has no foreground, and is predicted to have none? A ratio without a denominator takes
   the value `empty`: 1 (it is right), 0 (what published code often does, which punishes BUSI's normal images), or NaN
   (left out of the mean over images). So with `empty=1` the sensitivity is 1 wherever there was nothing to find, and
   false alarms show in the specificity.
4. How far is a contour that does not exist? HD95 of two empty masks is NaN, of one empty mask infinite. The mean is
   over the images in which it is finite, and the others are counted beside it. Distances cannot be pooled.

With tp, fp, fn, tn the pixels of the confusion matrix:

    DSC = 2 tp / (2 tp + fp + fn)    IoU = tp / (tp + fp + fn)    Acc = (tp + tn) / (tp + fp + fn + tn)
    Sen = tp / (tp + fn)             Spe = tn / (tn + fp)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from ..errors import ParameterError, ShapeError
from .overlap import nanmean
from .surface_distance import compare_surfaces

Aggregate = Literal["pooled", "image"]


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of two binary masks, in pixels. Matrices add up: the sum of all images is the pooled one."""

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, prediction: np.ndarray, target: np.ndarray) -> Confusion:
        """Compare two masks of one shape, bool or integers; nonzero is foreground.

        Raises `ParameterError` for floating-point numbers: whether 0.3 is foreground is a threshold's business.
        """
        if prediction.shape != target.shape:
            raise ShapeError(f"Confusion: the masks must have one shape, not {prediction.shape} and {target.shape}")
        for mask in (prediction, target):
            if mask.dtype.kind not in "bui":
                raise ParameterError(f"Confusion: masks must hold bool or integers, not {mask.dtype}; threshold them")
        p, t = prediction != 0, target != 0
        tp, positive, true = (int(np.count_nonzero(m)) for m in (p & t, p, t))
        return cls(tp, positive - tp, true - tp, p.size - positive - true + tp)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def pixels(self) -> int:
        """All that were compared."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def background(self) -> Confusion:
        """The matrix of the complements of both masks."""
        return Confusion(self.tn, self.fn, self.fp, self.tp)

    def dice(self, empty: float = 1.0) -> float:
        """Of the foreground; `empty` where there is none in either mask."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, empty)

    def iou(self, empty: float = 1.0) -> float:
        """Of the foreground; `empty` where there is none in either mask."""
        return _ratio(self.tp, self.tp + self.fp + self.fn, empty)

    def scores(self, empty: float = 1.0) -> SegmentationScores:
        """The ratios; one whose denominator is zero takes the value `empty`."""
        other = self.background
        return SegmentationScores(
            dice=self.dice(empty),
            iou=self.iou(empty),
            accuracy=_ratio(self.tp + self.tn, self.pixels, empty),
            sensitivity=_ratio(self.tp, self.tp + self.fn, empty),
            specificity=_ratio(self.tn, self.tn + self.fp, empty),
            mean_dice=nanmean(np.array([self.dice(empty), other.dice(empty)])),
            mean_iou=nanmean(np.array([self.iou(empty), other.iou(empty)])),
        )


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a binary segmentation, each in [0, 1]; see the module for what they are of."""

    dice: float
    iou: float
    accuracy: float
    sensitivity: float
    specificity: float
    mean_dice: float
    mean_iou: float

    @property
    def table(self) -> dict[str, float]:
        """The five columns of MedSpikeFormer's and VM-UNet's tables under their names there; mIoU is `iou`."""
        return {
            "mIoU": self.iou,
            "DSC": self.dice,
            "Acc": self.accuracy,
            "Spe": self.specificity,
            "Sen": self.sensitivity,
        }


@dataclass(frozen=True)
class CaseScores:
    """One image: its counts and its HD95, in pixels or in the unit of the spacing; see the module for empty masks."""

    name: str
    counts: Confusion
    hd95: float


@dataclass(frozen=True)
class SegmentationReport:
    """A set of images, judged in both ways.

    `pooled` are the ratios of the summed counts, `image` the means of the images' ratios; `hd95` is the mean over the
    images in which it is finite, `one_empty` counts those where only one mask has foreground, `both_empty` those where
    neither has.
    """

    pooled: SegmentationScores
    image: SegmentationScores
    hd95: float
    one_empty: int
    both_empty: int
    counts: Confusion


def case_scores(
    name: str, prediction: np.ndarray, target: np.ndarray, spacing: Sequence[float] | None = None
) -> CaseScores:
    """Compare the two masks [H, W] or [D, H, W] of an image. `spacing` is the pixel size along each axis, else 1."""
    counts = Confusion.of(prediction, target)
    return CaseScores(name, counts, compare_surfaces(prediction != 0, target != 0, spacing).hausdorff(95))


def segmentation_report(cases: Sequence[CaseScores], empty: float = 1.0) -> SegmentationReport:
    """Both aggregates of the scores of some images, whose order does not matter.

    Raises `ParameterError` without images, and where two have one name: it would count twice.
    """
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ParameterError(f"segmentation_report: the image {twice!r} is there twice; every image counts once")
    pooled, image = (_aggregate([case.counts for case in cases], aggregate, empty) for aggregate in ("pooled", "image"))
    distances = [case.hd95 for case in cases]
    finite = np.array([distance for distance in distances if math.isfinite(distance)])
    return SegmentationReport(
        pooled=pooled,
        image=image,
        hd95=math.fsum(finite) / len(finite) if len(finite) else math.nan,
        one_empty=sum(map(math.isinf, distances)),
        both_empty=sum(map(math.isnan, distances)),
        counts=sum((case.counts for case in cases), Confusion(0, 0, 0, 0)),
    )


def segmentation_scores(
    predictions: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    aggregate: Aggregate = "pooled",
    empty: float = 1.0,
) -> SegmentationScores:
    """Scores over a set of binary masks without distances, pooled over pixels or averaged over images."""
    return _aggregate([Confusion.of(p, t) for p, t in zip(predictions, targets, strict=True)], aggregate, empty)


def _aggregate(matrices: Sequence[Confusion], aggregate: str, empty: float) -> SegmentationScores:
    if not matrices:
        raise ParameterError("segmentation_scores: at least one image is needed, not 0")
    combine: dict[str, Callable[[], SegmentationScores]] = {
        "pooled": lambda: sum(matrices, Confusion(0, 0, 0, 0)).scores(empty),
        "image": lambda: _mean([matrix.scores(empty) for matrix in matrices]),
    }
    if aggregate not in combine:
        raise ParameterError(f"segmentation_scores: aggregate must be 'pooled' or 'image', not {aggregate!r}")
    return combine[aggregate]()


def _mean(scores: list[SegmentationScores]) -> SegmentationScores:
    return SegmentationScores(**{f.name: _mean_of(scores, f.name) for f in fields(SegmentationScores)})


def _mean_of(scores: list[SegmentationScores], name: str) -> float:
    """Exactly rounded, so that the order of the images does not matter; NaN where nothing is left."""
    kept = [value for score in scores if not math.isnan(value := getattr(score, name))]
    return math.fsum(kept) / len(kept) if kept else math.nan


def _ratio(top: int, bottom: int, empty: float) -> float:
    return top / bottom if bottom else empty
