"""Are two methods, measured on the same cases, equally good for all that matters?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pysnnmed.errors import ParameterError
from pysnnmed.metrics import paired_t_test


class Equivalence(NamedTuple):
    """p below 0.05 shows that the mean difference of n cases lies within +-margin."""

    n: int
    margin: float
    p: float

    @property
    def equivalent(self) -> bool:
        """Whether it does."""
        return self.p < 0.05

    def __str__(self) -> str:
        verdict = "equivalent" if self.equivalent else "equivalence not shown"
        return f"{verdict} within ±{self.margin:g} (TOST p = {self.p:.2g}, n = {self.n})"


def equivalence_test(a: np.ndarray, b: np.ndarray, margin: float) -> Equivalence:
    """Two one-sided paired t-tests (Schuirmann 1987) that mean(a - b) lies above -margin, and that it lies below it.

    p is the larger of both. Student's two-sided p of the shifted differences is twice the one of the side where t lies.
    """
    if not margin > 0:
        raise ParameterError(f"equivalence_test: the margin must be positive, not {margin}")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    above, below = paired_t_test(a + margin, b), paired_t_test(b + margin, a)
    one_sided = [test.p / 2 if test.statistic > 0 else 1 - test.p / 2 for test in (above, below)]
    return Equivalence(a.size, margin, max(one_sided))
