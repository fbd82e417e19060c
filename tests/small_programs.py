"""Programs that are small enough to be followed by hand."""

from dataclasses import replace

import numpy as np

from pysnnmed.deploy.operations import Dynamics, Geometry, Quantize, ReadOut, Repeat, SpikingLayer, Synapses
from pysnnmed.deploy.program import Program


def two_layers(T=3):
    rng = np.random.default_rng(1)
    geometry = Geometry((3, 3), (1, 1), (1, 1), (1, 1))

    def neurons(n):
        numbers = np.arange(1, n + 1, dtype=np.int32)
        return Dynamics(T, 4 * numbers[None], 3 * numbers, numbers, 0 * numbers, leak=3, shift=2)

    def synapses(source, n_out, n_in):
        weight = rng.integers(-2, 4, (n_out, n_in, 3, 3)).astype(np.int8)
        return Synapses((source,), weight, np.ones(n_out, np.int32))

    zeros = np.zeros(4, np.int32)
    head = ReadOut(
        "head", geometry, replace(synapses("second", 2, 4), factor=np.ones(2, np.float32)), np.ones(2, np.float32)
    )
    operations = (
        Quantize("grey", "image", 16.0),
        SpikingLayer("first", geometry, neurons(4), zeros, analog=synapses("grey", 4, 1)),
        SpikingLayer(
            "second", geometry, neurons(4), zeros, frames=synapses("first", 4, 4), rates=synapses("first", 4, 4)
        ),
        head,
    )
    return Program({"image": 1}, operations, ("head",), 2)


def layer_and_repeats():
    ones = np.ones(1, np.float32)
    neurons = Dynamics(1, ones[None], ones, 0 * ones, 0 * ones, leak=1.0)
    analog = Synapses(("x",), np.ones((1, 1, 1), np.float32), ones)
    layer = SpikingLayer("s", Geometry((1,), (1,), (0,), (1,)), neurons, ones, analog=analog)
    return layer, Repeat("r0", "s", 4096), Repeat("r1", "r0", 4096), Repeat("r2", "r1", 4096)
