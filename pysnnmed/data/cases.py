"""A case: an image and the masks that belong to it, as files (`Case`) and as arrays (`Sample`).

Where a case has several masks, as a breast with two tumours has in BUSI, a pixel is foreground that is so in any. No
mask is no doubt: `masks=()` says that there is nothing to find, `masks=None` that nobody has looked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ImageError, ParameterError
from .affines import largest_shift
from .images import Image
from .masks import Mask, read_labels, read_mask
from .nifti import read_nifti
from .pictures import MAX_PIXELS, Picture, read_picture
from .resize import resize, resize_mask

_VOLUME_ENDINGS = (".nii", ".nii.gz")
_SAME_ASPECT = 0.01  # relative: 200 x 150 and 601 x 450 show the same
_SAME_PLACE = 0.1  # voxels


@dataclass(frozen=True)
class Case:
    """The files of a case.

    `patient` is what must not be on two sides of a split, the name where nothing else is known; `side` ("train",
    "val", "test") and `kind` ("benign") are what the folder says; `channels` are further images of the same place, each
    with a channel of its own (nnU-Net).
    """

    name: str
    image: Path
    masks: tuple[Path, ...] | None
    patient: str = ""
    side: str | None = None
    kind: str | None = None
    channels: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise ParameterError(f"Case: the name of {self.image} must not be empty")
        if not self.patient:
            object.__setattr__(self, "patient", self.name)

    @property
    def images(self) -> tuple[Path, ...]:
        """The image and its further channels."""
        return (self.image, *self.channels)

    @property
    def is_volume(self) -> bool:
        """Whether the image is NIfTI; `load_volume` reads it, and `load_case` the others."""
        return self.image.name.lower().endswith(_VOLUME_ENDINGS)


@dataclass(frozen=True, eq=False)
class Sample:
    """A case in memory: `picture` [C, H, W] float32 in [0, 1], `mask` [H, W] bool or None where there is none.

    `size` is height and width of the image in its file, `ambiguous` the largest share of doubtful pixels in its masks.
    """

    name: str
    picture: np.ndarray
    mask: np.ndarray | None
    size: tuple[int, int]
    ambiguous: float = 0.0


def load_case(
    case: Case,
    channels: int | None = 3,
    *,
    convert: bool = False,
    shape: Sequence[int] | None = None,
    labels: Collection[int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Sample:
    """Read the image and the masks of a case.

    channels, convert, max_pixels  as in `read_picture`; images of several channels in files of their own are grey
    shape   height and width that both are resized to; None: as stored. Where it is given, the mask may have another
            size than the image if it has its proportions within 1 % (HAM10000 is often kept so); each is resized from
            its own
    labels  the mask is a map of labels, and these are foreground; None: it is binary

    Raises `ImageError`, naming the file, for damaged files, for a mask of another size than the image, and for an image
    of other channels.
    """
    if case.is_volume:
        raise ParameterError(f"load_case: {case.image} is a volume; read it with load_volume and slices_of")
    pictures = _read_channels(case, channels, convert, max_pixels)
    size = pictures[0].shape
    picture = np.concatenate([one.unit() for one in pictures])
    if shape is not None:
        picture = resize(picture, shape)
    if case.masks is None:
        return Sample(case.name, picture, None, size)
    found = [_read_mask(path, labels, max_pixels) for path in case.masks]
    mask = np.zeros(picture.shape[1:], bool)
    for one in found:
        _check_size(one, pictures[0], same=shape is None)
        mask |= one.data if shape is None else resize_mask(one.data, shape)
    return Sample(case.name, picture, mask, size, max((one.ambiguous for one in found), default=0.0))


def load_volume(case: Case) -> tuple[list[Image], Image | None]:
    """The volumes of a case, one for each channel, and its map of labels, all on the same voxels.

    Raises `ImageError`, naming the file, for damaged files and where one does not lie on the voxels of the first.
    """
    if not case.is_volume:
        raise ParameterError(f"load_volume: {case.image} is a picture; read it with load_case")
    if case.masks is not None and len(case.masks) != 1:
        raise ParameterError(f"load_volume: {case.name} must have one map of labels, not {len(case.masks)}")
    images = [read_nifti(path) for path in case.images]
    labels = None if case.masks is None else read_nifti(case.masks[0])
    first = images[0]
    for other in (*images[1:], *([] if labels is None else [labels])):
        if other.shape != first.shape:
            raise ImageError(f"{other.source}: has {other.shape} voxels, and {first.source} has {first.shape}")
        shift = largest_shift(first.affine, other.affine, first.shape)
        if not shift <= _SAME_PLACE:
            raise ImageError(
                f"{other.source}: its header puts it up to {shift:.3g} voxels away from {first.source}; both must lie "
                "on the same voxels"
            )
    return images, labels


def _read_channels(case: Case, channels: int | None, convert: bool, max_pixels: int) -> list[Picture]:
    if not case.channels:
        return [read_picture(case.image, channels, convert=convert, max_pixels=max_pixels)]
    if channels not in (None, len(case.images)):
        raise ImageError(f"{case.image}: the case has {len(case.images)} channels where {channels} must be")
    pictures = [read_picture(path, 1, convert=convert, max_pixels=max_pixels) for path in case.images]
    for other in pictures[1:]:
        if other.shape != pictures[0].shape:
            raise ImageError(f"{other.source}: has {other.shape} pixels, and {pictures[0].source} {pictures[0].shape}")
    return pictures


def _read_mask(path: Path, labels: Collection[int] | None, max_pixels: int) -> Mask:
    if labels is None:
        return read_mask(path, max_pixels=max_pixels)
    return Mask(np.isin(read_labels(path, max_pixels=max_pixels), list(labels)), source=str(path))


def _check_size(mask: Mask, picture: Picture, same: bool) -> None:
    (rows, columns), (height, width) = mask.data.shape, picture.shape
    if (rows, columns) == (height, width):
        return
    turned = " (one of the two was turned as Exif says)" if picture.orientation != mask.orientation else ""
    alike = abs(rows * width / (columns * height) - 1) <= _SAME_ASPECT
    if same or not alike:
        cure = "resize one of them, or read both with shape=" if alike else "they do not show the same"
        raise ImageError(
            f"{mask.source}: the mask has {rows} x {columns} pixels, and the image {picture.source} has {height} x "
            f"{width}{turned}; {cure}"
        )
