"""One array in an .npz file, read without trusting the file: nothing is unpickled, inflated or allocated unasked."""

from __future__ import annotations

import os
import zipfile
from typing import IO, BinaryIO

import numpy as np

from ..errors import ImageError

_LARGEST_HEADER = 10_000  # bytes of the text in front of an array that says its type and shape


def write_npz(stream: BinaryIO, name: str, array: np.ndarray) -> None:
    """Write one named array, compressed; equal arrays give equal bytes."""
    np.savez_compressed(stream, allow_pickle=False, **{name: array})


def read_npz(path: str | os.PathLike[str], name: str | None, shape: tuple[int, ...]) -> np.ndarray:
    """The floating-point array `name` of an .npz file, which must have this shape. name=None: the only one there is.

    Raises `ImageError` (without the name of the file) for another content, EOFError, OSError and the errors of
    zipfile and zlib for a damaged one.
    """
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise ImageError("two arrays of the file have the same name")
        if name is None and len(members) != 1:
            raise ImageError(f"the file must hold exactly one array, not {sorted(members)[:8]}")
        member = members.get(name) if name is not None else next(iter(members.values()))
        if member is None:
            raise ImageError(f"the file must hold an array {name!r}; it holds {sorted(members)[:8]}")
        with archive.open(member) as stream:
            return _read_array(stream, shape)


def _read_array(stream: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    found, fortran_order, dtype = _read_header(stream)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise ImageError(f"the array must hold floating-point numbers of up to 64 bits, not {dtype}")
    if found != shape:
        raise ImageError(f"the array must have shape {shape}, one vector per voxel of the fixed image, not {found}")
    array = np.empty(shape, dtype, order="F" if fortran_order else "C")
    content = array.reshape(-1, order="A").view(np.uint8)
    done = 0
    while done < content.size:
        block = stream.read(min(2**20, content.size - done))
        if not block:
            raise ImageError(f"the array is cut short: {done} of {content.size} bytes are there")
        content[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
    if stream.read(1):  # also takes zipfile to the checksum behind the last byte
        raise ImageError("the file goes on after the array that its header describes")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(stream)
        return readers[version](stream, max_header_size=_LARGEST_HEADER)
    except (ValueError, KeyError) as error:
        raise ImageError(f"this is no NumPy array: {error}") from error
