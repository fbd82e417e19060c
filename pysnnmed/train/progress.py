"""Where training tells how it goes: a bar on stderr and a log of JSON lines with a CSV twin."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from ..data.files import write_text


class ProgressBar:
    """One line on a terminal, redrawn at most ten times a second; in a file, a line every tenth of the way."""

    def __init__(self, title: str, total: int, start: int = 0, stream: TextIO | None = None):
        self.title, self.total, self.start = title, total, start
        self.stream = stream if stream is not None else sys.stderr
        self.live = self.stream.isatty()
        self.began = self.drawn = time.monotonic()
        self.tenth = 10 * start // max(total, 1)

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        tenth = 10 * done // max(self.total, 1)
        finished = done >= self.total
        if self.live and (finished or now - self.drawn > 0.1):
            self.drawn = now
            self._write("\r" + self._line(done, note, now).ljust(100) + ("\n" if finished else ""))
        elif not self.live and tenth > self.tenth:
            self.tenth = tenth
            self._write(self._line(done, note, now) + "\n")

    def _line(self, done: int, note: str, now: float) -> str:
        rate = (done - self.start) / max(now - self.began, 1e-9)
        left = (self.total - done) / rate if rate > 0 else 0.0
        filled = 24 * done // max(self.total, 1)
        bar = "█" * filled + "·" * (24 - filled)
        return f"{self.title} {bar} {done}/{self.total}  {left / 60:.1f} min left  {note}"

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


class Log:
    """Rows of numbers, one JSON object a line in `<folder>/log.jsonl`, the same rows as a table in `log.csv`.

    Opening it drops rows that `keep` refuses: those written after the checkpoint that training resumes from.
    """

    def __init__(self, folder: Path, keep: Any = lambda row: True):
        self.folder = folder
        self.rows = [row for row in read_log(folder / "log.jsonl") if keep(row)]
        self._rewrite()

    def add(self, **row: Any) -> None:
        self.rows.append(row)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Write the CSV twin."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.folder / "log.csv", text.getvalue())

    def _rewrite(self) -> None:
        write_text(self.folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a log; a last line cut short by a crash is dropped."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
