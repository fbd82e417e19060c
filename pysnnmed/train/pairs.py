"""What registration learns from and is judged on: pairs of subjects, real or generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.generate import generate_pair
from ..data.geometry import ModelGrid
from ..data.images import normalize_intensity
from ..data.nifti import read_nifti
from ..errors import ImageError, ParameterError
from .recipe import DataRecipe, Recipe


@dataclass(frozen=True)
class Subject:
    """A volume in [0, 1] and its labels, centred in a grid."""

    name: str
    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Pair:
    """What one registration sees, and the labels that judge it."""

    fixed: Subject
    moving: Subject


def read_subjects(folder: Path, data: DataRecipe, shape: Sequence[int], span: tuple[int, int]) -> list[Subject]:
    """Subjects [start, stop), by sorted name, of a folder with images/*.nii.gz and labels/*.nii.gz of equal names.

    Each is normalised to [0, 1] and centred in a grid of `shape` at the spacing of the recipe.
    """
    paths = sorted((folder / "images").glob("*.nii*"))[slice(*span)]
    if not paths:
        raise ImageError(f"{folder}: no volumes {span[0]}..{span[1]} in its folder images; give the folder with --data")
    subjects = []
    for path in paths:
        image, labels = read_nifti(path), read_nifti(folder / "labels" / path.name)
        if image.shape != labels.shape:
            raise ImageError(f"{path}: shape {image.shape}, but its labels have {labels.shape}")
        grid = ModelGrid.around(image, image, spacing=data.spacing, shape=shape)
        intensity = grid.fixed_on_grid(normalize_intensity(image.data))
        subjects.append(Subject(path.name, intensity, grid.fixed_on_grid(labels.data, "nearest")))
    return subjects


def generated_pairs(n: int, grid: Sequence[int], seed: int) -> list[Pair]:
    """`n` generated pairs; the same seed gives the same pairs."""
    pairs = []
    for i in range(n):
        pair = generate_pair(tuple(grid), np.random.default_rng([seed, i]))
        pairs.append(
            Pair(
                Subject(f"generated {i} fixed", pair.fixed, pair.fixed_labels),
                Subject(f"generated {i} moving", pair.moving, pair.moving_labels),
            )
        )
    return pairs


def crossed_pairs(subjects: Sequence[Subject]) -> list[Pair]:
    """First with last, second with last but one, ...: half as many pairs as subjects, each subject in one pair."""
    n = len(subjects)
    return [Pair(fixed=subjects[i], moving=subjects[n - 1 - i]) for i in range(n // 2)]


def labels_of(pairs: Sequence[Pair]) -> list[int]:
    """Every label but 0, the background, of the fixed subjects."""
    return sorted({int(v) for pair in pairs for v in np.unique(pair.fixed.labels)} - {0})


@dataclass
class PairSampler:
    """Draws training pairs: two different subjects, or with probability `generated_fraction` a generated pair."""

    subjects: Sequence[Subject]
    generated: Sequence[Pair]
    generated_fraction: float

    def __call__(self, rng: np.random.Generator) -> Pair:
        if self.generated and rng.random() < self.generated_fraction:
            return self.generated[int(rng.integers(len(self.generated)))]
        i, j = rng.choice(len(self.subjects), size=2, replace=False)
        return Pair(self.subjects[i], self.subjects[j])


HELD_OUT_SEED = 1_000_000  # added to the seed of the training pairs


def load_pairs(recipe: Recipe, folder: Path | None) -> PairSampler:
    """The training pairs of a recipe. Real subjects come from `folder`, which purely generated pairs do not need."""
    data = recipe.data
    generated = generated_pairs(data.generated_pairs, data.grid, recipe.seed)
    subjects = [] if data.generated_fraction >= 1 else read_subjects(_needed(folder), data, data.grid, data.train)
    return PairSampler(subjects, generated, data.generated_fraction)


def held_out_pairs(recipe: Recipe, folder: Path | None) -> list[Pair]:
    """The pairs that a recipe keeps for evaluation."""
    data = recipe.data
    if data.generated_fraction >= 1:
        return generated_pairs(data.held_out_pairs, data.test_grid, recipe.seed + HELD_OUT_SEED)
    return crossed_pairs(read_subjects(_needed(folder), data, data.test_grid, data.test))


def _needed(folder: Path | None) -> Path:
    if folder is None:
        raise ParameterError("this recipe uses real volumes: give their folder with --data")
    return folder
