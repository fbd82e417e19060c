"""The meter: collects what layers record while a block of code runs, safely across nested blocks and threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np

from .fanout import Fanout
from .layers import LayerCount
from .parts import synapses
from .report import Report


class Meter:
    """Collects what the layers inside `count_synops()` record. Safe to share between threads."""

    def __init__(self) -> None:
        self._layers: dict[str, LayerCount] = {}
        self._lock = threading.Lock()

    def add(self, count: LayerCount) -> None:
        """Add a count to its layer."""
        with self._lock:
            known = self._layers.get(count.name)
            self._layers[count.name] = count if known is None else known + count

    def __getitem__(self, name: str) -> LayerCount:
        return self._layers[name]

    def report(self) -> Report:
        """The counts so far, in the order in which the layers first ran."""
        with self._lock:
            return Report(tuple(self._layers.values()))


_meters: ContextVar[tuple[Meter, ...]] = ContextVar("meters", default=())


@contextlib.contextmanager
def count_synops() -> Iterator[Meter]:
    """Count what layers execute inside this block. Of nested blocks, each counts; another thread starts without any."""
    meter = Meter()
    token = _meters.set((*_meters.get(), meter))
    try:
        yield meter
    finally:
        _meters.reset(token)


def metering() -> bool:
    """Whether anybody counts: ask before computing what `record` would take."""
    return bool(_meters.get())


def record(layer: str | LayerCount, **counts: int) -> None:
    """Add counts to a layer on every active meter: a `LayerCount`, or a name and counts by its field names."""
    meters = _meters.get()
    if meters:
        count = layer if isinstance(layer, LayerCount) else LayerCount(layer, **counts)
        for meter in meters:
            meter.add(count)


def record_conv(
    layer_name: str,
    x: np.ndarray,
    fan: Fanout,
    *,
    steps: int = 1,
    bias_adds: int = 0,
    levels: int = 1,
    spiking: bool | None = None,
) -> None:
    """Record one (transposed) convolution or linear layer over x [..., C, *S], all of its `steps` included.

    `bias_adds` are those of all steps. See `synapses` for `levels` and `spiking`; without a meter nothing is counted.
    """
    if not metering():
        return
    record(synapses(layer_name, x, fan, steps=steps, levels=levels, spiking=spiking))
    once = bias_adds // steps
    record(layer_name, bias_adds=bias_adds, weight_reads=bias_adds, ann_adds=once, ann_weight_reads=once)
