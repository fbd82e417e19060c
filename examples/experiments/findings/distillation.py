"""Does it help a spiking network to be taught its teacher's displacements?"""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench, Variant
from .comparison import compared, fine_tuned_rows
from .tables import Row

NAME = "distillation"
TITLE = "Displacement distillation"
ABOUT = """\
The weight of the mean squared distance, in voxels squared, between the displacements of the spiking network and of its
teacher. The paper's draft has 0.5, the paper 0: distillation, it says, hurts.
"""
WEIGHTS = (0.0, 0.5, 5.0)
VARIANTS = [Variant(f"weight {weight:g}", loss={"distillation": weight}) for weight in WEIGHTS]


def run(bench: Bench) -> list[Row]:
    """Scores with each weight."""
    return fine_tuned_rows(bench, VARIANTS)


def section(rows: Sequence[Row]) -> str:
    """The table; the reference learns from the images alone."""
    return compared(rows, "distillation", reference=VARIANTS[0].name)
