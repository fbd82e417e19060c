"""Attention of packed spikes at each step: coincidences by AND and popcount, then rows added for spikes.

Where tokens attend, M = K^T V is counted and the spikes of Q add its rows; where channels do, Q^T K is counted and it
is the spikes of V. The rows of a channel hold what its head brings to all channels, zeros for those of other heads: one
pass over the spikes of a position then does for all heads that share a vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from ..numpy_kernels.packed_attention import scaled_factor
from ..packed import Attended, Gated, Packed, head_masks
from ..shifted_rows import Sizes
from ..threads import CORES, for_ranges, limit, share
from .attention import BITS, _count_both, _turn
from .layouts import LINE_LANES, aligned_bytes, blocks_of, empty, padded_lanes
from .octets import BITS as OCTET
from .octets import octets
from .vectors import GROUP, add_from, at, popcount, store, trailing_zeros, zeros

_TILE = 64  # positions whose sums are turned over together


def attend(
    operation: Any,
    query: Packed,
    key: Packed,
    value: Packed,
    maps: Sequence[tuple[int, int, int, int]],
    readings: Sequence[tuple[int, int, int, int]],
    out: np.ndarray | None = None,
    scratch: np.ndarray | None = None,
) -> tuple[np.ndarray, Attended]:
    """See numpy_kernels.attend."""
    steps, *shape, _ = query.words.shape
    channels, n, heads = query.channels, math.prod(shape), operation.heads
    tokens = operation.axis == "token"
    if out is None:
        out = np.empty((steps, len(readings) * channels, *shape), np.float32)
    target = out.reshape(steps, len(readings) * channels, n)
    # Coincidences are those of the first two, and the third adds rows.
    trains = (key, value, query) if tokens else (key, query, value)
    first, second, third = (octets(p.words).reshape(steps, -1) for p in trains)
    lanes = padded_lanes(channels)
    block = min(lanes, LINE_LANES)
    masks, block_masks = octets(head_masks(channels, heads)), _block_masks(channels, heads, lanes, block)
    of_maps, of_readings = np.array(maps, np.int64).reshape(-1, 4), np.array(readings, np.int64)
    each = aligned_bytes(_room_words(n, channels, heads, len(readings), lanes) * 8)
    workers = limit.get()
    if scratch is None:
        scratch = empty(workers * each, np.uint8)
    workers = max(1, min(workers, scratch.nbytes // each))
    rooms = [scratch[i * each : (i + 1) * each].view(np.uint64) for i in range(workers)]
    met = np.zeros((steps, 6), np.int64)
    factor = scaled_factor(operation, n)

    def body(start: int, stop: int) -> None:
        room = rooms.pop()
        views = _views(room, n, channels, heads, len(maps), len(readings), lanes)
        for t in range(start, stop):
            _attend_step(
                blocks_of(block), first[t], second[t], third[t], n, tokens, of_maps, of_readings, masks, block_masks,
                factor, operation.bias, *views, target[t], met[t],
            )  # fmt: skip
        rooms.append(room)

    for_ranges(body, steps, max(-(-steps // workers), share(n * channels * (channels // heads + len(readings)))))
    x, y, z, both, others, nonzero = met.sum(axis=0).tolist()
    if tokens:
        return out, Attended(z, x, y, others, both, nonzero)
    return out, Attended(y, x, z, both, others, nonzero)


def attend_scratch(operation: Any, in_shape: Sizes, channels: int) -> int:
    """See numpy_kernels.attend_scratch. For as many threads as there are processors, see `layer_scratch`."""
    words = _room_words(math.prod(in_shape), channels, operation.heads, len(operation.outputs), padded_lanes(channels))
    return CORES * aligned_bytes(8 * words)


def gate(
    operation: Any, counted: tuple[Packed, ...], value: Packed, out: np.ndarray | None = None
) -> tuple[np.ndarray, Gated]:
    """See numpy_kernels.gate."""
    neurons, (steps, *shape, _) = operation.dynamics, value.words.shape
    n = math.prod(shape)
    first, second, passed = (octets(p.words).reshape(steps, n, -1) for p in (counted[0], counted[-1], value))
    if out is None:
        out = np.empty_like(value.words)
    target, masks = octets(out).reshape(steps, n, -1), octets(head_masks(value.channels, operation.heads))
    terms = value.channels // operation.heads if operation.axis == "token" else n
    numbers = (
        scaled_factor(operation, terms), operation.bias,
        neurons.thresholds[0], neurons.amount, neurons.initial, neurons.reset_to, np.float32(neurons.leak), neurons.hard
    )  # fmt: skip
    done: list[tuple[int, ...]] = []
    if operation.axis == "token":
        least = share(4 * steps * value.channels)
        for_ranges(
            lambda a, b: done.append(_gate_tokens(first, second, passed, masks, *numbers, target, a, b)), n, least
        )
    else:
        done.append(_gate_channels(first, second, passed, value.channels, *numbers, target))
    of_first, of_second, of_value, both, fired, nonzero = (sum(parts) for parts in zip(*done, strict=True))
    events = of_first + of_value + (of_second if len(counted) > 1 else 0)
    return out, Gated(events, both, fired, nonzero)


def _room_words(n: int, channels: int, heads: int, outputs: int, lanes: int) -> int:
    """64-bit words of a room: columns of bits, then whole numbers of 32 bits."""
    numbers = channels * (channels // heads) + 2 * channels + outputs * channels * lanes + outputs * lanes
    return 2 * channels * -(-n // BITS) + -(-numbers // 2)


def _views(
    room: np.ndarray, n: int, channels: int, heads: int, maps: int, outputs: int, lanes: int
) -> tuple[np.ndarray, ...]:
    """What a step works in: columns of two trains, coincidences, their counts, rows of maps, where outputs start."""
    width, bits = channels // heads, channels * -(-n // BITS)
    columns, numbers = room[: 2 * bits], room[2 * bits :].view(np.int32)
    sizes = (heads * width * width, channels, channels, maps * channels * lanes, outputs * lanes)
    both, of_x, of_y, weights, starts = np.split(numbers[: sum(sizes)], np.cumsum(sizes)[:-1])
    flat = (columns[:bits], columns[bits:])
    shaped = (part.reshape(channels, -1) for part in flat)
    return *flat, *shaped, both.reshape(heads, width, width), of_x, of_y, weights, starts


def _block_masks(channels: int, heads: int, lanes: int, block: int) -> np.ndarray:
    """[blocks of lanes, W]: the channels of the heads that reach a block."""
    of_head, width = octets(head_masks(channels, heads)), channels // heads
    found = np.zeros((lanes // block, of_head.shape[1]), np.uint8)
    for head in range(heads):
        for b in range(head * width // block, ((head + 1) * width - 1) // block + 1):
            found[b] |= of_head[head]
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def _attend_step(
    blocks, first, second, third, n, tokens, maps, readings, masks, block_masks, factor, bias, flat_x, flat_y, x, y,
    both, of_x, of_y, weights, starts, out, met,
):  # fmt: skip
    """One step: out [outputs * C, N], and what it met. From flat_x on, see `_views`; a column of bits lies in both."""
    channels, lanes = len(x), GROUP * len(blocks) * len(block_masks)
    _turn(first, OCTET, n, x, of_x)
    _turn(second, OCTET, n, y, of_y)
    _count_both(flat_x, flat_y, x.shape[1], both)
    _fill_rows(both, of_x, of_y, n, tokens, maps, readings, lanes, weights, starts)
    of_z = np.zeros(channels, np.int64)
    met[5] = _add(
        blocks, third, n, channels, tokens, readings, masks, block_masks, weights, starts, factor, bias, of_z, out
    )
    for c in range(channels):
        met[0] += of_x[c]
        met[1] += of_y[c]
        met[2] += of_z[c]
        met[4] += np.int64(of_x[c]) * of_z[c]  # of K and Q for tokens, of K and V for channels
    met[3] = both.sum()


@njit(nogil=True, cache=True, error_model="numpy")
def _fill_rows(both, of_x, of_y, n, tokens, maps, readings, lanes, weights, starts):
    """weights flat [maps, C, lanes], starts flat [outputs, lanes]: see numpy_kernels.attend."""
    heads, width, _ = both.shape
    channels = heads * width
    weights[:] = 0
    starts[:] = 0
    for p in range(len(maps)):
        a, b, c, d = maps[p]
        for h in range(heads):
            for i in range(width):
                row = (p * channels + h * width + i) * lanes + h * width
                for j in range(width):
                    value = a * both[h, i, j] + b * of_y[h * width + j]
                    if not tokens:
                        value += c * of_x[h * width + i] + d * n
                    weights[row + j] = value
    if tokens:
        for output in range(len(readings)):
            _, _, key, constant = readings[output]
            for h in range(heads):
                for j in range(width):
                    total = 0
                    for i in range(width):
                        total += both[h, i, j]
                    of_value = of_y[h * width + j]
                    starts[output * lanes + h * width + j] = key * total + constant * width * of_value


@njit(nogil=True, cache=True, error_model="numpy")
def _add(
    blocks, words, n, channels, tokens, readings, masks, block_masks, weights, starts, factor, bias, spikes, out
):  # fmt: skip
    """out [outputs * C, N] = factor * (starts + sign * sums of rows of weights) + bias; sums that are not 0.

    spikes [C] are counted. Where channels attend, a reading starts from constant * N for each spike of the head.
    """
    block = GROUP * len(blocks)
    lanes = block * len(block_masks)
    heads, n_words = masks.shape
    width = channels // heads
    sums = np.empty(_TILE * block, np.int32)
    of_heads = np.zeros((heads, _TILE), np.int32)
    nonzero = 0
    n_maps = len(weights) // (channels * lanes)
    for begin in range(0, n, _TILE):
        count = min(_TILE, n - begin)
        for i in range(count):
            for w in range(n_words):
                word = at(words, (begin + i) * n_words + w)
                while word:
                    spikes[w * OCTET + trailing_zeros(word)] += 1
                    word &= word - np.uint64(1)
        if not tokens:
            for h in range(heads):
                for i in range(count):
                    of_heads[h, i] = 0
                    for w in range(n_words):
                        of_heads[h, i] += popcount(at(words, (begin + i) * n_words + w) & np.uint64(masks[h, w]))
        for p in range(-1, n_maps):
            read = False
            for output in range(len(readings)):
                read |= readings[output, 0] == p
            if not read:
                continue
            for b in range(len(block_masks)):
                for i in range(count):
                    total = zeros(weights, blocks)
                    if p >= 0:
                        for w in range(n_words):
                            word = at(words, (begin + i) * n_words + w) & np.uint64(block_masks[b, w])
                            row = p * channels + w * OCTET
                            while word:
                                total = add_from(total, weights, (row + trailing_zeros(word)) * lanes + b * block)
                                word &= word - np.uint64(1)
                    store(total, sums, i * block)
                for output in range(len(readings)):
                    of_map, sign, _, constant = readings[output]
                    if of_map != p:
                        continue
                    for lane in range(min(block, channels - b * block)):
                        c = b * block + lane
                        o = output * channels + c
                        target, scale, shift = out[o, begin : begin + count], factor[o], bias[o]
                        start, by_sign = starts[output * lanes + c], np.int32(sign)
                        each = np.int32(0 if tokens else constant * n)
                        of_head = of_heads[c // width]
                        for i in range(count):
                            total = start + by_sign * sums[np.uint64(i * block + lane)] + each * of_head[i]
                            nonzero += total != 0
                            target[i] = np.float32(total) * scale + shift
    return nonzero


@njit(nogil=True, cache=True, error_model="numpy")
def _gate_tokens(
    first, second, value, masks, factor, bias, thresholds, amount, initial, reset_to, leak, hard, out, start, stop
):  # fmt: skip
    """Positions start to stop - 1 -> (spikes of first, of second, of value, of both, of the gates; sums not 0)."""
    steps, _, width = value.shape
    heads = len(masks)
    v = np.empty(heads, np.float32)
    counts = np.zeros(6, np.int64)
    for i in range(start, stop):
        for h in range(heads):
            v[h] = initial[h]
        for t in range(steps):
            for w in range(width):
                a, b, passed = first[t, i, w], second[t, i, w], value[t, i, w]
                counts[0] += popcount(np.uint64(a))
                counts[1] += popcount(np.uint64(b))
                counts[2] += popcount(np.uint64(passed))
                out[t, i, w] = 0
            for h in range(heads):
                found = 0
                for w in range(width):
                    found += popcount(np.uint64(first[t, i, w] & second[t, i, w] & masks[h, w]))
                counts[3] += found
                counts[5] += found != 0
                v[h] = v[h] * leak + (np.float32(found) * factor[h] + bias[h])
                if v[h] >= thresholds[h]:
                    v[h] = reset_to[h] if hard else v[h] - amount[h]
                    counts[4] += 1
                    for w in range(width):
                        out[t, i, w] |= value[t, i, w] & masks[h, w]
    return counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]


@njit(nogil=True, cache=True, error_model="numpy")
def _gate_channels(
    first, second, value, channels, factor, bias, thresholds, amount, initial, reset_to, leak, hard, out
):  # fmt: skip
    """All positions -> the same."""
    steps, n, width = value.shape
    v, found = initial.copy(), np.zeros(channels, np.int64)
    counts = np.zeros(6, np.int64)
    opened = np.zeros(width, np.uint8)
    for t in range(steps):
        found[:] = 0
        for i in range(n):
            for w in range(width):
                a, b = np.uint64(first[t, i, w]), np.uint64(second[t, i, w])
                counts[0] += popcount(a)
                counts[1] += popcount(b)
                counts[2] += popcount(np.uint64(value[t, i, w]))
                word = a & b
                while word:
                    found[w * OCTET + trailing_zeros(word)] += 1
                    word &= word - np.uint64(1)
        opened[:] = 0
        for c in range(channels):
            counts[3] += found[c]
            counts[5] += found[c] != 0
            v[c] = v[c] * leak + (np.float32(found[c]) * factor[c] + bias[c])
            if v[c] >= thresholds[c]:
                v[c] = reset_to[c] if hard else v[c] - amount[c]
                counts[4] += 1
                opened[c // OCTET] |= np.uint8(1 << (c % OCTET))
        for i in range(n):
            for w in range(width):
                out[t, i, w] = value[t, i, w] & opened[w]
    return counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]
