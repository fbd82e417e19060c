"""The operations of a program, each with its equation, what it asks of its inputs and what it returns.

Every number that an operation needs is in it: batch norm is folded, thresholds and leaks are numbers. An operation is
either of whole numbers (weights int8 or int16, sums and membranes int32), and then every executor returns the same
bits, or of float32, where the order of a sum shows in its last digits. `result` gives the type of the value it returns
and raises ProgramError, naming the operation, for anything that does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .. import synops
from ..axes import per_axis
from ..errors import ParameterError, ProgramError
from .values import Real, Sizes, Spikes, Value

INT32 = 2**31 - 1
EXACT_IN_FLOAT32 = 2**24
LONGEST = 2**12  # of steps, and of anything that a geometry counts: far beyond networks, far below what would overflow
MOST_SLOTS = 2**16
MOST_SQUARINGS = 32


@dataclass(frozen=True, eq=False)  # else all layers of one name would be equal
class Operation:
    """One step of a program. `name` is also the name of the value it returns."""

    name: str
    kinds: ClassVar[dict[str, type[Operation]]] = {}

    def __init_subclass__(cls) -> None:
        Operation.kinds[cls.__name__] = cls

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the values it reads."""
        raise NotImplementedError

    @property
    def reads(self) -> tuple[str, ...]:
        """Of the sources, those whose content it needs and not only the shape."""
        return self.sources

    def result(self, values: Mapping[str, Value]) -> Value:
        """The type of what it returns, given those of everything before it."""
        raise NotImplementedError

    def _require(self, holds: bool, rule: str) -> None:
        if not holds:
            raise ProgramError(f"{type(self).__name__} {self.name!r}: {rule}")

    def _spikes(self, values: Mapping[str, Value], source: str) -> Spikes:
        value = values[source]
        if not isinstance(value, Spikes):
            raise ProgramError(f"{type(self).__name__} {self.name!r}: {source!r} must be spikes, not {value}")
        return value

    def _real(self, values: Mapping[str, Value], source: str) -> Real:
        value = values[source]
        if not isinstance(value, Real):
            raise ProgramError(f"{type(self).__name__} {self.name!r}: {source!r} must be real numbers, not {value}")
        return value


