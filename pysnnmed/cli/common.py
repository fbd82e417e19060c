"""What several commands share: talking to the user, choosing backend and threads."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

from .. import kernels


def say(line: str) -> None:
    """One line of result on standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def add_running_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-j", "--threads", type=int, metavar="N", help="threads (default: all cores)")
    parser.add_argument("--backend", choices=kernels.available(), help="default: the fastest that is installed")


@contextlib.contextmanager
def running(arguments: argparse.Namespace) -> Iterator[None]:
    """The backend and number of threads that the user asked for, or the best there is."""
    with kernels.use_backend(arguments.backend or kernels.fastest()), kernels.use_threads(arguments.threads):
        yield
