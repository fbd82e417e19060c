"""Convolution with 4/9 of the products: planes and rows of the outputs two by two.

Two outputs of a kernel of three taps w, and the four inputs d that they read (Winograd, F(2, 3)), need four products
instead of six:

    m0 = (d0 - d2) w0                         y0 = m0 + m1 + m2
    m1 = (d1 + d2) (w0 + w1 + w2) / 2         y1 = m1 - m2 - m3
    m2 = (d2 - d1) (w0 - w1 + w2) / 2
    m3 = (d1 - d3) w2

Done along planes and rows alike, four outputs need 16 products instead of 36. Columns are left as they are: there the
transforms would have to shuffle vectors, while planes and rows are whole vectors of neighbouring columns. So each of
the 16 products is a sum over channels and taps along columns, the loop of `.conv`; the pairs are its positions, and
what has to be added and subtracted are its phases for a step of two planes and two rows.

Whole numbers stay exact, because halves are. Elsewhere the rounding error is not larger than that of the direct sum,
whose chain of additions is three times as long: for normal numbers in float32, 16 to 128 channels, its standard
deviation is 2.4e-7 to 6.0e-7 of that of the results, and 3.6e-7 to 1.0e-6 for the direct sum. But it is relative to the
largest of the inputs of a pair, which a weight of zero does not keep out.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..shifted_rows import Reading, as_volumes
from ..threads import for_ranges
from .simd import (
    ROWS,
    VECTORS,
    aligned_zeros,
    broadcast_rows,
    copy,
    lanes,
    multiply_add,
    nonfinite_bits,
    store,
    transform,
)
from .strips import Strips, pack, strips_of, tiled

PANEL = 3 * 2**16  # elements of a panel: 768 KiB in float32
INPUTS = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
WEIGHTS = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
OUTPUTS = ((1, 1, 1, 0), (0, 1, -1, -1))
PRODUCTS = len(INPUTS) ** 2
IN_ALL = 5  # the product (1, 1), which all four outputs contain as it is

_to_products, _to_outputs = transform(INPUTS), transform(OUTPUTS)


def fits(reading: Reading) -> bool:
    """Whether planes and rows have three taps each, without stride or dilation, and enough outputs to pair."""
    tap_planes, tap_rows, columns = (np.unique(d).tolist() for d in reading.distance.T)
    three = tap_planes == tap_rows == [0, 1, 2] and len(reading.distance) == 9 * len(columns)
    return three and set(reading.step) == {1} and min(reading.count[:2]) >= 4


def sum_taps(a: np.ndarray, weights: np.ndarray, start: np.ndarray, reading: Reading, out: np.ndarray) -> bool:
    """Write to out [B, O, *count] start [O] plus the sums that weights [O, C, taps] make of a [B, C, *S].

    False, and any numbers in `out`, where one is not finite: differences of infinities are not what the sum is.
    """
    by_pairs = _by_pairs(reading)
    strips = _strips(by_pairs, a.shape[1])
    columns = np.unique(reading.distance[:, 2])
    corners = np.ascontiguousarray(strips.offsets[:: len(columns)])
    w = tiled(_weights(weights, reading))
    initial = np.zeros((PRODUCTS, len(start), 1), a.dtype)
    initial[IN_ALL, :, 0] = start
    initial = tiled(initial)
    a = np.ascontiguousarray(as_volumes(a))
    finite = np.zeros(len(a) * len(strips.places), np.bool_)

    def body(begin: int, end: int) -> None:
        _write_sums(a, strips, corners, columns, w, initial, out, finite, begin, end)

    for_ranges(body, len(finite))
    return bool(finite.all())


def _by_pairs(reading: Reading) -> Reading:
    """What pairs of planes and rows read: 4 x 4 inputs in planes and rows, each with all taps along columns."""
    planes, rows, columns = reading.count
    phases = np.array(list(np.ndindex(2, 2, 1)))
    taps = np.unique(reading.distance[:, 2])
    read = np.array([(z, y, x) for z in range(4) for y in range(4) for x in taps])
    return Reading(
        size=reading.size,
        count=(-(-planes // 2), -(-rows // 2), columns),
        step=(2, 2, 1),
        origin=reading.origin + phases,
        phase=read % 2 @ (2, 1, 0),
        distance=read // (2, 2, 1),
    )


def _strips(reading: Reading, channels: int) -> Strips:
    """Whole planes if several fit PANEL, else parts of one."""
    _, plane, row = reading.pitch
    panel_rows = PANEL // (row * channels * PRODUCTS)
    planes = panel_rows // plane
    planes, rows = (planes, reading.count[1]) if planes > 1 else (1, max(1, panel_rows))
    return strips_of(reading, planes, rows, channels=1)


def _weights(weights: np.ndarray, reading: Reading) -> np.ndarray:
    """What the products multiply with, [PRODUCTS, O, C * taps along columns], of weights [O, C, taps]."""
    nearest_first = np.lexsort(reading.distance.T[::-1])
    taps = np.ascontiguousarray(weights.transpose(2, 0, 1))[nearest_first]
    products = np.kron(WEIGHTS, WEIGHTS).astype(weights.dtype) @ taps.reshape(9, -1)
    by_column = products.reshape(PRODUCTS, -1, *weights.shape[:2])
    return by_column.transpose(0, 2, 3, 1).reshape(PRODUCTS, len(weights), -1)


@njit(nogil=True, cache=True, error_model="numpy")
def _write_sums(a, strips, corners, columns, weights, initial, out, finite, task, stop):
    """Write strips of the outputs, and whether these are finite."""
    _, blocks, _ = weights.shape
    n_in, n_out = a.shape[1], out.shape[1]
    source, target, n = a.ravel(), out.ravel(), lanes(a)
    width = VECTORS * n
    volume = len(strips.origin) * strips.extent[0] * strips.extent[1] * strips.extent[2]
    phases = aligned_zeros(max(volume, corners.max() + strips.longest + columns[-1] + n), a)
    pitch = (strips.longest + columns[-1] + n - 1) // n * n
    panel_pitch = (n_in * pitch // n | 1) * n
    panel = aligned_zeros(PRODUCTS * panel_pitch + columns[-1] + width, a)
    sums_pitch = (strips.longest // width + 1) * width
    product_pitch = (ROWS * sums_pitch // n | 1) * n
    sums = aligned_zeros(PRODUCTS * product_pitch, a)
    products = np.arange(PRODUCTS) * product_pitch
    pairs = aligned_zeros(len(OUTPUTS) ** 2 * sums_pitch, a)
    for t in range(task, stop):
        b, strip = divmod(t, len(strips.places))
        z0, y0, planes, rows = strips.places[strip]
        positions = ((planes - 1) * strips.extent[1] + rows) * strips.extent[2]
        for c in range(n_in):
            channel = b * n_in + c
            pack(source, a.shape, channel, 1, strips.origin, strips.step, strips.extent, z0, y0, volume, phases)
            for position in range(0, positions + columns[-1], n):
                _to_products(phases, position, corners, panel, c * pitch + position, panel_pitch)
        bits = np.uint64(0)
        for block in range(blocks):
            for k in range(PRODUCTS):
                for position in range(0, positions, width):
                    tile = broadcast_rows(initial[k, block], 0)
                    j = 0
                    for c in range(n_in):
                        at = k * panel_pitch + c * pitch + position
                        for x in columns:
                            tile = multiply_add(tile, panel, at + x, weights[k, block], j)
                            j += ROWS
                    store(tile, sums, products[k] + position, sums_pitch)
            for r in range(min(ROWS, n_out - block * ROWS)):
                for position in range(0, positions, n):
                    _to_outputs(sums, r * sums_pitch + position, products, pairs, position, sums_pitch)
                    for i in range(len(OUTPUTS) ** 2):
                        bits |= nonfinite_bits(pairs, i * sums_pitch + position)
                for z in range(2 * z0, min(2 * (z0 + planes), out.shape[2])):
                    for y in range(2 * y0, min(2 * (y0 + rows), out.shape[3])):
                        at = (z % 2 * 2 + y % 2) * sums_pitch
                        at += ((z // 2 - z0) * strips.extent[1] + y // 2 - y0) * strips.extent[2]
                        to = ((b * n_out + block * ROWS + r) * out.shape[2] + z) * out.shape[3] + y
                        copy(target, to * out.shape[4], pairs, at, strips.columns)
        finite[t] = bits == 0
