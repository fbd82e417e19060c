"""Count every operation of a registration and project its energy under cost tables.

Without --moving and --fixed the generated pair of the demo is registered. The analog network's zeros are counted where
its weights are there: those of --teacher, by default the shipped ones that belong to --model.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

import numpy as np

from .. import viz
from ..data.files import write_text
from ..data.generate import generate_pair
from ..data.images import Image
from ..data.nifti import read_nifti
from ..deploy.pretrained import shipped
from ..errors import ParameterError, require
from ..registration import DEFAULT_MODEL, register, register_analog
from ..synops import ARITHMETIC, PLACEMENTS, TABLES, cost_table, projected_energy
from .common import add_running_arguments, add_weights_argument, say
from .demo import SEED, SHAPE

SHOWN = tuple(table.name for table in ARITHMETIC) + tuple(
    f"{arithmetic}@{place.name}" for arithmetic in ("fp32", "int8-int32") for place in PLACEMENTS
)
DRAWN_WITH_MEMORY = "sram"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--moving", type=Path, metavar="FILE", help="NIfTI image to be aligned")
    parser.add_argument("--fixed", type=Path, metavar="FILE", help="NIfTI image that stays where it is")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|FILE", help="default: %(default)s")
    parser.add_argument("--teacher", metavar="NAME|FILE", help="analog network whose zeros are counted")
    parser.add_argument("--align", choices=["world", "centre"], help="as for the command register")
    parser.add_argument(
        "--table", nargs="+", metavar="NAME", help=f"cost tables: {', '.join(TABLES)} (default: a choice of them)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write counts and projections as JSON")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the energy of every layer")
    add_weights_argument(parser)
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    if (arguments.moving is None) != (arguments.fixed is None):
        raise ParameterError("--moving and --fixed go together: give both, or neither for a generated pair")
    if arguments.chart:
        require("matplotlib", extra="plot", purpose="drawing the chart")  # before the work, not after it
    for name in arguments.table or ():
        cost_table(name)
    (moving, fixed), data = _pair(arguments)
    align = arguments.align or ("world" if arguments.moving is None else None)
    settings = {"align": align, "backend": arguments.backend, "threads": arguments.threads}
    result = register(moving, fixed, model=arguments.model, weights=arguments.weights, **settings)
    report, teacher = result.operations, arguments.teacher or f"{arguments.model}-teacher"
    if arguments.teacher or teacher in shipped():
        report = report.with_activations(register_analog(moving, fixed, model=teacher, **settings).operations)
    energies = [projected_energy(report, name) for name in arguments.table or SHOWN]
    say(f"{result.model.name} ({result.weights} weights) on {data}, {result.backend} backend\n")
    for table in (report.table(), report.neuron_table(), report.memory_table()):
        say(table + "\n")
    for energy in energies:
        say(textwrap.fill(str(energy), 120, subsequent_indent="    ", break_on_hyphens=False) + "\n")
    if report.ann_nonzero_macs is not None:
        zeros = 1 - report.ann_nonzero_macs / report.ann_macs
        say(f"{zeros:.1%} of the MACs of the analog network meet a zero ({teacher})")
    if arguments.json:
        facts = {"data": data, "model": result.model.name, "weights": result.weights, "backend": result.backend}
        projections = [energy.facts() for energy in energies]
        content = {**facts, "projections": projections, **json.loads(report.to_json())}
        write_text(arguments.json, json.dumps(content, indent=1) + "\n")
    if arguments.chart:
        caption = f"{result.model.name} on {data}"
        drawn = arguments.table or (result.cost_table, f"{result.cost_table}@{DRAWN_WITH_MEMORY}")
        viz.save_figure(viz.energy_figure(report, drawn, caption=caption), arguments.chart)


def _pair(arguments: argparse.Namespace) -> tuple[tuple[Image, Image], str]:
    """Moving and fixed image, and where they come from."""
    if arguments.moving is not None:
        return (read_nifti(arguments.moving), read_nifti(arguments.fixed)), f"{arguments.moving}, {arguments.fixed}"
    pair = generate_pair(SHAPE, np.random.default_rng(SEED))
    source = f"generated pair, seed {SEED}"
    return (Image(pair.moving, np.eye(4), source=source), Image(pair.fixed, np.eye(4), source=source)), source
