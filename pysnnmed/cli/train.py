"""Train a network from a recipe: teacher, then spiking network; a killed run goes on where it stopped."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import kernels
from ..deploy.pretrained import find_model
from ..train import registration, segmentation
from ..train.recipe import load_recipe
from ..train.segmentation_recipe import load_segmentation_recipe
from .common import add_running_arguments, running, say


class Task(NamedTuple):
    """What reads a recipe of a task, what trains by it, and the recipe if none is named."""

    load: Callable[[str], Any]
    train: Callable[..., Path]
    recipe: str


TASKS = {
    "register": Task(load_recipe, registration.train, "hippocampus"),
    "segment": Task(load_segmentation_recipe, segmentation.train, "lesions"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", choices=list(TASKS), help="what the network learns")
    parser.add_argument(
        "--recipe",
        help="TOML file, or the name of one that is included (default: "
        + ", ".join(f"{task.recipe} to {name}" for name, task in TASKS.items())
        + ")",
    )
    parser.add_argument(
        "--data", type=Path, help="folder with images/ and labels/ or masks/; to segment, any layout that is known"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, logs and weights")
    parser.add_argument("--teacher", type=Path, help="weights of a teacher that is there: none is trained then")
    parser.add_argument("--seed", type=int, help="replaces the recipe's seed")
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    task = TASKS[arguments.task]
    recipe = task.load(arguments.recipe or task.recipe)
    if arguments.seed is not None:
        recipe = replace(recipe, seed=arguments.seed)
    teacher = None if arguments.teacher is None else find_model(arguments.teacher)
    with running(arguments):
        say(f"training {recipe.name} on the {kernels.active()} backend")
        weights = task.train(recipe, arguments.data, arguments.out, teacher=teacher, report=say)
    say(f"wrote {weights}")
