"""What conversion needs of networks, and running them to watch their layers."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Protocol

import numpy as np

from ..tensor import Tensor, no_grad

Example = tuple[Tensor, ...]


class LayeredNetwork(Protocol):
    """What conversion needs of a network: a table of layers, units by name, a head, an observable forward."""

    config: Any
    head: Any

    def unit(self, name: str) -> Any: ...

    def __call__(self, *example: Tensor, observe: Callable[[str, Tensor], None] | None = None) -> Tensor: ...


class SpikingNetwork(LayeredNetwork, Protocol):
    """And what it needs of the one that it writes to."""

    def signed(self, spikes: Tensor) -> Tensor:
        """What the spikes of a layer [T, B, populations C, *S] say to the next, [T, B, C, *S]."""

    def freeze_norms(self) -> Any:
        """Let batch norms, if there are any, keep what they have."""


def watch(network: LayeredNetwork, example: Example, see: Callable[[str, np.ndarray], None]) -> np.ndarray:
    """Run `network` and hand what each layer gives to `see`, one after another. -> what the network returns"""
    with no_grad():
        return network(*example, observe=lambda name, x: see(name, x.data)).data


def observed(network: LayeredNetwork, example: Example, names: Container[str]) -> dict[str, np.ndarray]:
    """Run `network` and return what its layers called `names` gave, {name: array}."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, x: np.ndarray) -> None:
        if name in names:
            seen[name] = x

    watch(network, example, keep)
    return seen
