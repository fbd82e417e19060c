"""Training MedSpikeFormer: an analog teacher with softmax attention, then the spiking network as its student.

Both minimise BCE and Dice of their logits. While it learns, the student's maps of chosen stages are drawn to those of
the teacher, which is frozen by then. The teacher's own maps have learned to say how much of each pixel is foreground,
each stage at its resolution: only then is there something to align with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.network_input import KEY
from ..data.resize import resize
from ..deploy.pretrained import save_model
from ..losses.segmentation import alignment_loss, bce, dice_loss
from ..models.medspikeformer import MedSpikeFormer, SegmentationTeacher
from ..optim import Adam, AdamW, warm_up_cosine
from ..tensor import Tensor, no_grad
from .loop import Schedule, fit
from .progress import read_log
from .run_folder import claim_run_folder
from .segmentation_batches import Batch, BatchSampler
from .segmentation_cases import CaseSplit, load_split
from .segmentation_recipe import SegmentationLossRecipe, SegmentationRecipe, SegmentationStageRecipe
from .segmentation_scores import evaluate_cases, main_score
from .teachers import load_teacher

Network = MedSpikeFormer | SegmentationTeacher

BATCHES_FOR_SHARES = 16
RAREST = 1e-3  # share of the pixels that a class is believed to have at least, before training

# Of a configuration, what only the spiking network has: a teacher serves any of them.
SPIKING_ONLY = frozenset(("steps", "attention", "axis", "fusion", "removed", "strict_spike", "neuron"))


def segmentation_terms(
    network: Network, batch: Batch, loss: SegmentationLossRecipe, teacher: SegmentationTeacher | None = None
) -> dict[str, Tensor]:
    """The terms of the objective for a batch, by name: those of a student if there is a `teacher`.

    Names end in "_loss": scores of the held-out cases stand in the same log.
    """
    supervised = loss.supervision > 0 and isinstance(network, SegmentationTeacher)
    aligned = loss.alignment > 0 and teacher is not None
    maps: Sequence[Tensor] = ()
    if supervised or aligned:
        logits, maps = network.logits_and_masks(batch.images)
    else:
        logits = network(batch.images)
    weights = loss.label_weights or None
    terms = {}
    if loss.bce:
        terms["bce_loss"] = bce(logits, batch.targets, weights) * loss.bce
    if loss.dice:
        terms["dice_loss"] = dice_loss(logits, batch.targets, weights) * loss.dice
    if aligned and teacher is not None:
        with no_grad():
            _, taught = teacher.logits_and_masks(batch.images)
        aligned_maps = alignment_loss(
            maps,
            taught,
            loss.kind,  # type: ignore[arg-type]
            kl=loss.kl,
            l2=loss.l2,
            weights=loss.stages or None,
            temperature=loss.temperature,
            reverse=loss.reverse,
        )
        terms["alignment_loss"] = aligned_maps * loss.alignment
    if supervised:
        terms["supervision_loss"] = supervision(maps, batch.targets) * loss.supervision
    return terms


def supervision(maps: Sequence[Tensor], targets: Tensor) -> Tensor:
    """Mean over stages of the BCE of logits [B, 1, *S_i] with the share of any structure in their pixels."""
    foreground = targets.data.max(axis=1, keepdims=True)
    total: Tensor | float = 0.0
    for one in maps:
        total = total + bce(one, Tensor(resize(foreground, one.shape[2:])))
    return total * (1 / len(maps))  # type: ignore[return-value]


def start_at_shares(network: Network, sampler: BatchSampler, rng: np.random.Generator) -> None:
    """Set the biases of the logits so that an untrained network expects of each class the share it has in batches.

    Else the first hundreds of steps do nothing but learn that structures are rare (Lin et al. 2017, section 3.3).
    """
    shares = np.mean([sampler(rng).targets.data.mean(axis=(0, 2, 3)) for _ in range(BATCHES_FOR_SHARES)], axis=0)
    shares = shares.clip(RAREST, 1 - RAREST)
    bias = network.head.logits.conv.bias
    if bias is not None:
        bias.data[:] = np.log(shares / (1 - shares))


def train(
    recipe: SegmentationRecipe,
    data: Path | None,
    out: Path,
    *,
    teacher: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Run the whole recipe on the cases in `data`, writing to `out`. -> path of the spiking network's weights

    `data` may be None for a recipe of generated lesions. With the weights file of a `teacher` none is trained.

    Runs on the kernels of the active backend. A killed run goes on where its last checkpoint was written; a stage that
    is done is not repeated. The weights are those after the last step; the best score on the held-out cases and its
    step are reported and decide nothing. `report` gets one line per milestone.
    """
    analog, given = None, {}
    if teacher is not None:
        analog, digest = load_teacher(teacher, SegmentationTeacher, recipe.network, free=SPIKING_ONLY)
        given = {"teacher_sha256": digest}
    cases = load_split(recipe, data)
    claim_run_folder(out, recipe, given)
    report(
        f"{len(cases.training) or 'ever new'} training cases ({cases.training.nbytes / 2**20:.0f} MiB in memory), "
        f"{len(cases.held_out)} held out"
    )
    if analog is not None:
        report(f"teacher of {teacher}, SHA-256 {given['teacher_sha256']}")
        report(f"teacher on the held-out cases: {_line(evaluate_cases(analog, cases.held_out, recipe.input))}")
    elif recipe.teacher.steps:
        analog = SegmentationTeacher(recipe.network, rng=np.random.default_rng([recipe.seed, 1]))
        run_stage("teacher", analog, recipe.teacher, recipe, cases, out, recipe.seed + 1)
        _finish("teacher", analog, recipe, out, given, report)
    student = MedSpikeFormer(recipe.network, rng=np.random.default_rng([recipe.seed, 2]))
    if analog is not None:
        analog.eval()
    run_stage("student", student, recipe.student, recipe, cases, out, recipe.seed + 2, analog)
    return _finish("student", student, recipe, out, given, report)


