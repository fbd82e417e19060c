"""Values of a volume between its voxels, point by point."""

from __future__ import annotations

import numpy as np
from numba import njit

from .. import numpy_kernels
from ..numpy_kernels.sampling import flattened, sampled_type
from ..threads import for_ranges

_GRAIN = 1 << 13  # points a thread handles at least
_LOOPS = np.typecodes["AllInteger"] + "fd"  # whole numbers, float32 and float64


def sample(volume: np.ndarray, points: np.ndarray, linear: bool) -> np.ndarray:
    """See numpy_kernels.sample, which also handles the types that have no loop here."""
    if volume.dtype.char not in _LOOPS or not volume.dtype.isnative or not volume.size:
        return numpy_kernels.sample(volume, points, linear)
    flat, steps = flattened(volume)
    out = np.empty(points.shape[1], sampled_type(volume.dtype) if linear else volume.dtype)
    fill = _linear if linear else _nearest
    points, steps, sizes = np.ascontiguousarray(points, np.float64), tuple(steps), volume.shape
    for_ranges(lambda start, stop: fill(flat, steps, sizes, points, out, start, stop), len(out), _GRAIN)
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _linear(flat, steps, sizes, points, out, start, stop):
    last_i, last_j, last_k = max(sizes[0] - 2, 0), max(sizes[1] - 2, 0), max(sizes[2] - 2, 0)
    for n in range(start, stop):
        x, y, z = _held(points[0, n], sizes[0]), _held(points[1, n], sizes[1]), _held(points[2, n], sizes[2])
        i, j, k = min(int(x), last_i), min(int(y), last_j), min(int(z), last_k)
        x, y, z = x - i, y - j, z - k
        at = i * steps[0] + j * steps[1] + k * steps[2]
        near = _bilinear(flat, at, steps[1], steps[2], y, z)
        out[n] = near * (1 - x) + _bilinear(flat, at + steps[0], steps[1], steps[2], y, z) * x


@njit(nogil=True, cache=True, error_model="numpy")
def _held(position, size):
    """The closest position inside; 0 for NaN, which must not become an address."""
    position = position if position > 0 else 0.0
    return position if position < size - 1 else size - 1.0


@njit(nogil=True, cache=True, error_model="numpy")
def _bilinear(flat, at, step, next_step, y, z):
    near = flat[np.uint64(at)] * (1 - z) + flat[np.uint64(at + next_step)] * z
    at += step
    return near * (1 - y) + (flat[np.uint64(at)] * (1 - z) + flat[np.uint64(at + next_step)] * z) * y


@njit(nogil=True, cache=True, error_model="numpy")
def _nearest(flat, steps, sizes, points, out, start, stop):
    for n in range(start, stop):
        at = 0
        for axis in range(3):
            at += int(np.floor(_held(points[axis, n], sizes[axis]) + 0.5)) * steps[axis]
        out[n] = flat[np.uint64(at)]
