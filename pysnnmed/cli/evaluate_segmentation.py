"""Score a segmentation network, or masks that are there already, on images whose masks are known.

--data is a folder in one of the layouts that `data.folders` knows: images/ and masks/ of equal names, ISIC-2018, BUSI,
Kvasir-SEG, nnU-Net and others. Pooled scores are those of all pixels together, scores per image are means over images;
both are told, and never mixed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__, kernels
from ..data.cases import Case
from ..data.folders import CONVENTIONS, read_cases
from ..data.splits import duplicates, file_digest, hold_out
from ..errors import ImageError, ParameterError, PysnnmedError, require
from ..evaluation.comparison import compare
from ..evaluation.segmentation_scores import COMPARED, FACTS, SCORES
from ..evaluation.segmentation_tables import as_text, summary, write_cases
from ..evaluation.segmented import ByFiles, ByNetwork, Finder, SegmentedRow, judge_cases
from ..evaluation.tables import as_json, write_json
from ..segmentation import DEFAULT_MODEL
from .common import say, size, warm_up
from .segmenters import add_looking_arguments, segmenter_of

MARGIN = 0.01
EMPTY = {"1": 1.0, "0": 0.0, "skip": math.nan}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="images and their true masks")
    parser.add_argument("--convention", choices=CONVENTIONS, help="layout of the folder (default: as it looks)")
    parser.add_argument("--patient", metavar="REGEX", help="finds the patient's id in a name, for --held-out hash:N")
    parser.add_argument(
        "--held-out",
        metavar="WHICH",
        help="judge these alone: hash:N or hash:N:SALT, N cases by the hash of the patient's id; last:N by name; or "
        "the side of the folder, such as test (default: all)",
    )
    parser.add_argument("--model", metavar="NAME|FILE", help=f"default: {DEFAULT_MODEL}")
    parser.add_argument("--against", metavar="NAME|FILE", help="another model to compare with")
    parser.add_argument("--predictions", type=Path, metavar="DIR", help="judge the masks in this folder, and no model")
    parser.add_argument(
        "--labels", type=int, nargs="+", metavar="N", help="with --predictions: values of the structures in the maps"
    )
    parser.add_argument(
        "--empty",
        choices=EMPTY,
        default="1",
        help="what a ratio scores where there is nothing to find and nothing was found (default: %(default)s)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="DICE",
        help=f"with --against: the difference in mean Dice that would matter (default: {MARGIN})",
    )
    parser.add_argument(
        "--size",
        type=size,
        metavar="H[xW]",
        help="bring pictures and masks to this size first, as where a mask is larger than its image",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write cases.csv, after every case, and summary.json")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_looking_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    require("scipy", extra="med", purpose="measuring surface distances")  # before the work, not after it
    empty = EMPTY[arguments.empty]
    cases = _selected(arguments, read_cases(arguments.data, arguments.convention, patient=arguments.patient))
    finders = _finders(arguments, cases)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[SegmentedRow] = []
    by_finder: list[list[SegmentedRow]] = []
    for finder in finders:
        if isinstance(finder, ByNetwork):
            warm_up(arguments, finder.name, finder.segmenter.runner.weights)
            finder.segmenter.rehearse()
        by_finder.append([])
        for row in judge_cases(finder, cases, empty):
            rows.append(row)
            by_finder[-1].append(row)
            if arguments.out:
                write_cases(arguments.out / "cases.csv", rows)
            if not arguments.json:
                say(_line(row, len(by_finder[-1]), len(cases)))
    content = _content(arguments, cases, finders, by_finder)
    if arguments.json:
        say(as_json(content))
    else:
        for name, own in content["models"].items():
            say(as_text(name, own))
        for text in content["sentences"]:
            say(text)
    if arguments.out:
        write_json(arguments.out / "summary.json", content)
    failed = [row for row in rows if row.error]
    if failed:
        reasons = "; ".join(f"{row.name} by {row.model}: {row.error}" for row in failed)
        raise PysnnmedError(f"{len(failed)} of {len(rows)} segmentations failed: {reasons}")


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that would not be looked at."""
    if arguments.predictions:
        for option in ("model", "against", "window", "threshold"):
            if getattr(arguments, option) is not None:
                raise ParameterError(f"--{option} is about a model; --predictions judges masks that are there already")
    elif arguments.labels:
        raise ParameterError("--labels needs --predictions; a model says itself which structures it knows")
    if arguments.margin is not None and not arguments.against:
        raise ParameterError("--margin needs --against, the model that the difference is measured to")
    if arguments.margin is not None and not 0 < arguments.margin < 1:
        raise ParameterError(f"--margin must lie between 0 and 1, as Dice does, not {arguments.margin}")
    if arguments.labels and not all(1 <= value <= 65535 for value in arguments.labels):
        raise ParameterError(f"--labels must be from 1 to 65535, not {arguments.labels}; 0 is the background")
    if arguments.against and arguments.against == (arguments.model or DEFAULT_MODEL):
        raise ParameterError(f"--against must name another model than --model, not {arguments.against!r} again")


