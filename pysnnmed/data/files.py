"""Writing files so that a crash, a full disk or a kill leaves either the whole old file or the whole new one.

Weights, checkpoints, logs and images are all written through `atomic_write`. What a killed process leaves behind is
a temporary file with a recognisable name, which `sweep_temporaries` removes at the next start.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from ..errors import FileError, ImageError

if sys.platform != "win32":
    import fcntl

_PREFIX, _SUFFIX = ".pysnnmed-", ".tmp"
_BLOCK = 2**20


def atomic_write(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Replace the file `path` by what `write(stream)` writes, all of it or nothing.

    The bytes go to a temporary file in the same folder, reach the disk (fsync), and only then take the name (rename,
    then fsync of the folder). On any failure the temporary file is removed and the old file stays as it was. A link
    is followed: the file it points to is replaced.

    Raises `FileError`, which is also an OSError with its errno, where the system refuses; whatever else `write`
    raises passes through unchanged.
    """
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        temporary, stream = _open_temporary(target.parent)
        with stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError) and not isinstance(error, FileError):
            raise _explained(error, path) from error
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace the file `path` by `text` in UTF-8, all of it or nothing."""
    atomic_write(path, lambda stream: stream.write(text.encode()))


def sweep_temporaries(folder: str | os.PathLike[str]) -> int:
    """Remove what killed writers left in `folder`; return how many files went. Writers still at work keep theirs."""
    removed = 0
    for leftover in sorted(Path(folder).glob(f"{_PREFIX}*{_SUFFIX}")):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if sys.platform != "win32":  # which refuses to delete an open file anyway
                _lock(stack.enter_context(leftover.open("rb")))  # fails while the writer lives
            leftover.unlink()
            removed += 1
    return removed


def fill_array(stream: IO[bytes], array: np.ndarray) -> None:
    """Fill a contiguous array of bytes from a stream, block by block: memory is taken up only as far as the data go.

    Raises `ImageError` where the stream ends too early.
    """
    done = 0
    while done < array.size:
        block = stream.read(min(_BLOCK, array.size - done))
        if not block:
            raise ImageError(f"the file is cut short: {done} of {array.size} bytes of values are there")
        array[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)


def _open_temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """A new locked file in `folder`, with the permissions that the user's umask gives to any new file."""
    while True:
        temporary = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        stream = temporary.open("xb")
        with contextlib.suppress(OSError):  # on a file system without locks, nothing is ever swept
            _lock(stream)
        if os.fstat(stream.fileno()).st_nlink:
            return temporary, stream
        stream.close()  # a sweep came between opening and locking


def _lock(stream: BinaryIO) -> None:
    """Lock an open file, or raise OSError where another one holds it. The system unlocks when a process dies."""
    if sys.platform != "win32":
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where the system can: some network file systems and Windows cannot."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
        os.close(descriptor)


def _explained(error: OSError, path: str | os.PathLike[str]) -> FileError:
    reason = error.strerror or str(error) or type(error).__name__
    sentence = f"{reason}; nothing was written; check the folder, its permissions and the free space"
    return FileError(error.errno or 0, sentence, os.fspath(path))
