"""Neurons on currents that lie channel by channel: a block of positions over all steps, membranes in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..packed import Executed, word_count, word_type
from ..threads import for_ranges, share
from .octets import BITS, octets

_BLOCK = 512  # positions


def fire_currents(neurons: Any, currents: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, Executed]:
    """See numpy_kernels.fire_currents."""
    steps, channels, *shape = currents.shape
    kind, slots, n = word_type(channels), neurons.steps * neurons.levels, math.prod(shape)
    if out is None:
        out = np.empty((slots, *shape, word_count(channels)), kind)
    words, flat = octets(out).reshape(slots, n, -1), np.ascontiguousarray(currents).reshape(steps, channels, n)
    numbers = (neurons.thresholds, neurons.amount, neurons.initial, neurons.reset_to)
    counts: list[int] = []

    def body(start: int, stop: int) -> None:
        spikes = _fire(flat, words, neurons.steps, *numbers, np.float32(neurons.leak), neurons.hard, start, stop)
        counts.append(spikes)

    for_ranges(body, n, share(8 * slots * channels))
    return out, Executed(0, 0, sum(counts))


@njit(nogil=True, cache=True, error_model="numpy")
def _fire(currents, words, steps, thresholds, amount, initial, reset_to, leak, hard, start, stop):
    """Positions start to stop - 1 of words [steps * levels, N, bytes] from currents [T or 1, C, N]; spikes written."""
    channels, levels = currents.shape[1], len(thresholds)
    rows = np.empty((steps * levels, _BLOCK), np.uint8)
    v, count = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    spikes = 0
    for begin in range(start, stop, _BLOCK):
        n = min(_BLOCK, stop - begin)
        for word in range(words.shape[2]):  # those beyond the channels become 0
            rows[:, :n] = 0
            for c in range(word * BITS, min((word + 1) * BITS, channels)):
                bit = np.uint8(1 << (c - word * BITS))
                v[:n] = initial[c]
                for t in range(steps):
                    current = currents[t if currents.shape[0] > 1 else 0, c, begin : begin + n]
                    if levels == 1:
                        spikes += _step(
                            v[:n], current, leak, thresholds[0, c], amount[c], reset_to[c], hard, bit, rows[t, :n]
                        )
                        continue
                    for i in range(n):
                        v[i] = v[i] * leak + current[i]
                        count[i] = 0
                    for d in range(levels):
                        row, threshold = rows[t * levels + d], thresholds[d, c]
                        for i in range(n):
                            if v[i] >= threshold:
                                row[i] |= bit
                                count[i] += np.float32(1)
                                spikes += 1
                    for i in range(n):
                        if hard:
                            v[i] = reset_to[c] if count[i] > 0 else v[i]
                        else:
                            v[i] -= amount[c] * count[i]
            for slot in range(len(rows)):
                for i in range(n):
                    words[slot, begin + i, word] = rows[slot, i]
    return spikes


@njit(nogil=True, cache=True, error_model="numpy")
def _step(v, current, leak, threshold, amount, reset_to, hard, bit, row):
    """A step of binary neurons: membranes v, and `bit` set in a row of words where they fire; how many do."""
    none = np.uint8(0)
    spikes = np.int32(0)
    if hard:
        for i in range(len(v)):
            h = v[i] * leak + current[i]
            fires = h >= threshold
            v[i] = reset_to if fires else h
            row[i] |= bit if fires else none
            spikes += np.int32(fires)
    else:
        for i in range(len(v)):
            h = v[i] * leak + current[i]
            fires = h >= threshold
            v[i] = h - amount if fires else h
            row[i] |= bit if fires else none
            spikes += np.int32(fires)
    return spikes
