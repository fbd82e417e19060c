"""Student's t distribution, from the incomplete beta function. NumPy is not even needed."""

from __future__ import annotations

import functools
import math


def both_tails(t: float, freedom: float) -> float:
    """P(|T| > |t|) with `freedom` degrees of freedom.

    It is I_x(freedom / 2, 1 / 2) with x = freedom / (freedom + t^2): Abramowitz and Stegun 1964, eq. 26.7.1, 26.5.27.
    """
    return incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def upper_tail(t: float, freedom: float) -> float:
    """P(T > t)."""
    half = both_tails(t, freedom) / 2
    return half if t >= 0 else 1 - half


@functools.lru_cache(maxsize=64)
def quantile(p: float, freedom: float) -> float:
    """The t with P(T <= t) = p, for 0 < p < 1, by bisection."""
    if p < 0.5:
        return -quantile(1 - p, freedom)
    low, high = 0.0, 1.0
    while upper_tail(high, freedom) > 1 - p:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if upper_tail(middle, freedom) > 1 - p else (low, middle)
    return high


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (Press et al. 2007, section 6.4)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    fraction, c, d = 1.0, 1.0, 0.0
    for i in range(500):
        m = i // 2
        if i == 0:
            term = 1.0
        elif i % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        fraction *= c * d
        if abs(1 - c * d) < 1e-15:
            break
    return front * (fraction - 1)
