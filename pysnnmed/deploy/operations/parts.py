"""Parts of operations: which inputs an output sees, with which weights, and what its neurons do with the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ... import synops
from ...axes import per_axis
from ...errors import ParameterError
from ..values import Sizes
from .base import LONGEST, MOST_SLOTS, Operation


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

    @classmethod
    def joined(cls, populations: Sequence[Dynamics]) -> Dynamics:
        """The channels of all, one after another; steps, leak and kind of reset are those of the first."""
        arrays = [one.arrays for one in populations]
        together: dict[str, Any] = {name: np.concatenate([one[name] for one in arrays], axis=-1) for name in arrays[0]}
        return replace(populations[0], **together)

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


def check_numbers(owner: Operation, name: str, array: np.ndarray, shape: Sizes, dtype: DTypeLike) -> None:
    """Raise ProgramError unless an array is finite and has this shape and type."""
    owner._require(
        array.shape == shape and array.dtype == dtype and bool(np.isfinite(array).all()),
        f"{name} must be finite {np.dtype(dtype)} of shape {shape}, not {array.dtype} {array.shape}",
    )


def check_dynamics(owner: Operation, neurons: Dynamics, n: int, dtype: DTypeLike) -> None:
    """Raise ProgramError unless these are neurons of `n` channels that compute in `dtype`."""
    owner._require(neurons.thresholds.ndim == 2, "thresholds must be [levels, O]")
    owner._require(
        1 <= neurons.steps <= LONGEST and 1 <= neurons.slots <= MOST_SLOTS,
        f"steps must be 1 to {LONGEST}, steps times levels at most {MOST_SLOTS}, "
        f"not {neurons.steps} steps of {neurons.levels} levels",
    )
    for name, array in neurons.arrays.items():
        check_numbers(owner, name, array, (neurons.levels, n) if name == "thresholds" else (n,), dtype)
    ascend = bool((neurons.thresholds[1:] > neurons.thresholds[:-1]).all())  # a difference could overflow
    owner._require(ascend, "thresholds must ascend along the levels")
    whole = np.dtype(dtype).kind == "i"
    owner._require(
        0 <= neurons.shift <= 15
        and 0 <= neurons.leak <= 2**neurons.shift
        and (neurons.leak == int(neurons.leak) if whole else neurons.shift == 0),
        f"the leak must lie in [0, 2**shift], whole or with shift 0, not {neurons.leak} with shift {neurons.shift}",
    )


def checked_output_shape(owner: Operation, geometry: Geometry, shape: Sizes) -> Sizes:
    """The output shape of a convolution, or ProgramError if nothing is left of it."""
    owner._require(len(shape) == geometry.ndim, f"its sources must have {geometry.ndim} spatial axes, not {shape}")
    out = geometry.output_shape(shape)
    owner._require(min(out) >= 1, f"a kernel {geometry.kernel} leaves no output on inputs of {shape}")
    return out
