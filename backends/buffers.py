"""Memory for the large results of kernels, used again once nobody holds the array that was made of it.

A large array that is freed goes back to the system, and the next one of its size costs a page fault per page, more than
the arithmetic that fills it. Here its memory is kept instead. What is kept, lent and idle together, never exceeds the
most that was ever lent at once; `release` gives the idle part back.

An array and every view of it hold the `Loan` of its memory, which ends with the last of them: results are as safe to
keep, slice and change as fresh ones.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: a line of the cache, and the widest vector register
SMALLEST = 1 << 20  # bytes; what is smaller, the allocator of the system keeps by itself
SPARE = 1 / 8  # of the request at most: what a block may be too large


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array [*shape] of any content, as np.empty, and of memory used before where there is some."""
    dtype = np.dtype(dtype)
    n_bytes = prod(shape) * dtype.itemsize
    if n_bytes < SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(_pool.lend(n_bytes, shape, dtype))


def release() -> int:
    """Give the memory that is not lent back to the system -> bytes."""
    return _pool.release()


class Loan:
    """A block of memory for as long as this object lives: the base of the array made of it, and so of its views.

    `sole_access` promises that nothing but the arrays which hold the loan reaches the memory.
    """

    __slots__ = ("__array_interface__", "__weakref__", "_block", "_returned")
    sole_access = True

    def __init__(self, block: np.ndarray, returned: deque[np.ndarray], shape: tuple[int, ...], dtype: np.dtype):
        self._block, self._returned = block, returned
        address = block.ctypes.data
        start = address + -address % ALIGNMENT
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (start, False), "version": 3}

    def __del__(self) -> None:
        self._returned.append(self._block)  # one atomic step, no lock: this may run anywhere, inside `lend` as well


class _Pool:
    """Blocks that are idle, the latest one last, and the bytes of the others."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.returned: deque[np.ndarray] = deque()  # by loans that ended, to be counted at the next request
        self.idle: list[np.ndarray] = []
        self.lent = 0
        self.most_lent = 0

    def lend(self, n_bytes: int, shape: tuple[int, ...], dtype: np.dtype) -> Loan:
        size = n_bytes + ALIGNMENT
        with self.lock:
            self._count_returned()
            block = self._fitting(size)
            if block is None:
                self._shrink(max(self.most_lent - self.lent - size, 0))
            else:
                self._count_lent(block)
        if block is None:
            block = np.empty(size, np.uint8)  # outside the lock: it may fail, or run whatever the collector finds
            with self.lock:
                self._count_lent(block)
        return Loan(block, self.returned, shape, dtype)

    def release(self) -> int:
        with self.lock:
            self._count_returned()
            n_bytes = _total(self.idle)
            self._shrink(0)
            self.most_lent = self.lent
        return n_bytes

    def _count_returned(self) -> None:
        while self.returned:
            block = self.returned.popleft()
            self.idle.append(block)
            self.lent -= block.size

    def _count_lent(self, block: np.ndarray) -> None:
        self.lent += block.size
        self.most_lent = max(self.most_lent, self.lent)
        self._shrink(self.most_lent - self.lent)

    def _fitting(self, size: int) -> np.ndarray | None:
        """Take the smallest idle block that holds `size` bytes without wasting many, and of those the latest."""
        fitting = [i for i, block in enumerate(self.idle) if size <= block.size <= size * (1 + SPARE)]
        return self.idle.pop(min(fitting, key=lambda i: (self.idle[i].size, -i))) if fitting else None

    def _shrink(self, most: int) -> None:
        """Drop idle blocks, the oldest first, until they have `most` bytes."""
        while _total(self.idle) > most:
            self.idle.pop(0)


def _total(blocks: Iterable[np.ndarray]) -> int:
    return sum(block.size for block in blocks)


def _start_anew() -> None:
    """A pool of its own for a forked child, whose parent may have held the lock at that moment."""
    global _pool
    _pool = _Pool()


_start_anew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
