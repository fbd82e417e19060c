"""Penalties on how much a network spikes."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ParameterError
from ..tensor import Tensor


def spike_rate_penalty(rates: Sequence[Tensor], target: float = 0.1, l1: float = 1e-4, l2: float = 0.01) -> Tensor:
    """sum over layers of l1 rho + l2 (rho - target)^2, rho the mean spikes per neuron and step of a layer, a scalar.

    The first term asks for few spikes everywhere, the second keeps each layer near `target`, so that none dies and none
    saturates. The defaults are SpikeReg's. Raises ParameterError for an empty list.
    """
    if not rates:
        raise ParameterError("spike_rate_penalty: rates must hold the spike rate of at least one layer, not nothing")
    total: Tensor | float = 0.0
    for rho in rates:
        total = total + l1 * rho + l2 * (rho - target) * (rho - target)
    return total  # type: ignore[return-value]
