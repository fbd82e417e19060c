"""The benchmark networks as programs, run by our executors.

int8: weights int8, membranes int32 in units so fine that nothing is rounded: the scales and biases of the graph are
multiples of unet_graph.GRID, its images of IMAGE_GRID, and a membrane is halved T times at most. float32: the same
numbers as floats. The spikes of both are those of `unet_graph.execute`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pysnnmed.backends.packed import Packed
from unet_graph import (
    BETA,
    CONVOLUTIONS,
    GRID,
    IMAGE,
    IMAGE_CHANNELS,
    IMAGE_GRID,
    IMAGE_LIMIT,
    THRESHOLD,
    Layer,
    Weights,
)

from pysnnmed import kernels
from pysnnmed.deploy.executor import Executor
from pysnnmed.deploy.folding import fold_repeats
from pysnnmed.deploy.memory import allocate
from pysnnmed.deploy.operations import (
    Dynamics,
    Geometry,
    Operation,
    Pool,
    Quantize,
    ReadOut,
    Repeat,
    SpikingLayer,
    Synapses,
)
from pysnnmed.deploy.program import Program
from pysnnmed.deploy.values import pack, unpack
from pysnnmed.errors import ProgramError

SAME = Geometry((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1))
WHOLE_IMAGE = "whole"
HALVING = round(np.log2(1 / BETA))

Run = Callable[..., np.ndarray]


def maker(kind: str) -> Callable[..., Run]:
    """What event_common.OURS holds for programs whose weights are `kind`, int8 or float32."""

    def make(
        graph: Sequence[Layer],
        weights: Mapping[str, Weights],
        inputs: Mapping[str, np.ndarray],
        steps: int,
        threads: int,
    ) -> Run:
        if IMAGE in inputs:
            return network_run(program(graph, weights, steps, kind), inputs[IMAGE], threads)
        return layer_run(graph[0], weights[graph[0].name], inputs, steps, kind, threads)

    return make


def network_run(network: Program, image: np.ndarray, threads: int) -> Run:
    """Runs of a program in the same memory. Spikes are unpacked for those who visit, and at the end of the program."""
    last = network.outputs[0]
    plain = Executor(network)
    watched = Executor(network, keep=tuple(layer.name for layer in network.layers))

    def run(visit: Callable[[str, np.ndarray], None] | None = None) -> np.ndarray:
        with kernels.use_backend("numba"), kernels.use_threads(threads):
            execution = (watched if visit else plain)({IMAGE: image})
        if visit:
            for name, spikes in execution.kept.items():
                visit(name, spikes)
        return execution.outputs[last]

    return run


def layer_run(
    layer: Layer, weights: Weights, inputs: Mapping[str, np.ndarray], steps: int, kind: str, threads: int
) -> Run:
    """One fused layer on packed spikes, which is the form in which spikes come from the layer before and go on."""
    fused = fitting(lambda bits: convolution(layer, weights, steps, kind, bits), steps)
    sources = tuple(Packed(pack(inputs[name]), inputs[name].shape[1]) for name in layer.sources)
    shape = inputs[layer.sources[0]].shape[2:]
    with kernels.use_backend("numba"), kernels.use_threads(threads):
        words, _ = kernels.run("spiking_layer", fused, sources, (), (), ())
        scratch = allocate(kernels.run("layer_scratch", fused, shape))  # which an executor plans and keeps

    def run(visit: Callable[[str, np.ndarray], None] | None = None) -> np.ndarray:
        with kernels.use_backend("numba"), kernels.use_threads(threads):
            kernels.run("spiking_layer", fused, sources, (), (), (), words, scratch)
        return words

    run.unpacked = lambda: unpack(run(), layer.channels)  # type: ignore[attr-defined]
    return run


def program(graph: Sequence[Layer], weights: Mapping[str, Weights], steps: int, kind: str) -> Program:
    """The graph as a program whose weights are `kind`."""

    def with_units(bits: int) -> Program:
        whole = kind == "int8"
        operations: list[Operation] = [Quantize(WHOLE_IMAGE, IMAGE, 1 / IMAGE_GRID, 0.0, IMAGE_LIMIT)] if whole else []
        for layer in graph:
            if layer.kind in CONVOLUTIONS:
                operations.append(convolution(layer, weights[layer.name], steps, kind, bits))
            elif layer.kind == "pool":
                operations.append(Pool(layer.name, layer.sources[0], 2, "or"))
            else:
                operations.append(Repeat(layer.name, layer.sources[0], 2))
        multiple = 2 ** max(layer.level for layer in graph)
        return fold_repeats(Program({IMAGE: IMAGE_CHANNELS}, tuple(operations), (graph[-1].name,), multiple=multiple))

    return fitting(with_units, steps)


def fitting(make: Callable[[int], object], steps: int):
    """make(bits) with as many bits below the grid as a membrane is halved, or as int32 leaves room for."""
    for bits in range(steps * HALVING, 0, -1):
        try:
            return make(bits)
        except ProgramError:
            continue
    return make(0)


def convolution(layer: Layer, weights: Weights, steps: int, kind: str, bits: int) -> SpikingLayer | ReadOut:
    """A layer of the graph that has weights; whole numbers in units of the grid times 2**-bits."""
    whole, analog = kind == "int8", layer.kind == "analog"
    weight = weights.q if whole else weights.float32
    ones = np.ones(layer.channels, np.float32)
    if layer.kind == "head":
        scale = weights.scale if whole else ones
        return ReadOut(layer.name, SAME, Synapses(layer.sources, weight, scale / np.float32(steps)), weights.bias)
    unit = GRID * 2.0**-bits * (IMAGE_GRID if analog else 1)

    def numbers(value: np.ndarray) -> np.ndarray:
        return np.rint(value.astype(np.float64) / unit).astype(np.int32) if whole else value.astype(np.float32)

    sources = (WHOLE_IMAGE,) if whole and analog else layer.sources
    factor = numbers(weights.scale * np.float64(IMAGE_GRID if analog else 1)) if whole else ones
    synapses = Synapses(sources, weight, factor)
    threshold = numbers(THRESHOLD * ones)
    neurons = Dynamics(
        steps, threshold[None], threshold, numbers(0 * ones), numbers(0 * ones), *((1, HALVING) if whole else (BETA, 0))
    )
    part = {"analog" if analog else "frames": synapses}
    return SpikingLayer(layer.name, SAME, neurons, numbers(weights.bias), **part)
