"""Pairs of generated brain images: real anatomy from label maps of whole heads, everything else invented.

Learning from labels instead of scans is SynthMorph's idea (Hoffmann et al. 2022, IEEE TMI 41(3):543-558); the maps and
the table of T1 intensities are those of SynthSeg (Billot et al. 2023, Medical Image Analysis 86:102789; Apache-2.0).
A folder of them holds

    seg_*.npz                                  `seg` [L, I, A] index into the row `labels` of FreeSurfer numbers
    generation_labels.npy                      every FreeSurfer number that occurs
    generation_classes_contrast_specific.npy   the tissue class of each
    prior_means_t1.npy, prior_stds_t1.npy      [2, classes] mean and spread, over scans, of a class's mean and deviation
                                               in T1-weighted scans, on a scale of 0 to 255

A pair is two heads, each moved by a random diffeomorphism and painted. All random numbers come from the generator
passed in; images are float32 in [0, 1], scaled exactly as `register` scales a scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import ImageError, ParameterError
from .generate import Contrast, gaussian_blur, random_displacement, synthesize_contrast, warp_nearest
from .geometry import reorient
from .images import Image, normalize_intensity
from .npz import read_npy, read_npz

# What overlap is measured on: the 30 structures of VoxelMorph's evaluation (Balakrishnan et al. 2019) that the maps
# know, by FreeSurfer number. Choroid plexus (31, 63) is counted as ventricle there, and cerebrospinal fluid (24) fills
# the whole skull.
STRUCTURES = (2, 3, 4, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 28, *range(41, 44), 46, 47, *range(49, 55), 60)
_PART_OF = {25: 2, 57: 41, 136: 4, 163: 43}  # lesions of white matter, plexus of the lateral ventricles
_OUTSIDE_BRAIN = 500  # FreeSurfer numbers above are skull, skin, eyes, ...
_FLUID = 24  # around the brain

_FOLDER = "synthseg_label_maps"
_LAYOUT = np.array([[-2.0, 0, 0, 0], [0, 0, 2, 0], [0, -2, 0, 0], [0, 0, 0, 1]])  # axes L, I, A of 2 mm


class Head(NamedTuple):
    """One label map: `labels` [*S] uint8 in RAS order, an index into the rows of the atlas."""

    name: str
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Atlas:
    """What the indices of label maps stand for.

    numbers     [N] FreeSurfer number of each index, 0 first
    classes     [N] tissue class of each, of equal contrast
    t1_mean     [2, classes] mean and spread of the mean intensity of a class in T1, in [0, 1]
    t1_std      [2, classes] the same of its standard deviation
    """

    numbers: np.ndarray
    classes: np.ndarray
    t1_mean: np.ndarray
    t1_std: np.ndarray

    @property
    def structures(self) -> np.ndarray:
        """[N] uint8: the entry of STRUCTURES to which each index belongs, else 0."""
        whole = [_PART_OF.get(int(n), int(n)) for n in self.numbers]
        return np.array([n if n in STRUCTURES else 0 for n in whole], np.uint8)

    @property
    def brain(self) -> np.ndarray:
        """[N] bool: which indices skull stripping keeps."""
        return (self.numbers > 0) & (self.numbers < _OUTSIDE_BRAIN) & (self.numbers != _FLUID)


@dataclass(frozen=True)
class Variety:
    """How much the pairs vary. Ranges (low, high) are drawn from uniformly; lengths are in voxels.

    same_head         share of pairs that show one head twice, moved differently
    random_contrast   share of pairs whose classes have random intensities instead of those of T1
    two_contrasts     share of those in which both images draw their own
    stripped          share of pairs without skull; one_stripped: share with one image stripped, one not
    rotation          largest angle about each axis, degrees; scaling: largest relative change of each axis
    shift             largest shift along each axis
    elastic           length of the longest elastic displacement; detail: its scale
    blur, noise, bias, gamma
                      partial volume, deviation of the added noise, of the log of the bias field, of log gamma
    mirrored          whether `turned` exchanges left and right in half of the pairs
    turned            share of pairs in which it brings the axes into another order or direction, as wrong headers do
    """

    same_head: float = 0.15
    random_contrast: float = 0.2
    two_contrasts: float = 0.25
    stripped: float = 0.55
    one_stripped: float = 0.1
    rotation: float = 3.0
    scaling: float = 0.03
    shift: float = 1.5
    elastic: tuple[float, float] = (0.0, 2.0)
    detail: tuple[float, float] = (8.0, 24.0)
    blur: tuple[float, float] = (0.4, 0.9)
    noise: tuple[float, float] = (0.0, 0.03)
    bias: tuple[float, float] = (0.0, 0.25)
    gamma: float = 0.15
    mirrored: bool = True
    turned: float = 0.0


# The anatomy of the maps as it is, after an affine alignment that is a little off.
EVALUATION = Variety(same_head=0, elastic=(0.0, 0.0), rotation=2.0, scaling=0.02, shift=1.0, mirrored=False)


class BrainPair(NamedTuple):
    """Two images and the structures, by FreeSurfer number, that lie where; arrays [*S]."""

    fixed: np.ndarray  # float32 in [0, 1]
    moving: np.ndarray  # float32 in [0, 1]
    fixed_labels: np.ndarray  # uint8, 0 = none of STRUCTURES
    moving_labels: np.ndarray  # uint8


# --------------------------------------------------------------------------------------------------- reading


def read_heads(folder: Path, span: tuple[int, int]) -> tuple[list[Head], Atlas]:
    """The label maps [start, stop), by sorted name, of `folder` or of its sub-folder synthseg_label_maps.

    Raises ImageError for a folder without them, or a file that is damaged or not what the module's text says.
    """
    folder = folder / _FOLDER if (folder / _FOLDER).is_dir() else folder
    paths = sorted(folder.glob("seg_*.npz"))[slice(*span)]
    if not paths:
        raise ImageError(f"{folder}: no label maps seg_*.npz {span[0]}..{span[1]}; give their folder with --data")
    atlas = _read_atlas(folder)
    return [_read_head(path, atlas) for path in paths], atlas


def _read_head(path: Path, atlas: Atlas) -> Head:
    try:
        index = read_npz(path, "seg", (None, None, None), "iu")
        numbers = read_npz(path, "labels", (None,), "iu")
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    row_of = {int(n): row for row, n in enumerate(atlas.numbers)}
    unknown = sorted({int(n) for n in numbers} - row_of.keys())
    if unknown:
        raise ImageError(f"{path}: labels {unknown} are not in generation_labels.npy; take both from one source")
    if index.min(initial=0) < 0 or index.max(initial=0) >= len(numbers):
        raise ImageError(f"{path}: indices must be 0 to {len(numbers) - 1}, the rows of its labels, not {index.max()}")
    rows = np.array([row_of[int(n)] for n in numbers], np.uint8)[index]
    return Head(path.stem, reorient(Image(rows, _LAYOUT, str(path))).data)


def _read_atlas(folder: Path) -> Atlas:
    def read(name: str, shape: tuple[int | None, ...], kinds: str = "iu") -> np.ndarray:
        try:
            return read_npy(folder / f"{name}.npy", shape, kinds)
        except OSError as error:
            raise ImageError(
                f"{folder}: the maps come with {name}.npy, which cannot be read ({error.strerror})"
            ) from error
        except ImageError as error:
            raise ImageError(f"{folder / name}.npy: {error}") from error

    numbers = read("generation_labels", (None,))
    classes = read("generation_classes_contrast_specific", (len(numbers),))
    mean, std = (read(f"prior_{what}_t1", (2, None), "f") / 255 for what in ("means", "stds"))
    if len(numbers) > 256 or len(set(numbers.tolist())) < len(numbers) or numbers[0] != 0:
        raise ImageError(f"{folder}: generation_labels.npy must list up to 256 different labels, 0 first")
    if mean.shape != std.shape or classes.min() < 0 or classes.max() >= mean.shape[1]:
        raise ImageError(f"{folder}: the priors know {mean.shape[1]} classes, the labels use up to {classes.max()}")
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise ImageError(f"{folder}: the priors hold NaN or infinity; fetch them again")
    return Atlas(numbers, classes, mean, std)


# ------------------------------------------------------------------------------------------------- generating


def generate_brain_pair(
    heads: Sequence[Head], atlas: Atlas, rng: np.random.Generator, variety: Variety | None = None
) -> BrainPair:
    """Draw two heads (or one twice), move and paint both."""
    variety = variety or Variety()
    if not heads:
        raise ParameterError("generate_brain_pair: needs at least one head")
    if len(heads) == 1 or rng.random() < variety.same_head:
        i = j = int(rng.integers(len(heads)))
    else:
        i, j = map(int, rng.choice(len(heads), size=2, replace=False))
    return paired(heads[i], heads[j], atlas, rng, variety)


def paired(
    first: Head, second: Head, atlas: Atlas, rng: np.random.Generator, variety: Variety | None = None
) -> BrainPair:
    """A pair with the fixed image from `first`, the moving one from `second`."""
    variety = variety or Variety()
    labels = [moved(head.labels, rng, variety) for head in (first, second)]
    contrasts = _contrasts(atlas, rng, variety)
    stripping = rng.random()
    both, one = stripping < variety.stripped, stripping < variety.stripped + variety.one_stripped
    bare = rng.permutation([True, both or not one]) if one else [False, False]
    images = [
        paint(index, contrast, atlas, rng, variety, bool(without_skull))
        for index, contrast, without_skull in zip(labels, contrasts, bare, strict=True)
    ]
    return BrainPair(*images, *(atlas.structures[index] for index in labels))


def moved(labels: np.ndarray, rng: np.random.Generator, variety: Variety) -> np.ndarray:
    """A label map [*S] after a random affine and elastic motion, nearest neighbour."""
    shape, ndim = labels.shape, labels.ndim
    matrix = np.diag(1 + variety.scaling * rng.uniform(-1, 1, ndim))
    for a in range(ndim):
        for b in range(a + 1, ndim):
            angle = np.deg2rad(variety.rotation) * rng.uniform(-1, 1)
            turn = np.eye(ndim)
            turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
            matrix = turn @ matrix
    centre = [np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2) for n in shape]
    points = np.stack(np.meshgrid(*centre, indexing="ij"))
    shift = variety.shift * rng.uniform(-1, 1, ndim)
    displacement = np.tensordot((matrix - np.eye(ndim)).astype(np.float32), points, 1)
    displacement += shift.astype(np.float32).reshape(-1, *[1] * ndim)
    detail = rng.uniform(*variety.detail)
    amplitude = min(rng.uniform(*variety.elastic), detail / 3)  # faster changes over that length would tear the labels
    if amplitude > 0:
        displacement += random_displacement(shape, amplitude, detail, rng, coarseness=4)
    return warp_nearest(labels, displacement)


def _contrasts(atlas: Atlas, rng: np.random.Generator, variety: Variety) -> list[Contrast]:
    """How to paint the fixed and the moving image."""
    if rng.random() >= variety.random_contrast:
        return [t1_contrast(atlas, rng, variety) for _ in range(2)]
    first = random_contrast(atlas, rng, variety)
    return [first, random_contrast(atlas, rng, variety) if rng.random() < variety.two_contrasts else first]


def t1_contrast(atlas: Atlas, rng: np.random.Generator, variety: Variety) -> Contrast:
    """Mean and deviation of every class as in some T1-weighted scan."""
    mean = rng.normal(*atlas.t1_mean).clip(0, 1)
    # The deviations of the prior contain bias, partial volume and noise, which are painted on their own.
    std = np.abs(rng.normal(*atlas.t1_std)) * rng.uniform(0.1, 0.8)
    return Contrast(mean.astype(np.float32), std.astype(np.float32), float(np.exp(rng.normal(0, variety.gamma))))


def random_contrast(atlas: Atlas, rng: np.random.Generator, variety: Variety) -> Contrast:
    """Any mean and a moderate deviation for every class, the outside rather dark."""
    n = atlas.t1_mean.shape[1]
    mean, std = rng.uniform(0.1, 1, size=(n,)), rng.uniform(0, 0.1, size=(n,))
    mean[0], std[0] = rng.uniform(0, 0.1), rng.uniform(0, 0.02)
    return Contrast(mean.astype(np.float32), std.astype(np.float32), float(np.exp(rng.normal(0, variety.gamma))))


def paint(
    labels: np.ndarray, contrast: Contrast, atlas: Atlas, rng: np.random.Generator, variety: Variety, stripped: bool
) -> np.ndarray:
    """An image [*S] in [0, 1] of a label map, with what is not brain set to 0 if `stripped`."""
    image = synthesize_contrast(
        atlas.classes[labels], rng, contrast, blur=rng.uniform(*variety.blur), bias=rng.uniform(*variety.bias)
    )
    image += np.float32(rng.uniform(*variety.noise)) * rng.standard_normal(image.shape, dtype=np.float32)
    if stripped:
        # A blurred mask closes the sulci and has a border that varies, as the masks of stripping programs do.
        mask = gaussian_blur(atlas.brain[labels].astype(np.float32), rng.uniform(0.8, 3))
        image *= mask > rng.uniform(0.15, 0.5)
    return normalize_intensity(image)


def cut(pair: BrainPair, box: Sequence[int], rng: np.random.Generator) -> BrainPair:
    """A box of that shape out of all arrays, around a voxel drawn from the structures of the fixed image.

    Raises ParameterError for a box larger than the images.
    """
    shape = pair.fixed.shape
    if len(box) != len(shape) or any(b > n for b, n in zip(box, shape, strict=True)):
        raise ParameterError(f"cut: a box of shape {tuple(box)} does not fit into images of shape {shape}")
    inside = np.flatnonzero(pair.fixed_labels)
    centre = np.unravel_index(inside[rng.integers(inside.size)], shape) if inside.size else [n // 2 for n in shape]
    starts = [min(max(int(c) - b // 2, 0), n - b) for c, b, n in zip(centre, box, shape, strict=True)]
    place = tuple(slice(start, start + b) for start, b in zip(starts, box, strict=True))
    return BrainPair(*(array[place] for array in pair))


def turned(pair: BrainPair, rng: np.random.Generator, variety: Variety) -> BrainPair:
    """All arrays with the same axes reversed or in another order, as often as `variety` says."""
    ndim = pair.fixed.ndim
    order, flips = list(range(ndim)), tuple[int, ...]()
    if rng.random() < variety.turned:
        order, flips = rng.permutation(ndim).tolist(), tuple(np.flatnonzero(rng.random(ndim) < 0.5).tolist())
    elif variety.mirrored and rng.random() < 0.5:
        flips = (0,)
    return BrainPair(*(np.ascontiguousarray(np.flip(array.transpose(order), flips)) for array in pair))
