"""Find the structures that a network knows in a picture, a volume, or every image of a folder.

-i and -o are both files or both folders. A picture gives a PNG, a volume a NIfTI file on its own voxels. In a folder
each image gives a file of its name; one that fails does not stop the others, is named at the end, and makes the command
fail.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..data.files import write_text
from ..data.folders import image_files
from ..data.images import Image
from ..data.pictures import Picture
from ..errors import FileError, MissingExtraError, ParameterError, PysnnmedError, require
from ..segmentation import DEFAULT_MODEL, Segmentation, Segmenter
from ..segmentation.segmenter import OVERLAP
from ..synops import Meter, projected_energy
from .common import (
    add_memory_argument,
    add_running_arguments,
    add_weights_argument,
    note,
    say,
    size,
    tell_progress,
    warm_up,
)
from .report import segmentation_text, write_energy

VOLUME, PICTURE = ".nii.gz", ".png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="PATH", help="picture, volume or folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="PATH", help="mask of the picture or volume, or a folder"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|FILE", help="default: %(default)s")
    parser.add_argument(
        "--probability", type=Path, metavar="PATH", help="write probabilities: PNG of 16 bits or NIfTI, or a folder"
    )
    parser.add_argument(
        "--overlay", type=Path, metavar="PATH", help="draw the contours of what was found: PNG, or a folder"
    )
    parser.add_argument(
        "--window",
        type=size,
        metavar="H[xW]",
        help="what the network looks at, in pixels (default: what it has learned from)",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=OVERLAP,
        metavar="SHARE",
        help="of neighbouring windows, at least (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="probability of a structure (default: that of the model)"
    )
    parser.add_argument("--energy", type=Path, metavar="FILE", help="write exact counts and projected energy as JSON")
    parser.add_argument("--json", action="store_true", help="print the summaries as JSON")
    parser.add_argument("--dry-run", action="store_true", help="say how much memory it would take, and stop")
    add_weights_argument(parser)
    add_memory_argument(parser)
    add_running_arguments(parser)


class Task(NamedTuple):
    """An image and the files that are made of it."""

    name: str
    image: Path
    mask: Path
    probability: Path | None
    overlay: Path | None

    def outputs(self) -> Iterator[Path]:
        return (path for path in (self.mask, self.probability, self.overlay) if path is not None)


def run(arguments: argparse.Namespace) -> None:
    segmenter = Segmenter(
        arguments.model,
        probability=arguments.probability is not None,
        weights=arguments.weights,
        window=arguments.window,
        overlap=arguments.overlap,
        threshold=arguments.threshold,
        backend=arguments.backend,
        threads=arguments.threads,
        memory_limit=arguments.memory,
    )
    if arguments.energy and segmenter.runner.program is None:
        raise ParameterError(
            f"--energy needs exact counts, which programs make; {segmenter.card.name} runs as it was trained"
        )
    if segmenter.form.kind == "pictures" or arguments.overlay:
        require("PIL", extra="med", purpose="reading and writing pictures")  # before the work, not after it
    batch = arguments.input.is_dir()
    tasks = _tasks(arguments, VOLUME if segmenter.form.kind == "volumes" else PICTURE)
    if not arguments.dry_run:
        if batch:
            _make_folders(arguments)
        warm_up(arguments, arguments.model, segmenter.runner.weights)
    summaries: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    counts = Meter()
    for number, task in enumerate(tasks, 1):
        head = f"{number}/{len(tasks)} {task.name}: " if batch else ""
        try:
            image = segmenter.read(task.image)
            with segmenter.running():
                plan = segmenter.plan(image)
            if arguments.dry_run:
                say(f"{head}{plan}")
                continue
            if not batch:
                note(f"{plan}")
            result = segmenter(image, None if batch else tell_progress("segmenting"))
            _write(task, segmenter, image, result)
        except (FileError, MissingExtraError):
            raise  # the others would meet it too
        except (PysnnmedError, OSError, MemoryError) as error:
            if not batch:
                raise
            failed[task.name] = str(error) or type(error).__name__
            if not arguments.json:
                say(f"{head}failed: {failed[task.name]}")
            continue
        summaries.append({"name": task.name, **result.summary()})
        for layer in result.operations.layers if result.operations else ():
            counts.add(layer)
        if batch and not arguments.json:
            found = ", ".join(f"{name} {size:,.0f}" for name, size in result.sizes().items())
            say(f"{head}{found}; {result.windows} windows, {result.seconds:.2f} s")
    if arguments.dry_run and not failed:
        return
    _report(arguments, batch, summaries, failed, counts)
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise PysnnmedError(f"{len(failed)} of {len(tasks)} images failed: {reasons}")


def _tasks(arguments: argparse.Namespace, ending: str) -> list[Task]:
    """What is to be done; nothing is written over anything that is read or written besides."""
    if arguments.input.is_dir():
        named = [
            Task(
                name,
                image,
                arguments.output / f"{name}{ending}",
                arguments.probability and arguments.probability / f"{name}{ending}",
                arguments.overlay and arguments.overlay / f"{name}{PICTURE}",
            )
            for name, image in image_files(arguments.input).items()
        ]
    else:
        named = [
            Task(arguments.input.name, arguments.input, arguments.output, arguments.probability, arguments.overlay)
        ]
    read = {os.path.realpath(task.image): "an input" for task in named}
    taken = dict(read)
    if arguments.energy:
        taken[os.path.realpath(arguments.energy)] = "the file of --energy"
    for task in named:
        for path in task.outputs():
            place = os.path.realpath(path)
            if place in taken:
                raise ParameterError(
                    f"{path}: is {taken[place]}, and would be written over; choose another file or folder"
                )
            taken[place] = "another output"
    return named


def _make_folders(arguments: argparse.Namespace) -> None:
    for folder in (arguments.output, arguments.probability, arguments.overlay):
        if folder is None:
            continue
        if folder.exists() and not folder.is_dir():
            raise ParameterError(f"{folder}: must be a folder, for the input is one")
        if os.path.realpath(folder) == os.path.realpath(arguments.input):
            raise ParameterError(f"{folder}: is the folder of the images; masks need a folder of their own")
        folder.mkdir(parents=True, exist_ok=True)


def _write(task: Task, segmenter: Segmenter, image: Picture | Image, result: Segmentation) -> None:
    result.save(task.mask)
    if task.probability:
        result.save_probability(task.probability)
    if task.overlay:
        shown = image.unit() if isinstance(image, Picture) else segmenter.form.intensities(image).data
        result.save_overlay(task.overlay, shown)


def _report(
    arguments: argparse.Namespace,
    batch: bool,
    summaries: list[dict[str, Any]],
    failed: dict[str, str],
    counts: Meter,
) -> None:
    operations = counts.report()
    if arguments.energy and operations.layers:
        facts: dict[str, Any] = summaries[0]
        if batch:
            table = summaries[0]["projected_energy"]["table"]
            facts = {
                "projected_energy": projected_energy(operations, table).facts(),
                "cases": summaries,
                "failed": failed,
            }
        write_energy(arguments.energy, facts, operations)
    if arguments.json:
        say(json.dumps({"cases": summaries, "failed": failed} if batch else summaries[0]))
    elif not batch:
        say(segmentation_text(summaries[0]))
    else:
        say(f"{len(summaries)} of {len(summaries) + len(failed)} images segmented, masks in {arguments.output}")
        if arguments.energy and not operations.layers:
            write_text(arguments.energy, json.dumps({"cases": summaries, "failed": failed}, indent=1) + "\n")
