"""What only a run can tell of an operation, in numbers that add up over samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Seen(NamedTuple):
    """events, synops, int_macs, nonzero_macs as in `synops.LayerCount`; spikes written by neurons.

    q, k, v, qk, kv are what attention has met, see `synops.Tallies`.
    """

    events: int = 0
    synops: int = 0
    int_macs: int = 0
    nonzero_macs: int = 0
    spikes: int = 0
    q: int = 0
    k: int = 0
    v: int = 0
    qk: int = 0
    kv: int = 0


def together(samples: Iterable[Seen]) -> Seen:
    """The sum over samples."""
    return Seen(*(sum(numbers) for numbers in zip(*samples, strict=True)))
