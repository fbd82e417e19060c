"""What flows between the operations of a program: packed spikes, real numbers that stay or change, and their bytes."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

_packed: Any = importlib.import_module("pysnnmed.backends.packed")  # what words look like is defined there
Packed, pack, unpack, word_count, word_type = (
    _packed.Packed,
    _packed.pack,
    _packed.unpack,
    _packed.word_count,
    _packed.word_type,
)

Sizes: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Real:
    """float32 [C, *S], the same at every step.

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
class Reals:
    """float32 [T, C, *S]: real numbers that change from step to step, such as the currents of neurons."""

    channels: int
    shape: Sizes
    steps: int

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    @property
    def array_shape(self) -> Sizes:
        return (self.steps, self.channels, *self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.array_shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"reals [T={self.steps}, C={self.channels}, {', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Spikes:
    """Packed spikes, words [steps * levels, *S, W]: one bit for each channel and slot.

    The value of a channel at step t is how many of its bits are set in the slots t * levels to (t + 1) * levels - 1;
    with levels = 1 it is a binary spike. See `pysnnmed.backends.packed` for the order of the bits.
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
        return word_count(self.channels)

    @property
    def array_shape(self) -> Sizes:
        return (self.slots, *self.shape, self.words)

    @property
    def nbytes(self) -> int:
        return math.prod(self.array_shape) * self.dtype.itemsize

    def __str__(self) -> str:
        levels = f" of {self.levels} levels" if self.levels > 1 else ""
        return f"spikes [T={self.steps}, C={self.channels}, {', '.join(map(str, self.shape))}]{levels}"


Value: TypeAlias = Real | Reals | Spikes
