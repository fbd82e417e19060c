"""Is the difference between two methods, measured on the same cases, more than chance? NumPy only.

All tests are two-sided and look at the differences d = a - b, case by case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError, ShapeError
from .student import both_tails

EXACT_LIMIT = 25  # up to this many cases the Wilcoxon test enumerates; beyond, the normal law is close enough


class Significance(NamedTuple):
    """A test statistic and its two-sided p-value."""

    statistic: float
    p: float


def paired_t_test(a: np.ndarray, b: np.ndarray) -> Significance:
    """Student's paired t-test: t = mean(d) / (sd(d) / sqrt(n)), n - 1 degrees of freedom (Student 1908).

    It assumes that the differences are roughly normal. If all differences are equal, t is +-inf and p is 0, or 0 and 1
    where they are all 0. Fewer than two cases give NaN.
    """
    d = differences(a, b)
    n = d.size
    if n < 2:
        return Significance(math.nan, math.nan)
    mean, error = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return Significance(math.copysign(math.inf, mean), 0.0) if mean else Significance(0.0, 1.0)
    t = mean / error
    return Significance(t, both_tails(t, n - 1))


def wilcoxon_signed_rank(a: np.ndarray, b: np.ndarray) -> Significance:
    """Wilcoxon's signed-rank test: W = min(rank sum of the positive, of the negative differences) (Wilcoxon 1945).

    Zero differences are dropped before ranking (Wilcoxon's own rule), ties share their mean rank. p is exact for up to
    25 cases without zeros and ties; otherwise it comes from the normal law with the variance corrected for ties,
    without continuity correction. No nonzero difference gives W = 0 and p = 1.
    """
    d = differences(a, b)
    kept = d[d != 0]
    n = kept.size
    if n == 0:
        return Significance(0.0, 1.0)
    ranks, ties = _ranks(np.abs(kept))
    positive = float(ranks[kept > 0].sum())
    w = min(positive, n * (n + 1) / 2 - positive)
    if n == d.size <= EXACT_LIMIT and ties.max() == 1:
        return Significance(w, min(1.0, 2 * _signed_rank_tail(n, int(w))))
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((ties**3 - ties).sum()) / 48
    z = (w - n * (n + 1) / 4) / math.sqrt(variance)
    return Significance(w, min(1.0, math.erfc(-z / math.sqrt(2))))


def bootstrap_interval(
    a: np.ndarray,
    b: np.ndarray,
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> tuple[float, float]:
    """Percentile interval of the mean difference over resampled cases (Efron 1979). Deterministic given the rng."""
    if not 0 < confidence < 1:
        raise ParameterError(f"bootstrap_interval: confidence must lie between 0 and 1, not {confidence}")
    if resamples < 1:
        raise ParameterError(f"bootstrap_interval: resamples must be at least 1, not {resamples}")
    d = differences(a, b)
    if d.size == 0:
        return math.nan, math.nan
    means = d[rng.integers(0, d.size, (resamples, d.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class PairedComparison:
    """Two methods on the same n cases; `str()` of it is a sentence for a report."""

    n: int
    mean_a: float
    mean_b: float
    sd_a: float
    sd_b: float
    difference: float  # mean of a - b
    interval: tuple[float, float]  # of the difference
    confidence: float
    t_test: Significance
    wilcoxon: Significance

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.mean_a:.4f} ± {self.sd_a:.4f} against {self.mean_b:.4f} ± {self.sd_b:.4f} (n = {self.n}): "
            f"difference {self.difference:+.4f}, {self.confidence:.0%} bootstrap interval [{low:+.4f}, {high:+.4f}], "
            f"paired t p = {self.t_test.p:.3g}, Wilcoxon p = {self.wilcoxon.p:.3g}"
        )


def compare_paired(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator | None = None, confidence: float = 0.95
) -> PairedComparison:
    """All of the above on two lists of scores, case by case; cases that are NaN in either list are left out.

    The bootstrap draws from `rng`, by default a generator seeded with 0, so that a report can be reproduced.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    differences(a, b)
    kept = ~(np.isnan(a) | np.isnan(b))
    a, b = a[kept], b[kept]
    rng = np.random.default_rng(0) if rng is None else rng

    def mean(x: np.ndarray) -> float:
        return float(x.mean()) if x.size else math.nan

    def sd(x: np.ndarray) -> float:
        return float(x.std(ddof=1)) if x.size > 1 else math.nan

    return PairedComparison(
        n=a.size,
        mean_a=mean(a),
        mean_b=mean(b),
        sd_a=sd(a),
        sd_b=sd(b),
        difference=mean(a - b),
        interval=bootstrap_interval(a, b, rng, confidence),
        confidence=confidence,
        t_test=paired_t_test(a, b),
        wilcoxon=wilcoxon_signed_rank(a, b),
    )


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b, case by case, in double precision."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ShapeError(f"paired test: two lists of one length are needed, not shapes {a.shape} and {b.shape}")
    return a - b


def _ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks from 1, ties sharing their mean, and the size of each group of ties."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return (last - (sizes - 1) / 2)[group], sizes


def _signed_rank_tail(n: int, w: int) -> float:
    """P(W+ <= w) for n cases: of the 2^n choices of signs, those whose positive ranks sum to at most w."""
    ways = np.zeros(n * (n + 1) // 2 + 1, np.int64)
    ways[0] = 1
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
    return int(ways[: w + 1].sum()) / 2**n
