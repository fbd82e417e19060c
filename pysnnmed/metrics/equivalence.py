"""Are two methods, measured on the same cases, equally good for all that matters? And how large is their difference?

A paired test that finds no difference has not shown that there is none. Equivalence is shown the other way round: the
user says which mean difference would matter, the margin, and the test rejects that the true one is that large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import ParameterError
from .statistics import differences
from .student import quantile, upper_tail


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided paired t-tests of n cases; `str()` of it is a clause for a report.

    p          the larger of both p-values: below `level`, the mean difference lies within +-margin
    lower      (t, p) of the test that the mean difference lies above -margin
    upper      (t, p) of the test that it lies below +margin
    interval   of the mean difference at the confidence 1 - 2 level; it lies within +-margin exactly where p < level
    """

    n: int
    margin: float
    level: float
    difference: float
    lower: tuple[float, float]
    upper: tuple[float, float]
    interval: tuple[float, float]

    @property
    def p(self) -> float:
        """The p-value of the whole test."""
        values = self.lower[1], self.upper[1]
        return math.nan if any(map(math.isnan, values)) else max(values)

    @property
    def equivalent(self) -> bool:
        """Whether the test rejects a difference of the margin or more at its level."""
        return self.p < self.level

    def __str__(self) -> str:
        low, high = self.interval
        verdict = "equivalent" if self.equivalent else "equivalence not shown"
        return (
            f"{verdict} within ±{self.margin:g} (TOST p = {self.p:.3g}, n = {self.n}, "
            f"{1 - 2 * self.level:.0%} interval [{low:+.4f}, {high:+.4f}])"
        )


def equivalence_test(a: np.ndarray, b: np.ndarray, margin: float, level: float = 0.05) -> Equivalence:
    """Two one-sided tests, TOST (Schuirmann 1987, J Pharmacokinet Biopharm 15:657-680), on d = a - b, case by case.

        t_lower = (mean(d) + margin) / e, p = P(T > t_lower)        e = sd(d) / sqrt(n), n - 1 degrees of freedom
        t_upper = (mean(d) - margin) / e, p = P(T < t_upper)

    Fewer than two cases give NaN. Where all differences are equal, t is infinite and p is 0 on the side of the margin
    where they lie, 1 on the other and at the margin itself.
    """
    if not 0 < margin < math.inf:
        raise ParameterError(f"equivalence_test: the margin must be a positive number, not {margin}")
    if not 0 < level < 0.5:
        raise ParameterError(f"equivalence_test: the level must lie between 0 and 0.5, not {level}")
    d = differences(a, b)
    n = d.size
    mean = float(d.mean()) if n else math.nan
    if n < 2:
        unknown = (math.nan, math.nan)
        return Equivalence(n, margin, level, mean, unknown, unknown, unknown)
    error = float(d.std(ddof=1)) / math.sqrt(n)
    above, below = _one_sided(mean + margin, error, n - 1), _one_sided(margin - mean, error, n - 1)
    half = quantile(1 - level, n - 1) * error
    return Equivalence(n, margin, level, mean, above, (-below[0], below[1]), (mean - half, mean + half))


def _one_sided(distance: float, error: float, freedom: int) -> tuple[float, float]:
    """t and p of the test that a distance, estimated with a standard error, is greater than 0."""
    if error == 0:
        return (math.copysign(math.inf, distance) if distance else 0.0), (0.0 if distance > 0 else 1.0)
    return distance / error, upper_tail(distance / error, freedom)


@dataclass(frozen=True)
class EffectSize:
    """A mean difference of n cases in units of its own standard deviation; `str()` of it is a clause for a report.

    d_z   mean(d) / sd(d) (Cohen 1988, section 2.3)
    g_z   the same without its bias for few cases: d_z J (Hedges 1981), see `effect_size`
    """

    n: int
    d_z: float
    g_z: float

    def __str__(self) -> str:
        return f"effect size d_z = {self.d_z:+.2f}, Hedges-corrected {self.g_z:+.2f}"


def effect_size(a: np.ndarray, b: np.ndarray) -> EffectSize:
    """Cohen's d_z of d = a - b, case by case, and Hedges' correction of it.

        J = gamma(f / 2) / (sqrt(f / 2) gamma((f - 1) / 2))         f = n - 1 (Hedges 1981, J Educ Stat 6:107-128)

    Fewer than two cases give NaN, fewer than three no correction (NaN). Equal differences give 0 or +-inf.
    """
    d = differences(a, b)
    n = d.size
    if n < 2:
        return EffectSize(n, math.nan, math.nan)
    mean, sd = float(d.mean()), float(d.std(ddof=1))
    d_z = mean / sd if sd else (math.copysign(math.inf, mean) if mean else 0.0)
    freedom = n - 1
    if freedom < 2:
        return EffectSize(n, d_z, math.nan)
    correction = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return EffectSize(n, d_z, d_z * correction)
