"""Which neurons programs have, and their parameters as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...errors import ProgramError
from ...neurons import IF, ILIF, LIF, NILIF, Neuron
from ...neurons.base import value_of
from ...neurons.canonical import Canonical
from ...tensor import Tensor
from ..quantize import Membrane

NEURONS = (LIF, IF, ILIF, NILIF)  # exactly these: what inherits from them may step in another way


def canonical(name: str, neuron: Neuron) -> Canonical:
    """The neuron of layer `name`, if programs have such neurons; else ProgramError."""
    kind = type(neuron).__name__
    if not isinstance(neuron, Canonical) or type(neuron) not in NEURONS:
        known = ", ".join(n.__name__ for n in NEURONS)
        raise ProgramError(f"lower: layer {name!r} has neurons {kind}; programs have {known} only")
    levels = getattr(neuron, "levels", 1)
    if neuron.gain == 0 or not math.isfinite(levels):
        raise ProgramError(
            f"lower: layer {name!r} has neurons {kind} of gain {neuron.gain} and {levels} levels; programs need a gain "
            f"other than 0 and a finite number of levels"
        )
    return neuron


def membranes(name: str, populations: Sequence[Canonical]) -> tuple[Membrane, ...]:
    """The parameters of the populations of layer `name`; ProgramError if they are not of one kind."""
    found = tuple(membrane(neuron) for neuron in populations)
    if len({(one.beta, one.hard, one.levels) for one in found}) > 1:
        raise ProgramError(
            f"lower: layer {name!r} has two populations with leaks, resets or levels of their own; no program has both "
            f"in one layer, run the network as it was trained, with weights 'trained'"
        )
    return found


def membrane(neuron: Canonical) -> Membrane:
    """The parameters of a neuron, learnt or not, as the float32 numbers that it computes with."""

    def number(value: float | Tensor) -> float:
        return float(np.float32(value_of(value)))

    amount = neuron.v_threshold if neuron.amount is None else neuron.amount
    return Membrane(
        beta=number(neuron.beta),
        threshold=number(neuron.v_threshold),
        amount=0.0 if neuron.reset == "none" else number(amount),
        initial=number(neuron.v_initial),
        reset_to=number(neuron.v_reset),
        hard=neuron.reset == "hard",
        firing=neuron.firing,
        levels=int(getattr(neuron, "levels", 1)),
    )
