"""Which run is next. Several processes with the same folder share the runs: each takes what no other one has.

A process holds a lock on the folder of the run that it is at, which the system takes from it when it ends or is killed:
a run is never taken twice, and never stays taken. Without such locks (Windows) only one process may work at a time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pysnnmed.errors import ParameterError, PysnnmedError

from .bench import Bench, Run
from .variants import Variant

if sys.platform != "win32":
    import fcntl

PAUSE = 2.0  # seconds between looks at a teacher that another process trains


def runs_of(variants: Sequence[Variant], seeds: Sequence[int]) -> list[Run]:
    """All runs of variants, the teachers first; a variant of an experiment is run with all seeds before the next."""
    return [*(Run(seed) for seed in seeds), *(Run(seed, variant) for variant in variants for seed in seeds)]


def work(bench: Bench, runs: Sequence[Run], after_each: Callable[[], None], pause: float = PAUSE) -> None:
    """Execute what is not done of `runs`, the first ones first, until nothing is left but what others are at.

    Raises ParameterError at the end if runs failed, which hinder no others; started again, they are tried again.
    """
    failed: dict[Run, PysnnmedError] = {}
    while True:
        left = [run for run in runs if run not in failed and run.needs not in failed and bench.row(run) is None]
        ready = [run for run in left if run.needs is None or bench.row(run.needs) is not None]
        if _execute_one(bench, ready, failed):
            after_each()
        elif len(ready) < len(left):
            time.sleep(pause)
        else:
            break
    if failed:
        reasons = "; ".join(f"{run.name} with seed {run.seed}: {error}" for run, error in failed.items())
        raise ParameterError(f"{len(failed)} runs failed: {reasons}")


def _execute_one(bench: Bench, runs: Sequence[Run], failed: dict[Run, PysnnmedError]) -> bool:
    """Execute the first run that nobody else is at. -> whether there was one"""
    for run in runs:
        with held(bench.folder(run) / "lock") as ours:
            if ours and bench.row(run) is None:  # another process may just have finished it
                try:
                    bench.execute(run)
                except PysnnmedError as error:
                    failed[run] = error
                    bench.report(f"seed {run.seed}: {run.name} failed: {error}")
                return True
    return False


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of the file `path`, which is made, while the block runs. -> whether it is ours"""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        yield _lock(stream.fileno(), wait)


def _lock(file: int, wait: bool) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            return False
    return True
