"""Real numbers rounded to whole ones."""

from __future__ import annotations

import numpy as np

from ..threads import for_ranges

_BLOCK = 2**15  # values handled together: they stay in the cache from the first pass to the last


def quantize(x: np.ndarray, low: float, high: float, scale: float, out: np.ndarray | None = None) -> np.ndarray:
    """rint(scale * x), x held in [low, high] first, for float32 of any shape; halves to even, NaN as `low`."""
    out = np.empty_like(x) if out is None else out
    values, results = x.reshape(-1), out.reshape(-1)
    low, high, scale = np.float32(low), np.float32(high), np.float32(scale)

    def body(first: int, last: int) -> None:
        for start in range(first, last, _BLOCK):
            block = results[start : min(start + _BLOCK, last)]
            np.fmax(values[start : min(start + _BLOCK, last)], low, out=block)  # the larger number: NaN becomes `low`
            np.fmin(block, high, out=block)
            np.multiply(block, scale, out=block)
            np.rint(block, out=block)

    for_ranges(body, len(values), _BLOCK)
    return out
