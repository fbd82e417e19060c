"""The layout in which every tap of a convolution is a constant step in memory, shared by the backends.

A volume is laid out flat, its rows separated by zeros. What a tap of the kernel reads then lies the same number of
elements further on for every output, so a convolution with any kernel and dilation is a sum of shifted slices:

    out[o, p] = sum over c, k of weight[o, c, k] * flat[c, offset[k] + p]

A stride s splits the volume into phases, one for each remainder of the index modulo s that some tap reads: within a
phase neighbouring outputs read neighbouring elements. The zeros after a row are at the same time the zeros before the
next one, and likewise for planes and volumes. The positions p between two rows are computed too, and dropped.

The gradient of a convolution with respect to its input is a sum of the same kind: see `gradient_readings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

Sizes = tuple[int, ...]
NDIM = 3  # fewer spatial axes are preceded by axes of length 1


def volume(sizes: Sequence[int], fill: int = 1) -> Sizes:
    """Sizes, steps or paddings of 1 to 3 spatial axes, written for 3."""
    return (fill,) * (NDIM - len(sizes)) + tuple(int(n) for n in sizes)


def as_volumes(x: np.ndarray) -> np.ndarray:
    """View of x [B, C, *S] with three spatial axes."""
    return x.reshape(*x.shape[:2], *volume(x.shape[2:]))


@dataclass(frozen=True, eq=False)
class Reading:
    """What the taps of a sum read: out[i] = sum over k of weight[k] * a[origin[phase[k]] + (i + distance[k]) * step].

    a is 0 outside of its size. Origins are [phases, 3], phase is [taps], distance is [taps, 3] and not negative.
    """

    size: Sizes  # of a
    count: Sizes  # of out
    step: Sizes
    origin: np.ndarray
    phase: np.ndarray
    distance: np.ndarray

    @cached_property
    def reach(self) -> Sizes:
        """The largest distance along each axis."""
        return tuple(self.distance.max(axis=0).tolist())

    @cached_property
    def pitch(self) -> Sizes:
        """Elements from one row, plane or volume to the next: room for the data and for the outputs, and so many zeros
        at the end that with the zeros at the beginning of the next they are as many as the taps read."""
        zeros_before = np.maximum(0, -(self.origin // self.step)).min(axis=0)  # ceil(-origin / step)
        data_end = -((self.origin - self.size) // self.step).min(axis=0)
        count = np.array(self.count)
        return tuple(np.maximum(np.maximum(count, data_end), count + self.reach - zeros_before).tolist())

    def extent(self, planes: int, rows: int) -> Sizes:
        """Planes, rows and columns laid out for each phase where outputs of so many planes and rows are wanted."""
        _, plane, row = self.pitch
        return planes + self.reach[0], plane if planes > 1 else rows + self.reach[1], row

    def offsets(self, extent: Sizes) -> np.ndarray:
        """[taps] flat distance from an output position to what the tap reads, in a layout of this extent."""
        planes, rows, columns = extent
        return ((self.phase * planes + self.distance[:, 0]) * rows + self.distance[:, 1]) * columns + self.distance[
            :, 2
        ]


@lru_cache(maxsize=1024)  # a network asks for the same ones at every step; nobody writes to their arrays
def forward_reading(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Reading:
    """Output i of a convolution reads its input at i * stride + k * dilation - padding with tap k."""
    n, k, s, p, d = _geometry(size, kernel, stride, padding, dilation)
    count = (n + 2 * p - d * (k - 1) - 1) // s + 1
    distance, remainder = np.divmod(np.array(list(np.ndindex(*k))) * d, s)
    phases, phase = np.unique(remainder, axis=0, return_inverse=True)
    return Reading(_sizes(n), _sizes(count), _sizes(s), phases - p, phase.ravel(), distance)


@dataclass(frozen=True)
class InputPart:
    """The elements first, first + stride, ... of an input, the taps of the kernel that read them, and the reading of
    the output by which the gradient of these elements is a sum over these taps."""

    first: Sizes
    taps: np.ndarray
    reading: Reading

    def of(self, x: np.ndarray, stride: Sizes) -> np.ndarray:
        """View of these elements of x [..., *S]."""
        return x[(..., *(slice(f, None, s) for f, s in zip(self.first, stride, strict=True)))]


@lru_cache(maxsize=1024)
def gradient_readings(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out_size: Sizes
) -> tuple[InputPart, ...]:
    """Element j of the input is read by output (j + padding - k * dilation) / stride with tap k, where that is whole.

    So the elements of one remainder modulo the stride are read by the same taps, and neighbours by neighbours.
    Elements that no tap reads are left out.
    """
    n, k, s, p, d = _geometry(size, kernel, stride, padding, dilation)
    taps = np.array(list(np.ndindex(*k))) * d
    parts = []
    for first in np.ndindex(*np.minimum(s, n)):
        output, remainder = np.divmod(np.array(first) + p - taps, s)
        readers = np.flatnonzero((remainder == 0).all(axis=1))
        if len(readers):
            origin = output[readers].min(axis=0)
            reading = Reading(
                size=volume(out_size),
                count=_sizes(-((np.array(first) - n) // s)),
                step=(1,) * NDIM,
                origin=origin[None],
                phase=np.zeros(len(readers), np.intp),
                distance=output[readers] - origin,
            )
            parts.append(InputPart(first, readers, reading))
    return tuple(parts)


def _geometry(size, kernel, stride, padding, dilation) -> tuple[np.ndarray, ...]:
    filled = (volume(size), volume(kernel), volume(stride), volume(padding, fill=0), volume(dilation))
    return tuple(np.array(values) for values in filled)


def _sizes(values: np.ndarray) -> Sizes:
    return tuple(values.tolist())
