"""Dense convolution and its two adjoints on shifted rows, with the sums of a tile held in vector registers.

See `..shifted_rows` for the layout and `.simd` for the tile. The forward and the gradient of the input are one loop
nest (`_sum_taps`): they differ in what they read and in the weights. The gradient of the weight is the other.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..shifted_rows import OVERSHOOT, Phase, ShiftedRows, Sizes, aligned_zeros, volume
from ..threads import for_ranges
from .simd import ROWS, VECTORS, lanes, load, multiply_add, multiply_add_rows, store, zeros

__all__ = ["conv_backward_input", "conv_backward_weight", "conv_forward"]

STRIP = 1536  # output positions that one pass over the taps computes: their sums and inputs fit the second-level cache
CHUNK = 512  # positions over which sums of the weight gradient stay in registers


def conv_forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """See numpy_kernels.conv_forward."""
    rows = ShiftedRows.of(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    source = rows.flatten(_volumes(x))
    n_out = len(weight) // groups
    w = _packed(weight.reshape(groups, n_out, -1))
    channels = source.shape[2] * np.arange(x.shape[1] // groups)
    offsets = np.add.outer(channels, rows.offsets).ravel()
    out = np.empty((len(x), len(weight), *rows.out_size), x.dtype)
    bias = np.zeros(len(weight), x.dtype) if bias is None else np.ascontiguousarray(bias)
    _run(source, 0, offsets, w, bias, out, rows, rows.out_size, (0, 0, 0), (1, 1, 1))
    return out.reshape(*out.shape[:2], *out.shape[-weight.ndim + 2 :])


def conv_backward_input(
    g: np.ndarray,
    weight: np.ndarray,
    input_shape: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """See numpy_kernels.conv_backward_input. Each phase of the input sums the taps that read it."""
    rows = ShiftedRows.of(input_shape[2:], weight.shape[2:], stride, padding, dilation)
    source = rows.spread(_volumes(g))
    n_out = g.shape[1] // groups
    w = weight.reshape(groups, n_out, weight.shape[1], -1).swapaxes(1, 2)
    channels = source.shape[2] * np.arange(n_out)
    dx = np.zeros((*input_shape[:2], *rows.size), g.dtype)
    bias = np.zeros(input_shape[1], g.dtype)
    for phase in rows.phases:
        offsets = np.subtract.outer(channels, rows.shifts[phase.taps]).ravel()
        first = rows.reach + sum(a * n for a, n in zip(phase.start, rows.steps, strict=True))
        packed = _packed(w[..., phase.taps].reshape(groups, weight.shape[1], -1))
        _run(source, first, offsets, packed, bias, dx, rows, phase.count, phase.first, rows.stride)
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
    """See numpy_kernels.conv_backward_weight."""
    rows = ShiftedRows.of(x.shape[2:], kernel_shape, stride, padding, dilation)
    source, spread = rows.flatten(_volumes(x)), rows.spread(_volumes(g))
    n_in, n_out = x.shape[1] // groups, g.shape[1] // groups
    inputs = np.add.outer(source.shape[2] * np.arange(n_in), rows.offsets).ravel()
    outputs = rows.reach + spread.shape[2] * np.arange(n_out)
    grad = np.empty((groups, n_out, len(inputs)), x.dtype)
    blocks = np.array(
        [(group, o, i) for group in range(groups) for o in range(0, n_out, ROWS) for i in range(0, len(inputs), 108)]
    )
    padded_inputs = np.pad(inputs, (0, VECTORS), mode="edge")
    padded_outputs = np.pad(outputs, (0, ROWS), mode="edge")

    def body(start: int, stop: int) -> None:
        _sum_positions(
            spread.reshape(len(x), groups, -1),
            padded_outputs,
            source.reshape(len(x), groups, -1),
            padded_inputs,
            rows.positions,
            blocks,
            108,
            grad,
            start,
            stop,
        )

    for_ranges(body, len(blocks))
    return grad.reshape(g.shape[1], n_in, *kernel_shape)


def _volumes(x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:2], *volume(x.shape[2:]))


def _packed(weight: np.ndarray) -> np.ndarray:
    """[groups, blocks, sums, ROWS] of weight [groups, outputs, sums]: the weights of a tile side by side."""
    groups, n_out, n_sums = weight.shape
    blocks = -(-n_out // ROWS)
    packed = aligned_zeros((groups, blocks, n_sums, ROWS), weight.dtype)
    padded = np.zeros((groups, blocks * ROWS, n_sums), weight.dtype)
    padded[:, :n_out] = weight
    packed[...] = padded.reshape(groups, blocks, ROWS, n_sums).swapaxes(2, 3)
    return packed


def _strips(count: Sizes, extent: Sizes) -> np.ndarray:
    """(first row, number of rows) of the strips that cover count[0] planes of count[1] rows."""
    planes, n_rows, _ = count
    per_strip = max(1, STRIP // extent[2])
    if n_rows > per_strip:
        parts = -(-n_rows // per_strip)
        cuts = [n_rows * i // parts for i in range(parts + 1)]
        return np.array([(z * extent[1] + a, b - a) for z in range(planes) for a, b in zip(cuts, cuts[1:])])
    step = max(1, per_strip // extent[1])
    return np.array([(z * extent[1], (min(step, planes - z) - 1) * extent[1] + n_rows) for z in range(0, planes, step)])


def _run(source, first, offsets, weights, bias, out, rows, count, start, step) -> None:
    if not math.prod(count):
        return
    strips = _strips(count, rows.extent)
    groups = weights.shape[0]
    source = source.reshape(len(out), groups, -1)

    def body(a: int, b: int) -> None:
        _sum_taps(source, first, offsets, weights, bias, out, strips, rows.extent, count, start, step, a, b)

    for_ranges(body, len(out) * len(strips))


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_taps(source, first, offsets, weights, bias, out, strips, extent, count, start, step, task, stop):
    """out[b, o, start + step * i] = bias[o] + sum over j of weights[.., j, o] * source[b, .., first + offsets[j] + flat(i)]."""
    groups, blocks, n_sums, _ = weights.shape
    n_out = out.shape[1] // groups
    width = VECTORS * lanes(source)
    pitch = strips[:, 1].max() * extent[2] + width
    sums = np.empty(ROWS * pitch, source.dtype)
    for t in range(task, stop):
        b, strip = divmod(t, len(strips))
        row0, n_rows = strips[strip]
        for group in range(groups):
            channels = source[b, group]
            base = first + row0 * extent[2]
            length = n_rows * extent[2] - (extent[2] - count[2])
            for block in range(blocks):
                w = weights[group, block].ravel()
                for position in range(0, length, width):
                    tile = zeros(source)
                    for j in range(n_sums):
                        tile = multiply_add(tile, channels, base + position + offsets[j], w, j * ROWS)
                    store(tile, sums, position, pitch)
                for row in range(n_rows):
                    z, y = divmod(row0 + row, extent[1])
                    if y < count[1]:
                        for r in range(min(ROWS, n_out - block * ROWS)):
                            o = group * n_out + block * ROWS + r
                            line = out[b, o, start[0] + z * step[0], start[1] + y * step[1]]
                            at = r * pitch + row * extent[2]
                            if step[2] == 1:
                                for x in range(count[2]):
                                    line[start[2] + x] = sums[at + x] + bias[o]
                            else:
                                for x in range(count[2]):
                                    line[start[2] + x * step[2]] = sums[at + x] + bias[o]


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_positions(gradient, outputs, source, inputs, n_positions, blocks, n_inputs, grad, task, stop):
    """grad[group, o, j] = sum over b, p of gradient[b, group, outputs[o] + p] * source[b, group, inputs[j] + p]."""
    _, n_out, n_sums = grad.shape
    n = lanes(gradient)
    size = ROWS * VECTORS * n
    sums = np.empty(((n_inputs + VECTORS - 1) // VECTORS) * size, grad.dtype)
    for t in range(task, stop):
        group, o, i = blocks[t]
        end = min(i + n_inputs, n_sums)
        sums[:] = 0
        for b in range(len(gradient)):
            for chunk in range(0, n_positions, CHUNK):
                chunk_end = min(chunk + CHUNK, n_positions)
                for j in range(i, end, VECTORS):
                    at = (j - i) // VECTORS * size
                    tile = load(sums, at, VECTORS * n)
                    for p in range(chunk, chunk_end, n):
                        tile = multiply_add_rows(
                            tile, gradient[b, group], p, outputs, o, source[b, group], p, inputs, j
                        )
                    store(tile, sums, at, VECTORS * n)
        for r in range(min(ROWS, n_out - o)):
            for j in range(i, end):
                k, v = divmod(j - i, VECTORS)
                at = k * size + (r * VECTORS + v) * n
                grad[group, o + r, j] = sums[at : at + n].sum()
