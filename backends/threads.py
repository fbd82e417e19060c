"""A pool of threads for kernels that release the GIL, and how many of them the current context may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from itertools import pairwise


def cores() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


CORES = cores()
limit: ContextVar[int] = ContextVar("thread_limit", default=CORES)
# multiply-adds in vectors that are worth a thread: a millisecond, some times what it takes to wake one
worth: ContextVar[int] = ContextVar("worth_a_thread", default=2**24)
_pool: tuple[int, ThreadPoolExecutor] | None = None  # (process id, pool): a forked child must not use its parent's pool


def for_ranges(body: Callable[[int, int], object], n: int, grain: int = 1) -> None:
    """Call body(start, stop) on ranges that together cover range(n), side by side on at most `limit` threads.

    Each range holds at least `grain` items. `body` must release the GIL to gain anything, must write only to what
    belongs to its range, so that the result is the same for any number of threads, and must not call for_ranges.
    """
    parts = max(1, min(limit.get(), n // max(grain, 1)))
    bounds = [n * i // parts for i in range(parts + 1)]
    waiting = [_executor().submit(body, a, b) for a, b in pairwise(bounds[1:])]
    body(0, bounds[1])
    for future in waiting:
        future.result()


def share(cost: int) -> int:
    """How many items are worth a thread, each taking as long as so many multiply-adds in vectors."""
    return -(-worth.get() // max(cost, 1))


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None or _pool[0] != os.getpid():
        _pool = (os.getpid(), ThreadPoolExecutor(max_workers=CORES, thread_name_prefix="pysnnmed"))
    return _pool[1]
