"""Hypothesis strategies of programs: random graphs of every kind of operation that fit together, with inputs to match.

Numbers are few and dyadic, so that membranes tie with thresholds, and float32 layers are exact in any order of
summation: what such a program computes up to its first interpolation must agree bit for bit on every executor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..decomposition import MAPS
from ..deploy.operations import (
    Add,
    Attend,
    Convolve,
    Dynamics,
    Enlarge,
    Fire,
    Gate,
    Geometry,
    Integrate,
    MeanSteps,
    Operation,
    Pool,
    Quantize,
    Raised,
    ReadOut,
    Repeat,
    SpikingLayer,
    Synapses,
    Warp,
)
from ..deploy.program import Program
from ..deploy.values import Packed, Real, Reals, Sizes, Spikes, Value, pack
from ..errors import ProgramError
from .hypotheses import st

MOST_POSITIONS = 300  # of a value, so that cases stay small
MOST_SLOTS = 40
INTERPOLATIONS = (Integrate, Enlarge, Warp)  # float32 arithmetic whose last digits may differ between backends

Values = Mapping[str, Value]


class Case(NamedTuple):
    """A program and its inputs {name: [C, *S] float32}."""

    program: Program
    inputs: dict[str, np.ndarray]


def inexact(program: Program) -> set[str]:
    """Names of the values whose last digits may depend on the backend: interpolated, or sums of real numbers."""
    names: set[str] = set()
    values = program.values(program.example)
    for operation in program.operations:
        if _rounds(operation, values) or names.intersection(operation.sources):
            names.add(operation.name)
    return names


def _rounds(operation: Operation, values: Values) -> bool:
    """Whether the last digits of its result may depend on the backend: it interpolates, or convolves real numbers."""
    if isinstance(operation, Convolve):
        return not isinstance(values[operation.sources[0]], Spikes)
    return isinstance(operation, INTERPOLATIONS)


@st.composite
def programs(draw: Callable, *, most: int = 6, integer: bool | None = None) -> Program:
    """Programs of 1 to `most` operations; of whole numbers, of float32, or, by default, of both."""
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (12, 7, 5)[ndim - 1])) for _ in range(ndim))
    inputs = {f"x{i}": draw(st.sampled_from([1, 2, ndim])) for i in range(draw(st.integers(1, 2)))}
    values: dict[str, Value] = {name: Real(channels, shape) for name, channels in inputs.items()}
    operations: list[Operation] = []
    exact = set(values)
    for _ in range(draw(st.integers(1, most))):
        name = f"{draw(st.sampled_from(['layer', 'block.conv']))}{len(operations)}"
        make = draw(st.sampled_from(_fitting_makers(values)))
        operation = make(draw, name, values, exact, integer) or _quantize(draw, name, values, exact, integer)
        if operation is None or not _small(operation, values):
            continue
        operations.append(operation)
        values[name] = operation.result(values)
        means = isinstance(operation, MeanSteps)  # the same everywhere, but no longer dyadic
        if not (means or _rounds(operation, values)) and exact.issuperset(operation.sources):
            exact.add(name)
    made = [operation.name for operation in operations] or list(values)
    outputs = (*draw(st.sets(st.sampled_from(made[:-1]))), made[-1]) if len(made) > 1 else tuple(made)
    return Program(inputs, tuple(operations), tuple(sorted(outputs)), ndim, example=shape)


@st.composite
def cases(draw: Callable, *, most: int = 6, integer: bool | None = None) -> Case:
    """A program with inputs in eighths, some beyond [0, 1]."""
    program, rng = draw(programs(most=most, integer=integer)), _generator(draw)
    inputs = {
        name: (rng.integers(-2, 11, (channels, *program.example)) / 8).astype(np.float32)
        for name, channels in program.inputs.items()
    }
    return Case(program, inputs)


@st.composite
def packed_values(draw: Callable, value: Spikes) -> Packed:
    """Random spikes of a type, none, few or many; integer spikes in any order of their slots."""
    rate = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    rng = _generator(draw)
    return Packed(pack(rng.random((value.slots, value.channels, *value.shape)) < rate), value.channels)


@st.composite
def spiking_layers(draw: Callable, values: Values, *, integer: bool | None = None) -> SpikingLayer | None:
    """A layer with any parts over `values`, of which its analog sources must be whole if it is; None if none fits."""
    return _spiking_layer(draw, "layer", values, set(values), integer)


@st.composite
def read_outs(draw: Callable, values: Values, *, integer: bool | None = None) -> ReadOut | None:
    """A read-out of some of the spikes of `values`; None if there are none."""
    return _read_out(draw, "head", values, set(values), integer)


@st.composite
def firing(draw: Callable, channels: int, steps: int) -> Dynamics:
    """Neurons of float32."""
    return _dynamics(draw, _generator(draw), channels, False, steps, wide=False)


def _generator(draw: Callable) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def _small(operation: Operation, values: Values) -> bool:
    result = operation.result(values)
    slots = 1 if isinstance(result, Real) else result.slots if isinstance(result, Spikes) else result.steps
    return math.prod(result.shape) <= MOST_POSITIONS and slots <= MOST_SLOTS


def _some(draw: Callable, names: Sequence[str], *, least: int = 0) -> tuple[str, ...]:
    """One to three of the names, or none; one of them may come twice."""
    if not names:
        return ()
    return tuple(draw(st.lists(st.sampled_from(list(names)), min_size=least, max_size=3)))


# ------------------------------------------------------------------------------------------------ one operation each


def _spiking_layer(
    draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None
) -> SpikingLayer | None:
    integer = draw(st.booleans()) if integer is None else integer
    fits = {
        n: v
        for n, v in values.items()
        if n in exact
        and not isinstance(v, Reals)
        and (isinstance(v, Spikes) or not integer or (v.limit is not None and v.limit <= 64))
    }
    if not fits:
        return None
    first = values[draw(st.sampled_from(sorted(fits)))]
    same = {n: v for n, v in fits.items() if v.shape == first.shape}
    spikes = {n: v for n, v in same.items() if isinstance(v, Spikes)}
    steps = draw(st.sampled_from(sorted({v.steps for v in spikes.values()} | {draw(st.integers(1, 4))})))
    sources = {
        "frames": _some(draw, [n for n, v in spikes.items() if v.steps == steps]),
        "rates": _some(draw, list(spikes)),
        "analog": _some(draw, [n for n in same if n not in spikes]),
    }
    sources = {part: names for part, names in sources.items() if names}
    if not sources:
        return None
    rng = _generator(draw)
    channels = {part: sum(values[n].channels for n in names) for part, names in sources.items()}
    geometry, n_out = _geometry_and_outputs(draw, first.shape, list(channels.values()), draw(_widths()))
    wide = draw(st.booleans())
    arguments: tuple = (draw, rng, geometry, n_out, channels, sources, integer, steps)
    layer = _assembled(name, *arguments, wide=wide)
    try:
        layer.result(values)
    except ProgramError:  # weights of the full range can reach too far
        layer, wide = _assembled(name, *arguments, wide=False), False
    below = {n: v for n, v in values.items() if n in exact and isinstance(v, Spikes) and v.steps == steps}
    if layer.frames is None or wide or not below or draw(st.booleans()):
        return layer
    return _with_raised(draw, rng, layer, below, geometry.output_shape(first.shape))


def _with_raised(
    draw: Callable, rng: np.random.Generator, layer: SpikingLayer, values: Mapping[str, Spikes], shape: Sizes
) -> SpikingLayer:
    """The layer with frames of another resolution, if a small transposed convolution makes `shape` of any."""
    first = values[draw(st.sampled_from(sorted(values)))]
    axes = []
    for n, m in zip(first.shape, shape, strict=True):
        every = itertools.product(range(1, 6), range(1, 4), range(2))
        fits = [(k, s, p) for k, s, p in every if (n - 1) * s - 2 * p + k == m]
        if not fits:
            return layer
        usual = [(4, 2, 1)] if (4, 2, 1) in fits else fits
        axes.append(draw(st.sampled_from(usual) | st.sampled_from(fits)))
    kernel, stride, padding = zip(*axes, strict=True)
    geometry = Geometry(kernel, stride, padding, (1,) * len(shape), transposed=True)
    sources = _some(draw, [n for n, v in values.items() if v.shape == first.shape], least=1)
    channels = sum(values[n].channels for n in sources)
    synapses = _synapses(draw, rng, geometry, layer.out_channels, channels, sources, layer.integer, wide=False)
    return replace(layer, raised=Raised(sources, synapses.weight, geometry))


def _assembled(
    name: str,
    draw: Callable,
    rng: np.random.Generator,
    geometry: Geometry,
    n_out: int,
    channels: Mapping[str, int],
    sources: Mapping[str, tuple[str, ...]],
    integer: bool,
    steps: int,
    *,
    wide: bool,
) -> SpikingLayer:
    parts = {
        part: _synapses(draw, rng, geometry, n_out, channels[part], names, integer, wide=wide)
        for part, names in sources.items()
    }
    bias = _numbers(rng, (n_out,), np.int32 if integer else np.float32, 3)
    dynamics = _dynamics(draw, rng, n_out, integer, steps, wide=wide)
    return SpikingLayer.of_parts(name, geometry, dynamics, bias, parts)


def _read_out(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> ReadOut | None:
    integer = draw(st.booleans()) if integer is None else integer
    spikes = {n: v for n, v in values.items() if isinstance(v, Spikes) and n in exact}
    if not spikes:
        return None
    shape = values[draw(st.sampled_from(sorted(spikes)))].shape
    sources = _some(draw, [n for n, v in spikes.items() if v.shape == shape], least=1)
    rng, channels = _generator(draw), sum(values[n].channels for n in sources)
    width = draw(st.sampled_from([len(shape), 1, 2, 5]))  # as many as axes makes a velocity or a displacement
    geometry, n_out = _geometry_and_outputs(draw, shape, [channels], width, keeps_size=draw(st.booleans()))
    synapses = _synapses(draw, rng, geometry, n_out, channels, sources, integer, wide=False)
    factor = np.ldexp(rng.integers(1, 4, n_out), -4).astype(np.float32)
    bias = _numbers(rng, (n_out,), np.float32, 3)
    return ReadOut(name, geometry, Synapses(sources, synapses.weight, factor), bias)


def _quantize(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Quantize | None:
    reals = [n for n, v in values.items() if isinstance(v, Real) and n in exact]
    if not reals:
        return None
    low, high = draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (-0.5, 2.25)]))
    return Quantize(name, draw(st.sampled_from(reals)), draw(st.sampled_from([1.0, 4.0, 16.0])), low, high)


def _pool(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Pool | None:
    spikes = [n for n, v in values.items() if isinstance(v, Spikes)]
    if not spikes:
        return None
    source = draw(st.sampled_from(spikes))
    value = values[source]
    assert isinstance(value, Spikes)
    kinds = ["or", "sum"] if value.levels == 1 else ["sum"]
    return Pool(name, source, draw(st.integers(1, min(3, *value.shape))), draw(st.sampled_from(kinds)))


def _repeat(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Repeat | None:
    return Repeat(name, draw(st.sampled_from(sorted(values))), draw(st.integers(1, 3)))


def _fields(values: Values) -> list[str]:
    return [n for n, v in values.items() if isinstance(v, Real) and v.channels == len(v.shape)]


def _integrate(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Integrate | None:
    fields = _fields(values)
    return Integrate(name, draw(st.sampled_from(fields)), draw(st.integers(1, 3))) if fields else None


def _enlarge(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Enlarge | None:
    pairs = [
        (n, like)
        for n, v in values.items()
        for like, other in values.items()
        if isinstance(v, Real | Reals) and all(a >= b for a, b in zip(other.shape, v.shape, strict=True))
    ]
    if not pairs:
        return None
    source, like = draw(st.sampled_from(pairs))
    return Enlarge(name, source, like, draw(st.sampled_from([1.0, 2.0])), draw(st.booleans()))


def _warp(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Warp | None:
    pairs = [
        (n, u) for u in _fields(values) for n, v in values.items() if isinstance(v, Real) and v.shape == values[u].shape
    ]
    return Warp(name, *draw(st.sampled_from(pairs))) if pairs else None


def _convolve(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Convolve | None:
    fits = {n: v for n, v in values.items() if n in exact}
    if not fits:
        return None
    first = values[draw(st.sampled_from(sorted(fits)))]
    same = [n for n, v in fits.items() if type(v) is type(first) and v.shape == first.shape]
    if not isinstance(first, Real):
        same = [n for n in same if values[n].steps == first.steps]  # type: ignore[union-attr]
    return draw(convolutions(values, same, name))


@st.composite
def convolutions(draw: Callable, values: Values, sources: Sequence[str], name: str = "convolution") -> Convolve:
    """A convolution of some of these sources, which are of one kind and shape."""
    names = _some(draw, sources, least=1)
    rng, channels = _generator(draw), sum(values[n].channels for n in names)
    n_out, shape, kind = (
        draw(_widths()),
        values[names[0]].shape,
        draw(st.sampled_from(["any", "depthwise", "pointwise"])),
    )
    ones = (1,) * len(shape)
    if kind == "any":
        geometry, n_out = _geometry_and_outputs(draw, shape, [channels], n_out)
    elif kind == "depthwise":
        kernel = tuple(2 * draw(st.integers(0, 1)) + 1 for _ in shape)
        geometry, n_out = Geometry(kernel, ones, tuple(k // 2 for k in kernel), ones, channels), channels
    else:
        geometry = Geometry(ones, ones, (0,) * len(shape), ones)
    synapses = _synapses(draw, rng, geometry, n_out, channels, names, draw(st.booleans()), wide=False)
    factor = np.ldexp(rng.integers(1, 4, n_out), -2).astype(np.float32)
    return Convolve(name, geometry, Synapses(names, synapses.weight, factor), _numbers(rng, (n_out,), np.float32, 3))


def _fire(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Fire | None:
    currents = [n for n, v in values.items() if not isinstance(v, Spikes) and n in exact]
    if not currents:
        return None
    value = values[draw(st.sampled_from(currents))]
    source = next(n for n, v in values.items() if v is value)
    steps = value.steps if isinstance(value, Reals) else draw(st.integers(1, 4))
    return Fire(name, source, _dynamics(draw, _generator(draw), value.channels, False, steps, wide=False))


def _add(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Add | None:
    reals = [n for n, v in values.items() if not isinstance(v, Spikes)]
    if not reals:
        return None
    first = values[draw(st.sampled_from(reals))]
    fits = [n for n in reals if (values[n].channels, values[n].shape) == (first.channels, first.shape)]
    steps = {v.steps for n in fits if isinstance(v := values[n], Reals)}
    if len(steps) > 1:
        kept = draw(st.sampled_from(sorted(steps)))
        fits = [n for n in fits if getattr(values[n], "steps", kept) == kept]
    return Add(name, tuple(draw(st.lists(st.sampled_from(fits), min_size=2, max_size=3))))


def _mean_steps(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> MeanSteps | None:
    changing = [n for n, v in values.items() if isinstance(v, Reals)]
    return MeanSteps(name, draw(st.sampled_from(changing))) if changing else None


def _trio(draw: Callable, values: Values) -> tuple[tuple[str, str, str], Spikes] | None:
    """Three binary trains of one type, any of them the same, and their type."""
    binary = [n for n, v in values.items() if isinstance(v, Spikes) and v.levels == 1]
    if not binary:
        return None
    value = values[draw(st.sampled_from(binary))]
    q, k, v = (draw(st.sampled_from([n for n in binary if values[n] == value])) for _ in "qkv")
    assert isinstance(value, Spikes)
    return (q, k, v), value


def _heads(draw: Callable, channels: int) -> int:
    return draw(st.sampled_from([heads for heads in (1, 2, 3, 4) if channels % heads == 0]))


def _attend(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Attend | None:
    found = _trio(draw, values)
    return None if found is None else draw(attentions(*found, name))


@st.composite
def attentions(draw: Callable, names: tuple[str, str, str], value: Spikes, name: str = "attention") -> Attend:
    """Attention over spikes of this type."""
    subsets = st.lists(st.sampled_from(MAPS), min_size=1, unique=True).map(tuple)
    outputs = tuple(draw(st.lists(subsets, min_size=1, max_size=4)))
    rng, width = _generator(draw), len(outputs) * value.channels
    factor, bias = (_numbers(rng, (width,), np.float32, 3) for _ in range(2))
    axis = draw(st.sampled_from(["token", "channel"]))
    power_of_two = math.prod(value.shape) & (math.prod(value.shape) - 1) == 0
    mean = power_of_two and draw(st.booleans())
    return Attend(name, *names, outputs, _heads(draw, value.channels), axis, mean, factor, bias)


def _gate(draw: Callable, name: str, values: Values, exact: set[str], integer: bool | None) -> Gate | None:
    found = _trio(draw, values)
    return None if found is None else draw(gates(*found, name))


@st.composite
def gates(draw: Callable, names: tuple[str, str, str], value: Spikes, name: str = "gate") -> Gate:
    """A gate over spikes of this type."""
    counted, axis, heads = (
        draw(st.sampled_from([names[:1], names[:2]])),
        draw(st.sampled_from(["token", "channel"])),
        _heads(draw, value.channels),
    )
    n, rng = heads if axis == "token" else value.channels, _generator(draw)
    dynamics = _dynamics(draw, rng, n, False, value.steps, wide=False)
    dynamics = replace(dynamics, thresholds=dynamics.thresholds[:1])
    terms = value.channels // heads if axis == "token" else math.prod(value.shape)
    mean = terms & (terms - 1) == 0 and draw(st.booleans())
    factor = np.ldexp(rng.integers(1, 4, n), -2).astype(np.float32)
    bias = _numbers(rng, (n,), np.float32, 3)
    return Gate(name, tuple(counted), names[2], heads, axis, mean, factor, bias, dynamics)


def _fitting_makers(values: Values) -> list[Any]:
    """Those that can find their sources: spikes first, then what needs values that are rare."""
    if not any(isinstance(value, Spikes) for value in values.values()):
        return [_spiking_layer, _spiking_layer, _fire]
    rare = [_mean_steps, _mean_steps, _fire] if any(isinstance(value, Reals) for value in values.values()) else []
    return [*rare, *([_integrate, _warp] if _fields(values) else []), *_MAKERS]


_MAKERS: list[Any] = [
    *[_convolve] * 2,
    _fire,
    _add,
    *[_attend, _gate] * 2,
    *[_spiking_layer] * 3,
    *[_read_out] * 2,
    _quantize,
    _pool,
    _repeat,
    *[_enlarge] * 2,
]

# ------------------------------------------------------------------------------------------------ what layers hold


def _widths() -> Any:
    """Channels: few, and on both sides of each size of a word."""
    return st.integers(1, 5) | st.sampled_from([8, 9, 16, 17, 32, 33, 64, 65])


def _geometry_and_outputs(
    draw: Callable, shape: Sizes, channels: Sequence[int], outputs: int, *, keeps_size: bool = False
) -> tuple[Geometry, int]:
    """A geometry that leaves an output on `shape`, and about `outputs` channels, a multiple of its groups."""
    common = math.gcd(*channels)
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if common % g == 0]))
    n_out = -(-outputs // groups) * groups

    def each(low: int, high: int) -> Sizes:
        return tuple(draw(st.integers(low, high)) for _ in shape)

    if keeps_size:
        kernel = tuple(2 * k + 1 for k in each(0, 1))
        ones = (1,) * len(shape)
        return Geometry(kernel, ones, tuple(k // 2 for k in kernel), ones, groups), n_out
    kernel, stride, padding, dilation = each(1, 3), each(1, 3), each(0, 2), each(1, 2)
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if draw(st.booleans()):
        extra = tuple(draw(st.integers(0, s - 1)) for s in stride)
        room = [(n - 1) * s + r + e - 1 for n, s, r, e in zip(shape, stride, span, extra, strict=True)]
        fitting = tuple(min(p, m // 2) for p, m in zip(padding, room, strict=True))
        return Geometry(kernel, stride, fitting, dilation, groups, True, extra), n_out
    enough = tuple(max(p, -((n - r) // 2)) for p, n, r in zip(padding, shape, span, strict=True))
    return Geometry(kernel, stride, enough, dilation, groups), n_out


def _synapses(
    draw: Callable,
    rng: np.random.Generator,
    geometry: Geometry,
    n_out: int,
    channels: int,
    sources: tuple[str, ...],
    integer: bool,
    *,
    wide: bool,
) -> Synapses:
    shape = (n_out, channels // geometry.groups, *geometry.kernel)
    if not integer:
        return Synapses(sources, _numbers(rng, shape, np.float32, 8), _numbers(rng, (n_out,), np.float32, 3))
    kind = draw(st.sampled_from([np.int8, np.int16]))
    if wide:
        bounds = np.iinfo(kind)
        low, high = draw(
            st.sampled_from([(bounds.min, bounds.max), (bounds.max - 3, bounds.max), (bounds.min, bounds.min)])
        )
        weight = rng.integers(low, high + 1, shape).astype(kind)
        return Synapses(sources, weight, np.ones(n_out, np.int32))
    return Synapses(sources, _numbers(rng, shape, kind, 4), rng.integers(-2, 4, n_out).astype(np.int32))


def _dynamics(
    draw: Callable, rng: np.random.Generator, n_out: int, integer: bool, steps: int, *, wide: bool
) -> Dynamics:
    kind = np.int32 if integer else np.float32
    levels = draw(st.sampled_from([1, 1, 2, 4]))
    reach = 2000 if integer and wide else 5
    gaps = rng.integers(1, reach + 1, (levels, n_out))
    gaps[0] += draw(st.sampled_from([0, -2]))  # now and then a threshold of 0 or less, which a silent neuron reaches
    thresholds = np.cumsum(gaps, axis=0)
    shift = draw(st.sampled_from([0, 0, 1, 4])) if integer else 0
    leak = draw(
        st.sampled_from([2**shift, draw(st.integers(0, 2**shift))]) if integer else st.sampled_from([1.0, 0.5, 0.0])
    )
    return Dynamics(
        steps,
        thresholds.astype(kind) if integer else (thresholds / 4).astype(kind),
        amount=_numbers(rng, (n_out,), kind, reach),
        initial=_numbers(rng, (n_out,), kind, reach),
        reset_to=_numbers(rng, (n_out,), kind, reach),
        leak=float(leak),
        shift=shift,
        hard=draw(st.booleans()),
    )


def _numbers(rng: np.random.Generator, shape: Sizes, kind: Any, largest: int) -> np.ndarray:
    """Whole numbers of magnitude at most `largest`, or quarters of them."""
    whole = rng.integers(-largest, largest + 1, shape)
    return (whole / 4 if kind is np.float32 else whole).astype(kind)
