"""Files of affine maps between two images: from a point of the fixed world to the one of the moving world, pull-back.

| ending       | what                                                                                         |
|--------------|----------------------------------------------------------------------------------------------|
| .tfm, .txt   | a transform of ITK in text, LPS mm: what SimpleITK, ANTs and 3D Slicer read                  |
| .json        | the matrix [4, 4] in RAS mm, and in words what it means                                      |
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from ..errors import ImageError, ParameterError
from .affines import check_affine
from .files import write_text

ENDINGS = (".tfm", ".txt", ".json")
_HEADER = "#Insight Transform File V1.0"
_KINDS = ("AffineTransform", "MatrixOffsetTransformBase")
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MEANING = {"from": "fixed", "to": "moving", "world": "RAS", "unit": "mm"}
_LARGEST_FILE = 2**20


def is_affine_file(path: str | os.PathLike[str]) -> bool:
    """Whether the name of a file ends like one of these."""
    return Path(path).suffix.lower() in ENDINGS


def write_affine(path: str | os.PathLike[str], matrix: np.ndarray) -> None:
    """Write the affine map `matrix` [4, 4], fixed to moving world in RAS mm, in the format of the ending.

    Raises `ParameterError` for another ending, `ImageError` for what is no affine map.
    """
    matrix = check_affine(matrix, "affine map")
    if not is_affine_file(path):
        raise ParameterError(f"{os.fspath(path)}: the name of an affine map must end in {', '.join(ENDINGS)}")
    if Path(path).suffix.lower() == ".json":
        write_text(path, json.dumps({**_MEANING, "matrix": matrix.tolist()}, indent=1) + "\n")
        return
    lps = _LPS @ matrix @ _LPS
    numbers = " ".join(f"{v:.17g}" for v in (*lps[:3, :3].ravel(), *lps[:3, 3]))
    lines = [_HEADER, "#Transform 0", "Transform: AffineTransform_double_3_3", f"Parameters: {numbers}"]
    write_text(path, "\n".join([*lines, "FixedParameters: 0 0 0"]) + "\n")


def read_affine(path: str | os.PathLike[str]) -> np.ndarray:
    """The affine map [4, 4] in a file, from the fixed to the moving world in RAS mm.

    Raises `ImageError`, naming the file, for everything that is not one affine map.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as stream:
            raw = stream.read(_LARGEST_FILE + 1)
        if len(raw) > _LARGEST_FILE:
            raise ImageError("it is too large for one affine map")
        text = raw.decode("utf-8")
        matrix = _from_json(text) if Path(path).suffix.lower() == ".json" else _from_itk(text)
        return check_affine(matrix, "affine map")
    except (OSError, UnicodeDecodeError, ImageError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"{name}: cannot be read as an affine map: {reason}") from error


def _from_json(text: str) -> np.ndarray:
    try:
        content = json.loads(text)
        said = {key: content[key] for key in _MEANING}
        matrix = np.array(content["matrix"], np.float64)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageError(f"expected an object with {', '.join(_MEANING)} and matrix ({error!r})") from error
    if said != _MEANING:
        raise ImageError(f"it must say {_MEANING}, not {said}")
    return matrix


def _from_itk(text: str) -> np.ndarray:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if line.startswith("#") or not colon:
            continue
        if key in fields:
            raise ImageError(f"it holds more than one {key}; give a file with one affine transform")
        fields[key] = value.strip()
    if not text.startswith("#Insight Transform File"):
        raise ImageError(f"its first line must be {_HEADER!r}")
    kind = fields.get("Transform", "")
    if kind not in {f"{k}_{precision}_3_3" for k in _KINDS for precision in ("double", "float")}:
        raise ImageError(f"the transform must be one of {', '.join(_KINDS)} in 3-D, not {kind!r}")
    try:
        numbers = np.array([float(v) for v in fields["Parameters"].split()])
        centre = np.array([float(v) for v in fields["FixedParameters"].split()])
    except (KeyError, ValueError) as error:
        raise ImageError(f"its parameters are missing or no numbers ({error})") from error
    if numbers.shape != (12,) or centre.shape != (3,):
        raise ImageError(f"it must have 12 parameters and 3 fixed ones, not {numbers.size} and {centre.size}")
    lps = np.eye(4)
    lps[:3, :3] = numbers[:9].reshape(3, 3)
    lps[:3, 3] = numbers[9:] + centre - lps[:3, :3] @ centre
    return _LPS @ lps @ _LPS
