"""Turn an analog teacher into a spiking network and report layer by layer what that cost.

The activations that set the scales are seen on pairs of training images: neighbours, by name, among the volumes of the
folder --data (or of its folder images), else generated pairs. Nothing learns; fine-tuning comes after.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import viz
from ..convert import CONVENTIONS, GRANULARITIES, Comparison, LayerReport, compared, scales_for, sweep, transfer
from ..data.files import write_text
from ..deploy.pretrained import Card, load_model, save_model
from ..errors import ParameterError, WeightsError, require
from ..models.spikereg import MODES, SpikeReg, SpikeRegConfig, Teacher, as_paper
from ..train.calibration import FolderPairs, GeneratedPairs
from .common import add_running_arguments, running, say

PERCENTILES = {"sound": 99.0, "paper": 50.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--teacher", required=True, metavar="NAME|FILE", help="analog network")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the spiking network")
    parser.add_argument("--data", type=Path, metavar="DIR", help="NIfTI volumes to calibrate on (default: generated)")
    parser.add_argument("--pairs", type=int, default=8, metavar="N", help="how many pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of generated pairs and of weights no teacher has")
    parser.add_argument("--mode", choices=MODES, default="sound", help="see pysnnmed.models.spikereg")
    parser.add_argument("--percentile", type=float, help="of the activations (default: 99, in mode paper 50)")
    parser.add_argument("--convention", choices=CONVENTIONS, default="positive", help="which activations count")
    parser.add_argument("--granularity", choices=GRANULARITIES, default="layer", help="what shares one scale")
    parser.add_argument("--steps", type=int, metavar="T", help="time steps (default: those of the teacher's file)")
    parser.add_argument(
        "--learn-neurons", action="store_true", help="let fine-tuning learn leak and threshold of each layer"
    )
    parser.add_argument("--sweep", type=_numbers, metavar="T,T,...", help="report the error for these time steps too")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the error of the sweep")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    if arguments.figure and len(arguments.sweep or ()) < 2:
        raise ParameterError("--figure draws a sweep: give at least two numbers of steps with --sweep")
    if arguments.figure:
        require("matplotlib", extra="plot", purpose="drawing the figure")  # before the work, not after it
    teacher, card = load_model(arguments.teacher)
    if not isinstance(teacher, Teacher):
        raise WeightsError(f"{card.path}: holds a {card.network}, only a Teacher can be converted")
    config = _configuration(arguments, card)
    pairs = _pairs(arguments, card)
    percentile = PERCENTILES[config.mode] if arguments.percentile is None else arguments.percentile
    settings = {"percentile": percentile, "convention": arguments.convention, "granularity": arguments.granularity}
    with running(arguments):
        spiking = _untrained(config, arguments.seed)
        scales = scales_for(teacher, spiking, pairs, **settings)
        transfer(teacher, spiking, scales)
        found = compared(teacher, spiking, pairs, scales)
        points = []
        if arguments.sweep:
            points = sweep(teacher, lambda c: _untrained(c, arguments.seed), config, pairs, scales, arguments.sweep)
    told = {"mode": config.mode, **settings, "calibrated_on": pairs.description, "teacher": card.name}
    facts = {k: v for k, v in card.facts.items() if k not in ("held_out", "scores")}
    save_model(arguments.out, spiking, {**facts, "conversion": told})
    if arguments.json:
        content = {**told, "network": config.to_dict(), **found.to_dict(), "sweep": [p.to_dict() for p in points]}
        write_text(arguments.json, json.dumps(content, indent=1) + "\n")
    if arguments.figure:
        _draw(points, arguments.figure, f"{card.name}, mode {config.mode}\n{pairs.description}")
    say(f"{card.name} converted, mode {config.mode}, T = {config.steps}, on {pairs.description}")
    say(_table(found.layers))
    shown = {point.steps: point for point in (found, *points)}
    for _, point in sorted(shown.items()):
        say(
            f"T = {point.steps}: the field differs by {point.field_error:.4g} voxels on average, "
            f"{100 * point.relative_error:.1f} % of the teacher's"
        )
    say(f"wrote {arguments.out}")


def _configuration(arguments: argparse.Namespace, card: Card) -> SpikeRegConfig:
    """That of the teacher, with the mode and the neurons that were asked for."""
    steps, learnt = arguments.steps or card.config.steps, arguments.learn_neurons
    config = replace(card.config.analog(), steps=steps, learn_leak=learnt, learn_threshold=learnt)
    return as_paper(config) if arguments.mode == "paper" else config


def _pairs(arguments: argparse.Namespace, card: Card) -> FolderPairs | GeneratedPairs:
    if arguments.pairs < 1:
        raise ParameterError(f"--pairs must be at least 1, not {arguments.pairs}")
    if arguments.data is None:
        return GeneratedPairs(arguments.pairs, card.config, arguments.seed)
    spacing, align = card.facts.get("spacing"), card.facts.get("align", "world")
    return FolderPairs(arguments.data, arguments.pairs, card.config, spacing, align)


def _untrained(config: SpikeRegConfig, seed: int) -> SpikeReg:
    return SpikeReg(config, np.random.default_rng(seed)).eval()


def _draw(points: Sequence[Comparison], path: Path, title: str) -> None:
    errors = {layer.name: [p.layers[i].error for p in points] for i, layer in enumerate(points[0].layers)}
    figure = viz.conversion_figure([p.steps for p in points], [p.field_error for p in points], errors, title=title)
    viz.save_figure(figure, path)


def _table(layers: Sequence[LayerReport]) -> str:
    lines = [f"{'layer':<18}{'lambda':>10}{'error':>10}{'saturated':>12}{'rate':>9}{'dead':>9}"]
    lines += [
        f"{row.name:<18}{row.scale:>10.4g}{row.error:>10.4f}{row.saturated:>11.2%}{row.rate:>9.4f}{row.dead:>9.2%}"
        for row in layers
    ]
    return "\n".join(lines)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers of steps are whole and separated by commas, not {text!r}") from None
