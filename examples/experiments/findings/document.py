"""RESULTS.md: the tables of all experiments that a folder has results of, and what they ran on.

`claim` and `assembled` serve every folder of experiments; the rest is about those of registration.

The folder holds `results/setting.json`, what the recipe's file says, seeds and backend of all of them,
`results/NAME.csv`, the rows of an experiment, and perhaps `sentences.toml`: what a person makes of the results that lie
beside it, NAME = "sentences", and of all of them together, note = "sentences".
"""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pysnnmed.data.files import write_text
from pysnnmed.errors import ParameterError

from . import EXPERIMENTS
from .tables import read_rows

INTRODUCTION = """# The paper's findings, run again at a small size

Made by `examples/experiments/run.py` from the CSV files in `results/`; only the paragraphs that begin with **Note** or
**Found** are written by hand. SpikeReg: arXiv 2605.25144. These are generated shapes and a small network: what holds
here need not hold on scans, nor at the paper's size."""

NOTE = "note"
READING = """Scores: mean over the held-out pairs, then mean ± standard deviation over seeds. Differences: mean ±
deviation over seeds, compared seed by seed; then the 95 % bootstrap interval and p of a paired t-test of the means over
seeds, pair by pair, not corrected for the number of comparisons. Interval and p speak of these networks on other pairs,
the deviation speaks of other trainings: a difference is one where both say so."""


def claim(out: Path, recipe: Path, seeds: Sequence[int], backend: str) -> None:
    """Make `out` the folder of this recipe's file, seeds and backend. ParameterError if it has results of others.

    What counts is what the file says: a new option of the package, at its default, is no other recipe.
    """
    note = out / "results" / "setting.json"
    table = tomllib.loads(recipe.read_text(encoding="utf-8"))
    setting = {"recipe": table, "seeds": list(seeds), "backend": backend}
    text = json.dumps(setting, indent=1, sort_keys=True) + "\n"
    if note.exists() and note.read_text(encoding="utf-8") != text:
        raise ParameterError(f"{out}: has results of another recipe, seeds or backend; give another folder with --out")
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, text)


class Section(NamedTuple):
    """An experiment in the document: its number and name, what it is about, its table."""

    number: int
    name: str
    title: str
    about: str
    table: str


def document(out: Path) -> str:
    """The text of RESULTS.md."""
    sections = (
        Section(number, name, experiment.TITLE, experiment.ABOUT, experiment.section(read_rows(path)))
        for number, (name, experiment) in enumerate(EXPERIMENTS.items(), start=1)
        if (path := out / "results" / f"{name}.csv").exists()
    )
    return assembled(out, [INTRODUCTION, _setting(setting_of(out)), READING], sections)


def setting_of(out: Path) -> dict[str, Any]:
    """What `claim` wrote."""
    return json.loads((out / "results" / "setting.json").read_text(encoding="utf-8"))


def assembled(out: Path, opening: Sequence[str], sections: Iterable[Section]) -> str:
    """A document: its opening, the note and the findings of `sentences.toml` in `out`, the sections."""
    parts, sentences = list(opening), _sentences(out)
    if NOTE in sentences:
        parts.append(_filled(f"**Note.** {sentences[NOTE]}"))
    for section in sections:
        parts += [f"## {section.number}. {section.title}", _filled(section.about), section.table]
        if section.name in sentences:
            parts.append(_filled(f"**Found.** {sentences[section.name]}"))
    return "\n\n".join(parts) + "\n"


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, 120, break_on_hyphens=False)


def _sentences(out: Path) -> dict[str, str]:
    path = out / "sentences.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _setting(setting: dict[str, Any]) -> str:
    """What all experiments share, in words."""
    recipe = setting["recipe"]
    network, data, loss = recipe["network"], recipe["data"], recipe["loss"]
    teacher, tuning, conversion = recipe["teacher"], recipe["finetune"], recipe["conversion"]
    lncc = "squared" if loss["squared"] else "signed"
    grid = "×".join(map(str, data["grid"]))
    return "\n".join(
        [
            f"* Network: encoder {_list(network['encoder'])}, decoder {_list(network['decoder'])}, head "
            f"{network['head_kernel']}³, stationary velocity, {network['integration_steps']} squarings; T = "
            f"{network['steps']}.",
            f"* Data: generated pairs of {grid} voxels, 8 labels. {data['generated_pairs']} training pairs, others for "
            f"each seed; {data['held_out_pairs']} held-out pairs, the same for all. Seeds {_list(setting['seeds'])}.",
            f"* Teacher: {teacher['steps']} steps of Adam at {teacher['learning_rate']:g}. Conversion: percentile "
            f"{conversion['percentile']:g} over {conversion['examples']} training pairs. Fine-tuning: "
            f"{tuning['steps']} steps at {tuning['learning_rate']:g}. One pair a step.",
            f"* Loss: {lncc} LNCC of window {loss['window']}, diffusion {loss['diffusion']:g}, rate penalty l1 "
            f"{loss['rate_l1']:g}, l2 {loss['rate_l2']:g} at a target of {loss['rate_target']:g}.",
            f"* Backend {setting['backend']}, float32, one thread.",
        ]
    )


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
