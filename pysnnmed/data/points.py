"""Landmarks: points of the world that belong to one of two images, in CSV files, carried from one image to the other.

A file has a header. Three of its columns are coordinates in mm, and say along which axes:

    x_ras, y_ras, z_ras    right, anterior, superior: what NIfTI and FreeSurfer speak
    x_lps, y_lps, z_lps    left, posterior, superior: what DICOM, ITK and 3D Slicer speak
    x, y, z                nothing is said: the reader must be told

A column `image`, if there is one, says `fixed` or `moving` in every row: whose anatomy the points mark. All other
columns are kept. What is written always says both, so that nobody has to remember.

A displacement takes a point of the fixed image to x + w(x) in the moving image, the way opposite to that of images;
from moving to fixed the way is its inverse. `carry` looks at whose points they are and takes the way that leads to the
other image: there is no direction to choose, and so none to get wrong.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from ..errors import ImageError, ParameterError, ShapeError
from .displacements import Displacement
from .fields import TOLERANCE, Link, chained, solve
from .files import write_text
from .sampling import inside, transformed

Axes = Literal["RAS", "LPS"]
Role = Literal["fixed", "moving"]
MOST_BYTES = 2**28
_SIGNS = {"RAS": np.array([1.0, 1, 1]), "LPS": np.array([-1.0, -1, 1])}
_NAMES: dict[Axes | None, tuple[str, str, str]] = {
    "RAS": ("x_ras", "y_ras", "z_ras"),
    "LPS": ("x_lps", "y_lps", "z_lps"),
    None: ("x", "y", "z"),
}
_IMAGE = "image"


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points [N, 3] in RAS mm that mark the anatomy of the `image`, fixed or moving, of a registration.

    `columns` are the other columns of their file by name, [N] texts each, in order; `axes` those of its coordinates.
    """

    points: np.ndarray
    image: Role
    columns: dict[str, list[str]] = field(default_factory=dict)
    source: str = "points"
    axes: Axes = "RAS"

    def __post_init__(self) -> None:
        points = np.array(self.points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ShapeError(f"{self.source}: points must have shape [N, 3], not {points.shape}")
        if not np.isfinite(points).all():
            raise ImageError(f"{self.source}: the coordinates must be finite")
        if self.image not in get_args(Role):
            raise ParameterError(
                f"{self.source}: points belong to the 'fixed' or the 'moving' image, not {self.image!r}"
            )
        if any(len(column) != len(points) for column in self.columns.values()):
            raise ShapeError(f"{self.source}: every column needs {len(points)} entries")
        object.__setattr__(self, "points", points)


def carry(landmarks: Landmarks, *links: Link, tolerance: float = TOLERANCE) -> Landmarks:
    """The same anatomy in the other image: points of the fixed image go to the moving one, and those of the moving
    image to the fixed one.

    links      displacements and affine maps in the order in which an image passes through them, see `compose`
    tolerance  voxels of each fixed grid, to which the way from moving to fixed is solved at each point

    Raises `ImageError` for points outside a fixed image, where nothing is known, and for points that fold and have no
    counterpart within the tolerance.
    """
    points = landmarks.points.T
    if landmarks.image == "fixed":
        for i in range(len(links) - 1, -1, -1):
            _check_inside(links[i], points, landmarks)
            points = chained(links[i : i + 1], points)
    else:
        for link in links:
            points, error = solve(link, points, tolerance=tolerance)
            lost = np.flatnonzero(error > tolerance)
            if lost.size:
                raise ImageError(
                    f"{landmarks.source}: {lost.size} of {len(error)} points have no counterpart within {tolerance} "
                    f"voxels, first {landmarks.points[lost[0]].round(2)}; the displacement folds there"
                )
            _check_inside(link, points, landmarks)
    other: Role = "moving" if landmarks.image == "fixed" else "fixed"
    return replace(landmarks, points=points.T, image=other)


def read_landmarks(path: str | os.PathLike[str], *, axes: Axes | None = None, image: Role | None = None) -> Landmarks:
    """Landmarks of a CSV file.

    axes   RAS or LPS: needed where the columns are called x, y, z, else it must agree with them
    image  whose anatomy they mark: needed where the file does not say it, else it must agree

    Raises `ParameterError` where something is neither said nor passed, `ImageError` for everything else that is wrong.
    """
    name = os.fspath(path)
    header, rows = _table(path)
    found = [a for a, names in _NAMES.items() if set(names) <= set(header)]
    if len(found) != 1:
        raise ImageError(
            f"{name}: needs one set of columns x_ras,y_ras,z_ras or x_lps,y_lps,z_lps or x,y,z; it has {header}"
        )
    said = found[0]
    if said is None and axes is None:
        raise ParameterError(f"{name}: the columns x, y, z do not say along which axes; say RAS or LPS")
    if said is not None and axes is not None and said != axes:
        raise ImageError(f"{name}: its columns are {', '.join(_NAMES[said])}, not {axes}")
    place = [header.index(column) for column in _NAMES[said]]
    try:
        points = np.array([[float(row[p]) for p in place] for row in rows], np.float64).reshape(-1, 3)
    except ValueError as error:
        raise ImageError(f"{name}: a coordinate is no number ({error})") from error
    other = [i for i in range(len(header)) if i not in place and header[i] != _IMAGE]
    own: Axes = said or axes or "RAS"
    return Landmarks(
        points * _SIGNS[own],
        _role(name, {row[header.index(_IMAGE)] for row in rows} if _IMAGE in header else set(), image),
        {header[i]: [row[i] for row in rows] for i in other},
        name,
        own,
    )


def write_landmarks(path: str | os.PathLike[str], landmarks: Landmarks, axes: Axes | None = None) -> None:
    """Write landmarks as CSV: coordinates to a nanometre, in columns that name their axes (by default those that they
    were read in), then `image`, then the other columns."""
    axes = axes or landmarks.axes
    if axes not in get_args(Axes):
        raise ParameterError(f"write_landmarks: axes must be RAS or LPS, not {axes!r}")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_NAMES[axes], _IMAGE, *landmarks.columns])
    others = zip(*landmarks.columns.values(), strict=True) if landmarks.columns else iter([()] * len(landmarks.points))
    for point, rest in zip(landmarks.points * _SIGNS[axes] + 0.0, others, strict=True):
        writer.writerow([*(f"{v:.6f}" for v in point), landmarks.image, *rest])
    write_text(path, stream.getvalue())


