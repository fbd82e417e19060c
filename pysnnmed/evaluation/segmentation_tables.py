"""The rows of an evaluation of segmentation as CSV, one line each, and its summary for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.files import write_text
from .segmentation_scores import FACTS, SCORES, summarized
from .segmented import SegmentedRow
from .tables import field, line

NAMES = ("model", "name", "image", "error")
COUNTS = ("tp", "fp", "fn", "tn")
COLUMNS = ("mIoU", "DSC", "Acc", "Spe", "Sen", "mean_iou", "mean_dice")


def write_cases(path: Path, rows: Sequence[SegmentedRow]) -> None:
    """Write all rows as CSV, whole or not at all.

    Columns: NAMES, SCORES, FACTS, COUNTS of the foreground, then dice_VALUE and hd95_VALUE of every label of any row.
    """
    labels = sorted({value for row in rows if row.judged for value in row.judged.labels})
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    each = [f"{score}_{value}" for value in labels for score in ("dice", "hd95")]
    writer.writerow([*NAMES, *SCORES, *FACTS, *COUNTS, *each])
    for row in rows:
        numbers = [field(row.scores.get(name, math.nan)) for name in (*SCORES, *FACTS)]
        counts: list[Any] = [""] * len(COUNTS)
        found = [""] * len(each)
        if row.judged is not None:
            counts = [getattr(row.judged.foreground.counts, name) for name in COUNTS]
            own = (row.judged.labels[value] for value in labels)
            found = [field(x) for one in own for x in (one.counts.dice(math.nan), one.hd95)]
        writer.writerow([*(line(getattr(row, name)) for name in NAMES), *numbers, *counts, *found])
    write_text(path, table.getvalue())


def summary(rows: Sequence[SegmentedRow], labels: Mapping[int, str], empty: float) -> dict[str, Any]:
    """What is to be said of a finder over all its cases, those that failed by name."""
    done = [row for row in rows if row.judged is not None]
    return {
        "cases": len(rows),
        "failed": [{"name": row.name, "error": row.error} for row in rows if row.error],
        **summarized([row.judged for row in done if row.judged], [row.facts for row in done], labels, empty),
    }


def as_text(name: str, content: Mapping[str, Any]) -> str:
    """The summary of a finder for people: both aggregates, each under its name."""
    done = content["cases"] - len(content["failed"])
    lines = [f"{name}: {done} of {content['cases']} cases"]
    if not done:
        return lines[0]
    lines.append(f"  {'':<22}" + "".join(f"{column:>10}" for column in COLUMNS) + f"{'HD95':>10}")
    groups = {"foreground": content["foreground"]}
    if len(content["labels"]) > 1:
        groups |= {label["name"]: label for label in content["labels"].values()}
    for title, group in groups.items():
        for aggregate, words in (("pooled", "pooled"), ("image", "per image")):
            values = "".join(f"{group[aggregate][column]:>10.4f}" for column in COLUMNS)
            distance = f"{group['hd95']:>10.3f}" if aggregate == "image" else ""
            lines.append(f"  {f'{title}, {words}':<22}{values}{distance}")
        if group["one_empty"] or group["both_empty"]:
            lines.append(
                f"  {'':<22}HD95 without {group['one_empty']} where one mask is empty and {group['both_empty']} "
                "where both are"
            )
    if len(content["labels"]) > 1:
        mean = content["dice_labels"]
        lines.append(
            f"  mean Dice of the {len(content['labels'])} structures: {mean['image']:.4f} per image, "
            f"{mean['pooled']:.4f} pooled"
        )
    for fact in FACTS:
        spread = content["spread"][fact]
        if spread["n"]:
            lines.append(f"  {fact:<22}{spread['mean']:,.4g}, worst {spread['worst']:,.4g}")
    return "\n".join(lines)