@dataclass(frozen=True)
class Geometry:
    """Which inputs an output sees, as in `conv.conv` or, if `transposed`, `conv.conv_transpose`: one entry an axis."""

    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int = 1
    transposed: bool = False
    output_padding: Sizes = ()

    def __post_init__(self) -> None:
        n = len(self.kernel)
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, per_axis("Geometry", name, getattr(self, name), n, at_least=least))
        extra = per_axis("Geometry", "output_padding", self.output_padding or (0,) * n, n, at_least=0)
        object.__setattr__(self, "output_padding", extra)
        if n not in (1, 2, 3) or self.groups < 1:
            raise ParameterError(f"Geometry: must have 1 to 3 axes and at least one group, not {n} and {self.groups}")
        if any(extra) and not (self.transposed and all(e < s for e, s in zip(extra, self.stride, strict=True))):
            raise ParameterError(
                f"Geometry: output_padding must be 0, or less than the stride if transposed, not {extra}"
            )
        if max(*self.kernel, *self.stride, *self.padding, *self.dilation) > LONGEST:
            raise ParameterError(f"Geometry: sizes must be at most {LONGEST}, not {self}")

    @property
    def ndim(self) -> int:
        return len(self.kernel)

    def output_shape(self, shape: Sizes) -> Sizes:
        """Spatial shape of the output for inputs of spatial `shape`."""
        axes = zip(shape, self.kernel, self.stride, self.padding, self.dilation, self.output_padding, strict=True)
        if self.transposed:
            return tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 + e for n, k, s, p, d, e in axes)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in axes)

    def source_shape(self, shape: Sizes) -> Sizes:
        """Spatial shape of the inputs of a transposed convolution whose outputs have spatial `shape`."""
        axes = zip(shape, self.kernel, self.stride, self.padding, self.dilation, self.output_padding, strict=True)
        return tuple((n - 1 - e + 2 * p - d * (k - 1)) // s + 1 for n, k, s, p, d, e in axes)

    @property
    def phases(self) -> tuple[Sizes, ...]:
        """For each axis the phase of each tap: an output sees inputs through the taps of one phase only.

        If transposed, input i reaches output j through tap k where i stride = j + padding - k dilation.
        """
        axes = zip(self.kernel, self.stride, self.dilation, strict=True)
        return tuple(tuple(k * d % s if self.transposed else 0 for k in range(n)) for n, s, d in axes)

    def fanout(self, shape: Sizes, out_channels: int) -> synops.Fanout:
        """How many outputs each input position reaches."""
        return synops.fanout(
            shape,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            out_channels,
            self.groups,
            self.transposed,
            self.output_padding,
        )


@dataclass(frozen=True, eq=False)
class Synapses:
    """Weights [O, C / groups, *K] (tap k from channel c to output o) over the channels of `sources`, one after another.

    `factor` [O] is what one unit of the weighted sum adds to the current: the scales of quantised weights live here.
    """

    sources: tuple[str, ...]
    weight: np.ndarray
    factor: np.ndarray

    @property
    def integer(self) -> bool:
        return self.weight.dtype.kind == "i"

    def slot_bound(self, geometry: Geometry | None = None) -> int:
        """The largest magnitude that the weighted sum over one slot of binary spikes can take at any output.

        Without a geometry, of an output that sees something through all taps.
        """
        return slot_bound(self.weight, geometry)

    def signed_bound(self) -> int:
        """The same over values of either sign and of magnitude at most 1."""
        return int(np.abs(self.weight.reshape(len(self.weight), -1).astype(np.int64)).sum(axis=1).max())


def slot_bound(weight: np.ndarray, geometry: Geometry | None) -> int:
    """See Synapses.slot_bound."""
    together = [np.arange(weight[0, 0].size)]
    if geometry is not None:
        phases = np.stack([axis.ravel() for axis in np.meshgrid(*geometry.phases, indexing="ij")])
        _, of_tap = np.unique(phases, axis=1, return_inverse=True)
        together = [np.flatnonzero(of_tap == phase) for phase in range(of_tap.max() + 1)]
    taps = weight.reshape(*weight.shape[:2], -1).astype(np.int64)
    most = np.stack([np.maximum(taps[..., phase], 0).sum(axis=(1, 2)) for phase in together])
    least = np.stack([np.minimum(taps[..., phase], 0).sum(axis=(1, 2)) for phase in together])
    return int(max(most.max(), -least.min()))


@dataclass(frozen=True, eq=False)
class Raised:
    """Weights [O, C, *K] over the channels of `sources` of a lower resolution, through a transposed convolution."""

    sources: tuple[str, ...]
    weight: np.ndarray
    geometry: Geometry

    def slot_bound(self, geometry: Geometry | None = None) -> int:
        """See Synapses.slot_bound."""
        return slot_bound(self.weight, geometry)


@dataclass(frozen=True, eq=False)
class Dynamics:
    """The neurons of a layer, each array [O] one entry a channel, all of one dtype: int32 or float32.

        charge   h = v * leak >> shift + I            whole numbers: the product is shifted down, rounding to -infinity
                 h = v * leak + I                     float32: shift is 0
        fire     s = how many of thresholds[:, o] h has reached (h >= threshold)
        reset    v = h - amount * s                   soft
                 v = reset_to where s > 0, else h     hard

    `thresholds` [D, O] ascend along D, the levels; D = 1 is a binary spike. They carry tie rule and rounding: "above"
    a whole number is "at least" the next. `initial` is v before the first step.
    """

    steps: int
    thresholds: np.ndarray
    amount: np.ndarray
    initial: np.ndarray
    reset_to: np.ndarray
    leak: float
    shift: int = 0
    hard: bool = False

    @property
    def levels(self) -> int:
        return len(self.thresholds)

    @property
    def slots(self) -> int:
        return self.steps * self.levels

    @property
    def leaks(self) -> bool:
        """Whether the membrane is multiplied at all."""
        return self.leak != 2**self.shift

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("thresholds", "amount", "initial", "reset_to")}