def _selected(arguments: argparse.Namespace, cases: list[Case]) -> list[Case]:
    """The cases that are judged."""
    wanted = arguments.held_out
    if wanted is None:
        return cases
    how, _, rest = wanted.partition(":")
    number, _, salt = rest.partition(":")
    if how not in ("hash", "last"):
        sides = sorted({case.side for case in cases if case.side})
        if wanted not in sides:
            known = f"it has the sides {', '.join(sides)}" if sides else "it has no sides"
            raise ParameterError(f"--held-out must be hash:N, last:N or a side of the folder, not {wanted!r}; {known}")
        return [case for case in cases if case.side == wanted]
    if not number.isdecimal() or not 1 <= int(number) <= len(cases) or (salt and how == "last"):
        raise ParameterError(f"--held-out {how}:N needs a number from 1 to {len(cases)} of cases, not {wanted!r}")
    if how == "last":
        return cases[-int(number) :]
    return hold_out(cases, int(number), salt=salt, same=_copies(cases))[1]


def _copies(cases: Sequence[Case]) -> list[tuple[Case, ...]]:
    """Cases whose image is the same file; one that cannot be read is like no other, and told when it is judged."""

    def digest(path: Path) -> str:
        try:
            return file_digest(path)
        except ImageError:
            return str(path)

    return duplicates(cases, digest)


def _finders(arguments: argparse.Namespace, cases: Sequence[Case]) -> list[Finder]:
    if arguments.predictions:
        return [ByFiles.of(arguments.predictions, cases, arguments.labels, arguments.size)]
    finders: list[Finder] = []
    for name in (arguments.model or DEFAULT_MODEL, arguments.against):
        if name:
            finders.append(ByNetwork(name, segmenter_of(arguments, name), arguments.size))
    return finders


def _content(
    arguments: argparse.Namespace,
    cases: Sequence[Case],
    finders: Sequence[Finder],
    rows: Sequence[Sequence[SegmentedRow]],
) -> dict[str, Any]:
    """Everything that is to be said, JSON-able."""
    comparisons = []
    if arguments.against:
        found = compare(rows[0], rows[1], arguments.margin or MARGIN, COMPARED, with_margin="DSC")
        alone = len(finders[0].labels) == 1  # their mean is its Dice
        comparisons = [one for one in found if one.paired.n > 1 and not (alone and one.score == "dice_labels")]
    same = [[case.name for case in group] for group in _copies(cases)]
    sentences = [f"{' against '.join(finder.name for finder in finders)}, {c}" for c in comparisons]
    if same:
        sentences.append(f"the same image under several names, counted for each: {'; '.join(map(', '.join, same))}")
    return {
        "version": __version__,
        "definitions": {**SCORES, **FACTS},
        "settings": {
            "data": str(arguments.data),
            "held_out": arguments.held_out,
            "predictions": None if arguments.predictions is None else str(arguments.predictions),
            "models": {
                finder.name: {
                    "weights": finder.segmenter.runner.weights,
                    "window": list(finder.segmenter.window),
                    "threshold": finder.segmenter.threshold,
                    "file": str(finder.segmenter.card.path),
                }
                for finder in finders
                if isinstance(finder, ByNetwork)
            },
            "overlap": arguments.overlap,
            "size": arguments.size,
            "empty": arguments.empty,
            "backend": arguments.backend or kernels.fastest(),
            "threads": arguments.threads,
        },
        "models": {
            finder.name: summary(own, finder.labels, EMPTY[arguments.empty])
            for finder, own in zip(finders, rows, strict=True)
        },
        "comparison": {c.score: c.facts() for c in comparisons},
        "duplicates": same,
        "sentences": sentences,
    }


def _line(row: SegmentedRow, number: int, of: int) -> str:
    head = f"{number:>{len(str(of))}}/{of} {row.model} {row.name}: "
    if row.error:
        return head + f"failed: {row.error}"
    s = row.scores
    took = f", {s['seconds']:.2f} s" if "seconds" in s else ""
    return head + f"IoU {s['mIoU']:.4f}, Dice {s['DSC']:.4f}, HD95 {s['hd95']:.3f}{took}"
