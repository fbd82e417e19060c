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

from ..data.folders import image_files
from ..data.network_input import Kind
from ..data.pictures import Picture
from ..deploy.running_weights import COST_TABLES
from ..errors import ParameterError, PysnnmedError, reason_of_one, require
from ..segmentation import DEFAULT_MODEL, Segmenter
from ..synops import Meter, projected_energy
from .common import note, say, tell_progress, warm_up
from .report import segmentation_text, write_energy
from .segmenters import add_looking_arguments, segmenter_of

VOLUME, PICTURE = ".nii.gz", ".png"
ENDINGS: dict[Kind, tuple[str, ...]] = {"volumes": (".nii", ".nii.gz"), "pictures": (PICTURE,)}


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
    parser.add_argument("--energy", type=Path, metavar="FILE", help="write exact counts and projected energy as JSON")
    parser.add_argument("--json", action="store_true", help="print the summaries as JSON")
    parser.add_argument("--dry-run", action="store_true", help="say how much memory it would take, and stop")
    add_looking_arguments(parser)


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
    segmenter = segmenter_of(arguments, arguments.model, probability=arguments.probability is not None)
    if arguments.energy and segmenter.runner.program is None:
        raise ParameterError(
            f"--energy needs exact counts, which programs make; {segmenter.card.name} runs as it was trained"
        )
    if segmenter.form.kind == "pictures" or arguments.overlay:
        require("PIL", extra="med", purpose="reading and writing pictures")  # before the work, not after it
    _check_outputs(arguments, segmenter)
    tasks, batch = _tasks(arguments, segmenter), arguments.input.is_dir()
    if not arguments.dry_run:
        for folder in (arguments.output, arguments.probability, arguments.overlay) if batch else ():
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        warm_up(arguments, arguments.model, segmenter.runner.weights)
    work = Work(segmenter, told=not batch)
    for number, task in enumerate(tasks, 1):
        head = f"{number}/{len(tasks)} {task.name}: " if batch else ""
        try:
            line = work.planned(task) if arguments.dry_run else work.done(task)
        except (PysnnmedError, OSError, MemoryError) as error:
            if not batch:
                raise
            work.failed[task.name] = reason_of_one(error)
            line = f"failed: {work.failed[task.name]}"
        if arguments.dry_run or (batch and not arguments.json):
            say(head + line)
    if not arguments.dry_run:
        _report(arguments, batch, work)
    if work.failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in work.failed.items())
        raise PysnnmedError(f"{len(work.failed)} of {len(tasks)} images failed: {reasons}")


class Work:
    """What is done to one image after the other, and what became of them.

    `told`: the memory it will take and how far it is are told on standard error.
    """

    def __init__(self, segmenter: Segmenter, told: bool):
        self.segmenter, self.told = segmenter, told
        self.summaries: list[dict[str, Any]] = []
        self.failed: dict[str, str] = {}
        self.counts = Meter()

    def planned(self, task: Task) -> str:
        """How much memory an image will take."""
        image = self.segmenter.read(task.image)
        with self.segmenter.running():
            return str(self.segmenter.plan(image))

    def done(self, task: Task) -> str:
        """Segment an image and write its files -> a line about it."""
        image = self.segmenter.read(task.image)
        if self.told:
            with self.segmenter.running():
                note(str(self.segmenter.plan(image)))
        result = self.segmenter(image, tell_progress("segmenting") if self.told else None)
        result.save(task.mask)
        if task.probability:
            result.save_probability(task.probability)
        if task.overlay:
            shown = image.unit() if isinstance(image, Picture) else self.segmenter.form.intensities(image).data
            result.save_overlay(task.overlay, shown)
        self.summaries.append({"name": task.name, **result.summary()})
        for layer in result.operations.layers if result.operations else ():
            self.counts.add(layer)
        found = ", ".join(f"{name} {size:,.0f}" for name, size in result.sizes().items())
        return f"{found}; {result.windows} window{'s' if result.windows != 1 else ''}, {result.seconds:.2f} s"


def _tasks(arguments: argparse.Namespace, segmenter: Segmenter) -> list[Task]:
    """What is to be done; nothing is written over anything that is read or written besides."""
    if arguments.input.is_dir():
        ending = VOLUME if segmenter.form.kind == "volumes" else PICTURE
        tasks = [
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
        given = arguments.input
        tasks = [Task(given.name, given, arguments.output, arguments.probability, arguments.overlay)]
    taken = {os.path.realpath(task.image): "an input" for task in tasks}
    if arguments.energy:
        taken.setdefault(os.path.realpath(arguments.energy), "the file of --energy")
    for task in tasks:
        for path in task.outputs():
            place = os.path.realpath(path)
            if place in taken:
                raise ParameterError(
                    f"{path}: is {taken[place]}, and would be written over; choose another file or folder"
                )
            taken[place] = "another output"
    return tasks


def _check_outputs(arguments: argparse.Namespace, segmenter: Segmenter) -> None:
    """Refuse names that could not be written, before anything is read."""
    batch, kind = arguments.input.is_dir(), segmenter.form.kind
    own = (ENDINGS[kind], f"{segmenter.card.name} segments {kind}")
    page = ((PICTURE,), "an overlay is a picture")
    outputs = ((arguments.output, own), (arguments.probability, own), (arguments.overlay, page))
    for path, (endings, why) in outputs:
        if path is None:
            continue
        if not batch and path.is_dir():
            raise ParameterError(f"{path}: is a folder, and the input is one file; name the file to be written")
        if not batch and not path.name.lower().endswith(endings):
            raise ParameterError(f"{path}: the name must end in {' or '.join(endings)}, for {why}")
        if batch and path.exists() and not path.is_dir():
            raise ParameterError(f"{path}: must be a folder, for the input is one")
        if batch and os.path.realpath(path) == os.path.realpath(arguments.input):
            raise ParameterError(f"{path}: is the folder of the images; give what is written a folder of its own")


def _report(arguments: argparse.Namespace, batch: bool, work: Work) -> None:
    counts, facts = work.counts.report(), {"cases": work.summaries, "failed": work.failed}
    if arguments.energy:
        table = COST_TABLES[work.segmenter.runner.weights]
        together = {"projected_energy": projected_energy(counts, table).facts()} if counts.layers else {}
        write_energy(arguments.energy, {**together, **facts} if batch else work.summaries[0], counts)
    if arguments.json:
        say(json.dumps(facts if batch else work.summaries[0]))
    elif batch:
        say(f"{len(work.summaries)} of {len(work.summaries) + len(work.failed)} images segmented")
    else:
        say(segmentation_text(work.summaries[0]))