def _table(path: str | os.PathLike[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, every row as long as the header."""
    name = os.fspath(path)
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ImageError(f"{name}: a file of points must not be larger than {MOST_BYTES} bytes")
        rows = [row for row in csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True) if row]
    except OSError as error:
        raise ImageError(f"{name}: cannot be opened ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{name}: is no CSV file in UTF-8 ({error})") from error
    if not rows:
        raise ImageError(f"{name}: is empty; the first row must name the columns")
    header = [column.strip() for column in rows[0]]
    if len(set(header)) < len(header):
        raise ImageError(f"{name}: every column must have a name of its own, not {header}")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise ImageError(f"{name}: point {number} has {len(row)} columns, the header {len(header)}")
    return header, rows[1:]


def _role(name: str, said: set[str], image: Role | None) -> Role:
    roles = {role.strip().lower() for role in said}
    if len(roles) > 1 or not roles <= set(get_args(Role)):
        raise ImageError(f"{name}: the column image must say 'fixed' in every row or 'moving' in every row")
    if image is None and not roles:
        raise ParameterError(f"{name}: does not say whether its points mark the fixed or the moving image; say which")
    if image is not None and roles and image not in roles:
        raise ImageError(f"{name}: its column image says {roles.pop()!r}, not {image!r}")
    return image or ("fixed" if "fixed" in roles else "moving")


def _check_inside(link: Link, points: np.ndarray, landmarks: Landmarks) -> None:
    """Refuse points [3, N] of the fixed side of `link` that lie outside its grid."""
    if not isinstance(link, Displacement):
        return
    covered = inside(transformed(np.linalg.inv(link.affine), points), link.shape)
    lost = np.flatnonzero(~covered)
    if lost.size:
        raise ImageError(
            f"{landmarks.source}: {lost.size} of {len(covered)} points lie outside the fixed image, where the "
            f"displacement is not known, first {landmarks.points[lost[0]].round(2)}; remove them"
        )
