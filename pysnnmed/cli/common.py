"""What several commands share: talking to the user, choosing backend, threads, weights and memory, warming up."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import kernels
from ..deploy.executor import Executor
from ..deploy.programs import load_program
from ..deploy.running_weights import RUNNING_WEIGHTS, RunningWeights
from ..train.progress import ProgressBar

PATIENCE = 1.0  # seconds that nobody needs to be told about
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def say(line: str) -> None:
    """One line of result on standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def add_running_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-j", "--threads", type=int, metavar="N", help="threads (default: all cores)")
    parser.add_argument("--backend", choices=kernels.available(), help="default: the fastest that is installed")


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        choices=RUNNING_WEIGHTS,
        default="int8",
        help="of the program that runs; 'trained' runs the network as training does (default: %(default)s)",
    )


def add_memory_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory",
        type=number_of_bytes,
        metavar="SIZE",
        help="refuse what would take more, such as 2G or 500M (default: the memory of this machine)",
    )


def number_of_bytes(text: str) -> int:
    """'2G' -> 2 * 2**30; K, M, G and T are powers of 1024, a B or iB after them is allowed."""
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in UNITS else ""
    try:
        size = float(number.removesuffix(unit)) * UNITS[unit]
        if not 1 <= size < 2**63:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a size is a positive number of bytes, or of K, M, G or T, not {text!r}"
        ) from None
    return int(size)


def size(text: str) -> tuple[int, int]:
    """'128' -> (128, 128), '96x128' -> (96, 128)"""
    height, _, width = text.lower().partition("x")
    try:
        return int(height), int(width or height)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a window is one number of pixels, or two as in 96x128, not {text!r}"
        ) from None


@contextlib.contextmanager
def running(arguments: argparse.Namespace) -> Iterator[None]:
    """The backend and number of threads that the user asked for, or the best there is."""
    with kernels.use_backend(arguments.backend or kernels.fastest()), kernels.use_threads(arguments.threads):
        yield


def warm_up(arguments: argparse.Namespace, model: str | Path, weights: RunningWeights) -> None:
    """Compile what the program of a model needs, telling on standard error how far it is if that takes long.

    Compiled kernels stay on disk: it is once on every machine. The time that a run reports is then that of the work.
    """
    if weights == "trained":
        return
    program, _ = load_program(model, weights)
    began = time.perf_counter()

    def progress(done: int, total: int, name: str) -> None:
        if sys.stderr.isatty() and time.perf_counter() - began > PATIENCE:
            sys.stderr.write(f"\r{done:4} of {total} {name:<40}" + ("" if done < total else "\n"))
            sys.stderr.flush()

    notice = threading.Timer(PATIENCE, note, ["compiling kernels, once on this machine"])
    notice.daemon = True
    notice.start()
    try:
        with running(arguments):
            seconds = Executor(program).warm_up(progress)
    finally:
        notice.cancel()
    if seconds > PATIENCE:
        note(f"compiled kernels in {seconds:.1f} s; they stay on disk for the next run")


def tell_progress(title: str) -> Callable[[int, int, str], None]:
    """What work tells how much of it is done, of how much, with a note: a bar on standard error if it takes long."""
    began, bar = time.perf_counter(), None

    def progress(done: int, total: int, note: str) -> None:
        nonlocal bar
        if bar is None and time.perf_counter() - began > PATIENCE:
            bar = ProgressBar(f"pysnnmed: {title}", total, start=done - 1)
        if bar is not None:
            bar.update(done, note)

    return progress


def note(line: str) -> None:
    """One line beside the result, on standard error."""
    sys.stderr.write(f"pysnnmed: {line}\n")
    sys.stderr.flush()
