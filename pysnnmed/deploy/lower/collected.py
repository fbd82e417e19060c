"""What lowerings of all networks share: the operations so far, and the types of the values that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import numpy as np

from ..operations import EXACT_IN_FLOAT32, Convolve, Operation, Synapses
from ..program import Program
from ..quantize import LIMITS, quantize
from ..values import Real, Sizes, Spikes, Value
from .real import Connections
from .whole import quantize_within

Weights: TypeAlias = Literal["int8", "int16", "float32"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)


class Collected:
    """Collects the operations of a program, for weights of one type and T = `steps`; checks each as it comes.

    `example` is a spatial shape of the inputs on which the layers fit together.
    """

    def __init__(self, inputs: Mapping[str, int], example: Sizes, multiple: int, weights: Weights, steps: int):
        self.inputs, self.example, self.multiple = dict(inputs), example, multiple
        self.weights, self.steps = weights, steps
        self.operations: list[Operation] = []
        self.values: dict[str, Value] = {name: Real(channels, example) for name, channels in inputs.items()}
        self.analog_channels: dict[str, int] = {}  # see Program
        self._worth: dict[str, float] = {}  # of one spike, by source

    def add(self, operation: Operation) -> str:
        """Append an operation whose sources are there already. -> its name"""
        self.values[operation.name] = operation.result(self.values)
        self.operations.append(operation)
        return operation.name

    def convolve(self, name: str, connections: Connections, source: str) -> str:
        """The convolution of what `source` holds at each step, or of real numbers that stay. -> its name"""
        synapses = self._synapses(connections, source)
        return self.add(Convolve(name, connections.geometry, synapses, connections.bias.astype(np.float32)))

    def program(self, *outputs: str) -> Program:
        """The program that returns the values called `outputs`."""
        return Program(
            self.inputs,
            tuple(self.operations),
            outputs,
            len(self.example),
            self.multiple,
            self.example,
            self.analog_channels,
        )

    def _synapses(self, connections: Connections, source: str, over_time: bool = False) -> Synapses:
        value, weight = self.values[source], connections.weight.astype(np.float32)
        worth = np.float32(self._worth.get(source, 1.0))
        if self.weights == "float32":
            return Synapses((source,), weight, np.full(len(weight), worth))
        limit = LIMITS[self.weights]
        if isinstance(value, Spikes):
            slots = value.slots if over_time else value.levels
            quantized = quantize_within(weight, limit, EXACT_IN_FLOAT32 // slots)
        else:
            quantized = quantize(weight, limit)
        return Synapses((source,), quantized.q, (quantized.scale * worth).astype(np.float32))
