"""Is a spiking network, converted and fine-tuned, as good as its analog teacher?"""

from __future__ import annotations

from collections.abc import Sequence

from pysnnmed.metrics import equivalence_test

from .bench import Bench, Variant
from .tables import Row, difference, gain_kept, markdown, mean_sd, over_pairs, over_seeds, values_of, where

NAME = "conversion"
TITLE = "Conversion and fine-tuning against the analog teacher"
MARGIN = 0.01  # in Dice
TEACHER, LONGER, CONVERTED = "teacher", "teacher, trained on", "converted, not fine-tuned"
TUNED, SCRATCH = "converted, fine-tuned", "not converted, trained as long"
ABOUT = f"""\
The paper reports a mean Dice of 0.7474 against 0.7480 for its teacher, p = 0.67, on 19 pairs. A test that finds no
difference has not shown that there is none, so equivalence is tested too, within a margin of {MARGIN} Dice (two
one-sided t-tests). The fine-tuned network has had more training steps than its teacher; *{LONGER}* has had as many.
"""


def run(bench: Bench) -> list[Row]:
    """Scores of the teacher, of what comes of it, and of two controls."""
    rows: list[Row] = []
    for seed in bench.seeds:
        for name, network in (
            (TEACHER, bench.teacher(seed)),
            (LONGER, bench.longer_teacher(seed)),
            (CONVERTED, bench.converted(seed, Variant(CONVERTED))),
            (TUNED, bench.fine_tuned(seed, Variant(TUNED))),
            (SCRATCH, bench.fine_tuned(seed, Variant(SCRATCH, converted=False))),
        ):
            rows += bench.scores(network, variant=name, seed=seed)
    return rows


def section(rows: Sequence[Row]) -> str:
    """The table, and the tests pair by pair."""
    teacher = where(rows, variant=TEACHER)
    lines = []
    for name in values_of(rows, "variant"):
        chosen = where(rows, variant=name)
        lines.append(
            (
                str(name),
                mean_sd(over_pairs(chosen, "dice")),
                "–" if name == TEACHER else difference(chosen, teacher),
                gain_kept(chosen, teacher),
                mean_sd(over_pairs(chosen, "folding"), digits=3),
                mean_sd(over_pairs(chosen, "rate"), digits=1, factor=100),
            )
        )
    before = mean_sd(over_pairs(teacher, "before")[:1])
    header = ("network", f"Dice (before: {before})", "minus teacher", "gain kept, %", "folding, %", "rate, %")
    return "\n\n".join([markdown(header, lines), *_tests(rows)])


def _tests(rows: Sequence[Row]) -> list[str]:
    """Equivalence with the teacher and with the teacher trained on: of the means over seeds, and of each seed."""
    paragraphs = []
    for name, against in ((TUNED, TEACHER), (TUNED, LONGER), (CONVERTED, TEACHER)):
        a, b = where(rows, variant=name), where(rows, variant=against)
        whole = equivalence_test(over_seeds(a, "dice"), over_seeds(b, "dice"), MARGIN)
        single = [
            equivalence_test(over_seeds(where(a, seed=s), "dice"), over_seeds(where(b, seed=s), "dice"), MARGIN)
            for s in values_of(a, "seed")
        ]
        each = ", ".join(f"{test.p:.2g}" for test in single)
        paragraphs.append(f"*{name}* against *{against}*, means over seeds: {whole}; single seeds: p = {each}.")
    return paragraphs
