"""Pooling and repetition of packed spikes: they move words and never look at a bit."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..shifted_rows import volume
from ..threads import for_ranges, share

_TWICE = {8: np.uint16, 16: np.uint32, 32: np.uint64}  # by bits: two words as one


def pool_spikes(words: np.ndarray, size: int, kind: str, out: np.ndarray | None = None) -> np.ndarray:
    """See numpy_kernels.pool_spikes."""
    shape, sizes = words.shape[1:-1], volume((size,) * (words.ndim - 2))
    window = size ** len(shape) if kind == "sum" else 1
    outputs = tuple(n // size for n in shape)
    out = _room(out, (len(words) * window, *outputs, words.shape[-1]), words.dtype)
    source = np.ascontiguousarray(words).reshape(len(words), *volume(shape), -1)
    target = out.reshape(len(out), *volume(outputs), -1)
    kernel, bits = _pool_or if kind == "or" else _pool_sum, 8 * words.dtype.itemsize
    if kind == "or" and sizes[2] == 2 and source.shape[4] == 1 and source.shape[3] % 2 == 0 and bits in _TWICE:
        kernel, source = _pool_pairs, source.reshape(*source.shape[:3], -1).view(_TWICE[bits])
    rows = len(words) * target.shape[1] * target.shape[2]
    _for_rows(lambda a, b: kernel(source, sizes, target, a, b), rows, target)
    return out


def repeat_spikes(words: np.ndarray, size: int, out: np.ndarray | None = None) -> np.ndarray:
    """See numpy_kernels.repeat_spikes."""
    shape, sizes = words.shape[1:-1], volume((size,) * (words.ndim - 2))
    outputs = tuple(n * size for n in shape)
    out = _room(out, (len(words), *outputs, words.shape[-1]), words.dtype)
    source = np.ascontiguousarray(words).reshape(len(words), *volume(shape), -1)
    target = out.reshape(len(out), *volume(outputs), -1)
    _for_rows(lambda a, b: _repeat(source, sizes, target, a, b), len(out) * target.shape[1] * target.shape[2], target)
    return out


def _room(out: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.empty(shape, dtype) if out is None else out


def _for_rows(body, rows: int, target: np.ndarray) -> None:
    for_ranges(body, rows, share(4 * target.shape[3] * target.shape[4]))


@njit(nogil=True, cache=True, error_model="numpy")
def _pool_or(words, sizes, out, first_row, last_row):
    """Rows of out [slots, Z', Y', X', W] = the union over each window of words [slots, Z, Y, X, W]."""
    depth, height, width, n = out.shape[1:]
    dx = sizes[2]
    for r in range(first_row, last_row):
        slot, z, y = r // (depth * height), r // height % depth, r % height
        row = out[slot, z, y]
        row[:] = 0
        for i in range(sizes[0]):
            for j in range(sizes[1]):
                source = words[slot, z * sizes[0] + i, y * sizes[1] + j]
                for x in range(width):
                    for k in range(dx):
                        for w in range(n):
                            row[x, w] |= source[x * dx + k, w]


@njit(nogil=True, cache=True, error_model="numpy")
def _pool_pairs(pairs, sizes, out, first_row, last_row):
    """As `_pool_or` for windows of two columns of one word, which come as one word of twice the bits."""
    depth, height, width = out.shape[1:4]
    bits = 8 * out.itemsize
    for r in range(first_row, last_row):
        slot, z, y = r // (depth * height), r // height % depth, r % height
        row = out[slot, z, y, :, 0]
        for i in range(sizes[0]):
            for j in range(sizes[1]):
                source = pairs[slot, z * sizes[0] + i, y * sizes[1] + j]
                first = i == 0 and j == 0
                for x in range(width):
                    pair = source[x]
                    word = out.dtype.type(pair | (pair >> bits))
                    row[x] = word if first else row[x] | word


@njit(nogil=True, cache=True, error_model="numpy")
def _pool_sum(words, sizes, out, first_row, last_row):
    """Slot s * window + i of out is what slot s of words has at place i of each window, places in C order."""
    depth, height, width, n = out.shape[1:]
    window = sizes[0] * sizes[1] * sizes[2]
    for r in range(first_row, last_row):
        slot, z, y = r // (depth * height), r // height % depth, r % height
        for i in range(sizes[0]):
            for j in range(sizes[1]):
                source = words[slot, z * sizes[0] + i, y * sizes[1] + j]
                for k in range(sizes[2]):
                    row = out[slot * window + (i * sizes[1] + j) * sizes[2] + k, z, y]
                    for x in range(width):
                        for w in range(n):
                            row[x, w] = source[x * sizes[2] + k, w]


@njit(nogil=True, cache=True, error_model="numpy")
def _repeat(words, sizes, out, first_row, last_row):
    """Rows of out [slots, Z', Y', X', W] = words [slots, Z, Y, X, W], each position `sizes` times."""
    depth, height, n = out.shape[1], out.shape[2], out.shape[4]
    dx = sizes[2]
    for r in range(first_row, last_row):
        slot, z, y = r // (depth * height), r // height % depth, r % height
        source, row = words[slot, z // sizes[0], y // sizes[1]], out[slot, z, y]
        if dx == 2 and n == 1:
            for x in range(source.shape[0]):
                row[2 * x, 0] = source[x, 0]
                row[2 * x + 1, 0] = source[x, 0]
        else:
            for x in range(source.shape[0]):
                for k in range(dx):
                    for w in range(n):
                        row[x * dx + k, w] = source[x, w]
