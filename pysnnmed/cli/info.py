"""Describe what is installed, a model, an image or a displacement file."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from typing import Any

import numpy as np

from .. import __version__, kernels
from ..data.images import Image
from ..data.nifti import read_nifti
from ..deploy.pretrained import load_model, shipped
from .common import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", help="model name, weights file or NIfTI image (default: the installation)")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def run(arguments: argparse.Namespace) -> None:
    if arguments.what is None:
        facts = installation()
    elif arguments.what.endswith((".nii", ".nii.gz")):
        facts = image_facts(read_nifti(arguments.what))
    else:
        facts = model_facts(arguments.what)
    if arguments.json:
        say(json.dumps(facts))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        say(f"{key:<{width}}  {value}")


def installation() -> dict[str, Any]:
    """Versions, backends and shipped models."""
    packages = {}
    for name in ("numpy", "numba", "scipy", "matplotlib"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "pysnnmed": __version__,
        "python": platform.python_version(),
        **packages,
        "backends": ", ".join(kernels.available()),
        "models": ", ".join(shipped()),
    }


def image_facts(image: Image) -> dict[str, Any]:
    """Geometry and intensities of a volume that passed every check."""
    return {
        "file": image.source,
        "shape": list(image.shape),
        "type": str(image.data.dtype),
        "orientation": image.orientation,
        "spacing_mm": [round(s, 6) for s in image.spacing],
        "range": [float(image.data.min()), float(image.data.max())],
        "distinct_values": int(np.unique(image.data).size),
    }


def model_facts(name: str) -> dict[str, Any]:
    """What a weights file says about itself."""
    network, card = load_model(name)
    return {
        "model": card.name,
        "file": str(card.path),
        "network": card.network,
        "parameters": network.n_parameters,
        **card.config.to_dict(),
        **card.facts,
    }
