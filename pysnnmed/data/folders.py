"""Data sets of segmentation as their owners lay them out, read as one list of cases.

| convention   | layout                                                                                           |
|--------------|--------------------------------------------------------------------------------------------------|
| images-masks | images/NAME.* and masks/ or labels/ with NAME.* or NAME_segmentation.*, NAME_mask.*, NAME_gt.*;  |
|              | Kvasir-SEG comes so, and volumes in NIfTI may                                                    |
| vm-unet      | train/, val/ and, if wanted, test/, each as above                                                |
| isic-2018    | ISIC2018_Task1-2_SIDE_Input/NAME.jpg, ISIC2018_Task1_SIDE_GroundTruth/NAME_segmentation.png      |
| busi         | benign/, malignant/, normal/ with "NAME.png", "NAME_mask.png", "NAME_mask_1.png"; normal         |
|              | pictures need no mask                                                                            |
| kmms         | MoNuSeg as Kaggle has it: kmms_training/ and kmms_test/, each with images/ and masks/ (or image/ |
|              | and mask/)                                                                                       |
| img-label    | img_NAME.png and label_NAME.png side by side: patches of MoNuSeg                                 |
| covid-19-ct  | Imgs/NAME.* and GT/NAME.*, as Inf-Net has it                                                     |
| nnu-net      | dataset.json, imagesTr/NAME_0000.*, one for each channel, and labelsTr/NAME.*; the Medical       |
|              | Segmentation Decathlon's imagesTr/NAME.nii.gz too. imagesTs/ counts only with labelsTs/          |

Nothing is opened here but dataset.json. An image without mask, a mask without image and a name that occurs twice are
refused. Hidden files, superpixels of ISIC and files that are neither pictures nor NIfTI are not looked at.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ParameterError
from .cases import Case
from .pairs_table import stem
from .pictures import PICTURE_ENDINGS, is_picture

LARGEST_DESCRIPTION = 2**26  # bytes of dataset.json
_VOLUMES = (".nii", ".nii.gz")
MASK_ENDINGS = ("", "_segmentation", "_mask", "_gt", "_label")
_MASK_FOLDERS = ("masks", "labels")
_SIDES = {"train": "train", "val": "val", "test": "test"}
_ISIC_SIDES = {"Training": "train", "Validation": "val", "Test": "test"}
_KMMS_SIDES = {"kmms_training": "train", "kmms_test": "test"}
_BUSI_KINDS = ("benign", "malignant", "normal")


@dataclass(frozen=True)
class Convention:
    """A layout: what it looks like, whether a folder has it, and its cases."""

    looks: str
    matches: Callable[[Path], bool]
    cases: Callable[[Path], Iterator[Case]]


def read_cases(
    folder: str | os.PathLike[str], convention: str | None = None, *, patient: str | None = None
) -> list[Case]:
    """The cases of a folder, sorted by name.

    convention  one of `CONVENTIONS`; None: the one that the folder looks like
    patient     a regular expression that finds the patient's id in a name: its first group, else all it matches, as in
                r"^(TCGA-\\w+-\\w+)". None: every case is a patient of its own, but an equal file name on two sides of
                vm-unet, kmms, isic-2018 or nnu-net is one patient

    Raises `ParameterError`, naming folder or file, for a folder that is not there, that looks like no convention or
    like several, that holds no case, for an image without mask or a mask without image, and for a name that occurs
    twice.
    """
    folder = Path(folder)
    name = convention or detect(folder)
    if name not in CONVENTIONS:
        raise ParameterError(f"read_cases: convention must be one of {', '.join(CONVENTIONS)}, not {name!r}")
    if not CONVENTIONS[name].matches(folder):
        raise ParameterError(f"{folder}: does not look like {name}, which has {CONVENTIONS[name].looks}")
    cases = sorted(CONVENTIONS[name].cases(folder), key=lambda case: case.name)
    if not cases:
        raise ParameterError(f"{folder}: looks like {name} but holds no image ({', '.join(PICTURE_ENDINGS)}, .nii.gz)")
    for first, second in itertools.pairwise(cases):
        if first.name == second.name:
            raise ParameterError(f"{second.image}: the name {second.name!r} is already that of {first.image}")
    return cases if patient is None else [_of_patient(case, patient) for case in cases]


def detect(folder: str | os.PathLike[str]) -> str:
    """The name of the convention that a folder follows. Raises as `read_cases` does."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ParameterError(f"{folder}: there is no such folder")
    found = [name for name, convention in CONVENTIONS.items() if convention.matches(folder)]
    if len(found) > 1:
        raise ParameterError(f"{folder}: looks like {' and like '.join(found)}; choose one with convention=")
    if found:
        return found[0]
    entries = sorted(_visible(folder))
    if not entries:
        raise ParameterError(f"{folder}: the folder is empty")
    inside = [p.name for p in entries if p.is_dir() and any(c.matches(p) for c in CONVENTIONS.values())]
    if inside:
        raise ParameterError(f"{folder}: is no data set, but {', '.join(inside[:3])} in it looks like one; give that")
    if (folder / "Annotations").is_dir():
        raise ParameterError(f"{folder}: holds MoNuSeg's outlines in XML, which are not read; save them as masks first")
    known = "; ".join(f"{name}: {convention.looks}" for name, convention in CONVENTIONS.items())
    raise ParameterError(
        f"{folder}: looks like no known data set (it holds {', '.join(p.name for p in entries[:5])}); known are {known}"
    )