@dataclass(frozen=True, eq=False)
class SpikingLayer(Operation):
    """Convolution and neurons, fused over time: spikes in, spikes out.

        I[t] = bias + sum over the parts of factor * conv(weight, what the part sees at step t)

    Parts, any but at least one: `frames` see the value of their sources at step t; `rates` see, at every step, the sum
    of the values of their sources over all steps (the firing rate times T: a current constant over time); `analog` see
    real numbers, the same at every step. All parts have the geometry of the layer.

    `raised` sums, of frames of a lower resolution, are added to those of `frames` before the factor.
    """

    geometry: Geometry
    dynamics: Dynamics
    bias: np.ndarray
    frames: Synapses | None = None
    rates: Synapses | None = None
    analog: Synapses | None = None
    raised: Raised | None = None

    @classmethod
    def of_parts(
        cls, name: str, geometry: Geometry, dynamics: Dynamics, bias: np.ndarray, parts: Mapping[str, Synapses]
    ) -> SpikingLayer:
        """The layer that has these parts, by name, and none else."""
        frames, rates, analog = (parts.get(part) for part in ("frames", "rates", "analog"))
        return cls(name, geometry, dynamics, bias, frames, rates, analog)

    @property
    def parts(self) -> Iterator[tuple[Literal["frames", "rates", "analog"], Synapses]]:
        """The parts there are, by name."""
        for name in ("frames", "rates", "analog"):
            synapses = getattr(self, name)
            if synapses is not None:
                yield name, synapses

    @property
    def sources(self) -> tuple[str, ...]:
        of_parts = tuple(source for _, synapses in self.parts for source in synapses.sources)
        return of_parts if self.raised is None else (*of_parts, *self.raised.sources)

    @property
    def integer(self) -> bool:
        return self.bias.dtype.kind == "i"

    @property
    def out_channels(self) -> int:
        return len(self.bias)

    def result(self, values: Mapping[str, Value]) -> Spikes:
        self._require(any(True for _ in self.parts), "must have frames, rates or analog synapses, it has none")
        self._check_dynamics()
        arithmetic = ((np.int8, np.int16), np.int32) if self.integer else ((np.float32,), np.float32)
        shapes, charge = set(), float(np.abs(self.bias.astype(np.float64)).max())
        for part, synapses in self.parts:
            inputs = [self._real(values, s) if part == "analog" else self._spikes(values, s) for s in synapses.sources]
            self._require(bool(inputs), f"{part} must have at least one source")
            shapes |= {value.shape for value in inputs}
            channels = sum(value.channels for value in inputs)
            check_synapses(self, synapses, self.geometry, (self.out_channels, channels), *arithmetic)
            charge += self._largest_sum(part, synapses, inputs) * np.abs(synapses.factor.astype(np.float64)).max()
        self._require(len(shapes) == 1, f"all sources must have one spatial shape, not {sorted(shapes)}")
        out = checked_output_shape(self, self.geometry, shapes.pop())
        charge += self._largest_raised_sum(values, out)
        if self.integer:
            self._check_range(charge)
        return Spikes(self.out_channels, out, self.dynamics.steps, self.dynamics.levels)

    def _largest_sum(self, part: str, synapses: Synapses, inputs: list[Value]) -> float:
        """The largest magnitude of the weighted sum of a part; checks the sources' steps and limits."""
        if part == "analog":
            limits = [value.limit for value in inputs if isinstance(value, Real)]
            if not self.integer:
                return 0.0
            self._require(
                None not in limits, "whole-number weights need an analog source of whole numbers: Quantize it"
            )
            bound = synapses.signed_bound() * max(limit or 0 for limit in limits)
            self._require(bound <= EXACT_IN_FLOAT32, f"analog sums must stay within 2**24, they can reach {bound}")
            return bound
        spikes = [value for value in inputs if isinstance(value, Spikes)]
        if part == "frames":
            steps = {value.steps for value in spikes}
            self._require(
                steps == {self.dynamics.steps}, f"frames must have {self.dynamics.steps} steps, not {sorted(steps)}"
            )
            return synapses.slot_bound(self.geometry) * max(value.levels for value in spikes) if self.integer else 0.0
        return synapses.slot_bound(self.geometry) * max(value.slots for value in spikes) if self.integer else 0.0

    def _largest_raised_sum(self, values: Mapping[str, Value], shape: Sizes) -> float:
        """What raised frames can add to a current of outputs of spatial `shape`; checks them."""
        raised, frames = self.raised, self.frames
        if raised is None:
            return 0.0
        inputs = [self._spikes(values, source) for source in raised.sources]
        self._require(frames is not None and bool(inputs), "raised must have at least one source, and frames beside it")
        assert frames is not None
        self._require(raised.geometry.transposed, "raised must have the geometry of a transposed convolution")
        shapes, steps = {value.shape for value in inputs}, {value.steps for value in inputs}
        self._require(
            len(shapes) == 1 and steps == {self.dynamics.steps},
            f"raised sources must have one spatial shape and {self.dynamics.steps} steps, not {sorted(shapes)} and "
            f"{sorted(steps)}",
        )
        channels, kind = sum(value.channels for value in inputs), frames.weight.dtype.kind
        same = Synapses(raised.sources, raised.weight, frames.factor)
        types = (np.int8, np.int16) if kind == "i" else (np.float32,)
        check_synapses(self, same, raised.geometry, (self.out_channels, channels), types, frames.factor.dtype.type)
        out = checked_output_shape(self, raised.geometry, shapes.pop())
        self._require(out == shape, f"raised must have outputs of spatial shape {shape}, not {out}")
        if kind != "i":
            return 0.0
        bound = raised.slot_bound(raised.geometry) * max(value.levels for value in inputs)
        return float(bound * np.abs(frames.factor.astype(np.float64)).max())

    def _check_dynamics(self) -> None:
        self._require(
            self.bias.ndim == 1 and self.bias.size > 0 and self.bias.dtype in (np.int32, np.float32),
            "bias must be [O] int32 or float32",
        )
        self._require(self.dynamics.thresholds.ndim == 2, "thresholds must be [levels, O]")
        neurons, n, dtype = self.dynamics, self.out_channels, self.bias.dtype
        self._require(
            1 <= neurons.steps <= LONGEST and 1 <= neurons.slots <= MOST_SLOTS,
            f"steps must be 1 to {LONGEST}, steps times levels at most {MOST_SLOTS}, "
            f"not {neurons.steps} steps of {neurons.levels} levels",
        )
        for name, array in {"bias": self.bias, **neurons.arrays}.items():
            shape = (neurons.levels, n) if name == "thresholds" else (n,)
            self._require(
                array.shape == shape and array.dtype == dtype and bool(np.isfinite(array).all()),
                f"{name} must be finite {dtype} of shape {shape}, not {array.dtype} {array.shape}",
            )
        ascend = bool((neurons.thresholds[1:] > neurons.thresholds[:-1]).all())  # a difference could overflow
        self._require(ascend, "thresholds must ascend along the levels")
        whole = dtype.kind == "i"
        self._require(
            0 <= neurons.shift <= 15
            and 0 <= neurons.leak <= 2**neurons.shift
            and (neurons.leak == int(neurons.leak) if whole else neurons.shift == 0),
            f"the leak must lie in [0, 2**shift], whole or with shift 0, not {neurons.leak} with shift {neurons.shift}",
        )

    def _check_range(self, charge: float) -> None:
        """Whether no membrane and no product of it with the leak can leave int32, whatever spikes arrive.

        A leak never enlarges a membrane, a reset moves it by at most `levels` amounts or puts it at `reset_to`.
        """
        neurons = self.dynamics
        start, reset_to, amount = (
            float(np.abs(array.astype(np.int64)).max()) for array in (neurons.initial, neurons.reset_to, neurons.amount)
        )
        if neurons.hard:
            largest = max(start, reset_to) + neurons.steps * charge
        else:
            largest = start + neurons.steps * (charge + neurons.levels * amount)
        largest *= max(1.0, neurons.leak) if neurons.leaks else 1
        self._require(
            largest <= INT32 and float(np.abs(neurons.thresholds.astype(np.int64)).max()) <= INT32,
            f"membranes can reach {largest:.3g}, more than int32 holds; use smaller factors",
        )


