"""How many outputs a spike reaches, exactly, for any convolution or transposed convolution.

The fan-out of a position is separable: out_channels / groups times one factor for each axis (`axis_fanout`), so a few
short tables give the exact total for any stride, padding, dilation, grouping and dimension. Taps that fall into padding
or between strides reach nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..axes import PerAxis, per_axis
from ..errors import ParameterError, ShapeError


def axis_outputs(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    transposed: bool = False,
    output_padding: int = 0,
) -> int:
    """The number of outputs along one axis of `size` inputs. Raises ParameterError, ShapeError where there is none."""
    if min(size, kernel, stride, dilation) < 1 or min(padding, output_padding) < 0:
        raise ParameterError(
            "fanout: size, kernel, stride and dilation must be at least 1 and paddings at least 0, not "
            f"size={size}, kernel={kernel}, stride={stride}, dilation={dilation}, padding={padding}, "
            f"output_padding={output_padding}"
        )
    reach = dilation * (kernel - 1) + 1
    if transposed:
        outputs = (size - 1) * stride - 2 * padding + reach + output_padding
    else:
        outputs = (size + 2 * padding - reach) // stride + 1
    if outputs < 1:
        raise ShapeError(f"fanout: a kernel that spans {reach} leaves no output on an axis of {size} positions")
    return outputs


@functools.lru_cache(maxsize=1024)
def axis_fanout(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    transposed: bool = False,
    output_padding: int = 0,
) -> np.ndarray:
    """How many outputs along one axis each of `size` input positions reaches: [size] int64, read-only.

    Convolution: input i reaches output o through tap k where o * stride + k * dilation - padding = i. Transposed
    convolution: the same with input and output exchanged. Counted are the pairs (o, k) with an existing o.
    """
    outputs = axis_outputs(size, kernel, stride, padding, dilation, transposed, output_padding)
    position, tap = np.arange(size)[:, None], np.arange(kernel) * dilation
    if transposed:
        target = position * stride - padding + tap
        on_grid = np.ones_like(target, bool)
    else:
        target, phase = np.divmod(position + padding - tap, stride)
        on_grid = phase == 0
    table = np.count_nonzero(on_grid & (target >= 0) & (target < outputs), axis=1).astype(np.int64)
    table.setflags(write=False)
    return table


class Fanout(NamedTuple):
    """Outputs reached from each input position: `channels` (per group) times the product of one table for each axis."""

    channels: int
    tables: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of the input."""
        return tuple(len(table) for table in self.tables)

    def total(self) -> int:
        """Sum over all positions: the MACs that one dense input channel costs."""
        return self.channels * math.prod(int(table.sum()) for table in self.tables)

    def weigh(self, counts: np.ndarray) -> int:
        """Sum over positions of counts [*S] int64 times the fan-out there."""
        for table in reversed(self.tables):
            counts = counts @ table
        return self.channels * int(counts)

    def dense(self) -> np.ndarray:
        """The fan-out as an array [*S] int64."""
        return self.channels * functools.reduce(np.multiply.outer, self.tables, np.array(1, np.int64))


def fanout(
    shape: Sequence[int],
    kernel: PerAxis,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    out_channels: int = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> Fanout:
    """The exact fan-out of a convolution, or transposed convolution, over inputs of spatial `shape`.

    Sizes are one number for all axes or one for each. A linear layer has shape () and kernel ().
    """
    if out_channels < 1 or groups < 1 or out_channels % groups:
        raise ParameterError(f"fanout: out_channels must be a multiple of groups, not {out_channels} and {groups}")
    axes = each_axis(shape, kernel, stride, padding, dilation, output_padding)
    tables = (axis_fanout(n, k, s, p, d, transposed, extra) for n, k, s, p, d, extra in axes)
    return Fanout(out_channels // groups, tuple(tables))


def each_axis(
    shape: Sequence[int], kernel: PerAxis, stride: PerAxis, padding: PerAxis, dilation: PerAxis, output_padding: PerAxis
) -> list[tuple[int, int, int, int, int, int]]:
    """(size, kernel, stride, padding, dilation, output_padding) of every axis."""
    n = len(shape)
    return list(
        zip(
            map(int, shape),
            per_axis("fanout", "kernel", kernel, n, at_least=1),
            per_axis("fanout", "stride", stride, n, at_least=1),
            per_axis("fanout", "padding", padding, n, at_least=0),
            per_axis("fanout", "dilation", dilation, n, at_least=1),
            per_axis("fanout", "output_padding", output_padding, n, at_least=0),
            strict=True,
        )
    )