def image_files(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """The pictures and volumes that lie in a folder itself, {name without ending: file}, sorted by name.

    Raises `ParameterError` for a folder that is not there or holds none, and for a name that occurs twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ParameterError(f"{folder}: there is no such folder")
    found = _files(folder)
    if not found:
        raise ParameterError(f"{folder}: the folder holds no image ({', '.join(PICTURE_ENDINGS)}, .nii, .nii.gz)")
    return found


def leaks(cases: Sequence[Case], same: Sequence[Sequence[Case]] = ()) -> list[tuple[Case, Case]]:
    """Pairs of cases on two sides of the folder's own split that show one patient, or are `same` (see `duplicates`)."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.patient, []).append(case)
    found: dict[tuple[str, str], tuple[Case, Case]] = {}
    for group in (*groups.values(), *same):
        for i, first in enumerate(group):
            for second in group[i + 1 :]:
                if first.side != second.side:
                    found[first.name, second.name] = (first, second)
    return list(found.values())


def _of_patient(case: Case, pattern: str) -> Case:
    try:
        match = re.search(pattern, case.name)
    except re.error as error:
        raise ParameterError(f"read_cases: patient={pattern!r} is no regular expression: {error}") from error
    found = match and (match[1] if match.re.groups else match[0])
    if not found:
        raise ParameterError(f"read_cases: patient={pattern!r} finds nothing in the name {case.name!r}")
    return replace(case, patient=found)


def _visible(folder: Path) -> Iterator[Path]:
    try:
        return iter([path for path in folder.iterdir() if not path.name.startswith(".")])
    except OSError as error:
        raise ParameterError(f"{folder}: cannot be listed: {error.strerror or error}") from error


def _files(folder: Path) -> dict[str, Path]:
    """Pictures and volumes by their name without ending; two of one name are refused."""
    found: dict[str, Path] = {}
    for path in sorted(_visible(folder)):
        if path.is_file() and (is_picture(path) or path.name.lower().endswith(_VOLUMES)):
            first = found.setdefault(stem(path), path)
            if first is not path:
                raise ParameterError(f"{path}: the name {stem(path)!r} is already that of {first}; each needs its own")
    return found


def _pairs(images: dict[str, Path], masks: dict[str, Path], where: Path) -> Iterator[tuple[str, Path, Path]]:
    """Every image with its one mask."""
    left = dict(masks)
    for name, image in images.items():
        fitting = [name + ending for ending in MASK_ENDINGS if name + ending in left]
        if len(fitting) != 1:
            found = " and ".join(str(left[one].name) for one in fitting) or "none"
            raise ParameterError(f"{image}: needs one mask in {where}, named {name}.* or {name}_mask.*; found: {found}")
        yield name, image, left.pop(fitting[0])
    if left:
        raise ParameterError(f"{next(iter(left.values()))}: is a mask without image, one of {len(left)}")


def _of_folders(images: Path, masks: Path, side: str | None = None) -> Iterator[Case]:
    kept = {name: path for name, path in _files(images).items() if not name.endswith("_superpixels")}
    for name, image, mask in _pairs(kept, _files(masks), masks):
        yield Case(f"{side}/{name}" if side else name, image, (mask,), patient=name, side=side)


def _folder_of_masks(folder: Path) -> Path | None:
    return next((folder / name for name in _MASK_FOLDERS if (folder / name).is_dir()), None)


def _is_plain(folder: Path) -> bool:
    return (folder / "images").is_dir() and _folder_of_masks(folder) is not None


def _plain(folder: Path) -> Iterator[Case]:
    both = [name for name in _MASK_FOLDERS if (folder / name).is_dir()]
    if len(both) > 1:
        raise ParameterError(f"{folder}: holds both {' and '.join(both)}; keep the one that is meant")
    yield from _of_folders(folder / "images", folder / both[0])


def _vm_unet(folder: Path) -> Iterator[Case]:
    for name, side in _SIDES.items():
        if (folder / name).is_dir():
            masks = _folder_of_masks(folder / name)
            if masks is None or not (folder / name / "images").is_dir():
                raise ParameterError(f"{folder / name}: needs the folders images and masks, as the other sides have")
            yield from _of_folders(folder / name / "images", masks, side)


def _isic_folders(folder: Path) -> dict[str, tuple[Path, Path]]:
    return {
        side: (folder / f"ISIC2018_Task1-2_{word}_Input", folder / f"ISIC2018_Task1_{word}_GroundTruth")
        for word, side in _ISIC_SIDES.items()
        if (folder / f"ISIC2018_Task1-2_{word}_Input").is_dir()
    }


def _isic(folder: Path) -> Iterator[Case]:
    for side, (images, masks) in _isic_folders(folder).items():
        if not masks.is_dir():
            raise ParameterError(f"{images}: needs the masks in {masks}; there is no such folder")
        yield from _of_folders(images, masks, side)


def _busi(folder: Path) -> Iterator[Case]:
    for kind in _BUSI_KINDS:
        files = _files(folder / kind) if (folder / kind).is_dir() else {}
        masks: dict[str, list[Path]] = {}
        for name, path in files.items():
            match = re.fullmatch(r"(.+)_mask(_\d+)?", name)
            if match:
                masks.setdefault(match[1], []).append(path)
        for name, path in files.items():
            if not re.search(r"_mask(_\d+)?$", name):
                if name not in masks and kind != "normal":
                    raise ParameterError(f"{path}: needs a mask named {name}_mask.png; only normal pictures need none")
                yield Case(name, path, tuple(masks.pop(name, ())), kind=kind)
        if masks:
            raise ParameterError(f"{next(iter(masks.values()))[0]}: is a mask without image, one of {len(masks)}")


def _kmms(folder: Path) -> Iterator[Case]:
    for name, side in _KMMS_SIDES.items():
        if (folder / name).is_dir():
            for images, masks in (("images", "masks"), ("image", "mask")):
                if (folder / name / images).is_dir() and (folder / name / masks).is_dir():
                    yield from _of_folders(folder / name / images, folder / name / masks, side)
                    break
            else:
                raise ParameterError(f"{folder / name}: needs the folders images and masks")


def _img_label(folder: Path) -> Iterator[Case]:
    files = _files(folder)
    images, masks = (
        {name.removeprefix(prefix): path for name, path in files.items() if name.startswith(prefix)}
        for prefix in ("img_", "label_")
    )
    for name, image, mask in _pairs(images, masks, folder):
        yield Case(name, image, (mask,))


def _nnu_net(folder: Path) -> Iterator[Case]:
    description = _description(folder / "dataset.json")
    channels = description.get("channel_names", description.get("modality", {"0": ""}))
    if not isinstance(channels, dict) or not channels:
        raise ParameterError(f"{folder / 'dataset.json'}: channel_names must name at least one channel, not {channels}")
    for word, side in (("Tr", "train"), ("Ts", "test")):
        if not (folder / f"labels{word}").is_dir():
            continue
        images, labels = _files(folder / f"images{word}"), _files(folder / f"labels{word}")
        for name, mask in labels.items():
            wanted = [f"{name}_{i:04}" for i in range(len(channels))]
            if len(channels) == 1 and name in images and wanted[0] not in images:
                wanted = [name]  # the Decathlon's way
            missing = [one for one in wanted if one not in images]
            if missing:
                raise ParameterError(f"{mask}: needs the image {missing[0]}.* in {folder / f'images{word}'}")
            first, *more = (images.pop(one) for one in wanted)
            yield Case(f"{side}/{name}", first, (mask,), patient=name, side=side, channels=tuple(more))
        if images:
            raise ParameterError(f"{next(iter(images.values()))}: has no labels in labels{word}, one of {len(images)}")
        claimed = description.get("numTraining", len(labels))
        if word == "Tr" and claimed != len(labels):
            raise ParameterError(f"{folder / 'dataset.json'}: numTraining is {claimed}, labelsTr holds {len(labels)}")


def _description(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            content = stream.read(LARGEST_DESCRIPTION + 1)
    except OSError as error:
        raise ParameterError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_DESCRIPTION:
        raise ParameterError(f"{path}: is larger than {LARGEST_DESCRIPTION} bytes, too large for a description")
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: is no valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ParameterError(f"{path}: must hold an object, not {type(found).__name__}")
    return found


CONVENTIONS = {
    "images-masks": Convention("images/ and masks/ (or labels/)", _is_plain, _plain),
    "vm-unet": Convention("train/images, train/masks and the same in val", lambda f: _is_plain(f / "train"), _vm_unet),
    "isic-2018": Convention("ISIC2018_Task1-2_*_Input", lambda f: bool(_isic_folders(f)), _isic),
    "busi": Convention("benign/, malignant/, normal/", lambda f: any((f / k).is_dir() for k in _BUSI_KINDS), _busi),
    "kmms": Convention("kmms_training/, kmms_test/", lambda f: any((f / k).is_dir() for k in _KMMS_SIDES), _kmms),
    "img-label": Convention(
        "img_*.png beside label_*.png", lambda f: any(f.glob("img_*.*")) and any(f.glob("label_*.*")), _img_label
    ),
    "covid-19-ct": Convention(
        "Imgs/ and GT/",
        lambda f: (f / "Imgs").is_dir() and (f / "GT").is_dir(),
        lambda f: _of_folders(f / "Imgs", f / "GT"),
    ),
    "nnu-net": Convention(
        "imagesTr/, labelsTr/ and dataset.json",
        lambda f: (f / "imagesTr").is_dir() and (f / "labelsTr").is_dir(),
        _nnu_net,
    ),
}
