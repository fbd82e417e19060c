"""From sums of weights to the real numbers of a read-out."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def read_rows(sums, begin, height, width, lanes, y_taps, x_taps, factor, bias, totals, out, first, rows):
    """out [O, rows of outputs * columns] from row `first` on = factor * (sum over taps of sums) + bias.

    sums is flat [rows of inputs from `begin` on, width, lanes], `height` rows are a plane. Through tap k of y and tap l
    of x an output (y, x) of channel o reads lane (k * taps of x + l) * O + o of the column at (y_taps[y, k],
    x_taps[x, l]), nothing where one of them is -1. totals [columns] is room for the sums of a row. Product and sum are
    rounded one after the other.
    """
    columns, taps = x_taps.shape
    channels = len(bias)
    for row in range(first, first + rows):
        z, y = divmod(row, len(y_taps))
        for o in range(channels):
            totals[:] = 0
            for k in range(y_taps.shape[1]):
                if y_taps[y, k] < 0:
                    continue
                start = (z * height + y_taps[y, k] - begin) * width * lanes
                for l in range(taps):
                    lane = np.uint64(start + (k * taps + l) * channels + o)
                    for x in range(columns):
                        column = x_taps[x, l]
                        if column >= 0:
                            totals[x] += sums[lane + np.uint64(column * lanes)]
            for x in range(columns):
                out[o, np.uint64(row * columns + x)] = np.float32(totals[x]) * factor[o] + bias[o]