@dataclass(frozen=True, eq=False)
class ReadOut(Operation):
    """Spikes to real numbers: out[o] = factor[o] * conv(weight, sum of the sources over all steps)[o] + bias[o].

    factor and bias are float32 and the two operations round one after the other, so that whole-number weights give the
    same bits everywhere.
    """

    geometry: Geometry
    synapses: Synapses
    bias: np.ndarray

    @property
    def sources(self) -> tuple[str, ...]:
        return self.synapses.sources

    def result(self, values: Mapping[str, Value]) -> Real:
        inputs = [self._spikes(values, source) for source in self.sources]
        self._require(bool(inputs), "must have at least one source")
        shapes = {value.shape for value in inputs}
        self._require(len(shapes) == 1, f"all sources must have one spatial shape, not {sorted(shapes)}")
        n = self.bias.size
        self._require(
            n > 0 and self.bias.shape == (n,) and self.bias.dtype == np.float32 and bool(np.isfinite(self.bias).all()),
            "bias must be finite float32 [O]",
        )
        channels = sum(value.channels for value in inputs)
        check_synapses(self, self.synapses, self.geometry, (n, channels), (np.int8, np.int16, np.float32), np.float32)
        if self.synapses.integer:
            bound = self.synapses.slot_bound(self.geometry) * max(value.slots for value in inputs)
            self._require(bound <= EXACT_IN_FLOAT32, f"sums must stay within 2**24, they can reach {bound}")
        return Real(n, checked_output_shape(self, self.geometry, shapes.pop()))


