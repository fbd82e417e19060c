"""Timing our kernels beside their peers: one process, one run, one table.

    python benchmarks/NAME.py [--json] [--threads N] [--quick]

Import this module before NumPy and the peers: it reads the command line and sets the environment from which numeric
libraries take their number of threads when they are loaded. It also makes the checkout importable without an install.
A benchmark with options of its own adds them to `options.PARSER` before.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

from options import PARSER

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SHORTEST_SAMPLE = 0.01  # seconds: faster functions are called several times per sample

OPTIONS = PARSER.parse_args()
os.environ.update({variable: str(OPTIONS.threads) for variable in THREAD_VARIABLES})
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # pools of two libraries that spin would slow each other down
sys.path.insert(0, str(ROOT))


def compare(
    name: str,
    case: str,
    ours: Mapping[str, Callable[[], object]],
    peers: Mapping[str, Callable[[], object]],
    repeats: int = 11,
    settle: bool = False,
    budget: float | None = None,
) -> None:
    """Time every function and print one line for each pair of ours and a peer; ratio = peer's time / our time.

    `ours` maps our backend ('numba', 'numpy') and `peers` the name of the peer to a function without arguments; with no
    backend of ours, each peer has a line without our time and ratio. The
    functions take turns, so that a busy machine slows all of them; the times are medians over the repeats. `settle`:
    each turn starts with a call that is not timed, because the first large arrays after another library has given back
    its memory cost several times what the next ones do (the system puts together huge pages). `budget`: about how many
    seconds the samples of one function may take; slow functions then have fewer repeats, at least one.
    """
    from pysnnmed import kernels

    repeats = 3 if OPTIONS.quick else repeats
    with kernels.use_threads(OPTIONS.threads):
        samples = _samples({**ours, **peers}, repeats, settle, budget)
    backends: list[str | None] = [*ours] or [None]
    for backend in backends:
        ours_s = None if backend is None else median(samples[backend])
        for peer in peers:
            peer_s = median(samples[peer])
            line = {
                "name": name,
                "case": case if backend is None else f"{case} {backend}",
                "ratio": None if ours_s is None else round(peer_s / ours_s, 3),
                "ours_s": ours_s,
                "peer_s": peer_s,
                "peer": peer,
                "threads": OPTIONS.threads,
                "repeats": len(samples[peer]),
            }
            print(json.dumps(line) if OPTIONS.json else _row(line), flush=True)


def _samples(
    functions: Mapping[str, Callable[[], object]], repeats: int, settle: bool, budget: float | None
) -> dict[str, list[float]]:
    """Seconds per call of each function, measured in turns after one call that compiles and warms up."""
    calls, turns = {}, {}
    for name, function in functions.items():
        first = _time(function, 1)
        slow = budget is not None and first > budget / 2
        second = first if slow else _time(function, 1)
        calls[name] = max(1, int(SHORTEST_SAMPLE / second))
        turns[name] = repeats if budget is None else min(repeats, max(1, round(budget / second)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats):
        for name, function in functions.items():
            if turn < turns[name]:
                if settle:
                    function()
                samples[name].append(_time(function, calls[name]))
    return samples


def median_time(function: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call of one function alone, after one that compiles and warms up."""
    return median(_samples({"": function}, repeats, settle=False, budget=None)[""])


def _time(function: Callable[[], object], calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        function()
    return (perf_counter() - start) / calls


def _row(line: Mapping) -> str:
    ours = "" if line["ours_s"] is None else f"{line['ours_s'] * 1e3:9.2f} ms"
    ratio = "" if line["ratio"] is None else f"   ratio {line['ratio']:6.2f}"
    return f"{line['name']}  {line['case']:<58} {ours:>12}   {line['peer']:<28} {line['peer_s'] * 1e3:9.2f} ms{ratio}"
