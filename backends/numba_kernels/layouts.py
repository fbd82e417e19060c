"""Weights and numbers of a layer as its kernels read them: padded to whole vectors, aligned, made once."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ..shifted_rows import volume
from .merging import Merging, merging
from .vectors import GROUP

ALIGNMENT = 64
LINE_LANES = 64  # lanes of the widest word of spikes
INT16 = 2**15 - 1
WIDEN_BYTES = 1 << 16  # int8 weights are kept as int16 while that is no more: they add faster, and leave the L1 cache
Way: TypeAlias = Literal["gather", "roll", "spread", "pile"]  # how events meet outputs, see .row_sums
NO_SPIKE = {np.dtype(np.int32): 2**31 - 1, np.dtype(np.float32): np.inf}

_made: weakref.WeakKeyDictionary[Any, dict[Hashable, Any]] = weakref.WeakKeyDictionary()


def once_for(owner: Any, key: Hashable, make: Callable[[], Any]) -> Any:
    """make(), remembered under `key` as long as `owner` lives."""
    known = _made.setdefault(owner, {})
    if key not in known:
        known[key] = make()
    return known[key]


def aligned_bytes(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT


def empty(count: int, dtype: Any) -> np.ndarray:
    """[count] at an address that is a multiple of ALIGNMENT."""
    n = count * np.dtype(dtype).itemsize
    room = np.empty(n + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + n].view(dtype)


def aligned(array: np.ndarray) -> np.ndarray:
    """A flat copy in C order at an aligned address."""
    copy = empty(array.size, array.dtype)
    copy[:] = array.ravel()
    return copy


def padded_lanes(channels: int) -> int:
    """Lanes for so many output channels: what one word of spikes holds, or whole words."""
    unit = GROUP if channels <= LINE_LANES else LINE_LANES
    return -(-channels // unit) * unit


@functools.cache
def blocks_of(lanes: int) -> tuple[int, ...]:
    """The tuple whose length tells kernels how many lanes a vector has."""
    return (0,) * (lanes // GROUP)


def padded(row: np.ndarray, lanes: int, fill: float = 0) -> np.ndarray:
    """[..., O] -> flat aligned [..., lanes]."""
    widths = [(0, 0)] * (row.ndim - 1) + [(0, lanes - row.shape[-1])]
    return aligned(np.pad(row, widths, constant_values=fill))


@dataclass(frozen=True)
class SpikeWeights:
    """Weights of synapses on spikes: flat [n_blocks, merged bits, taps that are not merged, lanes of a block]."""

    merging: Merging
    weights: np.ndarray
    block: int  # lanes
    n_blocks: int
    sum_type: np.dtype

    @property
    def lanes(self) -> int:
        return self.block * self.n_blocks


def spike_weights(
    weight: np.ndarray,
    channels: tuple[int, ...],
    word_bits: tuple[int, ...],
    phases: tuple[tuple[int, ...], ...],
    bound: int,
    way: Way,
) -> SpikeWeights:
    """Lay out weights [O, C, *K] for sources of these channels, for sums of a magnitude of at most `bound`.

    `phases` are those of the taps, see Geometry. Unless they are gathered, taps of the last two axes are not
    merged but lie together: in the order in which an input meets the outputs, or, to be piled, in that of the kernel as
    lanes of one vector, tap k of channel o at k * O + o.
    """
    kernel = volume(weight.shape[2:])
    merged = merging(channels, word_bits, phases[:2] if way == "gather" else (phases[0], (0,)))
    w = np.moveaxis(weight.reshape(*weight.shape[:2], *kernel), (2, 3, 1, 4, 0), (0, 1, 2, 3, 4))  # kz, ky, C, kx, O
    if way == "roll":
        w = w[:, ::-1, :, ::-1]
    if way != "gather":
        w = np.moveaxis(w, 1, 2)  # kz, C, ky, kx, O
        w = w.reshape(kernel[0], 1, w.shape[1], -1, w.shape[-1])
    if way == "pile":
        w = w.reshape(*w.shape[:3], 1, -1)
    lanes = padded_lanes(w.shape[-1])
    whole = weight.dtype.kind == "i"
    sum_type = np.dtype(np.float32 if not whole else np.int16 if bound <= INT16 else np.int32)
    block = lanes if lanes <= 64 else 128 if sum_type == np.int16 and lanes % 128 == 0 else 64
    laid = np.zeros((len(merged.rows), w.shape[3], lanes), weight.dtype)
    used = merged.rows[:, 0] >= 0
    laid[used, :, : w.shape[-1]] = w[tuple(merged.rows[used].T)]
    if sum_type == np.int16 and laid.size * 2 <= WIDEN_BYTES:
        laid = laid.astype(np.int16)
    laid = np.moveaxis(laid.reshape(*laid.shape[:2], -1, block), 2, 0)
    return SpikeWeights(merged, aligned(laid), block, lanes // block, sum_type)


@dataclass(frozen=True)
class AnalogWeights:
    """Weights of synapses on real numbers: flat float32 [n_blocks, inputs (leading taps and channels), taps, lanes]."""

    weights: np.ndarray
    inputs: int
    block: int
    n_blocks: int


def analog_weights(weight: np.ndarray, transposed: bool) -> AnalogWeights:
    """Lay out weights [O, C, *K]; transposed ones backwards along the last axis, see `lay_out`."""
    kernel = volume(weight.shape[2:])
    w = np.moveaxis(weight.reshape(*weight.shape[:2], *kernel), (2, 3, 1, 4, 0), (0, 1, 2, 3, 4))
    if transposed:
        w = w[:, :, :, ::-1]
    lanes = padded_lanes(weight.shape[0])
    block = min(lanes, LINE_LANES)
    inputs = kernel[0] * kernel[1] * weight.shape[1]
    laid = np.zeros((inputs, kernel[2], lanes), np.float32)
    laid[..., : weight.shape[0]] = w.reshape(inputs, kernel[2], -1)
    laid = np.moveaxis(laid.reshape(inputs, kernel[2], -1, block), 2, 0)
    return AnalogWeights(aligned(laid), inputs, block, lanes // block)


@dataclass(frozen=True)
class Neurons:
    """The numbers of the neurons of a layer, each flat [lanes]; lanes beyond the channels never fire."""

    bias: np.ndarray
    thresholds: np.ndarray
    amount: np.ndarray
    initial: np.ndarray
    reset_to: np.ndarray
    factor: np.ndarray  # of frames
    rate_factor: np.ndarray
    scaled: bool  # whether any of them is not 1


def neurons(layer: Any) -> Neurons:
    dynamics, lanes = layer.dynamics, padded_lanes(len(layer.bias))
    ones = np.ones_like(layer.bias)
    factor = layer.frames.factor if layer.frames is not None else ones
    rate_factor = layer.rates.factor if layer.rates is not None else ones
    return Neurons(
        padded(layer.bias, lanes),
        padded(dynamics.thresholds, lanes, NO_SPIKE[layer.bias.dtype]),
        padded(dynamics.amount, lanes),
        padded(dynamics.initial, lanes),
        padded(dynamics.reset_to, lanes),
        padded(factor, lanes),
        padded(rate_factor, lanes),
        bool((factor != 1).any()),
    )
