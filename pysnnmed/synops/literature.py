"""Counts as profilers and papers make them, to be shown beside the exact ones and never used for them.

They leave something out, each in its way: the borders (a spike at an edge reaches fewer outputs), the stride (most taps
of a strided convolution reach nothing), or where spikes lie (a mean rate). See the tests for how far each is off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..axes import PerAxis, per_axis
from .counting import unit_counts
from .fanout import axis_outputs, each_axis


def padded_macs(
    shape: Sequence[int],
    kernel: PerAxis,
    in_channels: int,
    out_channels: int,
    *,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: PerAxis = 0,
) -> int:
    """MACs of a (transposed) convolution as profilers count them: a full kernel for every output.

    Taps in the padding are counted, and for a transposed convolution every tap at every output, whatever the stride.
    """
    axes = each_axis(shape, kernel, stride, padding, dilation, output_padding)
    outputs = math.prod(axis_outputs(n, k, s, p, d, transposed, extra) for n, k, s, p, d, extra in axes)
    return outputs * math.prod(axis[1] for axis in axes) * (in_channels // groups) * out_channels


def rate_times_macs(spikes: np.ndarray, macs: int, levels: int = 1) -> float:
    """The mean of the spikes, in units, times the MACs of one step: "SynOps" of most papers, for one step."""
    return float(unit_counts(spikes, levels).mean()) * macs


def full_kernel_synops(
    spikes: np.ndarray, kernel: PerAxis, ndim: int, out_channels: int, groups: int = 1, levels: int = 1
) -> int:
    """Every spike counted as if it reached a whole kernel of outputs, whatever the borders and the stride."""
    taps = math.prod(per_axis("full_kernel_synops", "kernel", kernel, ndim, at_least=1))
    return int(unit_counts(spikes, levels).sum()) * taps * (out_channels // groups)
