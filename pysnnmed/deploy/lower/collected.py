"""What lowerings of all networks share: the operations so far, and the types of the values that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from ..operations import Operation
from ..program import Program
from ..values import Real, Sizes, Value

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
        self._worth: dict[str, float] = {}  # of one spike, by source

    def add(self, operation: Operation) -> str:
        """Append an operation whose sources are there already. -> its name"""
        self.values[operation.name] = operation.result(self.values)
        self.operations.append(operation)
        return operation.name

    def program(self, *outputs: str) -> Program:
        """The program that returns the values called `outputs`."""
        return Program(self.inputs, tuple(self.operations), outputs, len(self.example), self.multiple, self.example)
