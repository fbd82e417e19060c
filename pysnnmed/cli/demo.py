"""Register a generated pair with the shipped weights and show everything: no files needed.

The pair is drawn from shapes and noise by a seed that training never used. Written to the folder --out: moving, fixed
and moved volume, labels, warp, summary and figure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ..data.displacements import write_displacement
from ..data.files import write_text
from ..data.generate import generate_pair
from ..data.images import Image
from ..data.nifti import write_nifti
from ..errors import require
from ..metrics.overlap import mean_dice
from ..registration import DEFAULT_MODEL, register
from .common import add_running_arguments, add_weights_argument, say, warm_up
from .report import as_text, save_preview, write_energy

SHAPE = (64, 64, 64)
SEED = 20_261_121  # training draws its pairs from sequences that start with the recipe's seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|FILE", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated pair")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_weights_argument(parser)
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    require("matplotlib", extra="plot", purpose="drawing the figure")  # before the work, not after it
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    pair = generate_pair(SHAPE, np.random.default_rng(arguments.seed))
    volumes = {
        name: Image(getattr(pair, name), np.eye(4), source=f"generated {name.replace('_', ' ')}")
        for name in ("moving", "fixed", "moving_labels", "fixed_labels")
    }
    warm_up(arguments, arguments.model, arguments.weights)
    result = register(
        volumes["moving"],
        volumes["fixed"],
        moving_labels=volumes["moving_labels"],
        model=arguments.model,
        weights=arguments.weights,
        align="world",
        backend=arguments.backend,
        threads=arguments.threads,
    )
    volumes["moved"] = result.moved
    if result.moved_labels is not None:
        volumes["moved_labels"] = result.moved_labels
    labels = range(1, int(pair.fixed_labels.max()) + 1)
    summary = {
        **result.summary(),
        "dice_before": mean_dice(pair.fixed_labels, pair.moving_labels, labels),
        "dice_after": mean_dice(pair.fixed_labels, volumes["moved_labels"].data, labels),
        "data": f"generated, seed {arguments.seed}",
    }
    for name, volume in volumes.items():
        write_nifti(out / f"{name}.nii.gz", volume)
    write_displacement(out / "warp.nii.gz", result.displacement, "itk")
    write_energy(out / "energy.json", result.summary(), result.operations)
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    save_preview(
        out / "figure.png",
        volumes["moving"],
        volumes["fixed"],
        result,
        moving_labels=volumes["moving_labels"],
        fixed_labels=volumes["fixed_labels"],
        caption=f"generated data, seed {arguments.seed}",
    )
    say(json.dumps(summary) if arguments.json else as_text(summary))
    if not arguments.json:
        say(f"generated pair, never trained on; everything is in {out}")