@dataclass(frozen=True)
class Quantize(Operation):
    """Real numbers to whole ones: out = rint(min(max(x, low), high) * scale), halves to even; scale a power of two.

    What is no number, after an overflow, becomes `low`.
    """

    source: str
    scale: float
    low: float = 0.0
    high: float = 1.0

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Real:
        value = self._real(values, self.source)
        self._require(
            0 < self.scale < math.inf and math.frexp(self.scale)[0] == 0.5,
            f"scale must be a power of two, not {self.scale}",
        )
        self._require(
            math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high,
            f"low must be less than high, both finite, not {self.low} and {self.high}",
        )
        largest = max(abs(self.low), abs(self.high)) * self.scale
        self._require(largest <= EXACT_IN_FLOAT32, f"results must stay within 2**24, they can reach {largest:.3g}")
        limit = math.ceil(largest)
        return Real(value.channels, value.shape, limit=limit)


@dataclass(frozen=True)
class Pool(Operation):
    """Windows of `size` along each axis, without overlap: "or" fires if any spike of the window does, "sum" adds them.

    "or" is max pooling of binary spikes. "sum" moves the slots of the window to slots of one position, without any
    arithmetic: its levels are those of the source times size**ndim. Positions beyond the last whole window are dropped.
    """

    source: str
    size: int
    kind: Literal["or", "sum"]

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Spikes:
        value = self._spikes(values, self.source)
        self._require(self.kind in ("or", "sum"), f"kind must be 'or' or 'sum', not {self.kind!r}")
        self._require(self.size >= 1 and min(value.shape) >= self.size, f"size {self.size} must fit into {value.shape}")
        self._require(
            self.kind == "sum" or value.levels == 1, "'or' is for binary spikes; pool integer spikes by 'sum'"
        )
        levels = value.levels * (self.size ** len(value.shape) if self.kind == "sum" else 1)
        self._require(value.steps * levels <= MOST_SLOTS, f"{value} would become more than {MOST_SLOTS} slots")
        return Spikes(value.channels, tuple(n // self.size for n in value.shape), value.steps, levels)


@dataclass(frozen=True)
class Repeat(Operation):
    """Nearest upsampling: every position becomes `size` of them along each axis."""

    source: str
    size: int

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Spikes:
        value = self._spikes(values, self.source)
        self._require(1 <= self.size <= LONGEST, f"size must be 1 to {LONGEST}, not {self.size}")
        return Spikes(value.channels, tuple(n * self.size for n in value.shape), value.steps, value.levels)


@dataclass(frozen=True)
class Integrate(Operation):
    """The displacement of flowing along a stationary velocity for unit time: scaling and squaring, see `warp`."""

    source: str
    steps: int

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Real:
        value = self._real(values, self.source)
        self._require(
            value.channels == len(value.shape),
            f"a velocity of {len(value.shape)} axes has as many channels, not {value}",
        )
        self._require(1 <= self.steps <= MOST_SQUARINGS, f"steps must be 1 to {MOST_SQUARINGS}, not {self.steps}")
        return Real(value.channels, value.shape)


@dataclass(frozen=True)
class Enlarge(Operation):
    """Linear interpolation to the spatial shape of the value `like`, times `gain`; see `resample.upsample_linear`."""

    source: str
    like: str
    gain: float = 1.0

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source, self.like)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def result(self, values: Mapping[str, Value]) -> Real:
        value, shape = self._real(values, self.source), values[self.like].shape
        self._require(
            len(shape) == len(value.shape) and all(a >= b for a, b in zip(shape, value.shape, strict=True)),
            f"{self.like!r} must be at least as large as {value}, not {shape}",
        )
        largest = float(np.finfo(np.float32).max)
        self._require(abs(self.gain) <= largest, f"gain must be finite in float32, not {self.gain}")
        return Real(value.channels, shape)


@dataclass(frozen=True)
class Warp(Operation):
    """moved(x) = image(x + u(x)), u the displacement in voxels; see `warp.warp`."""

    image: str
    displacement: str

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.image, self.displacement)

    def result(self, values: Mapping[str, Value]) -> Real:
        image, u = self._real(values, self.image), self._real(values, self.displacement)
        self._require(
            image.shape == u.shape and u.channels == len(u.shape),
            f"the displacement must have {len(image.shape)} channels on the grid of the image, {image}; it is {u}",
        )
        return Real(image.channels, image.shape)


