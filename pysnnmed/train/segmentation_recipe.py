"""Recipes of segmentation: everything that decides the result of a training run, in one TOML file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, get_args

from ..data.augment import Augmentation
from ..data.network_input import NetworkInput
from ..errors import ParameterError
from ..losses.segmentation import Divergence
from ..models.medspikeformer import MedSpikeFormerConfig
from .recipe_file import read_recipe

KINDS = ("pictures", "volumes", "lesions")
SPLITS = ("hash", "last", "folder")
OPTIMIZERS = ("adam", "adamw")


@dataclass(frozen=True)
class SegmentationDataRecipe:
    """What is learned from, and what is held out.

    kind          "pictures" or "volumes" of a folder (see data.folders), or generated "lesions", which need none
    convention    how the folder is laid out; empty: as it looks
    patient       a regular expression that finds the patient's id in a name; empty: every case is a patient
    split         what is held out: "hash", `test` cases by the hash of the patient's id, copies of one picture on one
                  side; "last", the last `test` by name; "folder", what the folder calls test, or val without a test
    test          how many cases are held out, of pictures, volumes or lesions
    salt          another one is another hashed split
    foreground    labels that are foreground where the masks of pictures are maps of labels; empty: masks are binary

    Of volumes only:
    structures    share of the draws that must show a structure; the others are any slice
    shift         how far slices are moved, in pixels along each axis
    mirror        whether left and right are exchanged half of the time

    Of lesions only:
    generated     how many are painted before training; 0: every step paints new ones
    empty         share of pictures without a lesion
    """

    kind: str = "pictures"
    convention: str = ""
    patient: str = ""
    split: str = "hash"
    test: int = 160
    salt: str = ""
    foreground: tuple[int, ...] = ()
    structures: float = 0.5
    shift: int = 0
    mirror: bool = False
    generated: int = 1000
    empty: float = 0.05

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("split", SPLITS)):
            if getattr(self, name) not in allowed:
                raise ParameterError(f"[data]: {name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for name in ("structures", "empty"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(f"[data]: {name} must be in [0, 1], not {getattr(self, name)}")
        for name, least in (("test", 1), ("shift", 0), ("generated", 0)):
            if getattr(self, name) < least:
                why = "; without a held-out case nothing tells how good a network is" if name == "test" else ""
                raise ParameterError(f"[data]: {name} must be at least {least}, not {getattr(self, name)}{why}")


@dataclass(frozen=True)
class SegmentationLossRecipe:
    """bce BCE + dice Dice + alignment (kl D + l2 L2) with the stages of the teacher; see losses.segmentation.

    label_weights   of the classes, in BCE and Dice; empty: equal
    kind            D, with its `temperature` if it has one, and `reverse`
    stages          their weights in the alignment, scaled to sum 1; empty: the last of four alone
    supervision     of the teacher alone: BCE of the map of each stage with the share of foreground in its pixels, mean
                    over stages, so that the student aligns with maps that mean something
    """

    bce: float = 1.0
    dice: float = 1.0
    label_weights: tuple[float, ...] = ()
    alignment: float = 1.0
    kind: str = "bernoulli"
    kl: float = 1.0
    l2: float = 1.0
    temperature: float = 1.0
    reverse: bool = False
    stages: tuple[float, ...] = ()
    supervision: float = 1.0

    def __post_init__(self) -> None:
        for name in ("bce", "dice", "alignment", "kl", "l2", "supervision"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ParameterError(f"[loss]: {name} must not be negative, it is {getattr(self, name)}")
        if not self.bce + self.dice:
            raise ParameterError("[loss]: bce and dice must not both be 0; nothing would be learned from the masks")
        if self.kind not in get_args(Divergence):
            raise ParameterError(f"[loss]: kind must be one of {', '.join(get_args(Divergence))}, not {self.kind!r}")
        for name in ("stages", "label_weights"):
            weights = getattr(self, name)
            if weights and not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
                raise ParameterError(f"[loss]: {name} must not be negative, nor all 0, they are {weights}")


@dataclass(frozen=True)
class SegmentationStageRecipe:
    """One stage of training with Adam or AdamW, linear warm-up and cosine decay. A step sees `batch` pictures."""

    steps: int = 1000
    batch: int = 8
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    weight_decay: float = 0.01
    warm_up: int = 50
    clip: float = 1.0
    checkpoint_every: int = 100
    evaluate_every: int = 500

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ParameterError(f"[stage]: optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}")
        if self.batch < 1 or self.checkpoint_every < 1 or self.steps < 0:
            raise ParameterError(
                "[stage]: batch and checkpoint_every must be at least 1 and steps at least 0, not "
                f"{self.batch}, {self.checkpoint_every} and {self.steps}"
            )
        if self.steps and not 1 <= self.warm_up < self.steps:
            raise ParameterError(f"[stage]: warm_up must be 1 to {self.steps - 1} of its steps, not {self.warm_up}")


@dataclass(frozen=True)
class SegmentationRecipe:
    """A whole training run of MedSpikeFormer: the teacher, then the spiking network as its student.

    With teacher.steps = 0 there is no teacher, and no alignment with one.
    """

    task: ClassVar[str] = "segment"
    name: str
    seed: int = 0
    network: MedSpikeFormerConfig = field(default_factory=MedSpikeFormerConfig)
    input: NetworkInput = field(default_factory=NetworkInput)
    data: SegmentationDataRecipe = field(default_factory=SegmentationDataRecipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: SegmentationLossRecipe = field(default_factory=SegmentationLossRecipe)
    teacher: SegmentationStageRecipe = field(default_factory=SegmentationStageRecipe)
    student: SegmentationStageRecipe = field(default_factory=SegmentationStageRecipe)

    def __post_init__(self) -> None:
        network, form, kind = self.network, self.input, self.data.kind
        if (kind == "volumes") != (form.kind == "volumes"):
            raise ParameterError(f"{self.name}: [data] has kind {kind!r}, and [input] {form.kind!r}; make them agree")
        if network.ndim != 2 or network.in_channels != form.in_channels:
            raise ParameterError(
                f"{self.name}: [network] must have ndim = 2 and in_channels = {form.in_channels}, which [input] gives "
                f"it (channels x (2 context + 1)), not {network.ndim} and {network.in_channels}"
            )
        if network.classes != len(form.labels):
            raise ParameterError(
                f"{self.name}: [network] must have classes = {len(form.labels)}, one for each label of [input], not "
                f"{network.classes}"
            )
        if form.kind == "pictures" and len(form.labels) != 1:
            raise ParameterError(f"{self.name}: pictures have one label, foreground, not {len(form.labels)}")
        if any(n % network.shape_multiple for n in form.size):
            raise ParameterError(
                f"{self.name}: size of [input] must be multiples of {network.shape_multiple}, not {form.size}"
            )
        for name, wanted in (("stages", len(network.widths)), ("label_weights", network.classes)):
            weights = getattr(self.loss, name)
            if weights and len(weights) != wanted:
                raise ParameterError(f"{self.name}: [loss] {name} must be {wanted} numbers, not {weights}")
        if not self.student.steps:
            raise ParameterError(f"{self.name}: [student] must have at least one step, not 0")


def load_segmentation_recipe(name: str | Path) -> SegmentationRecipe:
    """Read a recipe by file name, or by the name of one that comes with the package. Raises as `read_recipe` does."""
    return read_recipe(name, SegmentationRecipe)
