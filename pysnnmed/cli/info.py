"""Describe what is installed, a model and its program, an image or a displacement file."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import __version__, kernels
from ..data.images import Image
from ..data.nifti import read_nifti
from ..deploy.lower import NETWORKS
from ..deploy.memory import plan
from ..deploy.pretrained import load_model, shipped
from ..deploy.programs import load_program
from ..errors import ProgramError
from .common import add_running_arguments, add_weights_argument, running, say
from .program import program_facts, program_table

SIDE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", help="model name, weights file or NIfTI image (default: the installation)")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument(
        "--shape", type=int, nargs="+", metavar="N", help="of the inputs for which a program's memory is planned"
    )
    add_weights_argument(parser)
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    if arguments.what is None:
        facts = installation()
    elif arguments.what.endswith((".nii", ".nii.gz")):
        facts = image_facts(read_nifti(arguments.what))
    else:
        facts = model_facts(arguments.what)
        program = _program_facts(arguments, facts["network"])
        if program:
            facts["no_program" if "reason" in program else "program"] = program.get("reason", program)
    if arguments.json:
        say(json.dumps(facts))
        return
    program = facts.pop("program", None)
    lines = dict(_flat(facts))
    width = max(map(len, lines))
    for key, value in lines.items():
        say(f"{key:<{width}}  {value}")
    if program:
        say("\n" + program_table(program))


def _flat(facts: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Facts of facts by names with dots."""
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value


def _program_facts(arguments: argparse.Namespace, network: str) -> dict[str, Any] | None:
    """What there is to say of the program of a model, or the `reason` why a spiking one has none.

    None for the analog teacher and for weights as trained.
    """
    if arguments.weights == "trained" or network not in {kind.__name__ for kind in NETWORKS}:
        return None
    try:
        program, _ = load_program(arguments.what, arguments.weights)
    except ProgramError as error:
        return {"reason": str(error)}
    shape = tuple(arguments.shape or [-(-SIDE // program.multiple) * program.multiple] * program.ndim)
    with running(arguments):
        return program_facts(program, plan(program, shape))


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
