"""From a trained network to a program: each network in a file of its own, made with `builder`.

The program computes what the network computes. In float32 its sums may have another order, so that a spike differs
where a potential comes within rounding of its threshold, and nowhere else; on dyadic weights, whose sums are exact,
every spike is the same. With whole-number weights the differences are those that `quantize` bounds, and none at all
where the weights are whole multiples of a power of two that fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import ParameterError, ProgramError
from ...models.medspikeformer import MedSpikeFormer
from ...models.spikereg import SpikeReg
from ..program import Program
from .collected import WEIGHTS, Weights
from .medspikeformer import lower_medspikeformer
from .spikereg import lower_spikereg

__all__ = ["NETWORKS", "WEIGHTS", "Weights", "lower"]

NETWORKS: dict[type, Callable[[Any, Weights], Program]] = {
    SpikeReg: lower_spikereg,
    MedSpikeFormer: lower_medspikeformer,
}


def lower(network: Any, weights: Weights = "int8", facts: Mapping[str, Any] | None = None) -> Program:
    """The program of a trained network, with weights of one of the types WEIGHTS; `facts` are remembered in it.

    Raises ProgramError for a network without a lowering and, naming the layer, for a neuron that no program has.
    """
    if weights not in WEIGHTS:
        raise ParameterError(f"lower: weights must be {', '.join(WEIGHTS)}, not {weights!r}")
    if type(network) not in NETWORKS:
        known = ", ".join(kind.__name__ for kind in NETWORKS)
        raise ProgramError(f"lower: a {type(network).__name__} has no program; there are programs of {known}")
    program = NETWORKS[type(network)](network, weights)
    return replace(
        program, facts={"network": type(network).__name__, "weights": weights, **program.facts, **(facts or {})}
    )
