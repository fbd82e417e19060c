"""Lists of pairs to register, and the labels that judge them, as their owners keep them.

| what        | how                                                                                               |
|-------------|---------------------------------------------------------------------------------------------------|
| a CSV file  | columns fixed, moving, fixed_labels, moving_labels and, if wanted, name; others are not looked at |
| a folder    | images/*.nii.gz (or .nii) and label maps of equal names in labels/; pairs follow the sorted names |
| a JSON file | Learn2Reg's description of a data set or of an evaluation: a list of {"fixed", "moving"} under    |
|             | registration_val, registration_test or eval_pairs; labels stand where "images" becomes "labels"   |

Paths that are not absolute start at the folder of the CSV or JSON file. Nothing is opened here but the list itself, but
a file that it names must be there, so that a slip in line 200 shows before the first registration.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import ParameterError

Pairing = Literal["consecutive", "all"]
COLUMNS = ("fixed", "moving", "fixed_labels", "moving_labels")
LEARN2REG_LISTS = ("registration_val", "registration_test", "eval_pairs")
LARGEST_LIST = 2**26  # bytes; a list of a hundred thousand pairs has less
_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class PairFiles:
    """The files of a pair. `where` says where the list names it, for messages."""

    name: str
    fixed: Path
    moving: Path
    fixed_labels: Path
    moving_labels: Path
    where: str


def read_pairs(path: str | os.PathLike[str], pairing: Pairing = "consecutive") -> list[PairFiles]:
    """The pairs of a CSV file, a folder or a Learn2Reg JSON file; see the table above.

    A pair without a name is called FIXED_MOVING, after its files. `pairing` says which pairs a folder makes:
    "consecutive", every image as fixed and the next one as moving, or "all", every ordered pair of different images.

    Raises ParameterError, naming the file and the line, for a list that cannot be read, that lacks a column or a path,
    that names a file that is not there, or a pair twice.
    """
    path = Path(path)
    if pairing not in get_args(Pairing):
        raise ParameterError(f"read_pairs: pairing must be {' or '.join(get_args(Pairing))}, not {pairing!r}")
    if path.is_dir():
        pairs = list(_of_folder(path, pairing))
    elif path.suffix.lower() == ".json":
        pairs = list(_of_json(path))
    else:
        pairs = list(_of_csv(path))
    if not pairs:
        raise ParameterError(f"{path}: names no pair; a list needs at least one, a folder at least two images")
    _check_files(pairs)
    _check_names(pairs)
    return pairs


def stem(path: Path) -> str:
    """The name of an image file without .nii or .nii.gz."""
    for ending in _ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def _of_csv(path: Path) -> Iterator[PairFiles]:
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(rows, [])]
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise ParameterError(
                f"{path}: line 1: the columns {', '.join(COLUMNS)} are needed; {', '.join(missing)} not among {header}"
            )
        twice = sorted({cell for cell in header if cell and header.count(cell) > 1})
        if twice:
            raise ParameterError(f"{path}: line 1: the column {twice[0]} stands there twice")
        for cells in rows:
            if any(cell.strip() for cell in cells):
                yield _of_row(path, rows.line_num, header, cells)
    except csv.Error as error:
        raise ParameterError(f"{path}: line {rows.line_num}: no valid CSV: {error}") from error


def _of_row(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> PairFiles:
    where = f"{path}: line {line}"
    if len(cells) != len(header):
        raise ParameterError(f"{where}: has {len(cells)} fields, the header {len(header)}; quote a path with a comma")
    row = {column: cell.strip() for column, cell in zip(header, cells, strict=True)}
    for column in COLUMNS:
        if not row[column]:
            raise ParameterError(f"{where}: the column {column} is empty; every pair needs two images with labels")
    return _pair(where, path.parent, row.get("name", ""), *(row[column] for column in COLUMNS))


def _of_folder(folder: Path, pairing: Pairing) -> Iterator[PairFiles]:
    images = sorted(p for p in (folder / "images").glob("*") if p.name.lower().endswith(_ENDINGS))
    if not images:
        raise ParameterError(f"{folder}: holds no images/*.nii.gz; see the folders that evaluate reads, or give a CSV")
    chosen = itertools.pairwise(images) if pairing == "consecutive" else itertools.permutations(images, 2)
    for fixed, moving in chosen:
        names = (str(Path(kind, image.name)) for kind in ("images", "labels") for image in (fixed, moving))
        yield _pair(str(folder), folder, "", *names)


def _of_json(path: Path) -> Iterator[PairFiles]:
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: no valid JSON: {error}") from error
    names = [name for name in LEARN2REG_LISTS if isinstance(content, dict) and content.get(name)]
    if not names:
        raise ParameterError(f"{path}: holds none of the lists {', '.join(LEARN2REG_LISTS)}, as a Learn2Reg file does")
    pairs = content[names[0]]
    if not isinstance(pairs, list):
        raise ParameterError(f"{path}: {names[0]} must be a list, not {type(pairs).__name__}")
    for i, pair in enumerate(pairs):
        where = f"{path}: {names[0]}[{i}]"
        images = [_path_in(pair, role, where) for role in ("fixed", "moving")]
        labels = [image.replace("images", "labels") for image in images]  # the rule of Learn2Reg's evaluation
        for image, label in zip(images, labels, strict=True):
            if image == label:
                raise ParameterError(f"{where}: {image!r} must lie in a folder whose name holds 'images'")
        yield _pair(where, path.parent, "", *images, *labels)


def _path_in(pair: Any, role: str, where: str) -> str:
    if not isinstance(pair, dict) or not isinstance(pair.get(role), str) or not pair[role]:
        raise ParameterError(f'{where}: must be {{"fixed": path, "moving": path}}, not {str(pair)[:80]}')
    return pair[role]


def _pair(where: str, folder: Path, name: str, *texts: str) -> PairFiles:
    """The texts are the paths in the order of COLUMNS."""
    for text in texts:
        if "\0" in text:
            raise ParameterError(f"{where}: a path must not hold the character NUL")
    paths = [folder / text for text in texts]
    fixed, moving, fixed_labels, moving_labels = paths
    return PairFiles(name or f"{stem(fixed)}_{stem(moving)}", fixed, moving, fixed_labels, moving_labels, where)


def _check_files(pairs: Sequence[PairFiles]) -> None:
    for pair in pairs:
        for column in COLUMNS:
            file = getattr(pair, column)
            if not file.is_file():
                raise ParameterError(f"{pair.where}: {column}: there is no file {file}")


def _check_names(pairs: Sequence[PairFiles]) -> None:
    seen: dict[str, PairFiles] = {}
    for pair in pairs:
        first = seen.setdefault(pair.name, pair)
        if first is not pair:
            raise ParameterError(
                f"{pair.where}: the name {pair.name!r} is already that of {first.where}; every pair needs its own"
            )


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            content = stream.read(LARGEST_LIST + 1)
        if len(content) > LARGEST_LIST:
            raise ParameterError(f"{path}: is larger than {LARGEST_LIST} bytes, too large for a list of pairs")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ParameterError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParameterError(f"{path}: is no text in UTF-8 ({error.reason} at byte {error.start})") from error
