"""Arrays on disk in the safetensors layout, read and written with NumPy alone.

The layout (huggingface/safetensors, format description): 8 bytes little-endian length of a JSON header, the header
{name: {dtype, shape, data_offsets}, "__metadata__": {str: str}}, then the arrays, C order, one after the other. Nothing
in such a file is executed or followed. On top of the layout this module writes, and checks on reading, the SHA-256 of
the data block, so that a flipped bit is an error and not a slightly different network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import atomic_write
from ..errors import WeightsError

FORMAT_VERSION = "1"
MAX_HEADER_BYTES = 1 << 20
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays atomically; the same content always gives the same bytes.

    Raises WeightsError for a type that the layout lacks or for non-finite values.
    """
    header: dict[str, Any] = {}
    blocks: list[bytes] = []
    start = 0
    # Larger items first keeps every array aligned to its item size, as the layout recommends.
    for name in sorted(arrays, key=lambda n: (-np.asarray(arrays[n]).dtype.itemsize, n)):
        array = np.asarray(arrays[name])
        little = array.dtype.newbyteorder("<")
        if little not in _NAMES:
            raise WeightsError(f"{path}: array {name!r} has type {array.dtype}, which the safetensors layout lacks")
        _check_finite(path, name, array)
        block = array.astype(little, order="C", copy=False).tobytes(order="C")
        header[name] = {
            "dtype": _NAMES[little],
            "shape": list(array.shape),
            "data_offsets": [start, start + len(block)],
        }
        start += len(block)
        blocks.append(block)
    data = b"".join(blocks)
    facts = {**(metadata or {}), "format_version": FORMAT_VERSION, "sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps({"__metadata__": dict(sorted(facts.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(file: Any) -> None:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        file.write(data)

    atomic_write(path, write)


def load_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read named arrays and the metadata. -> (arrays, metadata)

    Raises WeightsError, naming the file and the entry, for anything that is not exactly such a file: a header that
    claims more than the file holds, overlaps or holes between arrays, unknown types, a wrong checksum, NaN or infinity.
    Files without a checksum (written by other software) are accepted.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = _read_header(path, file, size)
            data = file.read()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise WeightsError(f"{path}: __metadata__ must map names to strings")
    arrays, spans = {}, []
    for name, entry in header.items():
        array, span = _read_array(path, name, entry, data)
        arrays[name] = array
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise WeightsError(f"{path}: the arrays must fill the data block without overlap or hole (byte {end})")
        end = stop
    if end != len(data):
        raise WeightsError(f"{path}: {len(data) - end} bytes after the last array belong to nothing")
    claimed = metadata.get("sha256")
    if claimed is not None and claimed != hashlib.sha256(data).hexdigest():
        raise WeightsError(f"{path}: the checksum of the data does not match; the file is damaged, fetch it again")
    for name, array in arrays.items():
        _check_finite(path, name, array)
    return arrays, metadata


def _read_header(path: Path, file: Any, size: int) -> dict[str, Any]:
    length = int.from_bytes(file.read(8), "little") if size >= 8 else -1
    if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
        raise WeightsError(f"{path}: not a weights file: its header would have {length} bytes in a file of {size}")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: the header is not valid JSON ({error})") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: the header must be a JSON object, not {type(header).__name__}")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name appears twice")
    return table


def _read_array(path: Path, name: str, entry: Any, data: bytes) -> tuple[np.ndarray, tuple[int, int]]:
    def natural(values: Any) -> bool:
        return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(f"{path}: entry {name!r} must have exactly dtype, shape and data_offsets")
    if entry["dtype"] not in DTYPES:
        raise WeightsError(f"{path}: entry {name!r} has the unknown type {entry['dtype']!r}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not natural(shape) or not natural(offsets) or len(offsets) != 2:
        raise WeightsError(f"{path}: entry {name!r}: shape and data_offsets must be lists of natural numbers")
    dtype = np.dtype(DTYPES[entry["dtype"]])
    count = 1
    for n in shape:
        count *= n
    start, stop = offsets
    if not start <= stop <= len(data) or stop - start != count * dtype.itemsize:
        raise WeightsError(
            f"{path}: entry {name!r} of shape {shape} needs {count * dtype.itemsize} bytes, "
            f"its offsets are {start}..{stop} in a data block of {len(data)}"
        )
    array = np.frombuffer(data, dtype, count=count, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=True), (start, stop)


def _check_finite(path: str | Path, name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise WeightsError(f"{path}: array {name!r} holds NaN or infinity")
