"""A program: a trained network as a list of typed operations on packed spikes.

The language knows nothing of layers, gradients or modules, and a program holds no shape: it runs on inputs of any
spatial size that its operations accept. Executors are in `executor`; files in `storage`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProgramError
from .operations import Fire, Gate, Operation, SpikingLayer
from .values import Real, Sizes, Value

DOUBLINGS = 8
MOST_CHANNELS = 2**16
LARGEST_EXAMPLE = 2**24  # executors warm up on it


@dataclass(frozen=True, eq=False)
class Program:
    """Operations in the order of their execution.

    inputs          {name: channels} of the real-valued inputs, [C, *S] float32
    outputs         names of the values to return
    ndim            spatial axes
    multiple        every spatial axis of the inputs must be a multiple of this
    example         a spatial shape on which the operations fit together; () looks for the smallest of equal sides
    analog_channels {operation: how many of its channels, the first ones, the analog network has too to which counts
                    compare the program}; of what is not named it has all
    facts           what the maker wants to be remembered, JSON-able: the name of the network, T, scores

    Raises ProgramError, naming the operation, if a name is used twice, unknown or used before it exists, or if the
    operations do not fit together on inputs of the shape `example`.
    """

    inputs: Mapping[str, int]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    ndim: int = 3
    multiple: int = 1
    example: Sizes = ()
    analog_channels: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = set(self.inputs)
        for operation in self.operations:
            title = f"{type(operation).__name__} {operation.name!r}"
            for source in operation.sources:
                if source not in known:
                    raise ProgramError(
                        f"{title}: its source {source!r} is not the name of an input or earlier operation"
                    )
            if operation.name in known:
                raise ProgramError(f"{title}: there is an earlier value of this name")
            known.add(operation.name)
        unknown = [name for name in self.outputs if name not in known]
        if unknown or not self.outputs:
            raise ProgramError(f"a program must return values that it computes, not {list(self.outputs)}")
        if not self.inputs or min(self.inputs.values()) < 1 or self.ndim not in (1, 2, 3) or self.multiple < 1:
            raise ProgramError(
                f"a program needs inputs with at least one channel, 1 to 3 axes and a multiple of at least 1, not "
                f"{dict(self.inputs)}, {self.ndim} and {self.multiple}"
            )
        if max(self.inputs.values()) > MOST_CHANNELS:
            raise ProgramError(f"inputs must have at most {MOST_CHANNELS} channels, not {dict(self.inputs)}")
        object.__setattr__(self, "example", tuple(self.example) or self._smallest())
        self._check_analog_channels(self.values(self.example))
        if math.prod(self.example) > LARGEST_EXAMPLE:
            raise ProgramError(f"the example must have at most {LARGEST_EXAMPLE} positions, not {self.example}")

    def _smallest(self) -> Sizes:
        """Multiples of `multiple` by powers of two are enough for networks; if none fits, the last one says why not."""
        cubes = [(self.multiple * 2**i,) * self.ndim for i in range(DOUBLINGS)]
        for shape in cubes[:-1]:
            with contextlib.suppress(ProgramError):
                self.values(shape)
                return shape
        return cubes[-1]

    def _check_analog_channels(self, values: Mapping[str, Value]) -> None:
        """Only layers of spikes can have channels of both kinds."""
        kinds = {operation.name: operation for operation in self.operations}
        for name, n in self.analog_channels.items():
            if name not in kinds:
                raise ProgramError(f"analog_channels must name operations of the program, not {name!r}")
            channels = values[name].channels
            if not (0 <= n <= channels if isinstance(kinds[name], SpikingLayer) else n in (0, channels)):
                raise ProgramError(
                    f"{type(kinds[name]).__name__} {name!r}: its analog_channels must be 0 or {channels}, of a spiking "
                    f"layer anything between, not {n}"
                )

    def values(self, shape: Sizes) -> dict[str, Value]:
        """The type of every value for inputs of spatial `shape`, inputs first. Raises ProgramError."""
        if len(shape) != self.ndim or any(n < 1 or n % self.multiple for n in shape):
            raise ProgramError(
                f"the program runs on {self.ndim} spatial axes, each a multiple of {self.multiple}, "
                f"not {tuple(shape)}; pad the input"
            )
        values: dict[str, Value] = {name: Real(channels, tuple(shape)) for name, channels in self.inputs.items()}
        for operation in self.operations:
            values[operation.name] = operation.result(values)
        return values

    @property
    def layers(self) -> Iterator[SpikingLayer]:
        """The operations that hold synapses and neurons in one."""
        return (operation for operation in self.operations if isinstance(operation, SpikingLayer))

    @property
    def integer(self) -> bool:
        """Whether all neurons compute in whole numbers, so that every executor returns the same spikes."""
        if any(isinstance(operation, Fire | Gate) for operation in self.operations):
            return False
        return all(layer.integer for layer in self.layers)
