"""Packed spikes as real numbers, one map for each channel."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..threads import for_ranges, share
from .octets import BITS, octets


def unpack_step(words: np.ndarray, channels: int, out: np.ndarray) -> int:
    """Write to out float32 [C, *S] how many spikes the slots of words [levels, *S, W] hold -> all of them."""
    levels, *shape, _ = words.shape
    flat, target = octets(words).reshape(levels, math.prod(shape), -1), out.reshape(channels, -1)
    counts: list[int] = []
    for_ranges(lambda a, b: counts.append(_unpack(flat, target, a, b)), flat.shape[1], share(4 * levels * channels))
    return sum(counts)


@njit(nogil=True, cache=True, error_model="numpy")
def _unpack(words, out, start, stop):
    spikes = 0
    for c in range(len(out)):
        row, w = out[c], c // BITS
        mask = np.uint8(1 << (c % BITS))
        row[start:stop] = 0
        for level in range(len(words)):
            for i in range(start, stop):
                if words[level, i, w] & mask:
                    row[i] += np.float32(1)
                    spikes += 1
    return spikes
