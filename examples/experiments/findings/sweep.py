"""How many time steps does a converted network need, and which percentile?"""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench, Variant
from .tables import Row, markdown, mean_sd, over_pairs, values_of, where

NAME = "sweep"
TITLE = "Time steps and percentile of the conversion"
ABOUT = """\
The percentile is that of the positive activations of a layer over training pairs, and what a rate of 1 stands for; the
paper ends at 50, without rescaled weights. The first two tables are of networks that are converted and not trained
further; the others of some of them after fine-tuning.
"""
STEPS, PERCENTILES = (1, 2, 4, 8, 16), (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)
TUNED_STEPS = (1, 2, 4, 8)


def run(bench: Bench) -> list[Row]:
    """Scores of the teacher, of every conversion, and of the fine-tuned ones with the recipe's percentile or T."""
    rows: list[Row] = []
    recipe = bench.recipe
    for seed in bench.seeds:
        rows += bench.scores(bench.teacher(seed), stage="teacher", seed=seed)
        for percentile in PERCENTILES:
            bench.report(f"seed {seed}: percentile {percentile:g}")
            for steps in STEPS:
                variant = Variant("", network={"steps": steps}, percentile=percentile)
                keys = {"percentile": percentile, "steps": steps, "seed": seed}
                rows += bench.scores(bench.converted(seed, variant), stage="converted", **keys)
                if steps == recipe.network.steps or (
                    percentile == recipe.conversion.percentile and steps in TUNED_STEPS
                ):
                    rows += bench.scores(bench.fine_tuned(seed, variant), stage="fine-tuned", **keys)
    return rows


def section(rows: Sequence[Row]) -> str:
    """Dice and rate, percentile by T, before and after fine-tuning."""
    teacher = mean_sd(over_pairs(where(rows, stage="teacher"), "dice"))
    tables = []
    for stage in ("converted", "fine-tuned"):
        chosen = where(rows, stage=stage)
        tables.append(_grid(chosen, f"Dice, {stage} (teacher: {teacher})", "dice", digits=3))
        tables.append(_grid(chosen, f"rate, {stage}, %", "rate", digits=1, factor=100))
    return "\n\n".join(tables)


def _grid(rows: Sequence[Row], title: str, column: str, digits: int, factor: float = 1.0) -> str:
    steps, percentiles = sorted(values_of(rows, "steps")), sorted(values_of(rows, "percentile"))

    def cell(chosen: Sequence[Row]) -> str:
        return mean_sd(over_pairs(chosen, column), digits, factor)

    lines = [(f"percentile {p:g}", *(cell(where(rows, percentile=p, steps=t)) for t in steps)) for p in percentiles]
    return markdown((title, *(f"T = {t}" for t in steps)), lines)
