"""results/runs.csv, a row for each run that is done, and RESULTS.md, made of it, of whatever is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pysnnmed.data.files import write_text

from ..document import Section, assembled, setting_of
from ..tables import Row, by_seed, markdown, mean_sd, over_pairs, paired_by_seed, read_rows, where, write_rows
from .bench import TEACHER, Bench
from .variants import EXPERIMENTS, REFERENCE, Experiment, variants_of
from .work import held, runs_of

MAIN = "image_iou"
INTRODUCTION = """# The ablations of MedSpikeFormer, run at a small size

Made by `examples/experiments/segmentation.py` from `results/runs.csv`; only the paragraphs that begin with **Note** or
**Found** are written by hand. Pictures, networks and lengths of training are far smaller than the paper's: what holds
here need not hold there."""

READING = """\
Scores are of the foreground at the size that the network sees, after the last step of training, threshold 0.5: IoU per
image and Dice are means over the held-out pictures, pooled IoU counts all pixels together. Values: mean ± standard
deviation over seeds. Differences of IoU per image: mean ± standard error of the paired differences, seed by seed, over
n seeds; for n = 3 the 95 % interval of Student's t is 4.3 standard errors to each side, and nothing is corrected for
the number of comparisons. Networks of a seed see the same pictures in the same order.

Rate: spikes for each neuron and step. SynOps and MACs: exact counts of the program with float32 weights, mean over the
held-out pictures, all T steps, attention by its linear form; the trunk is real, so that its convolutions are MACs.
Parameters: with the mask heads that only training uses. Seconds: of training on the machine of the runs, without the
teacher's; they tell ratios at best."""

PICTURES = {
    "pictures": "HAM10000 (Tschandl et al. 2018) is licensed CC BY-NC 4.0, for research only: weights trained on it "
    "are not shipped. This copy has no ids of lesions: it is split by the hash of the pictures' names, copies of one "
    "picture on one side, and pictures of one lesion may be on both.",
    "lesions": "They are generated, none is of a patient.",
}


def publish(bench: Bench, out: Path) -> str:
    """Write results and document of all runs that are done. -> the document"""
    with held(out / "lock", wait=True):
        rows = [bench.row(run) for run in runs_of(variants_of(list(EXPERIMENTS)), bench.seeds)]
        write_rows(out / "results" / "runs.csv", [row for row in rows if row is not None])
        return rewrite(out)


def rewrite(out: Path) -> str:
    """Make the document again of the results. -> its text"""
    text = document(out)
    write_text(out / "RESULTS.md", text)
    return text


def document(out: Path) -> str:
    """The text of RESULTS.md."""
    rows, setting = read_rows(out / "results" / "runs.csv"), setting_of(out)
    seeds = len(setting["seeds"])
    return assembled(out, [INTRODUCTION, _setting(setting, rows), READING], _sections(rows, seeds))


def _sections(rows: Sequence[Row], seeds: int) -> Iterator[Section]:
    for number, experiment in enumerate(EXPERIMENTS.values(), start=1):
        missing = {label: seeds - len(where(rows, variant=variant.name)) for label, variant in experiment.lines.items()}
        text = table(experiment, rows)
        if any(missing.values()):
            listed = ", ".join(f"{label} ({n})" for label, n in missing.items() if n)
            text += f"\n\nRuns that are missing yet: {listed}."
        yield Section(number, experiment.name, experiment.title, experiment.about, text)


def table(experiment: Experiment, rows: Sequence[Row]) -> str:
    """A line for each variant; dashes where nothing has been run."""
    known = where(rows, variant=REFERENCE.name)
    (reference,) = (label for label, variant in experiment.lines.items() if variant == REFERENCE)
    lines = []
    if experiment.shows_teacher:
        lines.append(_line("the analog teacher itself", where(rows, variant=TEACHER), known))
    for label, variant in experiment.lines.items():
        lines.append(_line(label, where(rows, variant=variant.name), [] if variant == REFERENCE else known))
    header = (
        experiment.name.replace("-", " "),
        "IoU per image",
        f"minus *{reference}*",
        "pooled IoU",
        "Dice",
        "rate, %",
        "SynOps, 10⁶",
        "MACs, 10⁶",
        "parameters",
        "seconds",
        "seeds",
    )
    return markdown(header, lines)


def _line(label: str, rows: Sequence[Row], reference: Sequence[Row]) -> list[str]:
    def cell(column: str, digits: int = 4, factor: float = 1.0) -> str:
        return mean_sd(over_pairs(rows, column), digits, factor)

    sizes = sorted({int(row["parameters"]) for row in rows})
    return [
        label,
        cell(MAIN),
        paired_by_seed(rows, reference, MAIN),
        cell("pooled_iou"),
        cell("image_dice"),
        cell("rate", 1, 100),
        cell("synops", 2, 1e-6),
        cell("macs", 1, 1e-6),
        ", ".join(f"{size:,}" for size in sizes) or "–",
        cell("seconds", 0),
        str(len(by_seed(rows, MAIN))),
    ]


def _setting(setting: dict[str, Any], rows: Sequence[Row]) -> str:
    """What all runs share, in words, and how many of them are there."""
    recipe = setting["recipe"]
    network, data, form = recipe["network"], recipe["data"], recipe["input"]
    size = "×".join(map(str, form["size"]))
    widths, seeds = ", ".join(map(str, network["widths"])), setting["seeds"]
    expected = len(runs_of(variants_of(list(EXPERIMENTS)), seeds))
    return "\n".join(
        [
            f"* Runs: {len(rows)} of {expected} are done, teachers included. Seeds {', '.join(map(str, seeds))}.",
            f"* Pictures: {size} pixels, {data['test']} held out, the same for all seeds. {PICTURES[data['kind']]}",
            f"* Network: widths {widths}, {network['heads']} heads, T = {network['steps']}, mode sound.",
            f"* Training: {_stage(recipe['teacher'])} for the teacher, {_stage(recipe['student'])} for the spiking "
            "networks; AdamW, cosine decay; BCE and Dice, and the alignment at weight 1; pictures mirrored, turned by "
            "quarters, scaled, and changed in brightness and contrast at random.",
            f"* Backend {setting['backend']}, float32, one thread.",
        ]
    )


def _stage(stage: dict[str, Any]) -> str:
    return f"{stage['steps']} steps of {stage['batch']} pictures at {stage['learning_rate']:g}"
