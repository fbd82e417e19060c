"""The Learn2Reg challenge: its scores of a displacement field, and the files that it takes.

Scores are those of the evaluation code of the challenge (github.com/MDL-UzL/L2R, evaluation/) for a field v [3, *S] of
index differences, as `data.displacements` writes them in the format `l2r`:

    moved labels   moving[round(y + v(y))]; 0 where y + v(y) leaves the centres of the outermost voxels
    Dice, HD95     of each label; NaN if the fixed or the moving map lacks it, 0 and inf if it was lost on the way.
                   HD95 is that of `metrics.surface_distance` at a spacing of 1: voxels, whatever their size
    SDlogJ         `metrics.sd_log_jacobian` with the definition "learn2reg"

A submission is a folder with one field for each pair, disp_FIXED_MOVING, in one of three formats:

    nii.gz     single precision, [*S, 3]
    npz        one array of the same shape in half precision, where the size of an upload matters
    npz-2021   half precision at half resolution, [3, *S / 2] (see `data.half_resolution`): the tasks of 2020 and 2021

FIXED and MOVING are the four digits that end a file's name; where names end in two groups of them, SUBJECT_MODALITY,
the subjects alone, and disp_SUBJECT_MODALITY_SUBJECT_MODALITY if the modalities are neither equal nor 0000 and 0001.
Other names stay whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from ..data.displacements import Displacement, displacement_to_indices, write_displacement
from ..data.files import atomic_write
from ..data.half_resolution import doubled, halved
from ..data.npz import write_npz
from ..data.pairs_table import PairFiles, stem
from ..errors import ImageError, ParameterError
from ..metrics.deformation import CROP, sd_log_jacobian
from ..metrics.overlap import dice
from ..metrics.surface_distance import label_surface_distances

FieldFile = Literal["nii.gz", "npz", "npz-2021"]
_SUBJECT_MODALITY = re.compile(r".*?(\d{4})_(\d{4})")
_SUBJECT = re.compile(r".*?(\d{4})")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class Learn2RegScores(NamedTuple):
    """What the challenge publishes of a case: of each label [L], and of the field."""

    dice: np.ndarray
    hd95: np.ndarray
    sd_log_jacobian: float


def learn2reg_scores(
    fixed_labels: np.ndarray, moving_labels: np.ndarray, indices: np.ndarray, labels: Sequence[int]
) -> Learn2RegScores:
    """The scores of a field `indices` [ndim, *S] on label maps [*S] and [*S']; see the module."""
    field = np.asarray(indices, np.float64)
    moved = warp_labels(moving_labels, field)
    known = np.array([(fixed_labels == label).any() and (moving_labels == label).any() for label in labels], bool)
    kept = np.array(labels, np.int64)[known]
    overlap, distance = np.full((2, len(labels)), np.nan)
    overlap[known] = dice(fixed_labels, moved, kept, absent="both")
    distance[known] = label_surface_distances(fixed_labels, moved, kept)[0]
    wide_enough = min(field.shape[1:]) > 2 * CROP
    return Learn2RegScores(
        overlap, distance, sd_log_jacobian(field, definition="learn2reg") if wide_enough else float("nan")
    )


def warp_labels(moving_labels: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The labels that a field [ndim, *S] brings to each voxel [*S]: nearest, halves up, 0 beyond the outermost centres.

    These are the values of scipy.ndimage.map_coordinates(moving_labels, identity + indices, order=0).
    """
    inside, nearest = np.ones(indices.shape[1:], bool), []
    identity = np.meshgrid(*map(np.arange, indices.shape[1:]), indexing="ij", sparse=True)
    for y, v, size in zip(identity, indices, moving_labels.shape, strict=True):
        points = y + v.astype(np.float64, copy=False)
        inside &= (points >= 0) & (points <= size - 1)
        nearest.append(np.floor(np.clip(points, 0, size - 1) + 0.5).astype(np.intp))
    return np.where(inside, moving_labels[tuple(nearest)], 0).astype(moving_labels.dtype, copy=False)


@dataclass(frozen=True)
class Submission:
    """A folder that fields are written to, under the names that the challenge asks for."""

    folder: Path
    format: FieldFile = "nii.gz"

    def __post_init__(self) -> None:
        if self.format not in get_args(FieldFile):
            raise ParameterError(f"a submission holds {' or '.join(get_args(FieldFile))} files, not {self.format!r}")

    def path(self, files: PairFiles) -> Path:
        """Where the field of a pair goes: always a file in the folder itself."""
        return self.folder / f"{field_name(files.fixed, files.moving)}.{self.format.partition('-')[0]}"

    def prepare(self, pairs: Sequence[PairFiles]) -> None:
        """Make the folder. Raises ParameterError if the fields of two pairs would take the same name."""
        taken: dict[Path, PairFiles] = {}
        for pair in pairs:
            first = taken.setdefault(self.path(pair), pair)
            if first is not pair:
                raise ParameterError(
                    f"{pair.where}: its field would be {self.path(pair).name}, which is that of {first.where}; a "
                    "submission tells pairs by the digits that end the names of their images"
                )
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, files: PairFiles, displacement: Displacement) -> np.ndarray:
        """Write the field of a pair; the values [3, *S] that readers of the file get."""
        if displacement.moving_affine is None:
            raise ImageError(f"{files.name}: the affine of the moving image is not known")
        path = self.path(files)
        indices = displacement_to_indices(displacement.world, displacement.affine, displacement.moving_affine)
        if self.format == "nii.gz":
            write_displacement(path, displacement, "l2r")
            return indices.astype(np.float32)
        if self.format == "npz":
            stored = np.moveaxis(indices, 0, -1).astype(np.float16)
            read = np.moveaxis(stored, -1, 0).astype(np.float32)
        else:
            stored = halved(indices).astype(np.float16)
            read = doubled(stored.astype(np.float32))
        atomic_write(path, lambda stream: write_npz(stream, "arr_0", stored))
        return read


def field_name(fixed: Path, moving: Path) -> str:
    """disp_FIXED_MOVING without ending; see the module. It never holds a separator of paths."""
    names = [stem(path) for path in (fixed, moving)]
    both = [_SUBJECT_MODALITY.fullmatch(name) for name in names]
    if both[0] and both[1]:
        (subject, modality), (other, other_modality) = both[0].groups(), both[1].groups()
        if modality == other_modality or (modality, other_modality) == ("0000", "0001"):
            return f"disp_{subject}_{other}"
        return f"disp_{subject}_{modality}_{other}_{other_modality}"
    single = [_SUBJECT.fullmatch(name) for name in names]
    if single[0] and single[1]:
        return f"disp_{single[0][1]}_{single[1][1]}"
    return "_".join(["disp", *(_UNSAFE.sub("-", name) for name in names)])
