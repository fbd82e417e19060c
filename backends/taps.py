"""Which input position an output of a convolution reads through each tap, one axis at a time, and how many read it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .shifted_rows import Sizes, volume


@lru_cache(maxsize=1024)
def axis_taps(
    size: int, kernel: int, stride: int, padding: int, dilation: int, transposed: bool, outputs: int
) -> np.ndarray:
    """[outputs, kernel] int64, read-only: the position, of `size`, that an output reads through a tap, or -1.

    Convolution: output o reads o * stride + k * dilation - padding through tap k. Transposed convolution: position i
    reaches output i * stride + k * dilation - padding.
    """
    output, tap = np.arange(outputs)[:, None], np.arange(kernel) * dilation
    if transposed:
        position, phase = np.divmod(output + padding - tap, stride)
    else:
        position = output * stride + tap - padding
        phase = np.zeros_like(position)
    table = np.where((phase == 0) & (position >= 0) & (position < size), position, -1).astype(np.int64)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1024)
def axis_readers(
    size: int, kernel: int, stride: int, padding: int, dilation: int, transposed: bool, outputs: int
) -> np.ndarray:
    """[size] int64, read-only: how many pairs of output and tap read each position."""
    table = axis_taps(size, kernel, stride, padding, dilation, transposed, outputs)
    readers = np.bincount(table[table >= 0], minlength=size).astype(np.int64)
    readers.setflags(write=False)
    return readers


def one_to_one(geometry: Any) -> bool:
    """Whether an output reads its own position alone, as in a 1x1 convolution."""
    same = set(geometry.kernel) == {1} == set(geometry.stride)
    return same and not any((*geometry.padding, *geometry.output_padding))


@lru_cache(maxsize=1024)
def axes(geometry: Any, shape: Sizes) -> tuple[Sizes, Sizes, tuple[tuple, ...]]:
    """Inputs of spatial `shape`, written with three axes: their shape, that of the outputs, and for each axis the
    arguments of `axis_taps`."""
    size, outputs = volume(shape), volume(geometry.output_shape(shape))
    steps = (volume(geometry.kernel), volume(geometry.stride), volume(geometry.padding, 0), volume(geometry.dilation))
    return (
        size,
        outputs,
        tuple((n, *axis, geometry.transposed, m) for n, *axis, m in zip(size, *steps, outputs, strict=True)),
    )
