"""Words of spikes byte by byte, so that a kernel is compiled once and not for each width of words."""

from __future__ import annotations

import sys

import numpy as np

BITS = 8


def octets(words: np.ndarray) -> np.ndarray:
    """View of words [..., W] as bytes [..., W bytes]: bit c % 8 of byte c // 8 is channel c, as in `..packed`.

    Bytes of the other order are read from a copy, and cannot be written.
    """
    words = np.ascontiguousarray(words)
    if sys.byteorder == "big":
        words = words.byteswap()
        words.setflags(write=False)
    return words.view(np.uint8)
