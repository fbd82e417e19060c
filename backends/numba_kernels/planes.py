"""The positions of a convolution as rows of columns: which see each other, and which kernel adds up a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import taps
from ..shifted_rows import Sizes
from .layouts import LINE_LANES, Way

_THREE_TAPS = (3, 1, 1, 1, False)  # kernel, stride, padding, dilation, transposed
_FOUR_OF_TWO = (4, 2, 1, 1, True)


class Plane:
    """A convolution of inputs of some spatial shape, written with three axes."""

    def __init__(self, geometry: Any, shape: Sizes):
        self.out_shape = geometry.output_shape(tuple(shape))
        self.size, outputs, axes = taps.axes(geometry, shape)
        self.width, self.columns, self.rows = self.size[2], outputs[2], outputs[0] * outputs[1]
        self.in_rows = outputs[0] * self.size[1]  # rows of inputs, once for each plane of outputs
        self.kernel, self.transposed = tuple(axis[1] for axis in axes), bool(geometry.transposed)
        self.phases = (*[(0,)] * (len(axes) - len(geometry.phases)), *geometry.phases)
        self.z_taps, self.y_taps, self.x_taps = (taps.axis_taps(*axis) for axis in axes)
        self.readers = taps.axis_readers(*axes[2])
        # rows of outputs that see a row of inputs, on average
        self.seen_by_rows = float(taps.axis_readers(*axes[0]).mean() * taps.axis_readers(*axes[1]).mean())
        self.stride, self.padding, self.dilation = axes[2][2:5]
        self.way = _way(axes[1:])

    def joins(self, channels: int) -> bool:
        """Whether all outputs of a plane that a column of inputs reaches fit into one vector of few lanes."""
        return self.way == "roll" and channels * self.kernel[1] * self.kernel[2] <= LINE_LANES

    def rows_in(self, way: Way, first: int, rows: int) -> tuple[int, int]:
        """The rows of inputs that these rows of outputs see together: the first of them, and how many.

        A way that gathers has them merged by the taps along y, one row of inputs for each row of outputs.
        """
        if way == "gather":
            return first, rows
        begin, end = first - 1, first + rows + 1
        if way == "spread":
            begin, end = begin // 2, (first + rows) // 2 + 1
        begin = max(begin, 0)
        return begin, min(end, self.in_rows) - begin

    @property
    def one_tap(self) -> tuple[np.ndarray, np.ndarray]:
        """Along y and x, every sum read where it lies."""
        y, x = ((n, 1, 1, 0, 1, False, n) for n in (len(self.y_taps), self.columns))
        return taps.axis_taps(*y), taps.axis_taps(*x)

    def merged_taps(self, way: Way) -> np.ndarray:
        """[rows of a plane, taps] along y, as the words of the inputs are merged."""
        if way == "gather":
            return self.y_taps
        return taps.axis_taps(self.size[1], 1, 1, 0, 1, False, self.size[1])


def _way(axes: list[tuple]) -> Way:
    """How rows of inputs are best met, by the last two axes of a convolution."""
    kinds = {axis[1:6] for axis in axes}
    if kinds == {_THREE_TAPS}:
        return "roll"
    doubled = all(axis[6] == 2 * axis[0] for axis in axes)
    return "spread" if kinds == {_FOUR_OF_TWO} and doubled else "gather"


def most_rows_in(way: Way, rows: int) -> int:
    """At most so many rows of inputs are merged for so many rows of outputs."""
    return rows if way == "gather" else rows // 2 + 2 if way == "spread" else rows + 2
