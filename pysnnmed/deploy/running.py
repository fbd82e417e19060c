"""How an executor runs each operation of a program: arrays of known type and place in, results written in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import kernels
from .operations import Enlarge, Integrate, Operation, Pool, Quantize, ReadOut, Repeat, SpikingLayer, Warp
from .values import Packed, Value

Arrays = Mapping[str, np.ndarray]
Values = Mapping[str, Value]


def run(operation: Operation, values: Values, arrays: Arrays, scratch: np.ndarray | None = None) -> Any:
    """Write what `operation` returns to arrays[operation.name] -> what its kernel counted (`Executed`), or None.

    values      types of all values
    arrays      values by name, of the shape and dtype that their types say
    scratch     memory for its kernel, see `memory.Plan`; None if it needs none
    """
    return _RUN[type(operation)](operation, values, arrays, scratch)


def analog_sources(operation: Operation, arrays: Arrays) -> tuple[np.ndarray, ...]:
    """The real-valued arrays that the synapses of an operation read."""
    if not isinstance(operation, SpikingLayer) or operation.analog is None:
        return ()
    return tuple(arrays[name] for name in operation.analog.sources)


def _packed(names: tuple[str, ...], values: Values, arrays: Arrays) -> tuple[Any, ...]:
    return tuple(Packed(arrays[name], values[name].channels) for name in names)


def _spiking_layer(layer: SpikingLayer, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> Any:
    parts = (layer.frames, layer.raised, layer.rates)
    spikes = (_packed(part.sources, values, arrays) if part is not None else () for part in parts)
    out = arrays[layer.name]
    return kernels.run("spiking_layer", layer, *spikes, analog_sources(layer, arrays), out, scratch)[1]


def _read_out(operation: ReadOut, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> Any:
    sources = _packed(operation.sources, values, arrays)
    return kernels.run("read_out", operation, sources, arrays[operation.name], scratch)[1]


def _quantize(operation: Quantize, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    x, out = arrays[operation.source], arrays[operation.name]
    kernels.run("quantize", x, operation.low, operation.high, operation.scale, out)


def _pool(operation: Pool, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    kernels.run("pool_spikes", arrays[operation.source], operation.size, operation.kind, arrays[operation.name])


def _repeat(operation: Repeat, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    kernels.run("repeat_spikes", arrays[operation.source], operation.size, arrays[operation.name])


def _integrate(operation: Integrate, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    """As warp.scaling_and_squaring, in place."""
    u = arrays[operation.name]
    np.multiply(arrays[operation.source], np.float32(0.5**operation.steps), out=u)
    for _ in range(operation.steps):
        u += kernels.run("warp_forward", u[None], u[None])[0]


def _enlarge(operation: Enlarge, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    """Channel by channel, because of the memory that the kernel takes for one axis after another."""
    shape, gain = values[operation.name].shape, np.float32(operation.gain)
    for channel, out in zip(arrays[operation.source], arrays[operation.name], strict=True):
        np.multiply(kernels.run("upsample_linear_forward", channel[None, None], shape, False)[0, 0], gain, out=out)


def _warp(operation: Warp, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    displacement = arrays[operation.displacement][None]
    for channel, out in zip(arrays[operation.image], arrays[operation.name], strict=True):
        out[...] = kernels.run("warp_forward", channel[None, None], displacement)[0, 0]


_RUN: dict[type[Operation], Any] = {
    SpikingLayer: _spiking_layer,
    ReadOut: _read_out,
    Quantize: _quantize,
    Pool: _pool,
    Repeat: _repeat,
    Integrate: _integrate,
    Enlarge: _enlarge,
    Warp: _warp,
}
