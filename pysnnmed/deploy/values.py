"""What flows between the operations of a program: packed spikes and real numbers, and the bytes they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Sizes: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Real:
    """float32 [C, *S].

    `limit` says that the values are whole numbers of at most this magnitude: float32 then adds and multiplies them
    exactly, in any order, as long as no sum passes 2**24.
    """

    channels: int
    shape: Sizes
    limit: int | None = None

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    @property
    def array_shape(self) -> Sizes:
        return (self.channels, *self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.array_shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"real {list(self.array_shape)}"


@dataclass(frozen=True)
class Spikes:
    """Packed spikes, words [steps * levels, *S, W]: one bit for each channel and slot.

    Channel c is bit c % b of word c // b, where the words have b = 8, 16, 32 or 64 bits: the least that hold all
    channels in one word, else 64. Bits beyond the channels are zero. The value of a channel at step t is how many of
    its bits are set in the slots t * levels to (t + 1) * levels - 1; with levels = 1 it is a binary spike.
    """

    channels: int
    shape: Sizes
    steps: int
    levels: int = 1

    @property
    def slots(self) -> int:
        return self.steps * self.levels

    @property
    def dtype(self) -> np.dtype:
        return word_type(self.channels)

    @property
    def words(self) -> int:
        return -(-self.channels // (8 * self.dtype.itemsize))

    @property
    def array_shape(self) -> Sizes:
        return (self.slots, *self.shape, self.words)

    @property
    def nbytes(self) -> int:
        return math.prod(self.array_shape) * self.dtype.itemsize

    def __str__(self) -> str:
        levels = f" of {self.levels} levels" if self.levels > 1 else ""
        return f"spikes [T={self.steps}, C={self.channels}, {', '.join(map(str, self.shape))}]{levels}"


Value: TypeAlias = Real | Spikes


def word_type(channels: int) -> np.dtype:
    """The unsigned integer whose bits hold the channels of one position, or 64 of them."""
    return np.dtype(next((f"u{size}" for size in (1, 2, 4) if channels <= 8 * size), "u8"))


def pack(spikes: np.ndarray) -> np.ndarray:
    """Spikes of 0 and 1, [slots, C, *S] -> words [slots, *S, W], as `Spikes` lays them out."""
    kind = word_type(spikes.shape[1])
    bits = 8 * kind.itemsize
    last = np.moveaxis(spikes != 0, 1, -1)
    padded = np.zeros((*last.shape[:-1], -(-spikes.shape[1] // bits) * bits), bool)
    padded[..., : spikes.shape[1]] = last
    return np.packbits(padded, axis=-1, bitorder="little").view(kind.newbyteorder("<")).astype(kind, copy=False)


def unpack(words: np.ndarray, channels: int) -> np.ndarray:
    """Words [slots, *S, W] -> spikes [slots, C, *S] uint8. The inverse of `pack`."""
    little = np.ascontiguousarray(words).astype(words.dtype.newbyteorder("<"), copy=False)
    bits = np.unpackbits(little.view(np.uint8), axis=-1, bitorder="little")
    return np.ascontiguousarray(np.moveaxis(bits[..., :channels], -1, 1))
