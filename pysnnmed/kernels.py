"""Which backend runs the heavy loops, on how many threads.

A backend is the module `pysnnmed.backends.<name>_kernels`: functions on arrays with the names and signatures of
`numpy_kernels`, the reference. What a backend does not define runs on the reference.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np

from .errors import MissingExtraError, ParameterError

REFERENCE = "numpy"
_active: ContextVar[str] = ContextVar("backend", default=REFERENCE)


def available() -> list[str]:
    """Names of the backends that can be imported here, the reference first."""
    package = importlib.import_module("pysnnmed.backends")
    modules = (m.name for m in pkgutil.iter_modules(package.__path__) if m.name.endswith("_kernels"))
    names = (name.removesuffix("_kernels") for name in modules)
    return sorted(filter(_importable, names), key=lambda name: (name != REFERENCE, name))


def fastest() -> str:
    """The backend the running world uses: numba where it is installed, else the reference."""
    return "numba" if _importable("numba") else REFERENCE


def active() -> str:
    """Name of the backend in use."""
    return _active.get()


def load(name: str) -> ModuleType:
    """The module of backend `name`."""
    return importlib.import_module(f"pysnnmed.backends.{name}_kernels")


def _importable(name: str) -> bool:
    try:
        load(name)
    except ImportError:
        return False
    return True


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run the kernels of backend `name` inside this block. Blocks nest; another thread keeps its own choice."""
    try:
        load(name)
    except ImportError as error:
        cure = "; install it with: pip install 'pysnnmed[jit]'" if name == "numba" else ""
        raise MissingExtraError(
            f"backend {name!r} cannot be loaded ({error}); available: {', '.join(available())}{cure}"
        ) from error
    token = _active.set(name)
    try:
        yield
    finally:
        _active.reset(token)


@contextlib.contextmanager
def use_threads(n: int | None, *, split_small: bool = False) -> Iterator[None]:
    """Let kernels of this block split their work over `n` threads, None for no change. Results do not depend on n.

    Work that takes no longer than it takes to wake a thread is not split; with `split_small` it is, as tests want it.
    """
    if n is not None and n < 1:
        raise ParameterError(f"use_threads: the number of threads must be at least 1, not {n}")
    threads = importlib.import_module("pysnnmed.backends.threads")
    limit = threads.limit.set(threads.limit.get() if n is None else n)
    worth = threads.worth.set(1 if split_small else threads.worth.get())
    try:
        yield
    finally:
        threads.limit.reset(limit)
        threads.worth.reset(worth)


def release_memory() -> int:
    """Give back to the system the memory that kernels keep for their next large results -> bytes.

    What they keep never exceeds the most that was in use at once, and arrays in use stay as they are.
    """
    return importlib.import_module("pysnnmed.backends.buffers").release()


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array [*shape] of any content for a result, as np.empty; a large one of memory that was used before."""
    return importlib.import_module("pysnnmed.backends.buffers").empty(shape, dtype)


def threads() -> int:
    """How many threads kernels may use here."""
    return importlib.import_module("pysnnmed.backends.threads").limit.get()


def run(kernel: str, *args: Any) -> Any:
    """Call `kernel` of the active backend, or of the reference where the backend lacks it."""
    function = getattr(load(_active.get()), kernel, None) or getattr(load(REFERENCE), kernel)
    return function(*args)
