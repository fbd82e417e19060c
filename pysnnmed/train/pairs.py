"""What registration learns from and is judged on: pairs of subjects, real or generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Protocol

import numpy as np

from ..data.brains import (
    EVALUATION,
    Atlas,
    BrainPair,
    Head,
    Variety,
    cut,
    generate_brain_pair,
    paired,
    read_heads,
    turned,
)
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


class Subjects(Protocol):
    """What a pair can be drawn from."""

    def __len__(self) -> int: ...

    def draw(self, rng: np.random.Generator) -> Pair: ...


@dataclass(frozen=True)
class Volumes:
    """Real subjects; a pair is two different ones."""

    subjects: Sequence[Subject] = ()

    def __len__(self) -> int:
        return len(self.subjects)

    def draw(self, rng: np.random.Generator) -> Pair:
        i, j = rng.choice(len(self.subjects), size=2, replace=False)
        return Pair(self.subjects[i], self.subjects[j])


@dataclass(frozen=True)
class Heads:
    """Label maps of heads, moved and painted: one of `painted` pairs, or a new one each time where there are none.

    With a `box`, training sees a random part of that shape.
    """

    heads: Sequence[Head]
    atlas: Atlas
    variety: Variety
    painted: Sequence[BrainPair] = ()
    box: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.heads)

    def draw(self, rng: np.random.Generator) -> Pair:
        if self.painted:
            pair = self.painted[int(rng.integers(len(self.painted)))]
        else:
            pair = generate_brain_pair(self.heads, self.atlas, rng, self.variety)
        return _named(turned(cut(pair, self.box, rng) if self.box else pair, rng, self.variety), "drawn")

    def with_painted(self, n: int, seed: int) -> Heads:
        """The same with `n` pairs painted now; the same seed gives the same pairs."""
        rngs = [np.random.default_rng([seed, i]) for i in range(n)]
        pairs = [generate_brain_pair(self.heads, self.atlas, rng, self.variety) for rng in rngs]
        return replace(self, painted=pairs)

    def evenly(self, n: int, seed: int) -> list[Pair]:
        """`n` pairs that go round through all ordered pairs of different heads; the same seed gives the same pairs."""
        both = list(permutations(self.heads, 2))
        rngs = [np.random.default_rng([seed, i]) for i in range(n)]
        pairs = [paired(*both[i % len(both)], self.atlas, rng, self.variety) for i, rng in enumerate(rngs)]
        return [_named(pair, f"painted {i}") for i, pair in enumerate(pairs)]


def _named(pair: BrainPair, name: str) -> Pair:
    return Pair(
        Subject(f"{name} fixed", pair.fixed, pair.fixed_labels),
        Subject(f"{name} moving", pair.moving, pair.moving_labels),
    )


@dataclass
class PairSampler:
    """Draws training pairs: of the subjects, or with probability `generated_fraction` a pair of generated shapes."""

    subjects: Subjects
    generated: Sequence[Pair]
    generated_fraction: float

    def __call__(self, rng: np.random.Generator) -> Pair:
        if self.generated and rng.random() < self.generated_fraction:
            return self.generated[int(rng.integers(len(self.generated)))]
        return self.subjects.draw(rng)


HELD_OUT_SEED = 1_000_000  # added to the seed of the training pairs


def load_pairs(recipe: Recipe, folder: Path | None) -> PairSampler:
    """The training pairs of a recipe. Subjects come from `folder`, which purely generated shapes do not need."""
    data = recipe.data
    subjects = _training_subjects(data, folder, recipe.seed)  # first: it refuses a missing folder at once
    generated = generated_pairs(data.generated_pairs, data.grid, recipe.seed)
    return PairSampler(subjects, generated, data.generated_fraction)


def _training_subjects(data: DataRecipe, folder: Path | None, seed: int) -> Subjects:
    if data.generated_fraction >= 1:
        return Volumes()
    if data.kind == "volumes":
        return Volumes(read_subjects(_needed(folder), data, data.grid, data.train))
    heads, atlas = read_heads(_needed(folder), data.train)
    variety = Variety(random_contrast=data.random_contrast, turned=data.turned)
    return Heads(heads, atlas, variety, box=data.box).with_painted(data.painted_pairs, seed)


def held_out_pairs(recipe: Recipe, folder: Path | None) -> list[Pair]:
    """The pairs that a recipe keeps for evaluation."""
    data, seed = recipe.data, recipe.seed + HELD_OUT_SEED
    if data.generated_fraction >= 1:
        return generated_pairs(data.held_out_pairs, data.test_grid, seed)
    if data.kind == "volumes":
        return crossed_pairs(read_subjects(_needed(folder), data, data.test_grid, data.test))
    heads, atlas = read_heads(_needed(folder), data.test)
    variety = replace(EVALUATION, random_contrast=data.held_out_contrast)
    return Heads(heads, atlas, variety).evenly(data.held_out_pairs, seed)


def _needed(folder: Path | None) -> Path:
    if folder is None:
        raise ParameterError("this recipe learns from files: give their folder with --data")
    return folder
