"""Rows of results as CSV, and what is read from them: means over pairs, deviations over seeds, paired differences.

A document is made from the CSV files alone, so that it can be made again and says what they say.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from pysnnmed.data.files import write_text
from pysnnmed.errors import ParameterError
from pysnnmed.metrics import compare_paired

Row: TypeAlias = dict[str, str | int | float]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Rows as CSV: columns in the order in which they first appear, six digits of what is no whole number."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote; an empty cell is not in its row."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: _value(cell) for name, cell in row.items() if cell} for row in csv.DictReader(stream)]


def _text(value: str | int | float) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _value(cell: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


# ------------------------------------------------------------------------------------------------------ selecting


def where(rows: Iterable[Row], **keys: str | int | float) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in keys.items())]


def values_of(rows: Iterable[Row], key: str) -> list[str | int | float]:
    """The values of a column, each once, in the order in which they first appear."""
    return list(dict.fromkeys(row[key] for row in rows if key in row))


def over_pairs(rows: Sequence[Row], column: str) -> np.ndarray:
    """Means over the pairs of each seed [seeds], in the order of seeds; empty where no row has the column."""
    seeds = sorted(values_of(rows, "seed"))
    means = [np.mean([row[column] for row in where(rows, seed=s) if column in row] or [math.nan]) for s in seeds]
    return np.array([m for m in means if not math.isnan(m)], np.float64)


def over_seeds(rows: Sequence[Row], column: str) -> np.ndarray:
    """Means over the seeds of each pair [pairs], in the order of pairs, so that two such lists can be compared.

    Raises ParameterError where seeds do not have the same pairs.
    """
    pairs, seeds = sorted(values_of(rows, "pair")), sorted(values_of(rows, "seed"))
    table = {(row["pair"], row["seed"]): row[column] for row in rows}
    if len(table) != len(rows) or len(table) != len(pairs) * len(seeds):
        raise ParameterError(
            f"results: every seed must have every pair once, and {len(rows)} rows are not {len(seeds)} seeds of "
            f"{len(pairs)} pairs"
        )
    return np.array([np.mean([table[pair, seed] for seed in seeds]) for pair in pairs], np.float64)


def by_seed(rows: Sequence[Row], column: str) -> dict[int, float]:
    """{seed: value} of rows that are one for each seed."""
    return {int(row["seed"]): float(row[column]) for row in rows if column in row}


# ------------------------------------------------------------------------------------------------------ as text


def mean_sd(values: np.ndarray, digits: int = 4, factor: float = 1.0) -> str:
    """Mean ± standard deviation over seeds; without the deviation for one seed, a dash for none."""
    values = factor * values
    if not values.size:
        return "–"
    if values.size == 1:
        return f"{values[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def gain_kept(rows: Sequence[Row], reference: Sequence[Row]) -> str:
    """The gain in Dice in per cent of the reference's, by seed; a dash where that has none."""
    gain, whole = (over_pairs(r, "dice") - over_pairs(r, "before") for r in (rows, reference))
    return mean_sd(gain / whole, digits=1, factor=100) if whole.all() else "–"


def difference(rows: Sequence[Row], reference: Sequence[Row], column: str = "dice") -> str:
    """Mean difference and its deviation over seeds; then, pair by pair, of the means over seeds, interval and p.

    The interval is a 95 % bootstrap interval of the mean, p that of a paired t-test.
    """
    compared = compare_paired(over_seeds(rows, column), over_seeds(reference, column))
    by_seed, (low, high) = over_pairs(rows, column) - over_pairs(reference, column), compared.interval
    deviation = f" ± {by_seed.std(ddof=1):.4f}" if by_seed.size > 1 else ""
    return f"{compared.difference:+.4f}{deviation} [{low:+.4f}, {high:+.4f}], p = {compared.t_test.p:.2g}"


def paired_by_seed(rows: Sequence[Row], reference: Sequence[Row], column: str) -> str:
    """Mean difference of rows that are one for each seed, seed by seed, its standard error, and how many seeds."""
    ours, theirs = by_seed(rows, column), by_seed(reference, column)
    both = np.array([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])
    if not both.size:
        return "–"
    error = f" ± {both.std(ddof=1) / math.sqrt(both.size):.4f}" if both.size > 1 else ""
    return f"{both.mean():+.4f}{error} (n = {both.size})"


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    out = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*out, *("| " + " | ".join(line) + " |" for line in lines)])
