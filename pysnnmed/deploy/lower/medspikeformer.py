"""The program of MedSpikeFormer: image [in_channels, *S] in [0, 1] -> logits [classes, *S].

The trunk stays real, as trained: convolutions of it multiply. What neurons fire, in the branches and in attention, is
packed, and convolutions of that add. Norms go into the convolution before them, or into what attention returns; linear
layers between which nothing stands become one. Mask heads serve training alone and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...decomposition import ACTIVE
from ...errors import ProgramError
from ...models.medspikeformer import MedSpikeFormer
from ...models.medspikeformer.attention import MapwiseAttention
from ...models.medspikeformer.networks import Decoder, Stage
from ...models.medspikeformer.units import Branch, NormedSpikeConvolution, SpikeConvolution, Synapses, Upsampling
from ...neurons import Neuron
from ...nn import BatchNorm, Conv, fold_batch_norm
from ...nn.attention import (
    DecomposedSelfAttention,
    NormedGate,
    QKAttention,
    SpikeDrivenSelfAttention,
    SpikingAttention,
    SpikingSelfAttention,
)
from ..program import Program
from .cells import canonical
from .collected import Weights
from .real import Connections
from .trunk import SPIKES, TrunkBuilder, current_of, norm_numbers

IMAGE = "image"


def lower_medspikeformer(network: MedSpikeFormer, weights: Weights) -> Program:
    """Every layer as an operation of its name in the network; the spikes that it reads, as its name + SPIKES."""
    config = network.config
    multiple = config.shape_multiple
    builder = TrunkBuilder({IMAGE: config.in_channels}, (multiple,) * config.ndim, multiple, weights, config.steps)
    x, features, pooled = IMAGE, [], []
    for i, stage in enumerate(network.stages):
        x = _stage(builder, f"stages.{i}", stage, x)
        features.append(x)
        if i < len(network.pools):
            x = _synapses(builder, f"pools.{i}", network.pools[i], x)
            pooled.append(x)
    sound = config.mode == "sound"
    levels = features if sound else pooled
    shapes = levels[:-1] if sound else [IMAGE, *levels[:-1]]  # of what each decoder but the last makes
    x, *skips = levels[::-1]
    for j, decoder in enumerate(network.decoders):
        like = shapes[-1 - j] if j < len(shapes) else None
        x = _decoder(builder, f"decoders.{j}", decoder, x, like, config.upsampling == "linear")
        if j < len(skips):
            x = builder.sum(f"decoders.{j}.skip", x, skips[j])
    head = network.head
    if head.cells is not None:
        x = builder.fire(f"head.merge{SPIKES}", x, _neuron(head.cells))
    x = builder.mean_of("head.merge", _folded(head.merge), x)
    return builder.program(builder.convolve("logits", _folded(head.logits), x))


def _stage(builder: TrunkBuilder, name: str, stage: Stage, x: str) -> str:
    x = _synapses(builder, f"{name}.embedding", stage.embedding, x)
    if stage.spike_convolution is not None:
        x = _spike_convolution(builder, f"{name}.spike_convolution", stage.spike_convolution, x)
    x = _attention(builder, f"{name}.attention", stage.attention, x)
    if stage.norm is not None:
        x = builder.norm(f"{name}.norm", stage.norm, x)
    return builder.sum(f"{name}.sum", x, _branch(builder, f"{name}.mlp", stage.mlp, x))


def _decoder(builder: TrunkBuilder, name: str, decoder: Decoder, x: str, like: str | None, linear: bool) -> str:
    if decoder.spike_convolution is not None:
        x = _spike_convolution(builder, f"{name}.spike_convolution", decoder.spike_convolution, x)
    if decoder.up is None or like is None:
        return x
    up: Upsampling = decoder.up
    if up.cells is not None:
        x = builder.fire(f"{name}.up.synapses{SPIKES}", x, _neuron(up.cells))
    x = builder.larger(f"{name}.up", x, like, linear, up.align_corners)
    return builder.convolve(f"{name}.up.synapses", _folded(up.synapses), x)


def _spike_convolution(builder: TrunkBuilder, name: str, layer: Any, x: str) -> str:
    y = x
    for i, branch in enumerate(layer.branches):
        y = builder.sum(f"{name}.{i}", y, _branch(builder, f"{name}.branches.{i}", branch, y))
        if isinstance(layer, NormedSpikeConvolution):
            y = builder.norm(f"{name}.norms.{i}", layer.norms[i], y)
    if isinstance(layer, SpikeConvolution):
        return y
    return builder.norm(f"{name}.norm", layer.norm, builder.sum(f"{name}.sum", x, y))


def _branch(builder: TrunkBuilder, name: str, branch: Branch, x: str) -> str:
    return _chain(builder, [(f"{name}.parts.{i}", part) for i, part in enumerate(branch.parts)], x)


def _synapses(builder: TrunkBuilder, name: str, part: Synapses, x: str) -> str:
    return _chain(builder, [(name, part)], x)


def _chain(builder: TrunkBuilder, parts: Sequence[tuple[str, Synapses]], x: str) -> str:
    """One after the other; the convolution before neurons takes their gain."""
    is_current = False
    for i, (name, part) in enumerate(parts):
        if part.cells is not None:
            fire = builder.fire_on if is_current else builder.fire
            x = fire(name + SPIKES, x, _neuron(part.cells))
        connections, is_current = _folded(part), False
        follower = parts[i + 1][1].cells if i + 1 < len(parts) else None
        if follower is not None:
            connections, is_current = current_of(connections, parts[i + 1][0], _neuron(follower)), True
        x = builder.convolve(name, connections, x)
    return x


def _folded(part: Synapses) -> Connections:
    return _connections(part.conv, part.norm)


def _connections(conv: Conv, norm: BatchNorm | None) -> Connections:
    return Connections.of(conv if norm is None else fold_batch_norm(conv, norm))


# ------------------------------------------------------------------------------------------------------- attention


def _attention(builder: TrunkBuilder, name: str, unit: Any, x: str) -> str:
    """x + what attention makes of it."""
    if isinstance(unit, MapwiseAttention):
        return builder.sum(f"{name}.sum", x, _mapwise(builder, name, unit, x))
    layer = unit.layer
    entering = x if layer.input is None else builder.fire(f"{name}.input{SPIKES}", x, _neuron(layer.input))
    operands = [
        _operand(builder, f"{name}.{operand}", projection.conv, projection.norm, projection.neuron, entering)
        for operand, projection in zip(layer.operands, layer.projections, strict=True)
    ]
    spikes = _attended(builder, name, layer, operands)
    out = builder.convolve(f"{name}.out", _connections(layer.out.conv, layer.out.norm), spikes)
    if layer.around.shortcut != "membrane" or layer.out.neuron is not None:
        raise ProgramError(f"lower: attention {name!r} must have a membrane shortcut")
    return builder.sum(f"{name}.sum", x, out)


def _operand(builder: TrunkBuilder, name: str, conv: Conv, norm: BatchNorm | None, cells: Any, source: str) -> str:
    """neurons(BN(convolution)): the spikes of a query, key or value."""
    neuron = _neuron(cells)
    current = builder.convolve(name, current_of(_connections(conv, norm), name, neuron), source)
    return builder.fire_on(name + SPIKES, current, neuron)


def _attended(builder: TrunkBuilder, name: str, layer: SpikingAttention, operands: list[str]) -> str:
    """The spikes that the projection out of an attention reads."""
    heads, spikes = layer.around.heads, f"{name}.out{SPIKES}"
    if isinstance(layer, QKAttention):
        query, key = operands
        return builder.gate(spikes, [query], key, heads, layer.axis, *_gate(layer.gate))
    if isinstance(layer, SpikeDrivenSelfAttention):
        query, key, value = operands
        return builder.gate(spikes, [query, key], value, heads, "channel", *_gate(layer.gate))
    if isinstance(layer, SpikingSelfAttention):
        outputs, axis, neuron, mean = ACTIVE, layer.axis, _neuron(layer.mixing), False
        scale = np.full(layer.around.channels, layer.scale)
        shift = np.zeros(layer.around.channels)
    elif isinstance(layer, DecomposedSelfAttention):
        outputs, axis, neuron, mean = layer.outputs, layer.axis, _neuron(layer.mixing.neuron), layer.mean
        scale, shift = norm_numbers(layer.mixing.norm)
        scale = scale / math.sqrt(layer.around.channels // heads)
        if layer.mixing.conv is not None:
            raise ProgramError(f"lower: attention {name!r} convolves its sums (output_kernel); no program does")
    else:
        raise ProgramError(f"lower: {name!r} is a {type(layer).__name__}, which no program has")
    cell = canonical(name, neuron)
    factor, bias = scale * cell.gain, shift * cell.gain + cell.bias
    current = builder.attend(f"{name}.attend", operands, outputs, heads, axis, factor, bias, mean)
    return builder.fire_on(spikes, current, neuron)


def _mapwise(builder: TrunkBuilder, name: str, unit: MapwiseAttention, x: str) -> str:
    operands = [
        _operand(builder, f"{name}.{operand}", synapses.conv, synapses.norm, cells, x)
        for operand, synapses, cells in zip("qkv", unit.operands, unit.cells, strict=True)
    ]
    width = unit.projection.parts[0].conv.in_channels
    channels = width // len(unit.outputs)
    factor = np.full(width, 1 / math.sqrt(channels))
    sums = builder.attend(
        f"{name}.attend", operands, unit.outputs, unit.heads, unit.axis, factor, np.zeros(width), mean=True
    )
    depthwise, pointwise = unit.projection.parts
    first, *others = unit.fuse.parts
    middle, neuron = f"{name}.projection.parts.1", _neuron(pointwise.cells)
    current = current_of(_folded(depthwise), middle, neuron)
    spikes = builder.fire_on(middle + SPIKES, builder.convolve(f"{name}.projection.parts.0", current, sums), neuron)
    mixed = builder.convolve(middle, _paired(unit, _folded(pointwise), _folded(first)), spikes)
    rest = [(f"{name}.fuse.parts.{i}", part) for i, part in enumerate(others, start=1)]
    return _chain(builder, rest, mixed)


def _paired(unit: MapwiseAttention, projections: Connections, fuse: Connections) -> Connections:
    """The projection of each map, the sums of pairs of them and the 1x1 over both sums as one 1x1 over all maps."""
    maps = len(unit.outputs)
    half = np.repeat(range(len(unit.pairs)), [len(pair) for pair in unit.pairs])  # of each map
    width = projections.weight.shape[1]
    of_map = projections.weight.reshape(maps, width, width).astype(np.float64)
    bias_of_map = projections.bias.reshape(maps, width).astype(np.float64)
    of_half = fuse.weight.reshape(len(fuse.bias), len(unit.pairs), width).astype(np.float64)
    weight = np.concatenate([of_half[:, h] @ of_map[i] for i, h in enumerate(half)], axis=1)
    bias = fuse.bias + sum(of_half[:, h] @ bias_of_map[i] for i, h in enumerate(half))
    ones = projections.geometry.kernel
    return Connections(
        replace(projections.geometry, groups=1),
        weight.reshape(*weight.shape, *ones).astype(np.float32),
        bias.astype(np.float32),
    )


def _gate(gate: Any) -> tuple[Neuron, BatchNorm | None]:
    """The neurons of a gate and the norm before them, if there is one."""
    return (_neuron(gate.neuron), gate.norm) if isinstance(gate, NormedGate) else (_neuron(gate), None)


def _neuron(cells: Any) -> Neuron:
    """That of a layer of neurons, with what it has learnt."""
    return cells.current_neuron()
