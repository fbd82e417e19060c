"""What do a leak and a hard reset cost?"""

from __future__ import annotations

from collections.abc import Sequence

from . import rates
from .bench import Bench, Variant
from .comparison import compared
from .counts import counted
from .tables import Row, where

NAME = "neurons"
TITLE = "Leak and reset"
ABOUT = f"""\
A leak multiplies the membrane by β in every step; a hard reset sets it to 0 after a spike instead of subtracting the
threshold. The paper's neurons leak and are reset to 0; conversion assumes neither. All start at half a threshold, and
all were converted at one percentile. SynOps and projected energy: as under *{rates.TITLE}*.
"""
VARIANTS = [
    Variant("no leak, soft reset"),
    Variant("no leak, hard reset", network={"reset": "hard"}),
    Variant("β 0.9, soft reset", network={"leak": 0.9}),
    Variant("β 0.9, hard reset", network={"leak": 0.9, "reset": "hard"}),
    Variant("β learnt from 0.9, soft reset", network={"leak": 0.9, "learn_leak": True}),
]


def run(bench: Bench) -> list[Row]:
    """Scores and counts of every kind of neuron, before and after fine-tuning."""
    rows: list[Row] = []
    for seed in bench.seeds:
        for variant in VARIANTS:
            for stage, network in (
                ("converted", bench.converted(seed, variant)),
                ("fine-tuned", bench.fine_tuned(seed, variant)),
            ):
                scores = bench.scores(network, variant=variant.name, stage=stage, seed=seed)
                rows += counted(network, bench.held_out, scores)
    return rows


def section(rows: Sequence[Row]) -> str:
    """One table for each stage; the reference is the neuron that conversion assumes."""
    parts = []
    for stage in ("converted", "fine-tuned"):
        parts += [f"{stage.capitalize()}:", compared(where(rows, stage=stage), "neuron", reference=VARIANTS[0].name)]
    return "\n\n".join(parts)