def run_stage(
    name: str,
    network: Network,
    stage: SegmentationStageRecipe,
    recipe: SegmentationRecipe,
    cases: CaseSplit,
    out: Path,
    seed: int,
    teacher: SegmentationTeacher | None = None,
) -> None:
    """Train `network` for one stage in the folder `out / name`, on from its checkpoint there if it has one.

    The scores on the held-out cases go to the log and decide nothing.
    """
    sampler = BatchSampler(cases.training, recipe.input, recipe.augmentation, stage.batch, recipe.data.shift)
    schedule = Schedule(
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        shape=warm_up_cosine(stage.warm_up, stage.steps, stage.final_learning_rate / stage.learning_rate),
        clip=stage.clip,
        checkpoint_every=stage.checkpoint_every,
        evaluate_every=stage.evaluate_every,
    )
    start_at_shares(network, sampler, np.random.default_rng([seed, stage.steps]))  # a checkpoint overwrites it
    optimizer = {"adam": Adam, "adamw": AdamW}[stage.optimizer]
    fit(
        name,
        network,
        optimizer(network.named_parameters(), stage.learning_rate, weight_decay=stage.weight_decay),
        schedule,
        lambda rng: segmentation_terms(network, sampler(rng), recipe.loss, teacher),
        out / name,
        seed=seed,
        evaluate=lambda: evaluate_cases(network, cases.held_out, recipe.input),
    )


def _finish(
    name: str,
    network: Network,
    recipe: SegmentationRecipe,
    out: Path,
    given: dict[str, str],
    report: Callable[[str], None],
) -> Path:
    """Report what the log of a stage says of the held-out cases, last and best, and save the weights."""
    main = main_score(recipe.input)
    rows = [row for row in read_log(out / name / "log.jsonl") if main in row]  # the others tell of the losses
    last, best = rows[-1], max(rows, key=lambda row: row[main])
    scores = {key: value for key, value in last.items() if key != "step"}
    report(f"{name} on the held-out cases, last step, saved: {_line(scores)}")
    report(f"{name}, best {main} on the held-out cases, not saved: {best[main]:.4f} at step {best['step']}")
    facts: dict[str, Any] = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        KEY: recipe.input.facts(),
        "held_out": scores,
        "best_held_out": {"step": best["step"], main: best[main]},
        **given,
    }
    path = out / f"{name}.safetensors"
    save_model(path, network, facts)
    return path


def _line(scores: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.4f}" for key, value in scores.items())
