"""The ground that all experiments stand on: pairs, teachers and spiking networks, each trained once and kept.

Every seed trains on generated pairs of its own; the held-out pairs are the same for all seeds and no training sees
them. So the deviation over seeds is that of training, and cases can be paired. A trained network lies in a folder
named after everything that decides its weights: experiments that need the same network share it, and what was killed
goes on from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pysnnmed import kernels
from pysnnmed.convert import calibrate, transfer
from pysnnmed.data.files import write_text
from pysnnmed.errors import ParameterError
from pysnnmed.models.spikereg import SpikeReg, Teacher
from pysnnmed.tensor import Tensor
from pysnnmed.train.evaluation import batch, evaluate_pairs
from pysnnmed.train.pairs import HELD_OUT_SEED, Pair, PairSampler, Volumes, generated_pairs, labels_of
from pysnnmed.train.recipe import LossRecipe, Recipe, StageRecipe
from pysnnmed.train.registration import run_stage

from .tables import Row

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """A spiking network of an experiment: what differs from the recipe.

    network        fields of the network's configuration; the teacher is trained without them, as it has none of them
    teacher_loss   fields of the loss that the teacher is trained with
    loss           fields of the loss that the spiking network is fine-tuned with
    percentile     of the conversion, None for the recipe's
    converted      whether fine-tuning starts from the teacher, or from random weights
    """

    name: str
    network: Changes = field(default_factory=dict)
    teacher_loss: Changes = field(default_factory=dict)
    loss: Changes = field(default_factory=dict)
    percentile: float | None = None
    converted: bool = True


class Bench:
    """Trains and scores what experiments ask for, for each of `seeds`, in folders below `out`."""

    def __init__(
        self, recipe: Recipe, seeds: Sequence[int], out: Path, report: Callable[[str], None] = lambda line: None
    ):
        if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed < HELD_OUT_SEED for seed in seeds):
            raise ParameterError(
                f"Bench: seeds must differ and lie in 0 ... {HELD_OUT_SEED - 1}, as pairs of larger ones are held out, "
                f"not {tuple(seeds)}"
            )
        if recipe.data.generated_fraction < 1:
            raise ParameterError("Bench: the recipe must have generated pairs only, [data] generated_fraction = 1")
        self.recipe, self.seeds, self.out, self.report = recipe, tuple(seeds), out, report
        self._samplers: dict[int, PairSampler] = {}
        self._scales: dict[tuple[int, str, float], dict[str, float]] = {}

    # ----------------------------------------------------------------------------------------------------- pairs

    @cached_property
    def held_out(self) -> list[Pair]:
        """The pairs of every score."""
        data = self.recipe.data
        return generated_pairs(data.held_out_pairs, data.test_grid, HELD_OUT_SEED)

    @cached_property
    def labels(self) -> list[int]:
        """The labels of every score."""
        return labels_of(self.held_out)

    def sampler(self, seed: int) -> PairSampler:
        """What draws the training pairs of a seed."""
        if seed not in self._samplers:
            data = self.recipe.data
            pairs = generated_pairs(data.generated_pairs, data.grid, seed)
            self._samplers[seed] = PairSampler(Volumes(), pairs, data.generated_fraction)
        return self._samplers[seed]

    def calibration(self, seed: int) -> list[tuple[Tensor, Tensor]]:
        """Training pairs, as conversion takes them."""
        rng, sampler = np.random.default_rng([seed, 3]), self.sampler(seed)
        pairs = [sampler(rng) for _ in range(self.recipe.conversion.examples)]
        return [(batch(pair.fixed.image), batch(pair.moving.image)) for pair in pairs]

    # -------------------------------------------------------------------------------------------------- networks

    def teacher(self, seed: int, loss: Changes | None = None) -> Teacher:
        """The analog network of a seed, trained with the recipe's loss but for the changes."""
        recipe = self.recipe
        network = Teacher(recipe.network, np.random.default_rng([seed, 1]))
        return self._trained("teacher", network, recipe.teacher, self._loss(loss or {}), seed, from_what="random")

    def longer_teacher(self, seed: int) -> Teacher:
        """The analog network, trained on for as many steps as the spiking network is fine-tuned."""
        network = Teacher(self.recipe.network, np.random.default_rng(0))
        network.load_state_dict(self.teacher(seed).state_dict())
        return self._trained("longer-teacher", network, self.recipe.finetune, self.recipe.loss, seed, "teacher")

    def converted(self, seed: int, variant: Variant) -> SpikeReg:
        """The spiking network of a variant before fine-tuning."""
        config = replace(self.recipe.network, **variant.network)
        spiking = SpikeReg(config, np.random.default_rng([seed, 2]))
        if variant.converted:
            teacher = self.teacher(seed, variant.teacher_loss)
            key = seed, json.dumps(dict(variant.teacher_loss)), self._percentile(variant)
            if key not in self._scales:
                self._scales[key] = calibrate(teacher, self.calibration(seed), self._percentile(variant))
            transfer(teacher, spiking, self._scales[key])
        return spiking.eval()

    def fine_tuned(self, seed: int, variant: Variant) -> SpikeReg:
        """The spiking network of a variant after fine-tuning."""
        origin = "random"
        if variant.converted:
            origin = f"teacher {asdict(self._loss(variant.teacher_loss))}, percentile {self._percentile(variant)}"
        loss, finetune = self._loss(variant.loss), self.recipe.finetune
        teacher = self.teacher(seed, variant.teacher_loss) if loss.distillation else None
        return self._trained("spiking", self.converted(seed, variant), finetune, loss, seed, origin, teacher)

    def _trained(
        self,
        kind: str,
        network: Any,
        stage: StageRecipe,
        loss: LossRecipe,
        seed: int,
        from_what: str,
        teacher: Teacher | None = None,
    ) -> Any:
        """`network` after a stage, in evaluation mode."""
        recipe = self.recipe
        settings = {
            "network": asdict(network.config),
            "from": from_what,
            "stages": {"teacher": asdict(recipe.teacher), "this": asdict(stage)},
            "loss": asdict(loss),
            "data": asdict(recipe.data),
            "examples": recipe.conversion.examples,
            "seed": seed,
            "backend": kernels.active(),
        }
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        name = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        folder = self.out / f"seed-{seed}"
        if not (folder / name).exists():
            self.report(f"seed {seed}: {name}")
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_text(folder / name / "settings.json", text)
        stream = 10 * seed + (1 if kind == "teacher" else 2)  # which pair each step sees: alike for what begins alike
        run_stage(name, network, stage, loss, self.sampler(seed), self.held_out, self.labels, folder, stream, teacher)
        return network.eval()

    def _loss(self, changes: Changes) -> LossRecipe:
        return replace(self.recipe.loss, **changes)

    def _percentile(self, variant: Variant) -> float:
        return self.recipe.conversion.percentile if variant.percentile is None else variant.percentile

    # ---------------------------------------------------------------------------------------------------- scores

    def scores(self, network: Teacher | SpikeReg, /, **keys: Any) -> list[Row]:
        """A row for each held-out pair: the keys, the number of the pair, and its scores (see evaluate_pairs)."""
        results = evaluate_pairs(network, self.held_out, self.labels)
        return [{**keys, "pair": i, **result} for i, result in enumerate(results)]
