"""A registration network of VoxelMorph's size as data: layer records, weights, and what they mean in NumPy.

The graph is the U-Net of VoxelMorph (Balakrishnan et al. 2019, IEEE TMI 38(8):1788-1800, default widths) with spiking
neurons: 3x3x3 convolutions, maximum over 2x2x2 voxels, nearest upsampling, concatenation, and a flow head at half the
resolution. Only the first convolution sees analog values; its current is the same at every time step.

A neuron of channel o at step t, with current I:  h = v / 2 + I;  s = 1 if h >= 1 else 0;  v = h - s.
Weights are int8 with one scale for each output channel, and the float weight *is* scale[o] * q[o, c, k]. Scales, biases
and images are multiples of small powers of two, so that sums of floats are exact in whatever order they are taken: an
integer network and a float one compute the same thing, and so do all sides of a comparison.

`execute` is the meaning of the graph; whoever runs it faster must give the same spikes, up to the order in which float
currents are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pysnnmed import kernels

BETA = 0.5
THRESHOLD = 1.0
TAPS = 27
GRID = 2.0**-13  # of scales and biases; with it currents below 2**11 are exact in float32
IMAGE_GRID = 2.0**-7  # of voxels; with both, currents below 16 are exact
IMAGE_LIMIT = 2.0  # voxels are smaller


class Layer(NamedTuple):
    """One node. Its value is named after it; two sources are concatenated along the channels, in that order.

    kind: "analog"   convolution of an image [C, *S], bias, then a neuron in every voxel, for T steps
          "spike"    convolution of spikes [T, C, *S], bias, then a neuron
          "pool"     maximum of spikes over 2x2x2 voxels
          "upsample" every spike eight times, 2x2x2
          "head"     mean over T of convolution and bias: analog [C, *S]
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    channels: int  # of its value
    level: int  # its value has the size of the input divided by 2**level


IMAGE = "image"
IMAGE_CHANNELS = 2
COARSEST = 4

UNET = [
    Layer("e0", "analog", (IMAGE,), 16, 0),
    Layer("p0", "pool", ("e0",), 16, 1),
    Layer("e1", "spike", ("p0",), 32, 1),
    Layer("p1", "pool", ("e1",), 32, 2),
    Layer("e2", "spike", ("p1",), 32, 2),
    Layer("p2", "pool", ("e2",), 32, 3),
    Layer("e3", "spike", ("p2",), 32, 3),
    Layer("p3", "pool", ("e3",), 32, COARSEST),
    Layer("d0", "spike", ("p3",), 32, COARSEST),
    Layer("u0", "upsample", ("d0",), 32, 3),
    Layer("d1", "spike", ("u0", "e3"), 32, 3),
    Layer("u1", "upsample", ("d1",), 32, 2),
    Layer("d2", "spike", ("u1", "e2"), 32, 2),
    Layer("u2", "upsample", ("d2",), 32, 1),
    Layer("d3", "spike", ("u2", "e1"), 32, 1),
    Layer("r0", "spike", ("d3",), 32, 1),
    Layer("r1", "spike", ("r0",), 16, 1),
    Layer("r2", "spike", ("r1",), 16, 1),
    Layer("flow", "head", ("r2",), 3, 1),
]
CONVOLUTIONS = ("analog", "spike", "head")
NEURONS = ("analog", "spike")


class Weights(NamedTuple):
    """Of one convolution."""

    q: np.ndarray  # [O, C, 3, 3, 3] int8
    scale: np.ndarray  # [O] float32
    bias: np.ndarray  # [O] float32

    @property
    def float32(self) -> np.ndarray:
        """The weight [O, C, 3, 3, 3] that q and scale stand for."""
        return self.q * self.scale.reshape(-1, 1, 1, 1, 1)

    def times(self, gain: float) -> Weights:
        """The same q with `gain` times the currents, up to the grid."""
        return Weights(self.q, _on_grid(self.scale * np.float32(gain)), _on_grid(self.bias * np.float32(gain)))


def _on_grid(numbers: np.ndarray, grid: float = GRID) -> np.ndarray:
    """The nearest multiples of the grid."""
    return (np.rint(numbers / grid) * grid).astype(np.float32)


def channels_in(graph: Sequence[Layer], layer: Layer, inputs: Mapping[str, int]) -> int:
    """Channels that `layer` reads, given those of the inputs of the graph by name."""
    channels = {**inputs, **{other.name: other.channels for other in graph}}
    return sum(channels[source] for source in layer.sources)


def draw_weights(graph: Sequence[Layer], inputs: Mapping[str, int], seed: int = 0) -> dict[str, Weights]:
    """Normal weights of variance 2 / (27 C), as He et al. 2015 start a network, rounded to int8, and small biases."""
    drawn = {}
    for index, layer in enumerate(graph):
        if layer.kind in CONVOLUTIONS:
            rng, c = np.random.default_rng([seed, index]), channels_in(graph, layer, inputs)
            weight = rng.normal(scale=np.sqrt(2 / (TAPS * c)), size=(layer.channels, c, 3, 3, 3))
            scale = (np.abs(weight).max(axis=(1, 2, 3, 4)) / 127).astype(np.float32)
            q = np.rint(weight / scale.reshape(-1, 1, 1, 1, 1)).clip(-127, 127).astype(np.int8)
            drawn[layer.name] = Weights(q, scale, rng.normal(scale=0.02, size=layer.channels).astype(np.float32))
    return drawn


