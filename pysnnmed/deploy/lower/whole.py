"""A layer in whole numbers: as many bits for weights, inputs and units as exact sums and int32 leave room for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ...errors import ProgramError
from ..operations import EXACT_IN_FLOAT32, INT32, Dynamics, Operation, Quantize, SpikingLayer, Synapses
from ..quantize import LIMITS, Quantized, Unit, quantize, whole_dynamics
from ..values import Value
from .real import RealLayer

FINEST, COARSEST = 24, 4  # bits of a threshold
DEPTHS = range(1, 17)  # bits of real inputs


def in_whole_numbers(layer: RealLayer, limit: int, values: Mapping[str, Value]) -> list[Operation]:
    """The layer, weights of magnitude `limit` at most, after the Quantize operations that it needs.

    `values` are the types of what is there already. The units are the finest with which no membrane can leave int32.
    The weights of real inputs may be int16: they are multiplied anyway, not looked up, and all layers hang on this one.
    Raises ProgramError if no unit fits.
    """
    if "analog" in layer.parts:
        limit = LIMITS["int16"]
    for bits in range(FINEST, COARSEST, -1):
        with contextlib.suppress(ProgramError):
            return _in_units(layer, limit, bits, values)
    return _in_units(layer, limit, COARSEST, values)


def quantize_within(
    weight: np.ndarray, limit: int, most: int, at_least: float | np.ndarray = 0.0, signed: bool = False
) -> Quantized:
    """Quantised as finely as `limit` allows and as sums over inputs of 0 and 1 (`signed`: also -1) stay in `most`."""
    while True:
        quantized = quantize(weight, limit, at_least)
        synapses = Synapses((), *quantized)
        reached = synapses.signed_bound() if signed else synapses.slot_bound()
        if reached <= most or limit == 1:
            return quantized
        limit = max(1, min(limit - 1, limit * most // reached))


def _in_units(layer: RealLayer, limit: int, bits: int, values: Mapping[str, Value]) -> list[Operation]:
    """With thresholds of `bits` bits. ProgramError if something does not fit into int32."""
    operations: list[Operation] = []
    if "analog" in layer.parts:
        images = layer.parts["analog"].sources
        layer = min((_with_inputs(layer, depth) for depth in DEPTHS), key=lambda rounded: _error(rounded, limit, bits))
        rounded = layer.parts["analog"]
        operations += [
            Quantize(name, image, float(rounded.share.denominator))
            for name, image in zip(rounded.sources, images, strict=True)
            if name not in values
        ]
    q, scale = _weights(layer, limit, bits)
    unit, current = Unit.below(scale * abs(layer.value), _divisor(layer), layer.thresholds, bits)
    starts = np.cumsum([part.weight.shape[1] for part in layer.parts.values()])[:-1]
    synapses = {
        kind: Synapses(part.sources, mine, _factor(layer, part.share, current))
        for (kind, part), mine in zip(layer.parts.items(), np.split(q, starts, axis=1), strict=True)
    }
    units = unit.split(len(layer.cells))
    neurons = Dynamics.joined(
        [whole_dynamics(cell, layer.steps, own, bits) for cell, own in zip(layer.cells, units, strict=True)]
    )
    operations.append(SpikingLayer.of_parts(layer.name, layer.geometry, neurons, unit.whole(layer.bias), synapses))
    known = dict(values)
    for operation in operations:
        known[operation.name] = operation.result(known)
    return operations


def _with_inputs(layer: RealLayer, depth: int) -> RealLayer:
    """The layer that sees its real inputs in steps of 2**-depth."""
    analog = layer.parts["analog"]
    names = tuple(f"{source}.x{2**depth}" for source in analog.sources)
    return replace(layer, parts={**layer.parts, "analog": replace(analog, sources=names, share=Fraction(1, 2**depth))})


def _divisor(layer: RealLayer) -> int:
    """What makes whole numbers of all shares."""
    return math.lcm(*(part.share.denominator for part in layer.parts.values()))


def _weights(layer: RealLayer, limit: int, bits: int) -> Quantized:
    """The weights of all parts, of one scale: sums over real inputs exact, and worth a unit at least."""
    weight = np.concatenate([part.weight for part in layer.parts.values()], axis=1)
    least = _divisor(layer) * layer.thresholds / (2**bits * abs(layer.value))
    if "analog" in layer.parts:
        most = int(EXACT_IN_FLOAT32 * layer.parts["analog"].share)
        return quantize_within(weight, limit, most, least, signed=True)
    return quantize_within(weight, limit, INT32, least)


def _error(layer: RealLayer, limit: int, bits: int) -> float:
    """How far off a current can be by rounding real inputs in [0, 1] and weights.

    Rounded inputs make it half their step times the sum of |w|, rounded weights half their scale each.
    """
    analog, scale = layer.parts["analog"], _weights(layer, limit, bits).scale
    rows = np.abs(analog.weight.reshape(len(analog.weight), -1), dtype=np.float64)
    return float((scale * rows.shape[1] + rows.sum(axis=1) * float(analog.share)).max()) / 2


def _factor(layer: RealLayer, share: Fraction, current: np.ndarray) -> np.ndarray:
    """`share` of the whole numbers `current`, which it divides, as int32."""
    factor = current * share.numerator // share.denominator * (-1 if layer.value < 0 else 1)
    if np.abs(factor).max() > INT32:
        raise ProgramError(f"lower: layer {layer.name!r} takes factors that int32 does not hold")
    return factor.astype(np.int32)
