"""What runs of a program have shown, and the counts that follow from it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ProgramError
from ..synops import Report
from . import counts
from .operations import Attend
from .program import Program
from .seen import Seen, together
from .values import Value


@dataclass(frozen=True)
class Observation:
    """What each operation of `program` has shown on so many samples, whose values have the types of `values`.

    Runs on inputs of one shape are added with +. Nothing is counted before it is asked for: a run on a small image may
    take no longer than its counts.
    """

    program: Program
    values: Mapping[str, Value]
    samples: int
    seen: Mapping[str, Seen]

    def __add__(self, other: Observation) -> Observation:
        if other.program is not self.program or other.values != self.values:
            raise ProgramError("Observation: only runs of one program on inputs of one shape add up")
        seen = {name: together((mine, other.seen[name])) for name, mine in self.seen.items()}
        return Observation(self.program, self.values, self.samples + other.samples, seen)

    @functools.cached_property
    def report(self) -> Report:
        """Exact counts, operation by operation; of those that compute something."""
        program = self.program
        counted = (
            counts.count(op, self.values, self.samples, self.seen[op.name], program.analog_channels)
            for op in program.operations
        )
        return Report(tuple(count for count in counted if count is not None))

    @property
    def fired(self) -> dict[str, tuple[int, int]]:
        """{layer: (spikes, neurons times steps)}; an integer k counts k."""
        layers = (layer for layer in self.report.layers if layer.neuron_updates)
        return {layer.name: (self.seen[layer.name].spikes, layer.neuron_updates) for layer in layers}

    @property
    def rates(self) -> dict[str, float]:
        """{layer: spikes for each neuron and step}"""
        return {name: spikes / sites for name, (spikes, sites) in self.fired.items()}

    @property
    def literal(self) -> dict[str, int]:
        """{attention: the SynOps of its equations as they are written}; those that were executed are in the report."""
        return {
            op.name: counts.literal_synops(op, self.values, self.samples, self.seen[op.name])
            for op in self.program.operations
            if isinstance(op, Attend)
        }
