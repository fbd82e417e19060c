"""Reading NIfTI images without trusting them, and writing them whole or not at all. NumPy only.

A volume that reads without complaint is either what was written or cannot be told from it: compressed files are read
to the end, so that the checksum of gzip is checked; the header is checked field by field (see `header`); the file
must have exactly the size the header claims; voxels must be finite. What no reader can see is a header altered into
another sound header: uncompressed NIfTI carries no checksum.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..errors import ImageError, ParameterError
from .affines import check_affine
from .files import atomic_write, fill_array
from .header import Form, Header, layout_of, pack_header, parse_header
from .images import Image

MAX_VOXELS = 2**28  # 645 voxels along each axis
_LARGEST = float(np.finfo(np.float32).max)
_GZIP_MAGIC, _DEFLATE_RATIO = b"\x1f\x8b", 1032  # deflate cannot compress further than 1032 to 1 (zlib manual)
_INTEGERS = [np.dtype(name) for name in ("u1", "i2", "u2", "i4", "u4")]  # those that every NIfTI tool reads


def read_nifti(
    path: str | os.PathLike[str],
    *,
    max_voxels: int = MAX_VOXELS,
    allow_nonfinite: bool = False,
    assume_ras: bool = False,
    form: Form = "agreed",
) -> Image:
    """The volume in `path`, .nii or .nii.gz (told by content, not by name), NIfTI-1 or NIfTI-2, either byte order.

    Trailing axes of length 1 are dropped; the rest must be three. Values keep their stored type; where the header
    scales them they become float64. Metres and micrometres are converted to mm; a header that states no unit is
    read as mm.

    max_voxels       refuse larger volumes, before memory is allocated
    allow_nonfinite  let NaN and infinite voxels pass
    assume_ras       accept a header that does not place the image in the world; axes are then right, anterior, superior
    form             "agreed": sform and qform must agree where both are set; "sform" or "qform": trust that one

    Raises `ImageError`, naming the file, for everything that is not a sound image, also when it cannot be opened.
    """
    with naming(path):
        header, data = read_array(path, max_values=max_voxels, assume_ras=assume_ras, form=form)
        if not allow_nonfinite:
            check_finite(data, cure="repair the image, or read it with allow_nonfinite=True")
        data = data.reshape(_three_axes(header.shape), order="F")
    return Image(data, header.affine, os.fspath(path), header.form_code, header.description)


def read_array(
    path: str | os.PathLike[str],
    *,
    max_values: int,
    assume_ras: bool = False,
    form: Form = "agreed",
) -> tuple[Header, np.ndarray]:
    """Checked header and scaled values of a NIfTI file with any number of axes. Raises as `read_nifti` does."""
    with naming(path), _opened(path) as (stream, size, compressed):
        header = _read_header(stream, form, assume_ras)
        if header.values > max_values:
            raise ImageError(
                f"the header claims {header.values} voxels {header.shape}, more than max_voxels={max_values}; "
                "raise that limit if the image is really so large"
            )
        _check_size(header, size, compressed)
        _skip(stream, header.offset)
        data = np.empty(header.values * header.dtype.itemsize, np.uint8)
        fill_array(stream, data)
        if stream.read(1):  # also takes gzip to the checksum behind the last byte
            raise ImageError(f"the file goes on after the {header.end} bytes that the header describes")
        values = _native(data.view(header.dtype)).reshape(header.shape, order="F")
        return header, _scaled(values, header)


def check_finite(data: np.ndarray, cure: str) -> None:
    """Refuse NaN, infinite values and values beyond single precision, in which the networks compute."""
    if data.dtype.kind == "f" and not (data.min() >= -_LARGEST and data.max() <= _LARGEST):  # NaN fails both
        bad = int(np.count_nonzero(~(np.abs(data) <= _LARGEST)))
        raise ImageError(f"{bad} of {data.size} values are NaN, infinite or beyond {_LARGEST:.2g}; {cure}")


def write_nifti(path: str | os.PathLike[str], image: Image | np.ndarray, *, like: Image | None = None) -> None:
    """Write a volume as NIfTI-1, compressed if the name ends in .nii.gz, whole or not at all (see `files`).

    `image` is an Image, or an array whose place in the world is that of `like`. Values are stored exactly, never
    rescaled: labels stay the same integers. bool becomes uint8, float16 becomes float32, and 64-bit integers take
    the smallest common type that holds them. sform and qform are set to the same affine. Equal images give equal
    files: no time and no name goes into them.

    Raises `ImageError` for NaN or infinite values and for types that NIfTI cannot hold exactly, `ParameterError` for
    another file ending, `FileError` where the system refuses.
    """
    if not isinstance(image, Image):
        if like is None:
            raise ParameterError(
                "write_nifti: a bare array has no place in the world; pass like=, the image it lies on"
            )
        image = like.with_data(image)
    facts = like or image
    write_array(path, image.data, image.affine, form_code=facts.form_code, description=facts.description)


def write_array(
    path: str | os.PathLike[str],
    data: np.ndarray,
    affine: np.ndarray,
    *,
    form_code: int = 1,
    description: str = "",
    intent_code: int = 0,
    intent_name: str = "",
) -> None:
    """Write an array of up to 7 axes as `write_nifti` does."""
    name = Path(path).name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        raise ParameterError(f"{os.fspath(path)}: the name of a NIfTI file must end in .nii or .nii.gz")
    with naming(path):
        affine = check_affine(affine)
        stored = _storable(np.asarray(data))
        head = pack_header(
            stored.shape,
            stored.dtype,
            affine,
            form_code=form_code,
            description=description,
            intent_code=intent_code,
            intent_name=intent_name,
        )

    def write(stream: BinaryIO) -> None:
        stream.write(head)
        little = stored.astype(stored.dtype.newbyteorder("<"), order="F", copy=False)
        stream.write(little.ravel(order="F").view(np.uint8).data)

    def write_compressed(stream: BinaryIO) -> None:
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as packed:
            write(cast(BinaryIO, packed))

    atomic_write(path, write_compressed if name.endswith(".gz") else write)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever goes wrong with the contents of a file into one ImageError that names the file."""
    name = os.fspath(path)
    try:
        yield
    except ImageError as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise ImageError(f"{name}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImageError(f"{name}: the compressed file is damaged or cut short ({error}); fetch it again") from error
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: the image does not fit into memory") from error


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int, bool]]:
    """The uncompressed bytes of a regular file, its size on disk, and whether it is compressed."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block, a device never end
        raise ImageError("this is not a file; give the path of a .nii or .nii.gz file")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        compressed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not compressed:
            yield file, size, False
            return
        with gzip.GzipFile(fileobj=file) as packed:
            yield cast(BinaryIO, packed), size, True


def _read_header(stream: BinaryIO, form: Form, assume_ras: bool) -> Header:
    start = stream.read(4)
    if len(start) < 4:
        raise ImageError("the file is empty or ends within the header")
    length = layout_of(start).itemsize
    raw = start + stream.read(length - 4)
    if len(raw) < length:
        raise ImageError(f"the file ends within the header, after {len(raw)} of {length} bytes")
    return parse_header(raw, form=form, assume_ras=assume_ras)


def _check_size(header: Header, size: int, compressed: bool) -> None:
    """Refuse a claim that the file cannot keep, before memory is allocated for it."""
    if compressed and header.end > size * _DEFLATE_RATIO:
        raise ImageError(
            f"the header claims {header.end} bytes {header.shape}, more than a compressed file of {size} bytes can hold"
        )
    if not compressed and header.end != size:
        raise ImageError(
            f"the header describes a file of {header.end} bytes {header.shape} {header.dtype.name}, but it has {size}; "
            "it is cut short, padded or its header is damaged"
        )


def _skip(stream: BinaryIO, offset: int) -> None:
    """Go forward to the first voxel, over extensions."""
    missing = offset - stream.tell()
    if len(stream.read(missing)) < missing:
        raise ImageError(f"the file ends before the first voxel, which should be at byte {offset}")


def _native(values: np.ndarray) -> np.ndarray:
    if values.dtype.isnative:
        return values
    return values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))


def _scaled(values: np.ndarray, header: Header) -> np.ndarray:
    if (header.slope, header.intercept) == (1.0, 0.0):
        return values
    with np.errstate(over="ignore", invalid="ignore"):  # check_finite finds what overflowed
        return values * np.float64(header.slope) + header.intercept


def _three_axes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise ImageError(f"an image must have 3 axes, not {shape}; split or stack it into volumes first")
    return shape


def _storable(data: np.ndarray) -> np.ndarray:
    """`data` in a type that NIfTI has and that holds every value exactly."""
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind in "iu":
        if data.dtype.itemsize < 8:
            return data.astype(data.dtype.newbyteorder("="), copy=False)
        low, high = int(data.min()), int(data.max())
        for dtype in _INTEGERS:
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return data.astype(dtype)
        raise ImageError(f"64-bit integers from {low} to {high} fit no common NIfTI type; save them as float64")
    if data.dtype.kind != "f" or data.dtype.itemsize > 8:
        raise ImageError(f"NIfTI images hold real numbers of up to 64 bits, not {data.dtype}; convert to float32")
    if not (np.isfinite(data.min()) and np.isfinite(data.max())):
        raise ImageError("the image holds NaN or infinite values, which are not written; replace them first")
    return data.astype(np.float32 if data.dtype.itemsize < 8 else np.float64, copy=False)
