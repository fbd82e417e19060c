"""The layout in which every tap of a convolution is a constant step in memory, shared by the backends.

A volume is laid out flat, its rows separated by zeros. Moving by one tap of the kernel is then the same flat offset
for every output, so a convolution of any kernel, dilation and channel count is a sum of shifted slices:

    out[o, p] = sum over c, k of weight[o, c, k] * source[c, offset[k] + p]

A stride s splits the volume into s**n phases, one volume for each remainder of the padded index modulo s: within a
phase, neighbouring outputs read neighbouring elements. The zeros after a row are at the same time the zeros before the
next one, and likewise for planes and volumes. Positions p between the rows are computed too and dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Sizes = tuple[int, ...]
NDIM = 3  # fewer spatial axes are preceded by axes of length 1


def volume(sizes: Sequence[int], fill: int = 1) -> Sizes:
    """Sizes, steps or paddings of 1 to 3 spatial axes, written for 3."""
    return (fill,) * (NDIM - len(sizes)) + tuple(int(n) for n in sizes)


@dataclass(frozen=True)
class Phase:
    """The part of the padded input whose index is `remainder` modulo the stride, for each axis."""

    number: int  # place among the phases of a channel
    taps: np.ndarray  # which taps of the kernel read this phase
    first: Sizes  # index in the input of its first element that is not padding
    start: Sizes  # where that element lies in the volume of the phase
    count: Sizes  # elements that are not padding

    def of(self, x: np.ndarray, stride: Sizes) -> np.ndarray:
        """View of the elements of x [..., *S] in this phase."""
        return x[(..., *(slice(f, None, s) for f, s in zip(self.first, stride, strict=True)))]

    def inside(self, volumes: np.ndarray) -> np.ndarray:
        """View of the same elements in the volumes [..., phases, *extent] of all phases."""
        where = (slice(a, a + n) for a, n in zip(self.start, self.count, strict=True))
        return volumes[(..., self.number, *where)]


@dataclass(frozen=True)
class ShiftedRows:
    """Flat layout of the input [B, C, *size] and of the output positions of one convolution; all sizes of 3 axes."""

    size: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes

    @classmethod
    def of(
        cls, size: Sequence[int], kernel: Sequence[int], stride: Sizes, padding: Sizes, dilation: Sizes
    ) -> ShiftedRows:
        """The layout for a convolution over 1, 2 or 3 spatial axes."""
        return cls(volume(size), volume(kernel), volume(stride), volume(padding, fill=0), volume(dilation))

    @cached_property
    def out_size(self) -> Sizes:
        """Outputs along each axis: floor((S + 2 padding - dilation (K - 1) - 1) / stride) + 1."""
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )

    @cached_property
    def extent(self) -> Sizes:
        """Elements from one row, plane or volume of a phase to the next: room for the data and for the outputs, and
        zeros enough that what a tap reads past the end is a leading zero of the next."""
        axes = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, self.out_size, strict=True)
        return tuple(max(m, (n - 1 + p) // s + 1, m + d * (k - 1) // s - p // s) for n, k, s, p, d, m in axes)

    @cached_property
    def steps(self) -> Sizes:
        """Flat distance between neighbours along each axis."""
        return (self.extent[1] * self.extent[2], self.extent[2], 1)

    @cached_property
    def _taps(self) -> np.ndarray:
        """[taps, 3] distance of every tap from the first, in padded input elements; last axis fastest."""
        return np.array(list(np.ndindex(*self.kernel))) * self.dilation

    @cached_property
    def phases(self) -> list[Phase]:
        """The phases that some tap reads."""
        remainders = self._taps % self.stride
        phases = []
        for r in sorted(set(map(tuple, remainders.tolist()))):
            first = tuple((a - p) % s for a, p, s in zip(r, self.padding, self.stride, strict=True))
            start = tuple((f + p - a) // s for f, p, a, s in zip(first, self.padding, r, self.stride, strict=True))
            count = tuple(max(0, -((f - n) // s)) for n, f, s in zip(self.size, first, self.stride, strict=True))
            taps = np.flatnonzero((remainders == r).all(axis=1))
            phases.append(Phase(len(phases), taps, first, start, count))
        return phases

    @cached_property
    def shifts(self) -> np.ndarray:
        """[taps] flat distance from an output position to what a tap reads, within the phase of the tap."""
        return (self._taps // self.stride) @ np.array(self.steps)

    @cached_property
    def offsets(self) -> np.ndarray:
        """[taps] the same distance, from the first phase of the channel."""
        offsets = self.shifts.copy()
        for phase in self.phases:
            offsets[phase.taps] += phase.number * math.prod(self.extent)
        return offsets

    @property
    def channel(self) -> int:
        """Elements of one channel of the flat input."""
        return len(self.phases) * math.prod(self.extent)

    @property
    def positions(self) -> int:
        """Output positions of one channel, those between the rows included."""
        return self.out_size[0] * self.steps[0]

    @cached_property
    def reach(self) -> int:
        """The longest shift, rounded up to whole vectors."""
        return _whole_vectors(int(self.shifts.max()))

    def flatten(self, x: np.ndarray) -> np.ndarray:
        """Copy x [B, C, *size] into zeros: [B, C, flat input]."""
        length = max(self.channel, int(self.offsets.max()) + self.positions)
        flat = aligned_zeros((*x.shape[:2], _whole_vectors(length + OVERSHOOT)), x.dtype)
        for phase in self.phases:
            phase.inside(self._volumes(flat))[...] = phase.of(x, self.stride)
        return flat

    def restore(self, flat: np.ndarray) -> np.ndarray:
        """The adjoint of flatten: [B, C, flat input] to [B, C, *size]."""
        x = np.zeros((*flat.shape[:2], *self.size), flat.dtype)
        for phase in self.phases:
            phase.of(x, self.stride)[...] = phase.inside(self._volumes(flat))
        return x

    def spread(self, out: np.ndarray) -> np.ndarray:
        """Copy out [B, O, *out_size] to its positions, between zeros: [B, O, reach + positions + as much as a phase is longer]."""
        length = _whole_vectors(self.reach + math.prod(self.extent) + OVERSHOOT)
        flat = aligned_zeros((*out.shape[:2], length), out.dtype)
        self.outputs(flat[..., self.reach : self.reach + self.positions])[...] = out
        return flat

    def outputs(self, positions: np.ndarray) -> np.ndarray:
        """View of the outputs [..., *out_size] among all positions [..., positions]."""
        _, y, x = self.out_size
        return positions.reshape(*positions.shape[:-1], self.out_size[0], *self.extent[1:])[..., :y, :x]

    def _volumes(self, flat: np.ndarray) -> np.ndarray:
        volumes = flat[..., : self.channel]
        return volumes.reshape(*volumes.shape[:-1], len(self.phases), *self.extent)


OVERSHOOT = 64  # elements that a vectorised loop may read past the last position


def _whole_vectors(n: int) -> int:
    return -(-n // 16) * 16


def aligned_zeros(shape: Sizes, dtype: np.dtype) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes, where vector loads are cheapest."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.zeros(n_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)
