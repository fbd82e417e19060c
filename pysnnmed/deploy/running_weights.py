"""In which numbers a network runs: as a program with weights of some type, or as it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from .lower import Weights

RunningWeights: TypeAlias = Literal[Weights, "trained"]
RUNNING_WEIGHTS: tuple[RunningWeights, ...] = (*get_args(Weights), "trained")
COST_TABLES: Mapping[RunningWeights, str] = MappingProxyType(
    {
        "int8": "int8-int32",
        "int16": "int8-int32",  # Horowitz has no 16-bit multiplier; at the 8-bit one's price the analog network gains
        "float32": "fp32",
        "trained": "fp32",
    }
)
