"""Attention of packed spikes, plainly: unpack the bits, multiply matrices of float64, which are exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..packed import Attended, Gated, Packed, head_masks, pack, unpack

__all__ = ["attend", "attend_scratch", "gate"]


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
    """Run an Attend on packed spikes [T, *S, W] -> (float32 [T, outputs * C, *S], Attended).

    maps        (a, b, c, d) of each sum a Q K^T + b q 1^T + c 1 k^T + d C of maps that is formed by itself. Where the
                tokens attend, c and d are 0: what they bring is the same for all tokens and stands in the readings
    readings    (index of a sum or -1, sign, key, constant) of each output, with u = 1^T V, w = k^T V:
                    tokens     sign * sum V + key * w + constant * C u
                    channels   sign * sum V + constant * N * (the spikes of V of the head at the position)
    out, scratch    as in `spiking_layer`; scratch has `attend_scratch` bytes

    For each head by itself, in whole numbers; then times factor plus bias, in float32.
    """
    del scratch
    steps, heads = len(query.words), operation.heads
    shape = query.words.shape[1:-1]
    # [T, heads, N, D]
    q, k, v = (
        unpack(p.words, p.channels).reshape(steps, heads, p.channels // heads, -1).swapaxes(-1, -2).astype(np.float64)
        for p in (query, key, value)
    )
    if operation.axis == "channel":
        q, k, v = (x.swapaxes(-1, -2) for x in (q, k, v))
    channels = q.shape[-1]
    both, of_q = k.swapaxes(-1, -2) @ v, q.sum(axis=-1, keepdims=True)
    u, w = v.sum(axis=-2, keepdims=True), both.sum(axis=-2, keepdims=True)
    sums = [a * (q @ both) + b * (of_q * u) + c * w + d * channels * u for a, b, c, d in maps]
    outputs = []
    for product, sign, of_key, constant in readings:
        row = of_key * w + constant * channels * u
        outputs.append(row + sign * sums[product] if product >= 0 else row + np.zeros_like(v))
    total = np.stack(outputs, axis=1)  # [T, outputs, heads, N, D]
    if operation.axis == "token":
        total = total.swapaxes(-1, -2)
    total = total.reshape(steps, -1, *shape).astype(np.float32)
    met = Attended(
        *(int(x.sum()) for x in (q, k, v)),
        int((q.sum(axis=-2) * k.sum(axis=-2)).sum()),
        int((k.sum(axis=-1) * v.sum(axis=-1)).sum()),
        int(np.count_nonzero(total)),
    )
    column = (-1, *[1] * len(shape))
    if out is None:
        out = np.empty(total.shape, np.float32)
    np.multiply(total, scaled_factor(operation, math.prod(shape)).reshape(column), out=out)
    out += operation.bias.reshape(column)
    return out, met


def gate(
    operation: Any, counted: tuple[Packed, ...], value: Packed, out: np.ndarray | None = None
) -> tuple[np.ndarray, Gated]:
    """Run a Gate on packed spikes [T, *S, W] -> (words [T, *S, W], Gated).

    The SynOps are the spikes that are counted, or coincidences of two sources; the spikes, those of the gates.
    """
    neurons, channels = operation.dynamics, value.channels
    both = np.bitwise_and.reduce([source.words for source in counted])
    spikes = unpack(both, channels)
    steps, _, *shape = spikes.shape
    if operation.axis == "token":
        of_head = spikes.reshape(steps, operation.heads, channels // operation.heads, *shape)
        current = of_head.sum(axis=2, dtype=np.float32)
    else:
        current = spikes.sum(axis=tuple(range(2, spikes.ndim)), dtype=np.int64).astype(np.float32)
    column = (-1, *[1] * (current.ndim - 2))
    threshold, amount, again = (a.reshape(column) for a in (neurons.thresholds[0], neurons.amount, neurons.reset_to))
    nonzero = int(np.count_nonzero(current))
    terms = channels // operation.heads if operation.axis == "token" else math.prod(shape)
    current = current * scaled_factor(operation, terms).reshape(column) + operation.bias.reshape(column)
    v = np.zeros(current.shape[1:], np.float32) + neurons.initial.reshape(column)
    if out is None:
        out = np.empty_like(value.words)
    masks, fired = head_masks(channels, operation.heads), 0
    for t in range(steps):
        v = v * np.float32(neurons.leak) + current[t]
        fires = v >= threshold
        v = np.where(fires, again, v) if neurons.hard else v - amount * fires
        fired += int(np.count_nonzero(fires))
        if operation.axis == "token":
            open_to = np.zeros(value.words.shape[1:], value.words.dtype)
            for head, mask in enumerate(masks):
                open_to |= np.where(fires[head][..., None], mask, 0).astype(mask.dtype)
        else:
            open_to = pack(fires[None])[0]
        out[t] = value.words[t] & open_to
    events = sum(int(np.bitwise_count(source.words).sum(dtype=np.int64)) for source in (*counted, value))
    return out, Gated(events, int(spikes.sum(dtype=np.int64)), fired, nonzero)


def scaled_factor(operation: Any, terms: int) -> np.ndarray:
    """What a sum is multiplied by, its own number of terms included if it is a mean."""
    return operation.factor / np.float32(terms) if operation.mean else operation.factor


def attend_scratch(operation: Any, in_shape: tuple[int, ...], channels: int) -> int:
    """How many bytes `attend` uses of `scratch` on spikes of so many channels. 0 here: see `layer_scratch`."""
    del operation, channels, in_shape
    return 0
