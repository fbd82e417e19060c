"""Arrays in .npz and .npy files, read without trusting them: nothing is unpickled, inflated or allocated unasked."""

from __future__ import annotations

import math
import os
import re
import zipfile
import zlib
from typing import IO, Any, BinaryIO

import numpy as np

from ..errors import ImageError
from .files import fill_array

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(?P<type>[<>][fiu][248]|\|[iu]1)', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,18}, ?){0,8}(?:[0-9]{1,18})?)\),? ?\}\s*"
)  # what numpy.save writes
_KINDS = {"f": "floating-point numbers", "iu": "integers"}
_MAX_ELEMENTS = 2**28

Shape = tuple[int | None, ...]  # None: any length


def write_npz(stream: BinaryIO, name: str, array: np.ndarray) -> None:
    """Write one named array, compressed; equal arrays give equal bytes."""
    arrays: dict[str, Any] = {name: array}
    np.savez_compressed(stream, **arrays)


def read_npz(path: str | os.PathLike[str], name: str | None, shape: Shape, kinds: str = "f") -> np.ndarray:
    """The array `name` of an .npz file, which must have this shape. name=None: the only one there is.

    `kinds` is "f" for floating-point numbers or "iu" for integers, of up to 64 bits. Raises `ImageError`, without the
    name of the file, for another content or a damaged file, OSError where it cannot be opened.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive, name)) as stream:
            return _read_array(stream, shape, kinds)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError) as error:
        raise ImageError(f"the .npz file is damaged or encrypted ({error}); fetch it again") from error


def read_npy(path: str | os.PathLike[str], shape: Shape, kinds: str = "f") -> np.ndarray:
    """The array of an .npy file; otherwise like `read_npz`."""
    with open(path, "rb") as stream:
        return _read_array(stream, shape, kinds)


def _member(archive: zipfile.ZipFile, name: str | None) -> zipfile.ZipInfo:
    members = archive.infolist()
    names = [member.filename.removesuffix(".npy") for member in members]
    if name is None and len(names) != 1:
        raise ImageError(f"the file must hold exactly one array, not {names[:8]}")
    if name is not None and names.count(name) != 1:
        raise ImageError(f"the file must hold one array {name!r}; it holds {names[:8]}")
    member = members[0 if name is None else names.index(name)]
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ImageError("the array must be stored or deflated, as numpy.savez_compressed does")
    return member


def _read_array(stream: IO[bytes], shape: Shape, kinds: str) -> np.ndarray:
    found, fortran_order, dtype = _read_header(stream, kinds)
    if len(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ImageError(f"the array must have shape ({wanted}), not {found}")
    if math.prod(found) > _MAX_ELEMENTS:
        raise ImageError(f"the array claims {math.prod(found)} elements, more than the {_MAX_ELEMENTS} that are read")
    array = np.empty(found, dtype, order="F" if fortran_order else "C")
    fill_array(stream, array.reshape(-1, order="A").view(np.uint8))
    if stream.read(1):  # also takes zipfile to the checksum behind the last byte
        raise ImageError("the file goes on after the array that its header describes")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: IO[bytes], kinds: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and type of an array in the NumPy format 1.0. Nothing of the text is evaluated."""
    start = stream.read(len(_MAGIC) + 2)
    if start[:-2] != _MAGIC:
        raise ImageError("this is no array in the NumPy format 1.0; save it with numpy.savez_compressed")
    text = stream.read(int.from_bytes(start[-2:], "little"))
    found = _HEADER.fullmatch(text)
    if found is None or chr(found["type"][1]) not in kinds:
        raise ImageError(f"the array must hold {_KINDS[kinds]} of up to 64 bits, not {text[:80]!r}")
    shape = tuple(map(int, re.findall(rb"[0-9]+", found["shape"])))
    return shape, found["fortran"] == b"True", np.dtype(found["type"].decode())
