"""How much two label maps overlap: Dice and IoU of each label, as registration is judged.

What does a label score that is absent? It is left out, as NaN: with `absent="either"` when either map lacks it
(Learn2Reg's evaluation), with `absent="both"` only when both do, so that a structure lost by one of them scores 0.
Binary segmentation over many images asks other questions; see `segmentation`.
"""

from __future__ import annotations

from collections.abc import Iterable
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
