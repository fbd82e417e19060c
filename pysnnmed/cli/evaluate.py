"""Score a model on the held-out pairs of a recipe, and compare it with another case by case."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ..deploy.lower import NETWORKS
from ..deploy.pretrained import load_model
from ..deploy.program import Program
from ..deploy.programs import load_program
from ..metrics.statistics import compare_paired
from ..models.spikereg import SpikeReg, Teacher
from ..registration import DEFAULT_MODEL, RunningWeights
from ..train.evaluation import evaluate_pairs, means
from ..train.pairs import held_out_pairs, labels_of
from ..train.recipe import load_recipe
from .common import add_running_arguments, add_weights_argument, running, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", choices=["register"], help="what the network does")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|FILE", help="default: %(default)s")
    parser.add_argument("--against", metavar="NAME|FILE", help="another model to compare with")
    parser.add_argument("--recipe", default="hippocampus", help="whose held-out subjects are the pairs")
    parser.add_argument("--data", type=Path, help="folder with images/*.nii.gz and labels/*.nii.gz")
    parser.add_argument("--json", action="store_true", help="print every score of every pair as JSON")
    add_weights_argument(parser)
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    pairs = held_out_pairs(load_recipe(arguments.recipe), arguments.data)
    names = [name for name in (arguments.model, arguments.against) if name]
    networks = [_runnable(name, arguments.weights) for name in names]
    with running(arguments):
        scores = {
            name: evaluate_pairs(network, pairs, labels_of(pairs), surfaces=True)
            for name, network in zip(names, networks, strict=True)
        }
    if arguments.json:
        say(json.dumps(scores))
        return
    for name in names:
        say(f"{name}, {len(pairs)} pairs: " + ", ".join(f"{k} {v:.4f}" for k, v in means(scores[name]).items()))
    if arguments.against:
        for score in ("dice", "hd95"):
            ours, theirs = (np.array([row[score] for row in scores[name]]) for name in names)
            say(f"{score}: {' against '.join(names)}: {compare_paired(ours, theirs)}")


def _runnable(name: str, weights: RunningWeights) -> Teacher | SpikeReg | Program:
    """The program of a model; the analog teacher, which has none, as it was trained."""
    network, _ = load_model(name)
    if weights == "trained" or type(network) not in NETWORKS:
        return network
    return load_program(name, weights)[0]
