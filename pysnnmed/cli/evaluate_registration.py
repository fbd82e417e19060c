"""Score a model on pairs with labels, and compare it with another case by case.

The pairs are those of --pairs: a CSV file with the columns fixed, moving, fixed_labels, moving_labels and, if wanted,
name; a folder with images/ and labels/ of equal names; or a JSON file of Learn2Reg. Each is registered as the command
register does. Without --pairs they are the held-out pairs of a recipe, by default of the one that trained the model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from .. import __version__, kernels
from ..affine import KINDS
from ..data.pairs_table import PairFiles, Pairing, read_pairs
from ..errors import ParameterError, PysnnmedError, require
from ..evaluation.cases import ArrayCase, Case, FileCase, Network, Settings
from ..evaluation.comparison import ScoreComparison, compare
from ..evaluation.learn2reg import FieldFile, Submission
from ..evaluation.progress import Row, evaluate
from ..evaluation.scores import SCORES
from ..evaluation.tables import as_json, as_rows, as_text, summary, write_cases, write_json
from ..refine import checked_iterations
from ..registration import DEFAULT_MODEL
from ..train.pairs import held_out_pairs
from ..train.recipe import load_recipe
from .common import add_memory_argument, add_running_arguments, add_weights_argument, say, warm_up

PRINTED = "-"
MARGIN = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|FILE", help="default: %(default)s")
    parser.add_argument("--against", metavar="NAME|FILE", help="another model to compare with")
    parser.add_argument(
        "--margin",
        type=float,
        metavar="DICE",
        help=f"with --against: the difference in mean Dice that would matter (default: {MARGIN})",
    )
    pairs = parser.add_argument_group("pairs in files")
    pairs.add_argument("--pairs", type=Path, metavar="PATH", help="CSV file, folder or Learn2Reg JSON file")
    pairs.add_argument(
        "--pairing",
        choices=get_args(Pairing),
        help="pairs of a folder: each image with the next, or every ordered pair (default: consecutive)",
    )
    pairs.add_argument(
        "--align",
        choices=["world", "centre"],
        help="before registration, trust the headers or lay centre on centre (default: as each model was trained)",
    )
    pairs.add_argument(
        "--affine", nargs="?", const="affine", choices=KINDS, help="find a rigid, similarity or affine map first"
    )
    pairs.add_argument("--submission", type=Path, metavar="FOLDER", help="write fields of --model for Learn2Reg there")
    pairs.add_argument(
        "--submission-format",
        choices=get_args(FieldFile),
        help="single precision, half precision, or that at half resolution (default: nii.gz)",
    )
    recipes = parser.add_argument_group("pairs of a recipe")
    recipes.add_argument("--recipe", help="whose held-out subjects are the pairs (default: the one of the model)")
    recipes.add_argument("--data", type=Path, help="folder with images/*.nii.gz and labels/*.nii.gz")
    parser.add_argument("--refine", type=int, default=0, metavar="N", help="as for register (default: none)")
    parser.add_argument("--labels", type=int, nargs="+", metavar="N", help="labels that count (default: all but 0)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row for every case, after every case")
    parser.add_argument(
        "--json",
        nargs="?",
        const=PRINTED,
        metavar="FILE",
        help="write the summary as JSON; without FILE, print every score of every case as JSON instead",
    )
    add_weights_argument(parser)
    add_memory_argument(parser)
    add_running_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    require("scipy", extra="med", purpose="measuring surface distances")  # before the work, not after it
    settings = Settings(
        arguments.weights,
        arguments.align,
        arguments.affine or False,
        checked_iterations(arguments.refine),
        arguments.backend,
        arguments.threads,
        arguments.memory,
    )
    networks = [Network.load(name, settings) for name in (arguments.model, arguments.against) if name]
    cases, submission = _cases(arguments, networks[0])
    rows: list[Row] = []
    by_network: list[list[Row]] = []
    for i, network in enumerate(networks):
        warm_up(arguments, network.name, network.weights)
        network.rehearse()
        by_network.append([])
        for row in evaluate(network, cases, arguments.labels, submission if i == 0 else None):
            rows.append(row)
            by_network[-1].append(row)
            if arguments.csv:
                write_cases(arguments.csv, rows)
            if arguments.json != PRINTED:
                say(_line(row, len(by_network[-1]), len(cases)))
    comparisons = compare(by_network[0], by_network[1], _margin(arguments)) if arguments.against else []
    _report(arguments, networks, by_network, comparisons)
    failed = [row for row in rows if row.error]
    if failed:
        reasons = "; ".join(f"{row.name} by {row.model}: {row.error}" for row in failed)
        raise PysnnmedError(f"{len(failed)} of {len(rows)} registrations failed: {reasons}")


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that would not be looked at."""
    if arguments.pairs and (arguments.recipe or arguments.data):
        raise ParameterError("--pairs and --recipe or --data exclude each other: pairs are in files, or of a recipe")
    for option in ("pairing", "align", "affine", "submission"):
        if getattr(arguments, option) and not arguments.pairs:
            raise ParameterError(f"--{option} needs --pairs; pairs of a recipe lie on one grid and have no files")
    if arguments.submission_format and not arguments.submission:
        raise ParameterError("--submission-format needs --submission, the folder that the fields are written to")
    if arguments.pairing and not arguments.pairs.is_dir():
        raise ParameterError(f"--pairing is for a folder, {arguments.pairs} is none: the file names its pairs itself")
    if arguments.weights == "trained" and arguments.memory is not None:
        raise ParameterError("--memory needs a program, which plans its memory; --weights is 'trained'")
    if arguments.margin is not None and not arguments.against:
        raise ParameterError("--margin needs --against, the model that the difference is measured to")
    if arguments.against == arguments.model:
        raise ParameterError(f"--against must name another model than --model, not {arguments.against!r} again")
    if not 0 < _margin(arguments) < 1:
        raise ParameterError(f"--margin must lie between 0 and 1, as Dice does, not {arguments.margin}")


