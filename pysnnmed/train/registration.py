"""Training SpikeReg: analog teacher -> conversion -> spiking network, on real and generated pairs.

The objective of both networks is the paper's: local normalised cross-correlation of fixed and moved image, diffusion of
the field, and for the spiking network a penalty on spike rates. Where the labels are known by construction, because the
images were painted from them, a recipe may add their overlap; labels drawn by people serve only to report Dice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..convert import convert
from ..data.images import content_box
from ..deploy.pretrained import save_model
from ..losses.labels import one_hot, soft_dice
from ..losses.registration import bending_energy, diffusion, lncc, mse
from ..losses.spikes import spike_rate_penalty
from ..models.spikereg import FIELD, SpikeReg, Teacher
from ..optim import Adam, restarted, warm_up_cosine
from ..tensor import Tensor, no_grad
from ..warp import warp
from .evaluation import batch, evaluate_pairs, means
from .loop import Schedule, fit
from .pairs import Pair, PairSampler, held_out_pairs, labels_of, load_pairs
from .recipe import LossRecipe, Recipe, StageRecipe
from .run_folder import claim_run_folder
from .teachers import load_teacher

# Of a configuration, what only the spiking network has: a teacher serves any of them.
SPIKING_ONLY = frozenset(
    ("steps", "leak", "reset", "learn_leak", "learn_threshold", "mode", "leaks", "shortcuts", "smoothing", "winners")
)


def registration_terms(
    network: Teacher | SpikeReg,
    pair: Pair,
    loss: LossRecipe,
    rng: np.random.Generator,
    teacher: Teacher | None = None,
) -> dict[str, Tensor]:
    """The terms of the objective for one pair, by name. `rng` draws the labels whose overlap counts, if any does.

    A spiking network may learn from a `teacher` too: loss.distillation is the weight of the mean squared distance of
    their displacements.
    """
    fixed, moving = batch(pair.fixed.image), batch(pair.moving.image)
    seen: dict[str, Tensor] = {}
    displacement = network(fixed, moving, observe=seen.__setitem__)
    box = (slice(None), slice(None), *content_box(pair.fixed.image))
    moved = warp(moving, displacement)
    terms = {
        "similarity": lncc(fixed[box], moved[box], window=loss.window, squared=loss.squared) * -loss.similarity,
        "diffusion": diffusion(field := seen.pop(FIELD)) * loss.diffusion,
    }
    if loss.bending:
        terms["bending"] = bending_energy(field) * loss.bending
    if loss.distillation and teacher is not None:
        with no_grad():
            taught = teacher(fixed, moving)
        terms["distillation"] = mse(displacement, taught) * loss.distillation
    if loss.overlap:
        labels = _drawn_labels(pair, loss.overlap_labels, rng)
        if labels:
            moved_labels = warp(one_hot(pair.moving.labels, labels), displacement)
            terms["overlap"] = (1 - soft_dice(one_hot(pair.fixed.labels, labels), moved_labels)) * loss.overlap
    if isinstance(network, SpikeReg):
        rates = [spikes.mean() for spikes in seen.values()]
        terms["rate_penalty"] = spike_rate_penalty(rates, loss.rate_target, loss.rate_l1, loss.rate_l2)
    return terms


def _drawn_labels(pair: Pair, n: int, rng: np.random.Generator) -> list[int]:
    """Up to `n` of the labels, 0 excepted, that both images show."""
    shared = np.intersect1d(pair.fixed.labels, pair.moving.labels)
    shared = shared[shared > 0]
    return sorted(rng.choice(shared, min(n, len(shared)), replace=False).tolist())


def train(
    recipe: Recipe,
    data: Path | None,
    out: Path,
    *,
    teacher: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Run the whole recipe on the volumes in `data`, writing to `out`. -> path of the spiking network's weights

    `data` may be None for a recipe that uses generated pairs alone. With the weights file of a `teacher`, or the name
    of a shipped one, no teacher is trained: the run begins with its conversion.

    Runs on the kernels of the active backend. A killed run goes on where its last checkpoint was written; a stage that
    is done is not repeated. `report` gets one line per milestone.
    """
    if teacher is None:
        analog, given = Teacher(recipe.network, np.random.default_rng([recipe.seed, 1])), {}
    else:
        analog, digest = load_teacher(teacher, Teacher, recipe.network, free=SPIKING_ONLY)
        given = {"teacher_sha256": digest}
    claim_run_folder(out, recipe, given)
    sampler, held_out = load_pairs(recipe, data), held_out_pairs(recipe, data)
    labels = labels_of(held_out)
    report(
        f"{len(sampler.subjects)} subjects, {len(sampler.generated)} generated pairs, {len(held_out)} held-out pairs"
    )

    if teacher is None:
        run_stage("teacher", analog, recipe.teacher, recipe.loss, sampler, held_out, labels, out, recipe.seed + 1)
    else:
        report(f"teacher of {teacher}, SHA-256 {given['teacher_sha256']}")
    spiking = SpikeReg(recipe.network, np.random.default_rng([recipe.seed, 2]))
    analog.eval()
    examples = _examples(sampler, recipe)
    for layer in convert(analog, spiking, examples, recipe.conversion.percentile):
        report(
            f"{layer.name}: lambda {layer.scale:.4g}, error {layer.error:.4f} lambda, "
            f"saturated {100 * layer.saturated:.2f} %, rate {layer.rate:.3f}"
        )
    report(f"converted, before fine-tuning: {means(evaluate_pairs(spiking, held_out, labels))}")
    run_stage("spiking", spiking, recipe.finetune, recipe.loss, sampler, held_out, labels, out, recipe.seed + 2, analog)
    facts = {"recipe": recipe.name, "spacing": recipe.data.spacing, "align": recipe.data.align, **given}
    for name, network in (("teacher", analog), ("spiking", spiking)):
        scores = means(evaluate_pairs(network, held_out, labels))
        report(f"{name} on the held-out pairs: {scores}")
        if network is spiking or teacher is None:  # a teacher that was given stays where it is
            save_model(out / f"{name}.safetensors", network, {**facts, "held_out": scores})
    return out / "spiking.safetensors"


def run_stage(
    name: str,
    network: Teacher | SpikeReg,
    stage: StageRecipe,
    loss: LossRecipe,
    sampler: PairSampler,
    held_out: Sequence[Pair],
    labels: Sequence[int],
    out: Path,
    seed: int,
    teacher: Teacher | None = None,
) -> None:
    """Train `network` for one stage in the folder `out / name`, on from its checkpoint there if it has one.

    The scores on the `held_out` pairs go to the log and decide nothing. `teacher` is whom distillation learns from.
    """
    cycle = stage.steps // stage.cycles
    down = warm_up_cosine(stage.warm_up, cycle, stage.final_learning_rate / stage.learning_rate)
    schedule = Schedule(
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        shape=restarted(down, cycle),
        clip=stage.clip,
        checkpoint_every=stage.checkpoint_every,
        evaluate_every=stage.evaluate_every,
    )
    fit(
        name,
        network,
        Adam(network.named_parameters(), learning_rate=stage.learning_rate),
        schedule,
        lambda rng: registration_terms(network, sampler(rng), loss, rng, teacher),
        out / name,
        seed=seed,
        evaluate=lambda: means(evaluate_pairs(network, held_out, labels)),
    )


def _examples(sampler: PairSampler, recipe: Recipe) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng([recipe.seed, 3])
    pairs = [sampler(rng) for _ in range(recipe.conversion.examples)]
    return [(batch(p.fixed.image), batch(p.moving.image)) for p in pairs]
