"""1x1 convolutions of spikes of few channels: eight channels of a position are a byte, and a table has its sum.

Where inputs and outputs are few, to find out which channels fire takes longer than to add their weights. A look-up for
each output and byte asks nothing, so that its time does not depend on the spikes either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from .. import taps
from ..packed import Packed
from ..threads import for_ranges, share
from .layouts import once_for
from .octets import BITS, octets

MOST_TABLES = 32  # beyond about so many, the channels that fire are found and added faster


def fits(operation: Any, sources: tuple[Packed, ...], steps: int) -> bool:
    """Whether the sums of a convolution are looked up: of whole weights, so that their order does not matter."""
    geometry, weight = operation.geometry, operation.synapses.weight
    if not taps.one_to_one(geometry) or geometry.groups > 1 or weight.dtype.kind != "i":
        return False
    binary = len(sources) == 1 and len(sources[0].words) == steps
    return binary and len(weight) * -(-sources[0].channels // BITS) <= MOST_TABLES


def write_octets(operation: Any, source: Packed, steps: int, out: np.ndarray) -> None:
    """Write to out [T, O, *S] factor times the sums over the spikes of each step, plus bias."""
    n, n_out = math.prod(source.words.shape[1:-1]), len(operation.bias)
    tables = once_for(operation, "octets", lambda: _tables(operation.synapses.weight))
    trains, rows = octets(source.words).reshape(steps, n, -1), out.reshape(steps * n_out, n)
    numbers = operation.synapses.factor, operation.bias
    cost = 32 * n * tables.shape[1]
    for_ranges(lambda a, b: _look_up(trains, tables, *numbers, rows, a, b), len(rows), share(cost))


def _tables(weight: np.ndarray) -> np.ndarray:
    """[O, C, 1...] -> int32 [O, bytes, 256]: entry i is the sum of the weights of the channels whose bits are set."""
    n_out, channels = weight.shape[:2]
    padded = np.zeros((n_out, -(-channels // BITS) * BITS), np.int32)
    padded[:, :channels] = weight.reshape(n_out, channels)
    chosen = (np.arange(2**BITS)[:, None] >> np.arange(BITS) & 1).astype(np.int32)
    return np.ascontiguousarray(padded.reshape(n_out, -1, BITS) @ chosen.T)


@njit(nogil=True, cache=True, error_model="numpy")
def _look_up(trains, tables, factor, bias, out, start, stop):
    """Rows start to stop - 1 of out [T * O, N] from trains [T, N, bytes]."""
    n_out, n_bytes = tables.shape[:2]
    for row in range(start, stop):
        t, o = divmod(row, n_out)
        words, target, scale, shift = trains[t], out[row], factor[o], bias[o]
        for i in range(len(target)):
            total = tables[o, 0, words[i, 0]]
            for b in range(1, n_bytes):
                total += tables[o, b, words[i, b]]
            target[i] = np.float32(total) * scale + shift
