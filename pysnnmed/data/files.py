"""Writing files so that a crash, a full disk or a kill leaves either the whole old file or the whole new one.

Weights, checkpoints, logs and images are all written through `atomic_write`. What a killed process leaves behind is
a temporary file with a recognisable name, which `sweep_temporaries` removes at the next start.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..errors import FileError

try:
    import fcntl
except ImportError:  # Windows, which refuses to delete an open file and so needs no lock
    fcntl = None  # type: ignore[assignment]

_PREFIX, _SUFFIX = ".pysnnmed-", ".tmp"


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


def sweep_temporaries(folder: str | os.PathLike[str]) -> int:
    """Remove what killed writers left in `folder`; return how many files went. Writers still at work keep theirs."""
    removed = 0
    for leftover in sorted(Path(folder).glob(f"{_PREFIX}*{_SUFFIX}")):
        with contextlib.suppress(OSError), leftover.open("rb") as stream:
            _lock(stream.fileno())  # fails while the writer lives: the system drops the lock when it dies
            leftover.unlink()
            removed += 1
    return removed


def _open_temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """A new locked file in `folder`, with the permissions that the user's umask gives to any new file."""
    while True:
        temporary = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        stream = open(temporary, "xb")  # noqa: SIM115  (the caller closes it)
        with contextlib.suppress(OSError):  # a file system without locks: then nothing is ever swept while in use
            _lock(stream.fileno())
        if os.fstat(stream.fileno()).st_nlink:
            return temporary, stream
        stream.close()  # a sweep came between opening and locking


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable. Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _explained(error: OSError, path: str | os.PathLike[str]) -> FileError:
    reason = error.strerror or str(error) or type(error).__name__
    sentence = f"{reason}; nothing was written; check the folder, its permissions and the free space"
    return FileError(error.errno or 0, sentence, os.fspath(path))
