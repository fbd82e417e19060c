"""From sums of weights to the real numbers of a read-out."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def read_rows(sums, width, lanes, x_taps, factor, bias, out, first_row, rows):
    """out [O, rows of outputs * columns] from row `first_row` on = factor * (sum over taps of sums) + bias.

    sums is flat [rows, width, lanes]; output x of channel o adds sums[x_taps[x, k], k * O + o], nothing where that is
    -1. Product and sum are rounded one after the other.
    """
    columns, taps = x_taps.shape
    channels = len(bias)
    for j in range(rows):
        for x in range(columns):
            for o in range(channels):
                total = sums[0] - sums[0]
                for k in range(taps):
                    column = x_taps[x, k]
                    if column >= 0:
                        total += sums[np.uint64((j * width + column) * lanes + k * channels + o)]
                out[o, np.uint64((first_row + j) * columns + x)] = np.float32(total) * factor[o] + bias[o]
