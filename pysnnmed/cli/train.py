"""Train a network from a recipe: teacher, conversion, fine-tuning; a killed run goes on where it stopped."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from .. import kernels
from ..deploy.pretrained import find_model
from ..train.recipe import load_recipe
from ..train.registration import train
from .common import add_running_arguments, running, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", choices=["register"], help="what the network learns")
    parser.add_argument("--recipe", default="hippocampus", help="TOML file, or the name of one that is included")
    parser.add_argument("--data", type=Path, help="folder with images/*.nii.gz and labels/*.nii.gz")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, logs and weights")
    parser.add_argument("--teacher", type=Path, help="weights of a teacher that is there: none is trained then")
    parser.add_argument("--seed", type=int, help="replaces the recipe's seed")
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    recipe = load_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    teacher = None if arguments.teacher is None else find_model(arguments.teacher)
    with running(arguments):
        say(f"training {recipe.name} on the {kernels.active()} backend")
        weights = train(recipe, arguments.data, arguments.out, teacher=teacher, report=say)
    say(f"wrote {weights}")
