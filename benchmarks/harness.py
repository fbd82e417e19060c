"""Timing our kernels beside their peers: one process, one run, one table.

    python benchmarks/NAME.py [--json] [--threads N] [--quick]

Import this module before NumPy and the peers: it reads the command line and sets the environment from which numeric
libraries take their number of threads when they are loaded. It also makes the checkout importable without an install.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SHORTEST_SAMPLE = 0.01  # seconds: faster functions are called several times per sample


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time our kernels beside their peers in one run.")
    parser.add_argument("--json", action="store_true", help="print one JSON line a case instead of a table")
    parser.add_argument("--threads", type=int, default=1, help="threads for us and for the peers (default 1)")
    parser.add_argument("--quick", action="store_true", help="few repeats, small cases only: a check that it runs")
    return parser.parse_args()


OPTIONS = _options()
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
) -> None:
    """Time every function and print one line for each pair of ours and a peer; ratio = peer's time / our time.

    `ours` maps our backend ('numba', 'numpy') and `peers` the name of the peer to a function without arguments. The
    functions take turns, so that a busy machine slows all of them; the times are medians over the repeats. `settle`:
    each turn starts with a call that is not timed, because the first large arrays after another library has given back
    its memory cost several times what the next ones do (the system puts together huge pages).
    """
    from pysnnmed import kernels

    repeats = 3 if OPTIONS.quick else repeats
    with kernels.use_threads(OPTIONS.threads):
        seconds = _median_times({**ours, **peers}, repeats, settle)
    for backend in ours:
        for peer in peers:
            line = {
                "name": name,
                "case": f"{case} {backend}",
                "ratio": round(seconds[peer] / seconds[backend], 3),
                "ours_s": seconds[backend],
                "peer_s": seconds[peer],
                "peer": peer,
                "threads": OPTIONS.threads,
                "repeats": repeats,
            }
            print(json.dumps(line) if OPTIONS.json else _row(line), flush=True)


def _median_times(functions: Mapping[str, Callable[[], object]], repeats: int, settle: bool) -> dict[str, float]:
    """Median seconds per call of each function, measured in turns after one call that compiles and warms up."""
    calls = {}
    for name, function in functions.items():
        function()
        calls[name] = max(1, int(SHORTEST_SAMPLE / _time(function, 1)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            if settle:
                function()
            samples[name].append(_time(function, calls[name]))
    return {name: median(times) for name, times in samples.items()}


def _time(function: Callable[[], object], calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        function()
    return (perf_counter() - start) / calls


def _row(line: Mapping) -> str:
    return (
        f"{line['name']}  {line['case']:<58} {line['ours_s'] * 1e3:9.2f} ms   "
        f"{line['peer']:<28} {line['peer_s'] * 1e3:9.2f} ms   ratio {line['ratio']:6.2f}"
    )