def _margin(arguments: argparse.Namespace) -> float:
    return MARGIN if arguments.margin is None else arguments.margin


def _cases(arguments: argparse.Namespace, network: Network) -> tuple[Sequence[Case], Submission | None]:
    """What is to be registered, and where the fields go, if anywhere."""
    if not arguments.pairs:
        recipe = load_recipe(_recipe(arguments, network))
        pairs = held_out_pairs(recipe, arguments.data)
        return [ArrayCase(pair, recipe.data.spacing) for pair in pairs], None
    files: list[PairFiles] = read_pairs(arguments.pairs, arguments.pairing or "consecutive")
    submission = None
    if arguments.submission:
        submission = Submission(arguments.submission, arguments.submission_format or "nii.gz")
        submission.prepare(files)
    return [FileCase(pair) for pair in files], submission


def _recipe(arguments: argparse.Namespace, network: Network) -> str:
    name = arguments.recipe or network.card.facts.get("recipe")
    if not name:
        raise ParameterError(
            f"{network.card.path}: does not say which recipe trained it; give --recipe, or --pairs of your own"
        )
    return str(name)


def _line(row: Row, number: int, of: int) -> str:
    head = f"{number:>{len(str(of))}}/{of} {row.model} {row.name}: "
    if row.error:
        return head + f"failed: {row.error}"
    s = row.scores
    return head + f"Dice {s['dice_before']:.4f} -> {s['dice']:.4f}, HD95 {s['hd95_mm']:.3f} mm, {s['seconds']:.2f} s"


def _report(
    arguments: argparse.Namespace,
    networks: Sequence[Network],
    rows: Sequence[Sequence[Row]],
    comparisons: Sequence[ScoreComparison],
) -> None:
    names = [network.name for network in networks]
    if arguments.json == PRINTED:
        say(as_json({name: as_rows(own) for name, own in zip(names, rows, strict=True)}))
        return
    summaries = {name: summary(own) for name, own in zip(names, rows, strict=True)}
    for name, content in summaries.items():
        say(as_text(name, content))
    for comparison in comparisons:
        say(f"{' against '.join(names)}, {comparison}")
    if arguments.json:
        content = {
            "version": __version__,
            "definitions": dict(SCORES),
            "settings": _settings(arguments, networks),
            "models": summaries,
            "comparison": {c.score: c.facts() for c in comparisons},
        }
        write_json(Path(arguments.json), content)


def _settings(arguments: argparse.Namespace, networks: Sequence[Network]) -> dict[str, Any]:
    """Everything that the numbers depend on and that the user chose."""
    return {
        "models": {network.name: {"weights": network.weights, "file": str(network.card.path)} for network in networks},
        "pairs": None if arguments.pairs is None else str(arguments.pairs),
        "pairing": arguments.pairing,
        "recipe": None if arguments.pairs else _recipe(arguments, networks[0]),
        "data": None if arguments.data is None else str(arguments.data),
        "align": arguments.align,
        "affine": arguments.affine,
        "refine": arguments.refine,
        "labels": arguments.labels,
        "margin": _margin(arguments) if arguments.against else None,
        "backend": arguments.backend or kernels.fastest(),
        "threads": arguments.threads,
        "submission": None if arguments.submission is None else str(arguments.submission),
        "submission_format": (arguments.submission_format or "nii.gz") if arguments.submission else None,
    }
