"""What a run of a program returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ProgramError
from ..synops import Report
from .memory import Plan
from .observation import Observation
from .values import Reals, Spikes, Value, unpack


class Returned(Mapping[str, np.ndarray]):
    """Values that a run returned, by name: real numbers [C, *S] or [T, C, *S], or spikes [T, C, *S] as whole numbers.

    With a batch they are [B, C, *S] and [T, B, C, *S]. Spikes stay packed, and are unpacked whenever they are asked
    for; `packed` gives the words.
    """

    def __init__(self, types: Mapping[str, Value], arrays: Mapping[str, np.ndarray], batched: bool):
        self._types, self._arrays, self._batched = types, arrays, batched

    def __getitem__(self, name: str) -> np.ndarray:
        value, array = self._types[name], self._arrays[name]
        if isinstance(value, Spikes):
            array = _unpacked(value, array)
            return array if self._batched else array[:, 0]
        if isinstance(value, Reals) and self._batched:
            return np.moveaxis(array, 0, 1)
        return array if self._batched else array[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def packed(self, name: str) -> np.ndarray:
        """The words of spikes, [B, slots, *S, W], see `values.Spikes`."""
        if not isinstance(self._types[name], Spikes):
            raise ProgramError(f"Returned: {name!r} are real numbers, and only spikes are packed")
        return self._arrays[name]


@dataclass(frozen=True)
class Execution:
    """What a run of a program returned.

    outputs         the outputs of the program
    kept            the values that were to be kept
    observation     what its operations have shown, over the batch: `report`, `rates` and `literal` are counted from it
                    when they are asked for
    seconds         by operation, over the batch; `total_seconds` is the whole run
    plan            the memory it took
    """

    outputs: Returned
    kept: Returned
    observation: Observation
    seconds: Mapping[str, float]
    total_seconds: float
    plan: Plan

    @property
    def report(self) -> Report:
        """Exact counts, operation by operation."""
        return self.observation.report

    @property
    def rates(self) -> dict[str, float]:
        """{layer: spikes for each neuron and step}; an integer k counts k."""
        return self.observation.rates

    @property
    def literal(self) -> dict[str, int]:
        """{attention: the SynOps of its equations as they are written}; those that were executed are in the report."""
        return self.observation.literal


def _unpacked(value: Spikes, words: np.ndarray) -> np.ndarray:
    """Words [B, slots, *S, W] -> spikes [T, B, C, *S], uint8 where the levels allow."""
    kind = np.uint8 if value.levels < 2**8 else np.uint16
    spikes = np.zeros((value.steps, len(words), value.channels, *value.shape), kind)
    for b, sample in enumerate(words):
        for slot in range(value.slots):
            spikes[slot // value.levels, b] += unpack(sample[slot : slot + 1], value.channels)[0]
    return spikes
