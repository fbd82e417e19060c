"""What several experiments share: fine-tuned variants, and a table of them beside one that is the reference."""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench, Variant
from .counts import TABLE, counted
from .tables import Row, difference, markdown, mean_sd, over_pairs, values_of, where


def fine_tuned_rows(bench: Bench, variants: Sequence[Variant], counts: bool = False) -> list[Row]:
    """Scores of every variant after fine-tuning, for every seed; with `counts`, operations and energy too."""
    rows: list[Row] = []
    for seed in bench.seeds:
        for variant in variants:
            network = bench.fine_tuned(seed, variant)
            scores = bench.scores(network, variant=variant.name, seed=seed)
            rows += counted(network, bench.held_out, scores) if counts else scores
    return rows


def compared(rows: Sequence[Row], title: str, reference: str) -> str:
    """A line for each variant: Dice, its difference from the reference, folding, rate, and counts where there are."""
    known = where(rows, variant=reference)
    counts = any("synops" in row for row in rows)
    header = [title, "Dice", f"minus *{reference}*", "folding, %", "rate, %"]
    lines = []
    for name in values_of(rows, "variant"):
        chosen = where(rows, variant=name)
        line = [
            str(name),
            mean_sd(over_pairs(chosen, "dice")),
            "–" if name == reference else difference(chosen, known),
            mean_sd(over_pairs(chosen, "folding"), digits=3),
            mean_sd(over_pairs(chosen, "rate"), digits=1, factor=100),
        ]
        if counts:
            line.append(mean_sd(over_pairs(chosen, "synops"), digits=2, factor=1e-6))
            line.append(mean_sd(over_pairs(chosen, "spiking_microjoule"), digits=1))
            line.append(mean_sd(over_pairs(chosen, "ratio"), digits=2))
        lines.append(line)
    if counts:
        (steps,) = values_of(rows, "steps")
        header += ["SynOps, 10⁶", f"projected, µJ ({TABLE}, T = {steps})", "times less than analog"]
    return markdown(header, lines)
