"""How an executor runs each operation of a program: arrays of known type and place in, results written in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from .. import kernels
from ..decomposition import Products, coefficients, complements, products
from .operations import (
    Add,
    Attend,
    Convolve,
    Enlarge,
    Fire,
    Gate,
    Integrate,
    MeanSteps,
    Operation,
    Pool,
    Quantize,
    ReadOut,
    Repeat,
    SpikingLayer,
    Warp,
)
from .values import Packed, Real, Reals, Spikes, Value

Arrays = Mapping[str, np.ndarray]
Values = Mapping[str, Value]
Fours: TypeAlias = tuple[tuple[int, int, int, int], ...]


def run(operation: Operation, values: Values, arrays: Arrays, scratch: np.ndarray | None = None) -> Any:
    """Write what `operation` returns to arrays[operation.name] -> what its kernel counted (`Executed`), or None.

    values      types of all values
    arrays      values by name, of the shape and dtype that their types say
    scratch     memory for its kernel, see `memory.Plan`; None if it needs none
    """
    return _RUN[type(operation)](operation, values, arrays, scratch)


def scratch_bytes(operation: Operation, values: Values) -> int:
    """How much scratch memory the kernel of an operation wants, on the active backend."""
    if isinstance(operation, SpikingLayer | ReadOut):
        return int(kernels.run("layer_scratch", operation, values[operation.sources[0]].shape))
    if isinstance(operation, Convolve):
        sources = [values[source] for source in operation.sources]
        channels, spiking = tuple(value.channels for value in sources), isinstance(sources[0], Spikes)
        return int(kernels.run("convolve_scratch", operation, sources[0].shape, channels, spiking))
    if isinstance(operation, Attend):
        value = values[operation.query]
        return int(kernels.run("attend_scratch", operation, value.shape, value.channels))
    return 0


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
    x, out, size = arrays[operation.source], arrays[operation.name], operation.size
    if isinstance(values[operation.source], Spikes):
        kernels.run("repeat_spikes", x, size, out)
        return
    shape = values[operation.source].shape
    lead = x.shape[: x.ndim - len(shape)]
    copies = out.reshape(*lead, *(n for length in shape for n in (length, size)))
    copies[...] = x.reshape(*lead, *(n for length in shape for n in (length, 1)))


def _integrate(operation: Integrate, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    """As warp.scaling_and_squaring, in place."""
    u = arrays[operation.name]
    np.multiply(arrays[operation.source], np.float32(0.5**operation.steps), out=u)
    for _ in range(operation.steps):
        u += kernels.run("warp_forward", u[None], u[None])[0]


def _enlarge(operation: Enlarge, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    """Channel by channel, or step by step, because of the memory that the kernel takes for one axis after another."""
    shape, gain = values[operation.name].shape, np.float32(operation.gain)
    lead = 1 if isinstance(values[operation.source], Real) else values[operation.source].channels
    for frame, out in zip(arrays[operation.source], arrays[operation.name], strict=True):
        images = frame.reshape(1, lead, *values[operation.source].shape)
        arguments = (images, shape, operation.align_corners)
        np.multiply(kernels.run("upsample_linear_forward", *arguments).reshape(out.shape), gain, out=out)


def _warp(operation: Warp, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    displacement = arrays[operation.displacement][None]
    for channel, out in zip(arrays[operation.image], arrays[operation.name], strict=True):
        out[...] = kernels.run("warp_forward", channel[None, None], displacement)[0, 0]


def _convolve(operation: Convolve, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> Any:
    first = values[operation.sources[0]]
    if isinstance(first, Spikes):
        sources, out = _packed(operation.sources, values, arrays), arrays[operation.name]
        return kernels.run("convolve_spikes", operation, sources, first.steps, out, scratch)[1]
    reals = tuple(_at_steps(name, values, arrays) for name in operation.sources)
    return kernels.run("convolve_reals", operation, reals, _at_steps(operation.name, values, arrays), scratch)[1]


def _fire(operation: Fire, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> Any:
    currents = _at_steps(operation.source, values, arrays)
    return kernels.run("fire_currents", operation.dynamics, currents, arrays[operation.name])[1]


def _add(operation: Add, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    out = _at_steps(operation.name, values, arrays)
    first, second, *others = (_at_steps(name, values, arrays) for name in operation.terms)
    np.add(first, second, out=out)
    for term in others:
        out += term


def _mean_steps(operation: MeanSteps, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> None:
    x, out = arrays[operation.source], arrays[operation.name]
    out[...] = x[0]
    for step in x[1:]:
        out += step
    out /= np.float32(len(x))


def _attend(operation: Attend, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> Any:
    q, k, v = _packed(operation.sources, values, arrays)
    maps, readings = plan_of(operation)
    return kernels.run("attend", operation, q, k, v, maps, readings, arrays[operation.name], scratch)[1]


def plan_of(operation: Attend) -> tuple[Fours, Fours]:
    """(sums of maps to form, how the outputs read them), see the kernel `attend`.

    Where the tokens attend, what the sums of decomposition.products are; where the channels do, every output but those
    that are what another one lacks.
    """
    if operation.axis == "token":
        plan: Products = products(operation.outputs)
        readings = ((-1 if r.product is None else r.product, r.sign, r.key, r.constant) for r in plan.readings)
        return tuple((a, b, 0, 0) for a, b in plan.products), tuple(readings)
    others = complements(operation.outputs)
    own = [i for i, other in enumerate(others) if other is None]
    maps = tuple(coefficients(operation.outputs[i]) for i in own)
    return maps, tuple((own.index(i), 1, 0, 0) if o is None else (own.index(o), -1, 0, 1) for i, o in enumerate(others))


def _gate(operation: Gate, values: Values, arrays: Arrays, scratch: np.ndarray | None) -> Any:
    *counted, value = _packed(operation.sources, values, arrays)
    return kernels.run("gate", operation, tuple(counted), value, arrays[operation.name])[1]


def _at_steps(name: str, values: Values, arrays: Arrays) -> np.ndarray:
    """Real numbers as [T, C, *S], T = 1 for those that stay."""
    return arrays[name] if isinstance(values[name], Reals) else arrays[name][None]


_RUN: dict[type[Operation], Any] = {
    SpikingLayer: _spiking_layer,
    ReadOut: _read_out,
    Quantize: _quantize,
    Pool: _pool,
    Repeat: _repeat,
    Integrate: _integrate,
    Enlarge: _enlarge,
    Warp: _warp,
    Convolve: _convolve,
    Fire: _fire,
    Add: _add,
    MeanSteps: _mean_steps,
    Attend: _attend,
    Gate: _gate,
}
