"""How large a network is, layer by layer: the table that papers print."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...nn import BatchNorm, Conv
from ...nn.attention import DecomposedSelfAttention
from .attention import Attended, MapwiseAttention, SoftmaxAttention
from .config import MedSpikeFormerConfig
from .networks import MedSpikeFormer, SegmentationTeacher


class LayerSize(NamedTuple):
    """One row: a convolution with the norm after it, a norm by itself (kernel 0), or the products of an attention.

    name         path of the module
    shape        of what it makes, spatial
    macs         multiplications with a weight if every input is a real number, taps in the padding included, one time;
                 of an attention both products of each map, from the right: 2 N C C / heads
    times        how often it runs for one image: T, once where its input is constant in time or a mean over time
    parameters   weights, biases and batch norm
    """

    name: str
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    groups: int
    shape: tuple[int, ...]
    macs: int
    times: int
    parameters: int


def table(network: MedSpikeFormer | SegmentationTeacher, shape: tuple[int, ...]) -> list[LayerSize]:
    """The rows of a network on images of spatial `shape`, a multiple of `config.shape_multiple`.

    Their parameters are those of the network: the mask heads, which inference does without, are the last rows.
    """
    rows: dict[str, LayerSize] = {}
    for path, module in network.named_modules():
        at = _shape_at(path, network.config, shape)
        times = _times(path, network)
        if isinstance(module, Conv):
            rows[path] = _convolution(path, module, at, times)
        elif isinstance(module, BatchNorm):
            partner = path.replace("out_norm", "out").replace("norm", "conv")
            if partner in rows:
                row = rows[partner]
                rows[partner] = row._replace(parameters=row.parameters + module.n_parameters)
            else:
                channels = module.channels
                rows[path] = LayerSize(path, channels, channels, 0, 1, channels, at, 0, times, module.n_parameters)
        elif isinstance(module, Attended | MapwiseAttention | SoftmaxAttention):
            macs, width = _products(module, math.prod(at)), network.config.widths[int(path.split(".")[1])]
            if macs:
                rows[path] = LayerSize(path, width, width, 0, 1, 1, at, macs, times, 0)
    return list(rows.values())


def unused_in_release(config: MedSpikeFormerConfig, shape: tuple[int, ...]) -> list[LayerSize]:
    """What the released code has besides the layers of the mode "paper", and never uses the results of.

    In each stage a depthwise convolution with two norms, which runs at every step, and three 1x1, which do not.
    """
    rows = []
    for i, width in enumerate(config.widths):
        at = tuple(n // 2**i for n in shape)
        weights = 3 ** len(shape) * width
        macs, dropped = weights * math.prod(at), weights + 5 * width
        rows += [
            LayerSize(f"stages.{i}.embedding.dropped", width, width, 3, 1, width, at, macs, config.steps, dropped),
            LayerSize(f"stages.{i}.attention.unused", width, width, 1, 1, 1, at, 0, 0, 3 * (width**2 + width)),
        ]
    return rows


def _convolution(path: str, conv: Conv, shape: tuple[int, ...], times: int) -> LayerSize:
    macs = math.prod(shape) * conv.out_channels * conv.in_channels // conv.groups * math.prod(conv.kernel_size)
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    return LayerSize(
        path, conv.in_channels, conv.out_channels, kernel, stride, conv.groups, shape, macs, times, conv.n_parameters
    )


def _shape_at(path: str, config: MedSpikeFormerConfig, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The spatial shape of what a module makes."""
    room, _, rest = path.partition(".")
    index, _, part = rest.partition(".")
    halvings = int(index) if index.isdigit() else 0
    if room == "pools":
        halvings += 1
    elif room == "decoders":
        halvings = config.pools - halvings - part.startswith("up")
    return tuple(n // 2**halvings for n in shape)


def _times(path: str, network: MedSpikeFormer | SegmentationTeacher) -> int:
    """How often a module runs for one image."""
    config = network.config
    constant = ["stages.0.embedding"]
    if not config.strict_spike:
        constant += ["stages.0.spike_convolution.branches.0.parts.0", "stages.0.attention.operands"]
    averaged = ("head", "mask_heads")
    once = isinstance(network, SegmentationTeacher) or path.startswith((*constant, *averaged))
    return 1 if once else config.steps


def _products(module: Attended | MapwiseAttention | SoftmaxAttention, tokens: int) -> int:
    """MACs of the products of an attention over so many tokens."""
    if isinstance(module, SoftmaxAttention):
        softmax = module.layer
        partners = tokens if softmax.axis == "token" else softmax.channels // softmax.heads
        return 2 * tokens * softmax.channels * partners
    if isinstance(module, MapwiseAttention):
        return 2 * len(module.outputs) * tokens * module.width * (module.width // module.heads)
    around = module.layer.around
    each = 2 * tokens * around.channels * (around.channels // around.heads)
    return each * sum(map(len, module.layer.outputs)) if isinstance(module.layer, DecomposedSelfAttention) else 0
