"""The rows of an evaluation as CSV, one line each, and summed up as JSON.

In CSV a score that does not exist is an empty field. JSON has neither NaN nor infinity: they become null and "inf".
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import write_text
from .progress import Row
from .scores import COUNTS, HIGHER_IS_BETTER, SCORES

NAMES = ("model", "name", "fixed", "moving", "error")


def write_cases(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows as CSV, whole or not at all.

    Columns: NAMES, then SCORES, then dice_LABEL for every label of any row, in ascending order: the same input always
    gives the same columns.
    """
    labels = sorted({label for row in rows for label in row.label_dice})
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*NAMES, *SCORES, *(f"dice_{label}" for label in labels)])
    for row in rows:
        scores = [field(row.scores.get(name, math.nan)) for name in SCORES]
        dice = [field(row.label_dice.get(label, math.nan)) for label in labels]
        writer.writerow([*(line(getattr(row, name)) for name in NAMES), *scores, *dice])
    write_text(path, table.getvalue())


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """n, mean, std (n - 1), median and worst of every score of a network, over the cases that have it."""
    finished = [row for row in rows if not row.error]
    labels = sorted({label for row in finished for label in row.label_dice})
    return {
        "cases": len(rows),
        "failed": [{"name": row.name, "error": row.error} for row in rows if row.error],
        "scores": {name: spread([row.scores[name] for row in finished], name in HIGHER_IS_BETTER) for name in SCORES},
        "label_dice": {
            str(label): spread([row.label_dice[label] for row in finished if label in row.label_dice], True)
            for label in labels
        },
    }


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, as_json(content, indent=1) + "\n")


def as_json(content: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: null for NaN, "inf" and "-inf" for what is infinite."""
    return json.dumps(_plain(content), indent=indent, allow_nan=False)


def as_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON has them: names and the scores that exist."""
    return [
        {
            **{name: getattr(row, name) for name in NAMES if name != "model" and getattr(row, name)},
            **{name: value for name, value in row.scores.items() if not math.isnan(value)},
            "label_dice": {str(label): value for label, value in row.label_dice.items()},
        }
        for row in rows
    ]


def as_text(name: str, content: Mapping[str, Any]) -> str:
    """The summary of a network for people: one line a score."""
    done = content["cases"] - len(content["failed"])
    lines = [f"{name}: {done} of {content['cases']} cases"]
    for score, spread in content["scores"].items():
        if spread["n"]:
            mean, std, median, worst = (_short(spread[key], score) for key in ("mean", "std", "median", "worst"))
            lines.append(f"  {score:<22} {mean} ± {std}, median {median}, worst {worst}")
    return "\n".join(lines)


def spread(values: Sequence[float], higher_is_better: bool = False) -> dict[str, float]:
    """n, mean, std (n - 1), median and worst of the values that are not NaN."""
    known = np.array([value for value in values if not math.isnan(value)], np.float64)
    n = known.size
    with np.errstate(invalid="ignore"):  # inf - inf
        return {
            "n": n,
            "mean": float(known.mean()) if n else math.nan,
            "std": float(known.std(ddof=1)) if n > 1 else math.nan,
            "median": float(np.median(known)) if n else math.nan,
            "worst": float(known.min() if higher_is_better else known.max()) if n else math.nan,
        }


def line(text: str) -> str:
    """Text without line breaks and other characters that cannot be printed: a row stays a line."""
    return "".join(c if c.isprintable() else " " for c in text)


def field(value: float) -> str:
    """A number in CSV, empty where there is none."""
    return "" if math.isnan(value) else repr(value)


def _short(value: float, score: str) -> str:
    return f"{value:,.0f}" if score in COUNTS else f"{value:.4f}"


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else repr(content)
    return content
