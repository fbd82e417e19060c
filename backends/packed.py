"""Spikes as bits of words: what kernels of packed spikes take and return beside arrays.

Channel c of a position is bit c % b of its word c // b, where the words have b = 8, 16, 32 or 64 bits: the least that
hold all channels in one word, else 64. Bits beyond the channels are zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Packed(NamedTuple):
    """Spikes as words [slots, *S, W], one bit for each channel; bits beyond `channels` are zero."""

    words: np.ndarray
    channels: int


class Executed(NamedTuple):
    """What a kernel did, counted while it did it.

    events      spikes read: each set bit of each source once, however many outputs it reaches
    synops      weights added: a spike counts once for each output channel at each existing output it reaches
    spikes      spikes written
    table_adds  sums looked up and added in place of single weights, where spikes are so many that this is faster; the
                synops are then those that the spikes stand for
    """

    events: int
    synops: int
    spikes: int = 0
    table_adds: int = 0


class Attended(NamedTuple):
    """What attention of packed spikes met, counted while it ran: what any form of it executes follows from these.

    q, k, v   spikes of the three
    qk, kv    pairs of spikes that meet in a product: of Q and K in Q K^T, of K and V in K^T V, within heads; in those
              of the transposed where the channels attend to each other
    nonzero   results other than 0, before factor and bias
    """

    q: int
    k: int
    v: int
    qk: int
    kv: int
    nonzero: int


class Gated(NamedTuple):
    """What gates counted: events, synops and spikes, their own, as in Executed, and sums that are not 0."""

    events: int
    synops: int
    spikes: int
    nonzero: int


def word_type(channels: int) -> np.dtype:
    """The unsigned integer whose bits hold the channels of one position, or 64 of them."""
    return np.dtype(next((f"u{size}" for size in (1, 2, 4) if channels <= 8 * size), "u8"))


def word_count(channels: int) -> int:
    """W, how many such words a position has."""
    return -(-channels // (8 * word_type(channels).itemsize))


def pack(spikes: np.ndarray) -> np.ndarray:
    """Spikes of 0 and 1, [slots, C, *S] -> words [slots, *S, W]."""
    channels = spikes.shape[1]
    kind, last = word_type(channels), np.moveaxis(spikes != 0, 1, -1)
    padded = np.zeros((*last.shape[:-1], word_count(channels) * 8 * kind.itemsize), bool)
    padded[..., :channels] = last
    return np.packbits(padded, axis=-1, bitorder="little").view(kind.newbyteorder("<")).astype(kind, copy=False)


def unpack(words: np.ndarray, channels: int) -> np.ndarray:
    """Words [slots, *S, W] -> spikes [slots, C, *S] uint8. The inverse of `pack`."""
    little = np.ascontiguousarray(words).astype(words.dtype.newbyteorder("<"), copy=False)
    bits = np.unpackbits(little.view(np.uint8), axis=-1, bitorder="little")
    return np.ascontiguousarray(np.moveaxis(bits[..., :channels], -1, 1))


def head_masks(channels: int, heads: int) -> np.ndarray:
    """The bits of a position that belong to each head, of channels / heads channels one after the other: [heads, W]."""
    kind = word_type(channels)
    bits = 8 * kind.itemsize
    head = np.arange(word_count(channels) * bits) // (channels // heads)
    of_head = (head == np.arange(heads)[:, None]).reshape(heads, -1, bits)
    return (of_head * (np.uint64(1) << np.arange(bits, dtype=np.uint64))).sum(axis=-1, dtype=np.uint64).astype(kind)
