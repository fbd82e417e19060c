"""Two networks on the same cases: is there a difference, how large is it, and does it matter?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..metrics.equivalence import EffectSize, Equivalence, effect_size, equivalence_test
from ..metrics.statistics import PairedComparison, compare_paired

COMPARED = ("dice", "hd95_mm", "assd_mm")
WITH_MARGIN = "dice"  # the only score on which a margin means something to everyone


class Scored(Protocol):
    """A case by a network, as far as it is compared."""

    @property
    def scores(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class ScoreComparison:
    """A score of two networks, case by case; `str()` of it is a sentence for a report."""

    score: str
    paired: PairedComparison
    effect: EffectSize
    equivalence: Equivalence | None

    def __str__(self) -> str:
        parts = [str(self.paired), str(self.effect), *([str(self.equivalence)] if self.equivalence else [])]
        return f"{self.score}: {'; '.join(parts)}"

    def facts(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        paired, tost = self.paired, self.equivalence
        facts = {
            "n": paired.n,
            "means": [paired.mean_a, paired.mean_b],
            "stds": [paired.sd_a, paired.sd_b],
            "difference": paired.difference,
            "bootstrap": {"confidence": paired.confidence, "interval": paired.interval},
            "paired_t": {"t": paired.t_test.statistic, "p": paired.t_test.p},
            "wilcoxon": {"w": paired.wilcoxon.statistic, "p": paired.wilcoxon.p},
            "effect_size": {"d_z": self.effect.d_z, "hedges": self.effect.g_z},
        }
        if tost is not None:
            facts["tost"] = {
                "margin": tost.margin,
                "level": tost.level,
                "lower": {"t": tost.lower[0], "p": tost.lower[1]},
                "upper": {"t": tost.upper[0], "p": tost.upper[1]},
                "p": tost.p,
                "interval": tost.interval,
                "confidence": 1 - 2 * tost.level,
                "equivalent": tost.equivalent,
            }
        return facts


def compare(
    ours: Sequence[Scored],
    theirs: Sequence[Scored],
    margin: float,
    compared: Sequence[str] = COMPARED,
    with_margin: str = WITH_MARGIN,
) -> list[ScoreComparison]:
    """Every score of `compared` over the cases that both networks finished, paired by their order.

    Equivalence is tested of the score `with_margin`, the mean Dice, whose difference must lie within +-margin. Cases
    where either has no such score, or an infinite one, are left out.
    """
    comparisons = []
    for score in compared:
        a, b = (np.array([row.scores.get(score, np.nan) for row in rows], np.float64) for rows in (ours, theirs))
        kept = np.isfinite(a) & np.isfinite(b)
        a, b = a[kept], b[kept]
        equivalence = equivalence_test(a, b, margin) if score == with_margin else None
        comparisons.append(ScoreComparison(score, compare_paired(a, b), effect_size(a, b), equivalence))
    return comparisons
