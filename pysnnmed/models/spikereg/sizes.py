"""How large a network is, layer by layer: the table that papers print."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...nn import BatchNorm, Conv, ConvTranspose
from .networks import SpikeReg, Teacher
from .table import IMAGES


class LayerSize(NamedTuple):
    """One row. macs: multiplications with a weight if every input is a real number, taps in the padding included, once;
    parameters: weights, biases and batch norm, the learnt leak and threshold of the neurons not included.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    shape: tuple[int, ...]
    macs: int
    parameters: int


def layer_sizes(network: Teacher | SpikeReg, shape: tuple[int, ...]) -> list[LayerSize]:
    """The rows of a network on images of spatial `shape`, a multiple of `config.shape_multiple`."""
    shapes, rows = {IMAGES: tuple(shape)}, []
    for layer in network.layers():
        unit, source = network.unit(layer.name), shapes[layer.sources[0]]
        stride = layer.stride
        shapes[layer.name] = tuple(n * stride if layer.transposed else -(-n // stride) for n in source)
        rows.append(_row(layer.name, unit.conv, getattr(unit, "norm", None), shapes[layer.name]))
    rows.append(_row("head", network.head, None, shapes[layer.name]))
    if network.smoothing is not None:
        rows.append(_row("smoothing", network.smoothing, None, shapes[layer.name]))
    return rows


def _row(name: str, conv: Conv | ConvTranspose, norm: BatchNorm | None, shape: tuple[int, ...]) -> LayerSize:
    # A transposed convolution meets, at each output, every stride-th tap along each axis.
    taps = math.prod(conv.kernel_size) // (math.prod(conv.stride) if isinstance(conv, ConvTranspose) else 1)
    macs = math.prod(shape) * conv.out_channels * conv.in_channels // conv.groups * taps
    parameters = conv.n_parameters + (norm.n_parameters if norm is not None else 0)
    return LayerSize(
        name, conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], shape, macs, parameters
    )
