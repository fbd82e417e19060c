"""A piece of memory, handed out from its start."""

from __future__ import annotations

from typing import Any

import numpy as np

from .layouts import aligned_bytes


class Room:
    """Aligned arrays taken one after another from a piece of memory."""

    def __init__(self, memory: np.ndarray):
        self.memory, self.used = memory, 0

    def take(self, count: int, dtype: Any) -> np.ndarray:
        n = count * np.dtype(dtype).itemsize
        array = self.memory[self.used : self.used + n].view(dtype)
        self.used += aligned_bytes(n)
        return array
