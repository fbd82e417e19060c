"""Images with true masks, each segmented by a network in the way in which users would, or by whoever wrote a mask."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ..data.cases import Case, load_case
from ..data.folders import MASK_ENDINGS, image_files
from ..data.images import Image
from ..data.masks import read_labels as read_picture_labels
from ..data.masks import read_mask
from ..data.nifti import read_nifti
from ..data.pictures import Picture, read_picture
from ..data.resize import resize_mask
from ..errors import ImageError, ParameterError, PysnnmedError, reason_of_one
from ..segmentation import Segmenter
from .cases import read_labels
from .segmentation_scores import SegmentedScores, score_labels


class Judged(NamedTuple):
    """What was found in an image and what is true, [*S] whole numbers, and what the finding took, by name.

    spacing   of pixels or voxels, mm; None where nobody knows it, and distances are in pixels
    """

    found: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, ...] | None
    facts: Mapping[str, float]


class Finder(Protocol):
    """Whoever finds structures in the image of a case."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Mapping[int, str]: ...

    def judge(self, case: Case) -> Judged: ...


@dataclass(frozen=True, eq=False)
class ByNetwork:
    """A network. With `size`, pictures and masks are brought to that height and width first, and judged there."""

    name: str
    segmenter: Segmenter
    size: tuple[int, int] | None = None

    @property
    def labels(self) -> Mapping[int, str]:
        return self.segmenter.form.labels

    def judge(self, case: Case) -> Judged:
        """Raises ImageError for an image or a mask that cannot be trusted, or that do not belong together."""
        if case.channels:
            raise ParameterError(f"{case.image}: the case has {len(case.images)} files for its channels; give it one")
        image: Picture | Image
        if case.is_volume:
            image = read_nifti(case.image)
            truth, spacing = _volume_truth(case, image), image.spacing
        else:
            image, truth = _picture_and_truth(case, self.size, None if tuple(self.labels) == (1,) else self.labels)
            spacing = None
        began = time.perf_counter()
        result = self.segmenter(image)
        facts = {"seconds": result.seconds, "seconds_all": time.perf_counter() - began, "windows": result.windows}
        if result.spike_rate is not None:
            facts["rate"] = result.spike_rate
        if result.operations is not None:
            total = result.operations.total
            facts |= {"synops": total.synops, "macs": total.macs, "ann_macs": result.operations.ann_macs}
        return Judged(result.labels, truth, spacing, facts)


@dataclass(frozen=True, eq=False)
class ByFiles:
    """Masks that lie in a folder, whoever made them, each under the name of its case, NAME.* or NAME_mask.* or so.

    `binary` masks of pictures have one structure; otherwise files hold values of `labels`. With `size`, binary masks
    and pictures are brought to that height and width first.
    """

    name: str
    files: Mapping[str, Path]
    labels: Mapping[int, str]
    binary: bool
    size: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        folder: Path,
        cases: Sequence[Case],
        values: Collection[int] | None = None,
        size: tuple[int, int] | None = None,
    ) -> ByFiles:
        """The masks of a folder; without `values`, those of pictures are binary, and those of volumes have the labels
        of the true ones.

        Raises ParameterError for a folder without masks, for a mask that belongs to no case, and for two of one.
        """
        files: dict[str, Path] = {}
        names = {_stem(case) for case in cases}
        for found, path in image_files(folder).items():
            fitting = [name for ending in MASK_ENDINGS if (name := found.removesuffix(ending)) in names]
            if not fitting:
                raise ParameterError(f"{path}: belongs to none of the {len(cases)} cases; keep only their masks there")
            first = files.setdefault(fitting[0], path)
            if first is not path:
                raise ParameterError(f"{path}: the case {fitting[0]!r} already has the mask {first}; keep one")
        binary = values is None and not any(case.is_volume for case in cases)
        if values is None and not binary:
            values = sorted({value for case in cases for value in _values_of(case)})
        return cls(folder.name, files, {value: str(value) for value in values or (1,)}, binary, size)

    def judge(self, case: Case) -> Judged:
        """Raises ImageError where the mask is missing, damaged or of another image."""
        path = self.files.get(_stem(case))
        if path is None:
            raise ImageError(f"{case.name}: no file of that name among the predictions")
        if case.is_volume:
            image = read_nifti(case.image)
            return Judged(read_labels(path, image).data, _volume_truth(case, image), image.spacing, {})
        _, truth = _picture_and_truth(case, self.size, None if self.binary else self.labels)
        found = read_mask(path).data if self.binary else read_picture_labels(path)
        if self.size is not None:
            found = resize_mask(found, self.size)
        if found.shape != truth.shape:
            raise ImageError(f"{path}: the mask has {found.shape} pixels, and that of {case.image} has {truth.shape}")
        return Judged(found, truth, None, {})


@dataclass(frozen=True)
class SegmentedRow:
    """A case by a finder: its scores, or why there are none."""

    model: str
    name: str
    image: str
    error: str = ""
    judged: SegmentedScores | None = None
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def scores(self) -> Mapping[str, float]:
        """All numbers by name."""
        return {} if self.judged is None else {**self.judged.scores, **self.facts}


def judge_cases(finder: Finder, cases: Iterable[Case], empty: float) -> Iterator[SegmentedRow]:
    """Segment and score every case, in order; a case that fails gives a row with the reason, as in `progress`."""
    for case in cases:
        try:
            judged = finder.judge(case)
            scores = score_labels(case.name, judged.found, judged.truth, finder.labels, judged.spacing, empty)
        except (PysnnmedError, OSError, MemoryError) as error:
            yield SegmentedRow(finder.name, case.name, str(case.image), error=reason_of_one(error))
        else:
            yield SegmentedRow(finder.name, case.name, str(case.image), "", scores, judged.facts)


def _stem(case: Case) -> str:
    """The name of a case without the side that it is on."""
    return case.name.rpartition("/")[2]


def _volume_truth(case: Case, image: Image) -> np.ndarray:
    if case.masks is None or len(case.masks) != 1:
        raise ParameterError(f"{case.image}: needs one map of labels, not {len(case.masks or ())}")
    return read_labels(case.masks[0], image).data


def _values_of(case: Case) -> set[int]:
    """The structures in the true map of a volume; none where it cannot be read, which is told when it is judged."""
    try:
        return {int(value) for value in np.unique(_volume_truth(case, read_nifti(case.image)))} - {0}
    except (PysnnmedError, OSError):
        return set()


def _picture_and_truth(
    case: Case, size: tuple[int, int] | None, values: Iterable[int] | None
) -> tuple[Picture, np.ndarray]:
    """The picture and its true labels: 0 and 1, or, where there are `values`, those of its map of labels."""
    if case.masks is None:
        raise ParameterError(f"{case.image}: has no mask that it could be judged by")
    if values is None:
        sample = load_case(case, None, shape=size)
        mask = np.zeros(sample.picture.shape[1:], bool) if sample.mask is None else sample.mask
        if size is None:
            return read_picture(case.image), mask.astype(np.uint8)
        return Picture(np.clip(sample.picture, 0, 1), str(case.image)), mask.astype(np.uint8)
    if size is not None or len(case.masks) != 1:
        raise ParameterError(f"{case.image}: maps of several labels are judged one for an image, at its own size")
    picture, labels = read_picture(case.image), read_picture_labels(case.masks[0])
    if labels.shape != picture.shape:
        raise ImageError(
            f"{case.masks[0]}: the map has {labels.shape} pixels, and the image {case.image} {picture.shape}"
        )
    return picture, labels
