"""A few helping threads for reads that release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def default_threads() -> int:
    """Steps read at the same time where nothing is said: the processor's cores, four at most."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


REMOTE_THREADS = 8  # requests under way at the same time: they wait, and take no core


@cache
def _helpers(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool a process: threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="fdsr-read")


def spread(work: Callable[[int], None], n: int, threads: int) -> None:
    """Call work(0) … work(n − 1), some at the same time; the first exception is raised when all calls have ended.

    The calling thread takes part and never waits for a helper that has not begun, so that a busy machine costs no more
    than the calls themselves.
    """
    if threads <= 1 or n <= 1:
        for j in range(n):
            work(j)
        return
    places = iter(range(n))  # advancing a range is one step of the interpreter: no place is given out twice

    def share() -> None:
        for j in places:
            work(j)

    helpers = _helpers(threads - 1, os.getpid())
    futures = [helpers.submit(share) for _ in range(min(threads, n) - 1)]
    try:
        share()
    finally:
        begun = [future for future in futures if not future.cancel()]
        errors = [error for error in (future.exception() for future in begun) if error is not None]
    if errors:
        raise errors[0]
