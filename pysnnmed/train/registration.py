"""Training SpikeReg: analog teacher -> conversion -> spiking network, without labels, on real and generated pairs.

The objective of both networks is the paper's: local normalised cross-correlation of fixed and moved image, diffusion of
the field, and for the spiking network a penalty on spike rates. Labels serve only to report Dice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .. import kernels
from ..convert import convert
from ..data.files import atomic_write
from ..data.generate import generate_pair
from ..data.geometry import ModelGrid
from ..data.images import normalize_intensity
from ..data.nifti import read_nifti
from ..deploy.pretrained import save_model
from ..errors import ImageError, ParameterError
from ..losses.registration import diffusion, lncc
from ..losses.spikes import spike_rate_penalty
from ..metrics.deformation import folding_fraction
from ..metrics.overlap import dice
from ..models.spikereg import FIELD, SpikeReg, Teacher
from ..optim import Adam, warm_up_cosine
from ..tensor import Tensor, no_grad
from ..warp import warp, warp_nearest
from .loop import Schedule, fit
from .recipe import DataRecipe, LossRecipe, Recipe, StageRecipe

Network = Teacher | SpikeReg


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


def generated_subjects(n: int, grid: Sequence[int], seed: int) -> list[Pair]:
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


def test_pairs(subjects: Sequence[Subject]) -> list[Pair]:
    """First with last, second with last but one, ...: half as many pairs as subjects, each subject in one pair."""
    n = len(subjects)
    return [Pair(fixed=subjects[i], moving=subjects[n - 1 - i]) for i in range(n // 2)]


def batch(image: np.ndarray) -> Tensor:
    """[*S] -> [1, 1, *S] float32"""
    return Tensor(image[None, None].astype(np.float32, copy=False))


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


def content_box(image: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds every non-zero voxel of `image`, all of it if there is none.

    The similarity is averaged over this box of the fixed image: padding says nothing about alignment.
    """
    box = []
    for axis in range(image.ndim):
        hit = np.flatnonzero(image.any(axis=tuple(a for a in range(image.ndim) if a != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(None))
    return tuple(box)


def registration_terms(network: Network, pair: Pair, loss: LossRecipe) -> dict[str, Tensor]:
    """The terms of the objective for one pair, by name."""
    fixed, moving = batch(pair.fixed.image), batch(pair.moving.image)
    seen: dict[str, Tensor] = {}
    displacement = network(fixed, moving, observe=seen.__setitem__)
    box = (slice(None), slice(None), *content_box(pair.fixed.image))
    moved = warp(moving, displacement)
    terms = {
        "similarity": -lncc(fixed[box], moved[box], window=loss.window),
        "diffusion": diffusion(seen.pop(FIELD)) * loss.diffusion,
    }
    if isinstance(network, SpikeReg):
        rates = [spikes.mean() for spikes in seen.values()]
        terms["rate"] = spike_rate_penalty(rates, loss.rate_target, loss.rate_l1, loss.rate_l2)
    return terms


def evaluate_pairs(network: Network, pairs: Sequence[Pair], labels: Sequence[int]) -> list[dict[str, float]]:
    """Dice before and after (mean over `labels`), folding in per cent and, for a spiking network, its spike rate."""
    results = []
    network.eval()
    with no_grad():
        for pair in pairs:
            seen: dict[str, Tensor] = {}
            displacement = network(batch(pair.fixed.image), batch(pair.moving.image), observe=seen.__setitem__).data
            moved = warp_nearest(pair.moving.labels[None, None], displacement)[0, 0]
            del seen[FIELD]
            results.append(
                {
                    "before": float(np.nanmean(dice(pair.fixed.labels, pair.moving.labels, labels))),
                    "dice": float(np.nanmean(dice(pair.fixed.labels, moved, labels))),
                    "folding": 100 * folding_fraction(displacement[0]),
                }
            )
            if isinstance(network, SpikeReg):
                spikes, neurons = (sum(f(s.data) for s in seen.values()) for f in (np.sum, np.size))
                results[-1]["rate"] = float(spikes / neurons)
    return results


def means(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every column."""
    return {key: float(np.mean([row[key] for row in results])) for key in results[0]}


def train(recipe: Recipe, data: Path, out: Path, *, report: Callable[[str], None] = lambda line: None) -> Path:
    """Run the whole recipe on the volumes in `data`, writing to `out`. -> path of the spiking network's weights

    Runs on the kernels of the active backend. A killed run goes on where its last checkpoint was written; a stage that
    is done is not repeated. `report` gets one line per milestone.
    """
    settings = recipe.data
    _check_run_folder(recipe, out)
    sampler = PairSampler(
        read_subjects(data, settings, settings.grid, settings.train),
        generated_subjects(settings.generated_pairs, settings.grid, recipe.seed),
        settings.generated_fraction,
    )
    held_out = test_pairs(read_subjects(data, settings, settings.test_grid, settings.test))
    labels = sorted({int(v) for pair in held_out for v in np.unique(pair.fixed.labels)} - {0})
    report(f"{len(sampler.subjects)} subjects, {len(sampler.generated)} generated pairs, {len(held_out)} held-out pairs")

    teacher = Teacher(recipe.network, np.random.default_rng([recipe.seed, 1]))
    _run_stage("teacher", teacher, recipe.teacher, recipe.loss, sampler, held_out, labels, out, recipe.seed + 1)
    spiking = SpikeReg(recipe.network, np.random.default_rng([recipe.seed, 2]))
    teacher.eval()
    examples = _examples(sampler, recipe)
    for layer in convert(teacher, spiking, examples, recipe.conversion.percentile):
        report(
            f"{layer.name}: lambda {layer.scale:.4g}, error {layer.error:.4f} lambda, "
            f"saturated {100 * layer.saturated:.2f} %, rate {layer.rate:.3f}"
        )
    report(f"converted, before fine-tuning: {means(evaluate_pairs(spiking, held_out, labels))}")
    _run_stage("spiking", spiking, recipe.finetune, recipe.loss, sampler, held_out, labels, out, recipe.seed + 2)
    facts = {"recipe": recipe.name, "spacing": settings.spacing, "align": settings.align}
    for name, network in (("teacher", teacher), ("spiking", spiking)):
        scores = means(evaluate_pairs(network, held_out, labels))
        report(f"{name} on the held-out pairs: {scores}")
        save_model(out / f"{name}.safetensors", network, {**facts, "held_out": scores})
    return out / "spiking.safetensors"


def _run_stage(
    name: str,
    network: Network,
    stage: StageRecipe,
    loss: LossRecipe,
    sampler: PairSampler,
    held_out: Sequence[Pair],
    labels: Sequence[int],
    out: Path,
    seed: int,
) -> None:
    schedule = Schedule(
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        shape=warm_up_cosine(stage.warm_up, stage.steps, stage.final_learning_rate / stage.learning_rate),
        clip=stage.clip,
        freeze_norms_at=stage.freeze_norms_at or None,
        checkpoint_every=stage.checkpoint_every,
        evaluate_every=stage.evaluate_every,
    )
    fit(
        name,
        network,
        Adam(network.named_parameters(), learning_rate=stage.learning_rate),
        schedule,
        lambda rng: registration_terms(network, sampler(rng), loss),
        out / name,
        seed=seed,
        evaluate=lambda: means(evaluate_pairs(network, held_out, labels)),
    )


def _examples(sampler: PairSampler, recipe: Recipe) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng([recipe.seed, 3])
    pairs = [sampler(rng) for _ in range(recipe.conversion.examples)]
    return [(batch(p.fixed.image), batch(p.moving.image)) for p in pairs]


def _check_run_folder(recipe: Recipe, out: Path) -> None:
    """A run folder belongs to one recipe: its checkpoints mean nothing under another."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(recipe), indent=1, sort_keys=True) + "\n"
    note = out / "recipe.json"
    if note.exists() and note.read_text(encoding="utf-8") != text:
        raise ParameterError(f"{out}: holds a run of another recipe; resume with that one or give an empty folder")
    atomic_write(note, lambda file: file.write(text.encode()))
