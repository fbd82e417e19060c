"""Counting what one layer does with the values that enter it: SynOps of spikes, MACs of real values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError, ShapeError
from .fanout import Fanout

TOLERANCE = 1e-4  # k / D times D is a whole number up to rounding
BLOCK = 2**15  # values counted at a time: 256 KiB of int64


class SpikeCount(NamedTuple):
    """What spikes cost that enter a layer: see `conv_synops` and `conv_int_macs`."""

    events: int
    synops: int
    int_macs: int


def count_spikes(spikes: np.ndarray, fan: Fanout, levels: int = 1) -> SpikeCount:
    """Events, SynOps and integer MACs of spikes [..., C, *S] entering a (transposed) convolution, in one pass."""
    shape = _spatial(spikes, fan)
    rows = spikes.reshape(-1, math.prod(shape))
    units, beyond = np.zeros((2, rows.shape[1]), np.int64)  # of each value, what goes beyond the first unit
    for block in _blocks(rows):
        counts = _units(block, levels)
        _add_rows(units, counts)
        if counts.max() > 1:
            _add_rows(beyond, counts - (counts != 0))
    synops = fan.weigh(units.reshape(shape))
    return SpikeCount(int(units.sum()), synops, synops - fan.weigh(beyond.reshape(shape)))


def conv_synops(spikes: np.ndarray, fan: Fanout, levels: int = 1) -> int:
    """Exact SynOps of spikes [..., C, *S], binary or integer counts, entering a (transposed) convolution.

    A value k costs |k| additions at each output it reaches; normalised spikes k / D (NI-LIF) count k with `levels` = D.
    """
    return count_spikes(spikes, fan, levels).synops


def conv_int_macs(spikes: np.ndarray, fan: Fanout, levels: int = 1) -> int:
    """The other reading of integer spikes: one integer MAC, count times weight, for each value that is not zero.

    For binary spikes this is `conv_synops`, the multiplication being by 1.
    """
    return count_spikes(spikes, fan, levels).int_macs


def conv_macs(x: np.ndarray, fan: Fanout, skip_zeros: bool = False) -> int:
    """MACs of real values x [..., C, *S] entering a (transposed) convolution; taps in the padding do not exist.

    `skip_zeros` counts only the inputs that are not zero: what hardware that exploits the zeros of a ReLU executes.
    """
    if skip_zeros:
        return fan.weigh(_nonzero(x, fan))
    return x.size // math.prod(_spatial(x, fan)) * fan.total()


def matmul_synops(a: np.ndarray, b: np.ndarray) -> int:
    """Coincidences of a @ b for a [..., N, C] and b [..., C, M], both binary or integer: sum of |a_nc| |b_cm|."""
    return int((unit_counts(a).sum(axis=-2) * unit_counts(b).sum(axis=-1)).sum())


def is_spiking(x: np.ndarray, levels: int = 1) -> bool:
    """Whether levels * x holds whole numbers only, so that x can be a train of spikes."""
    return x.dtype.kind in "bui" or all(_whole(block, levels) is not None for block in _blocks(x.reshape(-1, 1)))


def unit_counts(spikes: np.ndarray, levels: int = 1) -> np.ndarray:
    """The number of unit events in each value, int64. Raises ParameterError for values that are not spikes."""
    return _units(spikes, levels).astype(np.int64)


def _units(spikes: np.ndarray, levels: int) -> np.ndarray:
    """The same, of any type that holds them."""
    if spikes.dtype.kind in "bu" and levels == 1:
        return spikes
    whole = spikes if spikes.dtype.kind in "bui" and levels == 1 else _whole(spikes, levels)
    if whole is None:
        raise ParameterError(
            f"SynOps: spikes times levels={levels} must be whole numbers, and these are not; count a real-valued "
            "input with conv_macs, and spikes k / D with levels=D"
        )
    return np.abs(whole.astype(np.int64))


def packed_bytes(values: int, levels: int = 1, *, packed: bool = True) -> int:
    """Bytes that `values` spikes of 0 ... `levels` units take: packed as bits, or a byte each.

    Counts up to D take the bits of D: 1 for binary spikes, 3 for counts up to 4. Levels above 255 need `packed`.
    """
    return -(-values * int(levels).bit_length() // 8) if packed else values


def _whole(x: np.ndarray, levels: int) -> np.ndarray | None:
    """levels * x, rounded; None if that is more than a rounding."""
    scaled = np.multiply(x, levels, dtype=np.result_type(x, np.float32))
    whole = np.rint(scaled)
    return whole if (np.abs(scaled - whole) < TOLERANCE).all() else None


def _nonzero(x: np.ndarray, fan: Fanout) -> np.ndarray:
    """How many values are not zero at each position, [*S] int64."""
    shape = _spatial(x, fan)
    rows = x.reshape(-1, math.prod(shape))
    total = np.zeros(rows.shape[1], np.int64)
    for block in _blocks(rows):
        _add_rows(total, block != 0)
    return total.reshape(shape)


def _add_rows(total: np.ndarray, block: np.ndarray) -> None:
    """Add the rows of a block of whole numbers to `total`: one by one where they are few and long, which is faster."""
    if len(block) > 8:
        total += block.sum(axis=0, dtype=np.int64)
    else:
        for row in block:
            np.add(total, row, out=total, casting="unsafe")


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Groups of rows that fit into the cache together with what is computed from them."""
    size = max(1, BLOCK // rows.shape[1])
    return (rows[i : i + size] for i in range(0, len(rows), size))


def _spatial(x: np.ndarray, fan: Fanout) -> tuple[int, ...]:
    shape = x.shape[x.ndim - len(fan.tables) :]
    if shape != fan.shape:
        raise ShapeError(f"SynOps: a fan-out made for inputs of spatial shape {fan.shape} meets an array {x.shape}")
    return shape
