"""The ground that all variants stand on: pictures, a teacher for each seed, and runs, each in a folder of its own.

All seeds learn from the same pictures and are judged on the same held-out ones: a seed is the first weights and the
order of the pictures. Variants of a seed see the same pictures in the same order and have the same teacher, so that
they can be compared pair by pair. A run that was killed goes on from its last checkpoint; `row.json` in its folder says
that it is done, and what came out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pysnnmed import kernels
from pysnnmed.data.files import write_text
from pysnnmed.deploy.executor import Executor
from pysnnmed.deploy.lower import lower
from pysnnmed.deploy.pretrained import save_model
from pysnnmed.errors import ParameterError
from pysnnmed.models.medspikeformer import MedSpikeFormer, SegmentationTeacher
from pysnnmed.train.progress import read_log
from pysnnmed.train.run_folder import claim_run_folder
from pysnnmed.train.segmentation import SPIKING_ONLY, run_stage
from pysnnmed.train.segmentation_cases import CaseSplit, load_split, unit
from pysnnmed.train.segmentation_recipe import SegmentationRecipe
from pysnnmed.train.teachers import load_teacher

from ..tables import Row
from .variants import Variant

TEACHER, STUDENT = "teacher", "student"
SCORES = ("image_iou", "pooled_iou", "image_dice", "pooled_dice")


@dataclass(frozen=True)
class Run:
    """A variant with a seed; without a variant, the teacher of the seed."""

    seed: int
    variant: Variant | None = None

    @property
    def name(self) -> str:
        return TEACHER if self.variant is None else self.variant.name

    @property
    def needs(self) -> Run | None:
        """The run that must be done before."""
        return Run(self.seed) if self.variant is not None and self.variant.taught else None


class Bench:
    """Trains and scores runs in folders below `out`, on the pictures in `data` or on those the recipe generates."""

    def __init__(
        self,
        recipe: SegmentationRecipe,
        seeds: Sequence[int],
        out: Path,
        data: Path | None = None,
        report: Callable[[str], None] = lambda line: None,
    ):
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ParameterError(f"Bench: seeds must differ and be at least 0, not {tuple(seeds)}")
        if recipe.input.kind != "pictures" or recipe.input.fit != "resize":
            raise ParameterError("Bench: the recipe must be of pictures, all resized to one size ([input] fit)")
        if not recipe.teacher.steps:
            raise ParameterError("Bench: the recipe must train a teacher, [teacher] steps = 0 does not")
        self.recipe, self.seeds, self.out, self.data, self.report = recipe, tuple(seeds), out, data, report

    @cached_property
    def cases(self) -> CaseSplit:
        """What all seeds learn from and are judged on."""
        return load_split(replace(self.recipe, seed=0), self.data)

    @cached_property
    def _digest(self) -> str:
        """Of all pictures, so that no run goes on with others."""
        digest = hashlib.sha256()
        for side in self.cases:
            for case in getattr(side, "cases", side):
                for part in (case.name.encode(), case.picture.tobytes(), case.mask.tobytes()):
                    digest.update(part)
        return digest.hexdigest()

    def folder(self, run: Run) -> Path:
        return self.out / f"seed-{run.seed}" / run.name

    def row(self, run: Run) -> Row | None:
        """What came out of a run; None while it is not done."""
        path = self.folder(run) / "row.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def execute(self, run: Run) -> Row:
        """Train, or train on, and score. -> the row, which then stands in the folder too"""
        self.report(f"seed {run.seed}: {run.name}")
        network, kind = (self._teacher(run), TEACHER) if run.variant is None else (self._student(run), STUDENT)
        log = read_log(self.folder(run) / kind / "log.jsonl")
        scores = log[-1]  # fit writes it after the last step
        row: Row = {
            "variant": run.name,
            "seed": run.seed,
            "parameters": network.n_parameters,
            **{name: scores[name] for name in SCORES},
        }
        if isinstance(network, MedSpikeFormer):
            row |= {"rate": scores["rate"], "steps": network.config.steps, **self._counts(network)}
        row["seconds"] = seconds_of(log)
        write_text(self.folder(run) / "row.json", json.dumps(row, indent=1) + "\n")
        self.report(f"seed {run.seed}: {run.name}: IoU per image {row['image_iou']:.4f}, {row['seconds']:.0f} s")
        return row

    def _teacher(self, run: Run) -> SegmentationTeacher:
        recipe, folder = replace(self.recipe, seed=run.seed), self.folder(run)
        network = SegmentationTeacher(recipe.network, rng=np.random.default_rng([run.seed, 1]))
        claim_run_folder(folder, recipe, self._facts())
        run_stage(TEACHER, network, recipe.teacher, recipe, self.cases, folder, _stream(run))
        save_model(self._weights(run), network)
        return network

    def _student(self, run: Run) -> MedSpikeFormer:
        variant, folder, base = run.variant or Variant(""), self.folder(run), self.recipe
        recipe = replace(
            base,
            seed=run.seed,
            network=replace(base.network, **variant.network),
            loss=replace(base.loss, **variant.loss),
        )
        teacher, facts = None, self._facts()
        if run.needs is not None:
            teacher, facts["teacher_sha256"] = load_teacher(
                self._weights(run.needs), SegmentationTeacher, base.network, free=SPIKING_ONLY
            )
        network = MedSpikeFormer(recipe.network, rng=np.random.default_rng([run.seed, 2]))
        claim_run_folder(folder, recipe, facts)
        run_stage(STUDENT, network, recipe.student, recipe, self.cases, folder, _stream(run), teacher)
        return network

    def _weights(self, run: Run) -> Path:
        return self.folder(run) / "teacher.safetensors"

    def _facts(self) -> dict[str, str]:
        return {"cases": self._digest, "backend": kernels.active()}

    def _counts(self, network: MedSpikeFormer) -> Row:
        """Operations for a held-out picture, means of exact counts: those of the program with float32 weights.

        literal_synops are those of attention if every map were formed; executed ones stand in synops.
        """
        executor = Executor(lower(network.eval(), "float32"))
        totals = {"synops": 0, "macs": 0, "literal_synops": 0}
        for case in self.cases.held_out:
            execution = executor({"image": unit(case.picture)})
            total = execution.report.total
            for name, count in (
                ("synops", total.synops),
                ("macs", total.macs),
                ("literal_synops", sum(execution.literal.values())),
            ):
                totals[name] += count
        return {name: total / len(self.cases.held_out) for name, total in totals.items()}


def _stream(run: Run) -> int:
    """Which pictures each step sees: alike for all variants of a seed."""
    return 10 * run.seed + (1 if run.variant is None else 2)


def seconds_of(log: Sequence[dict[str, Any]]) -> float:
    """How long a run has trained, over all times that it was resumed; what was lost in between does not count."""
    total, last = 0.0, 0.0
    for now in (row["seconds"] for row in log if "seconds" in row):
        total += now - last if now >= last else now
        last = now
    return round(total, 2)
