"""Dense convolution over 1 to 3 spatial axes and its two adjoints, as matrix products over shifted slices.

The taps of a block of output positions are gathered into columns [C * taps, positions], so that one matrix product
does all their sums; see `..shifted_rows` for the layout. The blocks are short enough to stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..shifted_rows import ShiftedRows, Sizes

__all__ = ["conv_backward_input", "conv_backward_weight", "conv_forward"]

COLUMNS = 2**17  # elements of the gathered columns: 512 KiB in float32


def conv_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Cross-correlation of x [B, C, *S] with weight [O, C/groups, *K], plus bias [O]: [B, O, *S'].

    out[b, o, i] = bias[o] + sum over c, k of weight[o, c, k] * x[b, c, i * stride + k * dilation - padding],
    x being 0 outside, with S' = floor((S + 2 padding - dilation (K - 1) - 1) / stride) + 1.
    """
    rows = ShiftedRows.of(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    source, w = rows.flatten(_volumes(x)), _matrices(weight, groups)
    flat = np.empty((len(x), groups, w.shape[1], rows.positions), x.dtype)
    for b, group, channels in _parts(source, groups):
        for block in _blocks(rows, w.shape[2]):
            np.matmul(w[group], _columns(channels, rows, block), out=flat[b, group][:, block])
    out = rows.outputs(flat.reshape(len(x), -1, rows.positions))
    out = out.reshape(len(x), len(weight), *rows.out_size[-weight.ndim + 2 :])
    return out if bias is None else out + bias.reshape(-1, *[1] * (weight.ndim - 2))


def conv_backward_input(
    g: np.ndarray,
    weight: np.ndarray,
    input_shape: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Gradient of <conv_forward(x), g> with respect to x, of shape input_shape [B, C, *S]; g [B, O, *S'].

    dx[b, c, j] = sum over o, k and the i with i * stride + k * dilation - padding = j of weight[o, c, k] * g[b, o, i],
    which is also the forward of the transposed convolution.
    """
    rows = ShiftedRows.of(input_shape[2:], weight.shape[2:], stride, padding, dilation)
    spread, w = rows.spread(_volumes(g)), _matrices(weight, groups)
    source = rows.flatten(np.zeros((*input_shape[:2], *rows.size), g.dtype))
    for b, group, channels in _parts(source, groups):
        outputs = spread[b].reshape(groups, w.shape[1], -1)[group, :, rows.reach :]
        for block in _blocks(rows, w.shape[2]):
            columns = (w[group].T @ outputs[:, block]).reshape(len(channels), len(rows.offsets), -1)
            for k, offset in enumerate(rows.offsets):
                channels[:, offset + block.start : offset + block.stop] += columns[:, k]
    return rows.restore(source).reshape(input_shape)


def conv_backward_weight(
    g: np.ndarray,
    x: np.ndarray,
    kernel_shape: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Gradient of <conv_forward(x), g> with respect to the weight: [O, C/groups, *kernel_shape]; g [B, O, *S'].

    dw[o, c, k] = sum over b, i of g[b, o, i] * x[b, c, i * stride + k * dilation - padding].
    """
    rows = ShiftedRows.of(x.shape[2:], kernel_shape, stride, padding, dilation)
    source, spread = rows.flatten(_volumes(x)), rows.spread(_volumes(g))
    taps = len(rows.offsets) * x.shape[1] // groups
    grad = np.zeros((groups, g.shape[1] // groups, taps), x.dtype)
    for b, group, channels in _parts(source, groups):
        outputs = spread[b].reshape(*grad.shape[:2], -1)[group, :, rows.reach :]
        for block in _blocks(rows, taps):
            grad[group] += outputs[:, block] @ _columns(channels, rows, block).T
    return grad.reshape(g.shape[1], -1, *kernel_shape)


def _volumes(x: np.ndarray) -> np.ndarray:
    """x [B, C, *S] with three spatial axes."""
    return x.reshape(*x.shape[:2], *[1] * (5 - x.ndim), *x.shape[2:])


def _matrices(weight: np.ndarray, groups: int) -> np.ndarray:
    """[groups, outputs, channels * taps] of weight [O, C/groups, *K]."""
    return weight.reshape(groups, len(weight) // groups, -1)


def _parts(source: np.ndarray, groups: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """(item of the batch, group, its channels [C/groups, flat input]) of source [B, C, flat input]."""
    for b, channels in enumerate(source):
        for group, part in enumerate(channels.reshape(groups, -1, source.shape[2])):
            yield b, group, part


def _blocks(rows: ShiftedRows, taps: int) -> Iterator[slice]:
    """Slices that cover the output positions, each with columns that fit the cache."""
    length = max(64, COLUMNS // taps)
    for start in range(0, rows.positions, length):
        yield slice(start, min(start + length, rows.positions))


def _columns(channels: np.ndarray, rows: ShiftedRows, block: slice) -> np.ndarray:
    """[C * taps, positions] of what each tap reads at the positions of a block."""
    columns = np.empty((len(channels), len(rows.offsets), block.stop - block.start), channels.dtype)
    for k, offset in enumerate(rows.offsets):
        columns[:, k] = channels[:, offset + block.start : offset + block.stop]
    return columns.reshape(-1, columns.shape[2])
