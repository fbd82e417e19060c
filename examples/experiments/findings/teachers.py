"""Do teachers that have seen labels hand on what they know?"""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench, Variant
from .tables import Row, difference, gain_kept, markdown, mean_sd, over_pairs, values_of, where

NAME = "teachers"
TITLE = "Teachers that have seen labels"
ABOUT = """\
Teachers trained on the similarity of the images (LNCC), on the overlap of the labels (Dice), or on both; each with its
diffusion term. All are converted in the same way. Fine-tuning sees no labels, as in the paper, which says that teachers
trained on label overlap do not transfer; in the last row it sees what its teacher saw.
"""
BOTH, OVERLAP = {"overlap": 1.0}, {"overlap": 1.0, "similarity": 0.0}
VARIANTS = [
    Variant("LNCC"),
    Variant("LNCC and Dice", teacher_loss=BOTH),
    Variant("Dice", teacher_loss=OVERLAP),
    Variant("LNCC and Dice, labels in fine-tuning too", teacher_loss=BOTH, loss=BOTH),
]


def run(bench: Bench) -> list[Row]:
    """Scores of teacher, converted and fine-tuned network, for every kind of teacher."""
    rows: list[Row] = []
    for seed in bench.seeds:
        for variant in VARIANTS:
            for stage, network in (
                ("teacher", bench.teacher(seed, variant.teacher_loss)),
                ("converted", bench.converted(seed, variant)),
                ("fine-tuned", bench.fine_tuned(seed, variant)),
            ):
                rows += bench.scores(network, variant=variant.name, stage=stage, seed=seed)
    return rows


def section(rows: Sequence[Row]) -> str:
    """The table; the gain kept is that of the fine-tuned network, in per cent of its teacher's."""
    lines = []
    for name in values_of(rows, "variant"):
        stages = {stage: where(rows, variant=name, stage=stage) for stage in ("teacher", "converted", "fine-tuned")}
        lines.append(
            (
                str(name),
                *(mean_sd(over_pairs(r, "dice")) for r in stages.values()),
                difference(stages["fine-tuned"], stages["teacher"]),
                gain_kept(stages["fine-tuned"], stages["teacher"]),
                mean_sd(over_pairs(stages["fine-tuned"], "folding"), digits=3),
            )
        )
    header = (
        "teacher",
        "Dice, teacher",
        "converted",
        "fine-tuned",
        "fine-tuned minus teacher",
        "gain kept, %",
        "folding, %",
    )
    return markdown(header, lines)
