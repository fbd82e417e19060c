"""Dense convolution over 1 to 3 spatial axes and its two adjoints, as matrix products over shifted slices.

What the taps read for a block of positions is gathered into columns [C * taps, positions], so that one matrix product
does all the sums; see `..shifted_rows` for the layout. The columns are few enough to stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..shifted_rows import Reading, Sizes, as_volumes, forward_reading, gradient_readings, volume

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
    reading = forward_reading(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    out = np.empty((len(x), len(weight), *reading.count), x.dtype)
    _sum_taps(_flatten(as_volumes(x), reading), _matrices(weight, groups), reading, out)
    if bias is not None:
        out += bias.reshape(-1, 1, 1, 1)
    return out.reshape(*out.shape[:2], *reading.count[-weight.ndim + 2 :])


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
    dx = np.zeros((*input_shape[:2], *volume(input_shape[2:])), g.dtype)
    adjoint = weight.reshape(groups, -1, weight.shape[1], math.prod(weight.shape[2:])).swapaxes(1, 2)
    for part in gradient_readings(input_shape[2:], weight.shape[2:], stride, padding, dilation, g.shape[2:]):
        w = adjoint[..., part.taps].reshape(groups, weight.shape[1], -1)
        _sum_taps(_flatten(as_volumes(g), part.reading), w, part.reading, part.of(dx, volume(stride)))
    return dx.reshape(input_shape)


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
    reading = forward_reading(x.shape[2:], kernel_shape, stride, padding, dilation)
    flat = _flatten(as_volumes(x), reading)
    positions = np.zeros((len(g), groups, g.shape[1] // groups, _positions(reading)), g.dtype)
    _outputs(positions, reading)[...] = as_volumes(g).reshape(*positions.shape[:3], *reading.count)
    n_sums = x.shape[1] // groups * math.prod(kernel_shape)
    grad = np.zeros((groups, positions.shape[2], n_sums), x.dtype)
    for b, group, channels in _parts(flat, groups):
        for block in _blocks(reading, n_sums):
            grad[group] += positions[b, group, :, block] @ _columns(channels, reading, block).T
    return grad.reshape(g.shape[1], -1, *kernel_shape)


def _sum_taps(flat: np.ndarray, weights: np.ndarray, reading: Reading, out: np.ndarray) -> None:
    """Write to out [B, O, *count] the sums that weights [groups, O/groups, C/groups * taps] make of flat [B, C, n]."""
    groups, n_out, n_sums = weights.shape
    sums = np.empty((n_out, _positions(reading)), flat.dtype)
    for b, group, channels in _parts(flat, groups):
        for block in _blocks(reading, n_sums):
            np.matmul(weights[group], _columns(channels, reading, block), out=sums[:, block])
        out[b, group * n_out : (group + 1) * n_out] = _outputs(sums, reading)


def _flatten(a: np.ndarray, reading: Reading) -> np.ndarray:
    """Lay out a [B, C, *size] as the taps read it: [B, C, n]."""
    extent, n_phases = _extent(reading), len(reading.origin)
    n = max(n_phases * math.prod(extent), int(reading.offsets(extent).max()) + _positions(reading))
    flat = np.zeros((*a.shape[:2], n), a.dtype)
    volumes = flat[..., : n_phases * math.prod(extent)].reshape(*a.shape[:2], n_phases, *extent)
    for phase, origin in enumerate(reading.origin):
        inside, read = [], []
        for first, step, size, length in zip(origin, reading.step, reading.size, extent, strict=True):
            start = max(0, -(first // step))
            stop = max(start, min(length, -((first - size) // step)))
            inside.append(slice(start, stop))
            read.append(slice(first + start * step, first + stop * step, step) if stop > start else slice(0))
        volumes[(..., phase, *inside)] = a[(..., *read)]
    return flat


def _extent(reading: Reading) -> Sizes:
    return reading.extent(*reading.count[:2])


def _positions(reading: Reading) -> int:
    """Output positions, those between the rows included."""
    return reading.count[0] * math.prod(_extent(reading)[1:])


def _outputs(positions: np.ndarray, reading: Reading) -> np.ndarray:
    """View of the outputs [..., *count] among all positions [..., positions]."""
    volumes = positions.reshape(*positions.shape[:-1], reading.count[0], *_extent(reading)[1:])
    return volumes[..., : reading.count[1], : reading.count[2]]


def _matrices(weight: np.ndarray, groups: int) -> np.ndarray:
    """[groups, outputs, channels * taps] of weight [O, C/groups, *K]."""
    return weight.reshape(groups, len(weight) // groups, -1)


def _parts(flat: np.ndarray, groups: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """(item of the batch, group, its channels [C/groups, n]) of flat [B, C, n]."""
    for b, channels in enumerate(flat):
        for group, part in enumerate(channels.reshape(groups, -1, flat.shape[2])):
            yield b, group, part


def _blocks(reading: Reading, n_sums: int) -> Iterator[slice]:
    """Slices that cover the output positions, each with columns that fit the cache."""
    n, length = _positions(reading), max(64, COLUMNS // n_sums)
    for start in range(0, n, length):
        yield slice(start, min(start + length, n))


def _columns(channels: np.ndarray, reading: Reading, block: slice) -> np.ndarray:
    """[C * taps, positions] of what each tap reads at the positions of a block."""
    offsets = reading.offsets(_extent(reading))
    columns = np.empty((len(channels), len(offsets), block.stop - block.start), channels.dtype)
    for k, offset in enumerate(offsets):
        columns[:, k] = channels[:, offset + block.start : offset + block.stop]
    return columns.reshape(-1, columns.shape[2])