def check_synapses(
    owner: Operation,
    synapses: Synapses,
    geometry: Geometry,
    shape: tuple[int, int],
    weight_types: tuple[type, ...],
    factor_type: type,
) -> None:
    """Raise ProgramError unless weights and factors fit (outputs, input channels) = `shape` and the arithmetic."""
    weight, factor, (n, channels) = synapses.weight, synapses.factor, shape
    fitting = (n, channels // geometry.groups, *geometry.kernel)
    owner._require(
        weight.shape == fitting and n % geometry.groups == 0 and channels % geometry.groups == 0,
        f"weights over {channels} channels must have shape {fitting}, in {geometry.groups} groups, not {weight.shape}",
    )
    owner._require(
        weight.dtype in weight_types and bool(np.isfinite(weight).all()),
        f"weights must be finite {' or '.join(np.dtype(d).name for d in weight_types)}, not {weight.dtype}",
    )
    owner._require(
        factor.shape == (n,) and factor.dtype == factor_type and bool(np.isfinite(factor).all()),
        f"factor must be finite {np.dtype(factor_type).name} of shape ({n},), not {factor.dtype} {factor.shape}",
    )


def checked_output_shape(owner: Operation, geometry: Geometry, shape: Sizes) -> Sizes:
    """The output shape of a convolution, or ProgramError if nothing is left of it."""
    owner._require(len(shape) == geometry.ndim, f"its sources must have {geometry.ndim} spatial axes, not {shape}")
    out = geometry.output_shape(shape)
    owner._require(min(out) >= 1, f"a kernel {geometry.kernel} leaves no output on inputs of {shape}")
    return out