def size_of(layer: Layer, size: Sequence[int]) -> tuple[int, ...]:
    """Voxels along each axis of the value of `layer`, given those of the input of the graph."""
    return tuple(n >> layer.level for n in size)


def dense_macs(graph: Sequence[Layer], inputs: Mapping[str, int], size: Sequence[int]) -> dict[str, int]:
    """Multiply-accumulates of each convolution if computed densely and once, taps in the padding included."""
    return {
        layer.name: TAPS * channels_in(graph, layer, inputs) * layer.channels * int(np.prod(size_of(layer, size)))
        for layer in graph
        if layer.kind in CONVOLUTIONS
    }


def walk(graph: Sequence[Layer], inputs: Mapping[str, Any], apply: Callable[[Layer, list], Any]) -> Any:
    """Apply every layer in order -> the value of the last one. A value is let go with its last reader.

    `apply(layer, sources)` owns the list: clearing it frees the sources that nobody else will read.
    """
    last_reader = {source: layer.name for layer in graph for source in layer.sources}
    values = dict(inputs)
    for layer in graph:
        sources = [values[source] for source in layer.sources]
        for source in layer.sources:
            if last_reader[source] == layer.name:
                values.pop(source, None)
        values[layer.name] = apply(layer, sources)
    return values[graph[-1].name]


# ------------------------------------------------------------------------------------------ the meaning, in NumPy


def execute(
    graph: Sequence[Layer],
    weights: Mapping[str, Weights],
    inputs: Mapping[str, np.ndarray],
    steps: int,
    visit: Callable[[str, np.ndarray], None] | None = None,
) -> np.ndarray:
    """Run the graph -> the value of its last layer, spikes [T, C, *S] bool or the flow [3, *S] float32.

    inputs: images [C, *S] float32 and spikes [T, C, *S] bool by name. `visit(name, value)` is called after each layer.
    """

    def apply(layer: Layer, sources: list[np.ndarray]) -> np.ndarray:
        if layer.kind == "pool":
            value = pool(*sources)
        elif layer.kind == "upsample":
            value = upsample(*sources)
        else:
            current = convolve(layer, weights[layer.name], sources)
            value = current.mean(axis=0) if layer.kind == "head" else fire(current, steps)
        if visit is not None:
            visit(layer.name, value)
        return value

    return walk(graph, inputs, apply)


def convolve(layer: Layer, weights: Weights, sources: Sequence[np.ndarray]) -> np.ndarray:
    """Currents [T, C, *S] float32 of spikes, or [1, C, *S] of an image."""
    return currents(weighted_sums(layer, weights, sources), weights)


def weighted_sums(layer: Layer, weights: Weights, sources: Sequence[np.ndarray]) -> np.ndarray:
    """The convolution with q alone: exact, whatever the order of the sums."""
    if layer.kind == "analog":
        sources = [source[None] for source in sources]
    out = np.empty((len(sources[0]), layer.channels, *sources[0].shape[2:]), np.float32)
    q, each = weights.q.astype(np.float32), (1, 1, 1)
    with kernels.use_backend(kernels.fastest()):
        for t in range(len(out)):
            x = np.concatenate([source[t : t + 1] for source in sources], axis=1, dtype=np.float32)
            out[t] = kernels.run("conv_forward", x, q, None, each, each, each, 1)[0]
    return out


def currents(sums: np.ndarray, weights: Weights) -> np.ndarray:
    """scale * sums + bias, in place."""
    for c, (scale, bias) in enumerate(zip(weights.scale, weights.bias, strict=True)):
        sums[:, c] *= scale
        sums[:, c] += bias
    return sums


def fire(current: np.ndarray, steps: int, gain: float = 1.0) -> np.ndarray:
    """Spikes [T, C, *S] bool of neurons that start at 0 and receive gain * current [T or 1, C, *S]."""
    spikes = np.empty((steps, *current.shape[1:]), bool)
    for c in range(spikes.shape[1]):  # one channel's membrane stays in the cache
        v = np.zeros(spikes.shape[2:], np.float32)
        for t in range(steps):
            h = v * np.float32(BETA) + current[min(t, len(current) - 1), c] * np.float32(gain)
            np.greater_equal(h, THRESHOLD, out=spikes[t, c])
            v = h - spikes[t, c] * np.float32(THRESHOLD)
    return spikes


def pool(spikes: np.ndarray) -> np.ndarray:
    """Whether any of 2x2x2 voxels fired: [T, C, *S] -> [T, C, *S/2]."""
    for axis in (2, 3, 4):
        even, odd = (spikes[(slice(None),) * axis + (slice(start, None, 2),)] for start in (0, 1))
        spikes = even | odd
    return spikes


def upsample(spikes: np.ndarray) -> np.ndarray:
    """Each voxel becomes 2x2x2: [T, C, *S] -> [T, C, *2S]."""
    for axis in (2, 3, 4):
        spikes = spikes.repeat(2, axis=axis)
    return spikes
