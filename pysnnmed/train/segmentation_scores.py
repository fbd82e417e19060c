"""How well a network segments cases whose masks are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import ops
from ..data.network_input import NetworkInput
from ..data.windows import seen_through
from ..metrics.overlap import dice, nanmean
from ..metrics.segmentation import Aggregate, SegmentationScores, segmentation_scores
from ..models.medspikeformer import MedSpikeFormer, SegmentationTeacher
from ..tensor import Tensor, no_grad
from .segmentation_cases import PictureCase, VolumeCase, unit

AGGREGATES: tuple[Aggregate, ...] = ("image", "pooled")
COLUMNS = ("iou", "dice", "accuracy", "specificity", "sensitivity")
TOGETHER = 8  # pictures or slices that the network sees at once


def evaluate_cases(
    network: MedSpikeFormer | SegmentationTeacher,
    cases: Sequence[PictureCase] | Sequence[VolumeCase],
    form: NetworkInput,
) -> dict[str, float]:
    """Scores of the held-out cases by name, all of the foreground, which is any structure at all.

    image_iou, pooled_iou, ...   the five of metrics.segmentation, means over cases and of all pixels together; a case
                                 without foreground in which none is found scores 1
    dice, dice_NAME              of volumes: the 3D Dice of each structure, mean over the volumes that have it, and the
                                 mean of the structures
    rate                         of a spiking network: spikes for each neuron and step

    Pictures that training resized are judged at that size, volumes on their own voxels.
    """
    network.eval()
    seen = _Rate() if isinstance(network, MedSpikeFormer) else None
    found, truths = [], []
    for case in cases:
        found.append(segmented(network, case, form, seen))
        truths.append(case.truth if isinstance(case, VolumeCase) else case.mask.astype(np.uint8))
    scores: dict[str, float] = {}
    if form.kind == "volumes":
        numbers = range(1, len(form.labels) + 1)
        each = np.array([dice(a, b, numbers, absent="both") for a, b in zip(found, truths, strict=True)])
        structures = [nanmean(column) for column in each.T]
        scores["dice"] = nanmean(np.array(structures))
        scores |= {f"dice_{name}": value for name, value in zip(form.labels.values(), structures, strict=True)}
    predicted, target = ([one > 0 for one in side] for side in (found, truths))
    for aggregate in AGGREGATES:
        row: SegmentationScores = segmentation_scores(predicted, target, aggregate)
        scores |= {f"{aggregate}_{column}": getattr(row, column) for column in COLUMNS}
    if seen is not None:
        scores["rate"] = seen.rate
    return scores


def main_score(form: NetworkInput) -> str:
    """The score by which a run calls its best step."""
    return "dice" if form.kind == "volumes" else "image_iou"


def segmented(
    network: MedSpikeFormer | SegmentationTeacher,
    case: PictureCase | VolumeCase,
    form: NetworkInput,
    seen: _Rate | None = None,
) -> np.ndarray:
    """Numbers of classes, 0 for background: [H, W] of a picture, [N, H, W] of a volume's slices, uint8."""
    if isinstance(case, PictureCase):
        return classes_of(probabilities(network, unit(case.picture)[None], form, seen)[0], form.threshold)
    found = np.empty(case.truth.shape, np.uint8)
    for start in range(0, len(found), TOGETHER):
        some = slice(start, start + TOGETHER)
        maps = probabilities(network, form.slices(case.image, some.start, some.stop), form, seen)
        found[some] = [classes_of(one, form.threshold) for one in form.to_pixels(maps, case.image)]
    return found


def classes_of(probability: np.ndarray, threshold: float) -> np.ndarray:
    """[K, *S] -> [*S] uint8: the likeliest class from 1 on where it reaches the threshold, else 0."""
    best = (probability.argmax(axis=0) + 1).astype(np.uint8)
    best[probability.max(axis=0) < threshold] = 0
    return best


def probabilities(
    network: MedSpikeFormer | SegmentationTeacher, pixels: np.ndarray, form: NetworkInput, seen: _Rate | None = None
) -> np.ndarray:
    """What the network says of pixels [n, C, H, W] in [0, 1]: [n, K, H, W]. Larger ones are seen in windows."""

    def look(seen_there: np.ndarray) -> np.ndarray:
        with no_grad():
            logits = network(Tensor(np.ascontiguousarray(seen_there, np.float32)), observe=seen)
            return ops.sigmoid(logits).data.reshape(-1, *logits.shape[2:])

    whole = np.concatenate([slab for _, slab in seen_through(pixels, form.size, form.padding, look)], axis=1)
    return whole.reshape(len(pixels), -1, *whole.shape[1:])


class _Rate:
    """Counts spikes and neurons as an observer."""

    def __init__(self) -> None:
        self.spikes, self.sites = 0.0, 0

    def __call__(self, name: str, spikes: Tensor) -> None:
        self.spikes += float(spikes.data.sum(dtype=np.float64))
        self.sites += spikes.size

    @property
    def rate(self) -> float:
        return self.spikes / max(self.sites, 1)
