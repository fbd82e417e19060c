"""How many time steps does a converted network need, and which percentile?"""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench, Variant
from .tables import Row, markdown, mean_sd, over_pairs, values_of, where

NAME = "sweep"
TITLE = "Time steps and percentile of the conversion"
ABOUT = """\
The networks are converted and not trained further. The percentile is that of the positive activations of a layer over
training pairs, and what a rate of 1 stands for.
"""
STEPS, PERCENTILES = (1, 2, 4, 8, 16), (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)


def run(bench: Bench) -> list[Row]:
    """Scores of the teacher, and of the converted network for every percentile and T."""
    rows: list[Row] = []
    for seed in bench.seeds:
        rows += bench.scores(bench.teacher(seed), percentile="teacher", seed=seed)
        for percentile in PERCENTILES:
            bench.report(f"seed {seed}: percentile {percentile:g}")
            for steps in STEPS:
                variant = Variant("", network={"steps": steps}, percentile=percentile)
                rows += bench.scores(bench.converted(seed, variant), percentile=percentile, steps=steps, seed=seed)
    return rows


def section(rows: Sequence[Row]) -> str:
    """Dice and rate, percentile by T."""
    teacher = mean_sd(over_pairs(where(rows, percentile="teacher"), "dice"))
    tables = [
        _grid(rows, f"Dice (teacher: {teacher})", "dice", digits=3),
        _grid(rows, "rate, %", "rate", digits=1, factor=100),
    ]
    return "\n\n".join(tables)


def _grid(rows: Sequence[Row], title: str, column: str, digits: int, factor: float = 1.0) -> str:
    steps = values_of(rows, "steps")
    percentiles = [p for p in values_of(rows, "percentile") if p != "teacher"]

    def cell(chosen: Sequence[Row]) -> str:
        return mean_sd(over_pairs(chosen, column), digits, factor)

    lines = [(f"percentile {p:g}", *(cell(where(rows, percentile=p, steps=t)) for t in steps)) for p in percentiles]
    return markdown((title, *(f"T = {t}" for t in steps)), lines)
