"""What kernels of packed spikes take and return beside arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Packed(NamedTuple):
    """Spikes as words [slots, *S, W], one bit for each channel; bits beyond `channels` are zero."""

    words: np.ndarray
    channels: int


class Executed(NamedTuple):
    """What a kernel did, counted while it did it.

    events      spikes read: each set bit of each source once, however many outputs it reaches
    synops      weights added: a spike counts once for each output channel at each existing output it reaches
    spikes      spikes written
    """

    events: int
    synops: int
    spikes: int = 0


def word_type(channels: int) -> np.dtype:
    """The unsigned integer whose bits hold the channels of one position, or 64 of them."""
    return np.dtype(next((f"u{size}" for size in (1, 2, 4) if channels <= 8 * size), "u8"))
