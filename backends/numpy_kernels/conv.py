"""Dense convolution over 1 to 3 spatial axes and its two adjoints, as matrix products of shifted slices.

In the layout of `..shifted_rows`, what a tap reads for a block of output positions is one slice, so the sum over the
channels is a matrix product of the weights of that tap with the slice. Blocks are short enough to stay in the cache.
Groups of one channel, where such products would be many and small, are multiplied element by element instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .. import buffers
from ..shifted_rows import Reading, Sizes, as_volumes, forward_reading, gradient_readings, volume

__all__ = ["conv_backward_input", "conv_backward_weight", "conv_forward"]

BLOCK = 3 * 2**13  # elements of the input that one matrix product reads: 96 KiB in float32
SHORTEST = 512  # output positions of a block with many channels
DEPTH = 16  # rows that make a matrix product worth its call: with fewer channels several taps are read at once


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
    out = buffers.empty((len(x), len(weight), *reading.count), x.dtype)
    _sum_taps(_flatten(as_volumes(x), reading), _by_group(weight, groups), reading, out)
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
    parts = gradient_readings(input_shape[2:], weight.shape[2:], stride, padding, dilation, g.shape[2:])
    dx = buffers.empty((*input_shape[:2], *volume(input_shape[2:])), g.dtype)
    if sum(math.prod(part.reading.count) for part in parts) < math.prod(input_shape[2:]):
        dx[...] = 0  # some elements are read by no tap
    adjoint = _by_group(weight, groups).swapaxes(1, 2)
    for part in parts:
        flat = _flatten(as_volumes(g), part.reading)
        _sum_taps(flat, adjoint[..., part.taps], part.reading, part.of(dx, volume(stride)))
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
    flat, offsets = _flatten(as_volumes(x), reading), reading.offsets(_extent(reading))
    positions = np.zeros((len(g), groups, g.shape[1] // groups, _positions(reading)), g.dtype)
    _outputs(positions, reading)[...] = as_volumes(g).reshape(*positions.shape[:3], *reading.count)
    n_in, n_taps = x.shape[1] // groups, math.prod(kernel_shape)
    if _depthwise(n_in, groups):
        return _depthwise_products(positions, flat, offsets).reshape(g.shape[1], n_in, *kernel_shape)
    grad = np.zeros((groups, n_taps * n_in, positions.shape[2]), x.dtype)
    for b, group, channels in _parts(flat, groups):
        for block in _blocks(reading, n_in):
            g_block = np.ascontiguousarray(positions[b, group, :, block].T)
            for taps in _bundles(n_taps, n_in):
                rows = slice(taps.start * n_in, taps.stop * n_in)
                grad[group, rows] += _shifted(channels, offsets[taps], block) @ g_block
    grad = grad.reshape(groups, n_taps, n_in, -1)
    return grad.transpose(0, 3, 2, 1).reshape(g.shape[1], n_in, *kernel_shape)


def _by_group(weight: np.ndarray, groups: int) -> np.ndarray:
    """View [groups, O/groups, C/groups, taps] of weight [O, C/groups, *K]."""
    return weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)


def _sum_taps(flat: np.ndarray, weights: np.ndarray, reading: Reading, out: np.ndarray) -> None:
    """Write to out [B, O, *count] the sums that weights [groups, O/groups, C/groups, taps] make of flat [B, C, n]."""
    groups, n_out, n_in, n_taps = weights.shape
    offsets = reading.offsets(_extent(reading))
    if _depthwise(n_in, groups):
        _sum_depthwise(flat, weights[:, :, 0], offsets, reading, out)
        return
    bundles = _bundles(n_taps, n_in)
    matrices = [weights[..., taps].swapaxes(2, 3).reshape(groups, n_out, -1) for taps in bundles]
    sums = np.empty((n_out, _positions(reading)), flat.dtype)
    for b, group, channels in _parts(flat, groups):
        for block in _blocks(reading, n_in):
            total = np.zeros((n_out, block.stop - block.start), flat.dtype)
            for matrix, taps in zip(matrices, bundles, strict=True):
                total += matrix[group] @ _shifted(channels, offsets[taps], block)
            sums[:, block] = total
        out[b, group * n_out : (group + 1) * n_out] = _outputs(sums, reading)


def _depthwise(n_in: int, groups: int) -> bool:
    return n_in == 1 and groups > 1


def _sum_depthwise(
    flat: np.ndarray, weights: np.ndarray, offsets: np.ndarray, reading: Reading, out: np.ndarray
) -> None:
    """The same for groups of one channel: weights [groups, O/groups, taps]."""
    n_out, n = weights.shape[1], _positions(reading)
    for b, channels in _channel_blocks(flat):
        read = flat[b, channels]
        for o in range(n_out):
            total = np.zeros((len(read), n), flat.dtype)
            for weight, offset in zip(weights[channels, o].T, offsets, strict=True):
                total += weight[:, None] * read[:, offset : offset + n]
            out[b, o::n_out][channels] = _outputs(total, reading)


def _depthwise_products(positions: np.ndarray, flat: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """[groups, O/groups, taps]: positions [B, groups, O/groups, n] times what the taps read of flat, summed over n."""
    grad = np.zeros((*positions.shape[1:3], len(offsets)), flat.dtype)
    for b, channels in _channel_blocks(flat):
        for k, offset in enumerate(offsets):
            read = flat[b, channels, offset : offset + positions.shape[3]]
            grad[channels, :, k] += np.einsum("cop,cp->co", positions[b, channels], read)
    return grad


def _channel_blocks(flat: np.ndarray) -> Iterator[tuple[int, slice]]:
    """(item of the batch, some of its channels) of flat [B, C, n], so few that they stay in the cache."""
    step = max(1, BLOCK // flat.shape[2])
    for b in range(len(flat)):
        for start in range(0, flat.shape[1], step):
            yield b, slice(start, start + step)


def _bundles(n_taps: int, channels: int) -> list[slice]:
    """The taps that are read together: one, or so many that they make DEPTH rows."""
    n = max(1, DEPTH // channels)
    return [slice(t, min(t + n, n_taps)) for t in range(0, n_taps, n)]


def _shifted(channels: np.ndarray, offsets: np.ndarray, block: slice) -> np.ndarray:
    """[taps * C, positions] of what taps with these offsets read of channels [C, n] for a block of positions."""
    slices = [channels[:, o + block.start : o + block.stop] for o in offsets]
    return slices[0] if len(slices) == 1 else np.concatenate(slices)


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


def _parts(flat: np.ndarray, groups: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """(item of the batch, group, its channels [C/groups, n]) of flat [B, C, n]."""
    for b, channels in enumerate(flat):
        for group, part in enumerate(channels.reshape(groups, -1, flat.shape[2])):
            yield b, group, part


def _blocks(reading: Reading, channels: int) -> Iterator[slice]:
    """Slices that cover the output positions."""
    n, length = _positions(reading), max(SHORTEST, BLOCK // channels)
    return (slice(start, min(start + length, n)) for start in range(0, n, length))
