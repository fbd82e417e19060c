"""Weighted sums of real numbers, for the layers that see the images: a dense convolution of a few rows at a time.

Rows of inputs are laid out so that every tap of the last axis reads at a constant distance, strides and transposition
included; the sums of several neighbouring outputs are then held in registers while a row of weights is read once.
"""

from __future__ import annotations

from numba import njit

from .simd import clear, copy
from .vectors import add_from, load, multiply, multiply_add, store, store_rows, zero_rows


@njit(nogil=True, cache=True, error_model="numpy")
def lay_out(values, size, z_taps, y_taps, laid, channels, first_channel, pitch, spacing, origin, first_row, rows):
    """laid [rows, leading taps, channels, pitch]: column x of an input row lies at x * spacing + origin, zeros between.

    values is flat [C, Z, Y, X], size = (C, Z, Y, X), and fills channels `first_channel` to first_channel + C.
    """
    count, depth, height, width = size
    nz, ny = z_taps.shape[1], y_taps.shape[1]
    for j in range(rows):
        z, y = divmod(first_row + j, len(y_taps))
        for kz in range(nz):
            for ky in range(ny):
                at_z, at_y = z_taps[z, kz], y_taps[y, ky]
                for c in range(count):
                    to = (((j * nz + kz) * ny + ky) * channels + first_channel + c) * pitch
                    if at_z < 0 or at_y < 0:
                        clear(laid, to, pitch)
                        continue
                    at = ((c * depth + at_z) * height + at_y) * width
                    first = max(0, -(origin // spacing))
                    last = max(first, min(width, (pitch - 1 - origin) // spacing + 1))
                    if spacing == 1:
                        clear(laid, to, first + origin)
                        copy(laid, to + first + origin, values, at + first, last - first)
                        clear(laid, to + last + origin, pitch - last - origin)
                    else:
                        clear(laid, to, pitch)
                        for x in range(first, last):
                            laid[to + x * spacing + origin] = values[at + x]


@njit(nogil=True, cache=True, error_model="numpy")
def add_dense(
    blocks, positions, laid, inputs, pitch, step, taps, spacing, weights, n_blocks, factor, rows, width, out, room
):
    """out [rows, width, lanes] += factor * the sums of weights over laid [rows, inputs, pitch].

    Output x reads laid[x * step + k * spacing] through tap k. weights is flat [n_blocks, inputs, taps, lanes of a
    block]. room has space for len(positions) vectors; laid must be readable as far as the last whole group of them.
    """
    n = 16 * len(blocks)
    lanes = n_blocks * n
    for j in range(rows):
        for block in range(n_blocks):
            for x in range(0, width, len(positions)):
                total = zero_rows(laid, blocks, positions)
                weight = block * inputs * taps * n
                for i in range(inputs):
                    at = (j * inputs + i) * pitch + x * step
                    for k in range(taps):
                        total = multiply_add(total, weights, weight, laid, at + k * spacing, step)
                        weight += n
                store_rows(total, room, 0)
                for p in range(min(len(positions), width - x)):
                    to = (j * width + x + p) * lanes + block * n
                    sums = multiply(load(out, room, p * n, blocks), load(out, factor, block * n, blocks))
                    store(add_from(sums, out, to), out, to)
