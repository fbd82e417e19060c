"""Trained networks in files: weights plus everything needed to build the network again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..errors import PysnnmedError, WeightsError
from ..models.medspikeformer import MedSpikeFormer, MedSpikeFormerConfig, SegmentationTeacher
from ..models.spikereg import SpikeReg, SpikeRegConfig, Teacher
from .weights import load_arrays, save_arrays

SHIPPED = Path(__file__).resolve().parents[1] / "models" / "weights"
Network: TypeAlias = Teacher | SpikeReg | MedSpikeFormer | SegmentationTeacher
NETWORKS: dict[str, tuple[type, type]] = {  # by class name, each with the class of its configuration
    "Teacher": (Teacher, SpikeRegConfig),
    "SpikeReg": (SpikeReg, SpikeRegConfig),
    "MedSpikeFormer": (MedSpikeFormer, MedSpikeFormerConfig),
    "SegmentationTeacher": (SegmentationTeacher, MedSpikeFormerConfig),
}


@dataclass(frozen=True)
class Card:
    """What a weights file says about itself.

    network   class name; config its configuration, of the class that goes with it in NETWORKS; facts whatever the
              trainer wrote: recipe, spacing, scores, licence
    """

    name: str
    path: Path
    network: str
    config: Any
    facts: Mapping[str, Any] = field(default_factory=dict)


def shipped() -> list[str]:
    """Names of the networks that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def save_model(path: str | Path, network: Network, facts: Mapping[str, Any] | None = None) -> None:
    """Write the parameters and buffers of `network` with its class, configuration and `facts` (JSON-able)."""
    metadata = {
        "network": type(network).__name__,
        "config": json.dumps(network.config.to_dict(), sort_keys=True),
        "facts": json.dumps(dict(facts or {}), sort_keys=True),
    }
    save_arrays(path, network.state_dict(), metadata)


def find_model(name: str | Path) -> Path:
    """The file of a network that is shipped, or `name` itself if that is a file; else WeightsError."""
    if str(name) in shipped():
        return SHIPPED / f"{name}.safetensors"
    path = Path(name)
    if not path.is_file():
        raise WeightsError(f"there is no model {str(name)!r}: no such file, and shipped are: {', '.join(shipped())}")
    return path


def load_model(name: str | Path) -> tuple[Network, Card]:
    """Build a network from a weights file, or by the name of one that is shipped. -> (network in evaluation mode, card)

    Raises WeightsError if the file is damaged, not a network of this package, or does not fit its own configuration.
    """
    path = find_model(name)
    arrays, metadata = load_arrays(path)
    try:
        kind, config_class = NETWORKS[metadata["network"]]
        config = config_class(**json.loads(metadata["config"]))
        facts = json.loads(metadata.get("facts", "{}"))
    except (KeyError, TypeError, ValueError, PysnnmedError) as error:
        raise WeightsError(f"{path}: its metadata does not describe a network of this package ({error})") from error
    network = kind(config, np.random.default_rng(0))
    try:
        network.load_state_dict(arrays)
    except PysnnmedError as error:
        raise WeightsError(f"{path}: {error}") from error
    network.eval()
    return network, Card(path.stem, path, kind.__name__, config, facts)
