"""Recipes of registration: everything that decides the result of a training run, in one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ..errors import ParameterError
from ..models.spikereg import SpikeRegConfig
from .recipe_file import RECIPES, read_recipe

__all__ = ["RECIPES", "ConversionRecipe", "DataRecipe", "LossRecipe", "Recipe", "StageRecipe", "load_recipe"]


@dataclass(frozen=True)
class DataRecipe:
    """Real volumes and generated pairs. With generated_fraction = 1 there are no real ones.

    kind                  what the subjects are: "volumes", images with labels, or "brains", label maps of heads from
                          which pairs are painted (see data.brains)
    train, test           [start, stop) of the subjects sorted by name; the test subjects are held out
    grid                  voxels of the training grid at `spacing` mm; volumes are centred in it
    test_grid             voxels of the grid for evaluation
    align                 how `register` is to lay two images on each other: "world" or "centre" (see data.geometry)
    generated_fraction    share of training steps that see a generated pair
    generated_pairs       how many such pairs are drawn before training
    held_out_pairs        how many generated pairs are held out where there are no real ones, or "brains"
    random_contrast       share of "brains" pairs of random instead of T1 contrast, held-out pairs: held_out_contrast
    turned                share of "brains" pairs whose axes are in another order or direction
    painted_pairs         how many "brains" pairs are painted before training; 0: every step paints a new one
    box                   shape of the part of a "brains" pair that a step sees; empty: all of it
    """

    kind: str = "volumes"
    train: tuple[int, int] = (0, 160)
    test: tuple[int, int] = (160, 200)
    grid: tuple[int, ...] = (48, 64, 48)
    test_grid: tuple[int, ...] = (64, 64, 64)
    spacing: float = 1.0
    align: str = "world"
    generated_fraction: float = 0.25
    generated_pairs: int = 200
    held_out_pairs: int = 10
    random_contrast: float = 0.2
    held_out_contrast: float = 0.0
    turned: float = 0.0
    painted_pairs: int = 0
    box: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("volumes", "brains"):
            raise ParameterError(f"[data]: kind must be 'volumes' or 'brains', not {self.kind!r}")


@dataclass(frozen=True)
class LossRecipe:
    """-similarity LNCC(window) + overlap (1 - soft Dice) + diffusion (mean squared forward differences of the field).

    `squared`: the squared LNCC, else the signed one. bending: weight of the bending energy of the field. distillation:
    of the mean squared distance, in voxels squared, between the displacements of the spiking network and the teacher.
    The overlap is that of at most `overlap_labels` structures, drawn anew each step from those that both images show;
    with overlap = 0 no label is seen.
    """

    window: int = 9
    similarity: float = 1.0
    overlap: float = 0.0
    overlap_labels: int = 12
    squared: bool = True
    diffusion: float = 0.3
    bending: float = 0.0
    distillation: float = 0.0
    rate_target: float = 0.1
    rate_l1: float = 1e-4
    rate_l2: float = 1e-2


@dataclass(frozen=True)
class StageRecipe:
    """One stage of training with Adam, linear warm-up and cosine decay, `cycles` times in `steps`."""

    steps: int = 1000
    cycles: int = 1
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warm_up: int = 100
    clip: float = 1.0
    checkpoint_every: int = 250
    evaluate_every: int = 500

    def __post_init__(self) -> None:
        if self.cycles < 1 or self.steps % self.cycles:
            raise ParameterError(
                f"[stage]: steps must be a multiple of cycles >= 1, not {self.steps} and {self.cycles}"
            )


@dataclass(frozen=True)
class ConversionRecipe:
    """percentile of the positive activations over this many `examples`, drawn like training pairs."""

    percentile: float = 99.0
    examples: int = 16


@dataclass(frozen=True)
class Recipe:
    """A whole training run of SpikeReg: teacher, conversion, fine-tuning."""

    task: ClassVar[str] = "register"
    name: str
    seed: int = 0
    network: SpikeRegConfig = field(default_factory=SpikeRegConfig)
    data: DataRecipe = field(default_factory=DataRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    teacher: StageRecipe = field(default_factory=StageRecipe)
    conversion: ConversionRecipe = field(default_factory=ConversionRecipe)
    finetune: StageRecipe = field(default_factory=StageRecipe)


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by file name, or by the name of one that comes with the package. Raises as `read_recipe` does."""
    return read_recipe(name, Recipe)
