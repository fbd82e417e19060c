"""Whose memory a gradient is, so that sums of gradients need no memory of their own.

An array may be written to, or kept without a copy, if nobody else can reach its memory. CPython knows: it counts the
references to every object. These functions look at the counts, so whoever calls them must hold no other reference.
"""

from __future__ import annotations

import sys

import numpy as np


def add_taken(sums: dict[int, np.ndarray], key: int, gradients: list[np.ndarray | None], i: int) -> None:
    """sums[key] += gradients[i], taken out of the list; in the memory of one of the two, if that is possible."""
    gradient, gradients[i] = gradients[i], None
    if gradient is None:
        return
    if key not in sums:
        sums[key] = gradient
        return
    held = sums.pop(key)
    if sys.getrefcount(held) <= ALONE and _ours_to_change(held):
        held += gradient
    elif sys.getrefcount(gradient) <= ALONE and _ours_to_change(gradient):
        gradient += held
        held = gradient
    else:
        held = np.asarray(held + gradient)
    sums[key] = held


def taken(sums: dict[int, np.ndarray], key: int) -> np.ndarray:
    """sums[key], taken out to be kept; a copy where somebody else reaches it, for gradients may share their memory."""
    gradient = sums.pop(key)
    return gradient if sys.getrefcount(gradient) <= ALONE and _sole_access(gradient) else np.array(gradient)


def _references_of_a_local() -> int:
    array = np.empty(0)
    return sys.getrefcount(array)


ALONE = _references_of_a_local()  # of an array that one variable holds: 2, in a Python that counts the argument too


def _ours_to_change(array: np.ndarray) -> bool:
    """Whether an array that nobody else holds may be written to: not so if others reach its memory, or if it repeats
    one element, as broadcasting makes them."""
    return array.flags.writeable and _sole_access(array)


def _sole_access(array: np.ndarray) -> bool:
    """Whether no other array reaches the memory of this one: it owns it or has it on loan (see backends.buffers), or is
    another shape of an array that does and that nobody else holds."""
    while isinstance(array, np.ndarray):  # not so for a sum of numbers
        base = array.base
        if base is None:
            return True
        if sys.getrefcount(base) > ALONE + 1:  # `array.base` and `base`
            return False
        if getattr(base, "sole_access", False):
            return True
        if not (isinstance(base, np.ndarray) and array.flags.c_contiguous and array.nbytes == base.nbytes):
            return False  # it repeats elements or is a part, which would keep the whole in memory
        array = base
    return False
