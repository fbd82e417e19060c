"""What segmentation learns from and is judged on: pictures, volumes or generated lesions, read once and kept in memory.

Pictures are kept as bytes, volumes as float16 with their intensities already in [0, 1], masks as one byte a pixel; a
set that takes more than `LARGEST` is refused before more of it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, cast

import numpy as np

from ..data.cases import Case, load_case, load_volume
from ..data.folders import read_cases
from ..data.geometry import reorient
from ..data.images import Image
from ..data.lesions import generate_lesion
from ..data.network_input import NetworkInput
from ..data.slices import slices_of
from ..data.splits import duplicates, hold_out
from ..errors import ImageError, ParameterError
from .segmentation_recipe import SegmentationDataRecipe, SegmentationRecipe

LARGEST = 4 * 2**30  # bytes of one set in memory
HELD_OUT_SEED = 1_000_000  # added to the seed of the training lesions


@dataclass(frozen=True, eq=False)
class PictureCase:
    """A picture [C, H, W] uint8 and its mask [H, W] bool."""

    name: str
    picture: np.ndarray
    mask: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.picture.nbytes + self.mask.nbytes


@dataclass(frozen=True, eq=False)
class VolumeCase:
    """A volume with its intensities in [0, 1], in the order RAS, and its labels.

    labels   on the pixels that the network sees, [N, h, w] uint8: the number of the class from 1 on, 0 for background
    truth    the same on the pixels of the volume's own slices, [N, H, W]
    """

    name: str
    image: Image
    labels: np.ndarray
    truth: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.image.data.nbytes + self.labels.nbytes + (0 if self.truth is self.labels else self.truth.nbytes)


class Drawn(NamedTuple):
    """A picture or slice [C, h, w] float32 in [0, 1] and the masks of its classes [K, h, w] bool."""

    picture: np.ndarray
    masks: np.ndarray


class TrainingCases(Protocol):
    """What can be drawn from."""

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def draw(self, rng: np.random.Generator) -> Drawn: ...


@dataclass(frozen=True)
class Pictures:
    """Pictures; each is as likely as any other."""

    cases: Sequence[PictureCase]

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def nbytes(self) -> int:
        return sum(case.nbytes for case in self.cases)

    def draw(self, rng: np.random.Generator) -> Drawn:
        case = self.cases[int(rng.integers(len(self.cases)))]
        return Drawn(unit(case.picture), case.mask[None])


@dataclass(frozen=True)
class PaintedLesions:
    """A new generated lesion each time."""

    form: NetworkInput
    empty: float
    nbytes: int = 0

    def __len__(self) -> int:
        return 0

    def draw(self, rng: np.random.Generator) -> Drawn:
        lesion = generate_lesion(self.form.size, rng, empty=self.empty)
        return Drawn(_channels(lesion.picture, self.form), lesion.mask[None])


class Volumes:
    """Slices of volumes: of a volume as likely as any other, a slice with a structure with probability `structures`,
    else any. With `mirror`, left and right are exchanged half of the time."""

    def __init__(self, cases: Sequence[VolumeCase], form: NetworkInput, structures: float, mirror: bool):
        self.cases, self.form, self.structures, self.mirror = cases, form, structures, mirror
        self._with_structures = [np.flatnonzero(case.labels.any(axis=(1, 2))) for case in cases]

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def nbytes(self) -> int:
        return sum(case.nbytes for case in self.cases)

    def draw(self, rng: np.random.Generator) -> Drawn:
        chosen = int(rng.integers(len(self.cases)))
        case, certain = self.cases[chosen], self._with_structures[chosen]
        wanted, place, mirrored = rng.random() < self.structures, rng.random(), rng.random() < 0.5
        among = certain if wanted and len(certain) else np.arange(len(case.labels))
        i = int(among[int(place * len(among))])
        (picture,) = self.form.slices(case.image, i, i + 1)
        masks = one_hot(case.labels[i], len(self.form.labels))
        if self.mirror and mirrored:
            picture, masks = mirror_left_right(picture, masks, self.form)
        return Drawn(picture, masks)


def mirror_left_right(picture: np.ndarray, masks: np.ndarray, form: NetworkInput) -> Drawn:
    """A slice [C, h, w] and its masks as the mirrored body shows them: sagittal neighbours change places, the others
    are flipped along their first axis (see data.slices)."""
    if form.plane == "sagittal":
        return Drawn(picture[::-1], masks)
    return Drawn(picture[:, ::-1], masks[:, ::-1])


def one_hot(classes: np.ndarray, n: int) -> np.ndarray:
    """Numbers of classes [*S], 0 for none -> [n, *S] bool."""
    return classes == np.arange(1, n + 1, dtype=classes.dtype).reshape(-1, *[1] * classes.ndim)


def unit(picture: np.ndarray) -> np.ndarray:
    """Bytes -> float32 in [0, 1]."""
    return picture.astype(np.float32) / np.float32(255)


# ------------------------------------------------------------------------------------------------- reading them


class CaseSplit(NamedTuple):
    """What a recipe trains on and what it holds out."""

    training: TrainingCases
    held_out: Sequence[PictureCase] | Sequence[VolumeCase]


def load_split(recipe: SegmentationRecipe, folder: Path | None) -> CaseSplit:
    """The cases of a recipe, those of `folder` unless they are generated.

    Raises ParameterError and ImageError, naming folder or file, for whatever cannot be read or trained on.
    """
    data, form = recipe.data, recipe.input
    if data.kind == "lesions":
        held_out = _kept(_painted(data.test, form, data.empty, recipe.seed + HELD_OUT_SEED))
        if not data.generated:
            return CaseSplit(PaintedLesions(form, data.empty), held_out)
        return CaseSplit(Pictures(_kept(_painted(data.generated, form, data.empty, recipe.seed))), held_out)
    if folder is None:
        raise ParameterError("this recipe learns from files: give their folder with --data")
    training, test = split(read_cases(folder, data.convention or None, patient=data.patient or None), data, folder)
    if data.kind == "volumes":
        sides = [_kept(_read_volume(case, form) for case in cases) for cases in (training, test)]
        return CaseSplit(Volumes(sides[0], form, data.structures, data.mirror), sides[1])
    pictures = [_kept(_read_picture(case, form, data) for case in cases) for cases in (training, test)]
    return CaseSplit(Pictures(pictures[0]), pictures[1])


def split(cases: Sequence[Case], data: SegmentationDataRecipe, folder: Path) -> tuple[list[Case], list[Case]]:
    """The training cases and those held out, as the recipe says. Raises ParameterError where a side is empty."""
    unseen = [case.name for case in cases if case.masks is None]
    if unseen:
        raise ParameterError(f"{folder}: {unseen[0]} has no mask, one of {len(unseen)}; training needs one for each")
    if data.split == "folder":
        test = [c for c in cases if c.side == "test"] or [c for c in cases if c.side == "val"]
        training = [case for case in cases if case.side == "train"]
    elif data.test >= len(cases):
        raise ParameterError(
            f"{folder}: has {len(cases)} cases, and [data] test = {data.test} would hold out all of them; lower it"
        )
    elif data.split == "last":
        training, test = list(cases[: -data.test]), list(cases[-data.test :])
    else:
        training, test = hold_out(cases, data.test, salt=data.salt, same=duplicates(cases))
    for side, name in ((training, "training case"), (test, "held-out case")):
        if not side:
            raise ParameterError(f"{folder}: split = {data.split!r} leaves no {name}; choose another split")
    return training, test


T = TypeVar("T", PictureCase, VolumeCase)


def _kept(cases: Iterable[T]) -> list[T]:
    kept: list[T] = []
    size = 0
    for case in cases:
        kept.append(case)
        size += case.nbytes
        if size > LARGEST:
            raise ParameterError(
                f"the first {len(kept)} cases take {size / 2**30:.1f} GiB, and all must stay below "
                f"{LARGEST / 2**30:g} GiB; lower the size or coarsen the spacing of [input], or train on fewer cases"
            )
    return kept


def _painted(n: int, form: NetworkInput, empty: float, seed: int) -> Iterable[PictureCase]:
    for i in range(n):
        lesion = generate_lesion(form.size, np.random.default_rng([seed, i]), empty=empty)
        yield PictureCase(f"generated {i}", _bytes(_channels(lesion.picture, form)), lesion.mask)


def _read_picture(case: Case, form: NetworkInput, data: SegmentationDataRecipe) -> PictureCase:
    if case.is_volume:
        raise ParameterError(f"{case.image}: is a volume, and the recipe is for pictures; kind = 'volumes' reads it")
    shape = form.size if form.fit == "resize" else None
    sample = load_case(case, form.channels, convert=form.convert, shape=shape, labels=data.foreground or None)
    mask = cast(np.ndarray, sample.mask)  # split() has seen to it that there is one
    return PictureCase(case.name, _bytes(sample.picture), mask)


def _read_volume(case: Case, form: NetworkInput) -> VolumeCase:
    if not case.is_volume:
        raise ParameterError(f"{case.image}: is a picture, and the recipe is for volumes; kind = 'pictures' reads it")
    images, found = load_volume(case)
    if len(images) != 1:
        raise ParameterError(f"{case.image}: the case has {len(images)} channels; volumes have one")
    volume, labels = form.intensities(reorient(images[0])), reorient(cast(Image, found))  # likewise
    numbers = labels.with_data(_numbered(labels, form))
    truth = np.ascontiguousarray(slices_of(numbers, form.plane)[:, 0])
    seen = form.label_slices(numbers)
    if seen.shape == truth.shape:
        seen = truth
    return VolumeCase(case.name, volume.with_data(volume.data.astype(np.float16)), seen, truth)


def _numbered(labels: Image, form: NetworkInput) -> np.ndarray:
    """Values of a map of labels as numbers of classes from 1 on, uint8; other values are background."""
    if labels.data.dtype.kind == "f" and (labels.data != np.rint(labels.data)).any():
        raise ImageError(f"{labels.source}: labels must be whole numbers, and this map holds others")
    numbers = np.zeros(labels.shape, np.uint8)
    for number, value in enumerate(form.values, start=1):
        numbers[labels.data == value] = number
    return numbers


def _channels(picture: np.ndarray, form: NetworkInput) -> np.ndarray:
    return picture if form.channels == 3 else picture.mean(axis=0, keepdims=True)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture * 255).astype(np.uint8)
