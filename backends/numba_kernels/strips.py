"""What the loop nests of `.conv` and `.winograd` share: outputs cut into strips, and the copy of what a strip reads.

A strip is some rows of one plane of the outputs, or some whole planes. What it reads is laid out as in
`..shifted_rows`, so that each tap is a constant distance.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from ..shifted_rows import Reading, Sizes
from .simd import ROWS, clear, copy
from .steps import copy_from_steps


class Strips(NamedTuple):
    """How the outputs of a reading are cut into pieces whose inputs fit the cache."""

    places: np.ndarray  # [strips, 4]: first plane, first row, planes, rows
    columns: int  # outputs in a row
    origin: np.ndarray  # of the reading, [phases, 3]
    step: Sizes  # of the reading
    extent: Sizes  # planes, rows and columns that the panel of the largest strip holds of each phase
    offsets: np.ndarray  # [channels * taps] in this panel
    longest: int  # positions of the largest strip


@lru_cache(maxsize=256)  # nobody writes to their arrays
def strips_of(reading: Reading, planes: int, rows: int, channels: int) -> Strips:
    """Strips of at most so many planes and rows, and the offsets in a panel of so many channels."""
    n_planes, n_rows, columns = reading.count
    places = np.array([(z, y, dz, dy) for z, dz in cuts(n_planes, planes) for y, dy in cuts(n_rows, rows)])
    planes, rows = places[:, 2:].max(axis=0).tolist()
    extent = reading.extent(planes, rows)
    volumes = len(reading.origin) * math.prod(extent) * np.arange(channels)
    offsets = np.add.outer(volumes, reading.offsets(extent)).ravel()
    longest = ((planes - 1) * extent[1] + rows) * extent[2]
    return Strips(places, columns, reading.origin, reading.step, extent, offsets, longest)


def cuts(n: int, longest: int) -> list[tuple[int, int]]:
    """(start, length) of the fewest nearly equal pieces of range(n) that are not longer than that."""
    pieces = -(-n // longest)
    bounds = [n * i // pieces for i in range(pieces + 1)]
    return [(a, b - a) for a, b in itertools.pairwise(bounds)]


def tiled(weights: np.ndarray) -> np.ndarray:
    """[groups, blocks of outputs, sums * ROWS] of weights [groups, outputs, sums]: those of a tile side by side."""
    groups, n_out, n_sums = weights.shape
    blocks = -(-n_out // ROWS)
    padded = np.zeros((groups, blocks * ROWS, n_sums), weights.dtype)
    padded[:, :n_out] = weights
    return np.ascontiguousarray(padded.reshape(groups, blocks, ROWS, n_sums).swapaxes(2, 3)).reshape(groups, blocks, -1)


@njit(nogil=True, cache=True, error_model="numpy")
def pack(source, shape, channel, channels, origin, step, extent, z0, y0, pitch, panel):
    """Copy what a strip that begins at plane z0 and row y0 reads of so many channels, laid out phase by phase.

    `source` is an array of this shape [B, C, D, H, W], flat; elements outside of it are zeros in the panel. Before and
    after the columns of the source they are so from the start: strips differ in planes and rows alone.
    """
    _, _, n_planes, n_rows, n_columns = shape
    for c in range(channels):
        at = c * pitch
        for phase in range(len(origin)):
            oz, oy, ox = origin[phase]
            begin = max(0, -(ox // step[2]))
            end = max(begin, min(extent[2], -((ox - n_columns) // step[2])))
            for i in range(extent[0]):
                z = oz + (z0 + i) * step[0]
                for j in range(extent[1]):
                    y = oy + (y0 + j) * step[1]
                    if 0 <= z < n_planes and 0 <= y < n_rows:
                        row = (((channel + c) * n_planes + z) * n_rows + y) * n_columns + ox
                        if step[2] == 1:
                            copy(panel, at + begin, source, row + begin, end - begin)
                        else:
                            copy_from_steps(panel, at + begin, source, row + begin * step[2], step[2], end - begin)
                    else:
                        clear(panel, at, extent[2])
                    at += extent[2]
        clear(panel, at, (c + 1) * pitch - at)
