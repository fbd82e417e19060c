"""How large sums of spikes may grow before a floating-point type rounds them."""

from __future__ import annotations

import numpy as np

from ...errors import ParameterError

EXACT = {np.dtype(np.float32): 2**24, np.dtype(np.float64): 2**53}  # whole numbers up to this have no rounding


def require_exact_sum(title: str, terms: int, dtype: np.dtype) -> None:
    """Raise ParameterError if a sum of so many spikes can pass the largest whole number that `dtype` holds."""
    if terms > EXACT[dtype]:
        raise ParameterError(
            f"{title}: a sum of {terms} spikes can pass {EXACT[dtype]}, the largest whole number that {dtype} holds; "
            f"take float64, or smaller maps"
        )
