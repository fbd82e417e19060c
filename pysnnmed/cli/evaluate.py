"""Score a model on cases whose labels are known, and compare it with another case by case.

What the model does decides what a case is: see `pysnnmed evaluate register --help` and `pysnnmed evaluate segment
--help`.
"""

from __future__ import annotations

import argparse

from . import evaluate_registration, evaluate_segmentation

TASKS = {"register": evaluate_registration, "segment": evaluate_segmentation}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(title="tasks", required=True, metavar="TASK")
    for name, task in TASKS.items():
        summary = (task.__doc__ or "").partition("\n")[0]
        sub = tasks.add_parser(name, help=summary, description=task.__doc__)
        task.add_arguments(sub)
        sub.set_defaults(evaluate=task.run)


def run(arguments: argparse.Namespace) -> None:
    arguments.evaluate(arguments)
