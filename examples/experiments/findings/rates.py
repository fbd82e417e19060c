"""How few spikes does a registration take?"""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench, Variant
from .comparison import compared, fine_tuned_rows
from .tables import Row

NAME = "rates"
TITLE = "Spike rate against accuracy"
ABOUT = """\
The penalty is the sum over layers of l1 ρ + l2 (ρ - target)², ρ the rate of a layer. SynOps are exact counts for one
pair, all T steps. The projected energy is that of their arithmetic alone by the table fp32 (45 nm, Horowitz 2014) at
the rate of the row, neurons and biases included, memory and routing not; the analog network multiplies its zeros too.
"""
VARIANTS = [
    Variant("no penalty", loss={"rate_l1": 0.0, "rate_l2": 0.0}),
    Variant("the paper's: l1 1e-4, l2 0.01, target 10 %"),
    Variant("l2 1, target 10 %", loss={"rate_l2": 1.0}),
    Variant("l2 1, target 5 %", loss={"rate_l2": 1.0, "rate_target": 0.05}),
    Variant("l2 1, target 2 %", loss={"rate_l2": 1.0, "rate_target": 0.02}),
    Variant("l2 10, target 1 %", loss={"rate_l2": 10.0, "rate_target": 0.01}),
]


def run(bench: Bench) -> list[Row]:
    """Scores and counts with each penalty."""
    return fine_tuned_rows(bench, VARIANTS, counts=True)


def section(rows: Sequence[Row]) -> str:
    """The table; the reference has the paper's weights."""
    return compared(rows, "penalty", reference=VARIANTS[1].name)
