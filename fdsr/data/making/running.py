"""Running blocks of work on Dask: threads of this process, or an existing cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from fdsr.data.making.splits import Block
from fdsr.errors import FdsrError

R = TypeVar("R")
Advance = Callable[[int], object]  # called with the steps that a finished block has
BLOCKS_PER_WORKER = 4  # in a wave: finished work is noted after each
PATIENCE = "10s"  # for a scheduler to answer


class Threads:
    """Dask's threaded scheduler; `workers` is how many blocks it does at a time."""

    def __init__(self, threads: int | None = None) -> None:
        from dask.system import CPU_COUNT

        self.workers = threads or CPU_COUNT

    def wave(self, work: Callable[[Block], R], blocks: Sequence[Block], advance: Advance) -> list[R | Exception]:
        """Results in the order of `blocks`, or the exception of a block; those after it may be missing."""
        import dask

        failed = threading.Event()

        def attempt(block: Block) -> R | Exception:
            # a failure is a result: threads that still work must end before their folder may be touched
            if failed.is_set():
                return FdsrError("not begun")
            try:
                result = work(block)
            except Exception as error:
                failed.set()
                return error
            advance(block[1] - block[0])
            return result

        run = dask.delayed(attempt, pure=False, traverse=False)
        # Dask begins with the last of the names: that of the first block, so that a failure leaves as many as possible
        tasks = [run(b, dask_key_name=f"block-{10**12 - b[0]:012d}") for b in blocks]
        return list(dask.compute(*tasks, scheduler="threads", num_workers=self.workers))


class Cluster:
    """An existing dask.distributed cluster, whose workers see the same files."""

    def __init__(self, client: object) -> None:
        self._client = client
        self.workers = sum(client.nthreads().values())  # type: ignore[attr-defined]
        if self.workers == 0:
            raise FdsrError("the Dask cluster has no workers; start some, then run the same command again")

    def wave(self, work: Callable[[Block], R], blocks: Sequence[Block], advance: Advance) -> list[R | Exception]:
        from distributed import as_completed

        client = self._client
        shared = client.scatter(work, broadcast=True, hash=False)  # type: ignore[attr-defined]
        futures = client.map(_call, [shared] * len(blocks), blocks, pure=False, retries=2)  # type: ignore[attr-defined]
        sizes = dict(zip(futures, (b[1] - b[0] for b in blocks), strict=True))
        for future in as_completed(futures, loop=client.loop):  # type: ignore[attr-defined]
            if future.status == "finished":
                advance(sizes[future])
        return [f.result() if f.status == "finished" else _failure(f, b) for f, b in zip(futures, blocks, strict=True)]


def _failure(future: Any, block: Block) -> Exception:
    """What went wrong with a block: what its work said, or that there was nobody to say it."""
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if isinstance(error, KilledWorker | CancelledError):
        return FdsrError(
            f"Dask workers died again and again at time steps {block[0]} to {block[1] - 1}, mostly for want of memory; give each "
            "more of it, or fewer threads"
        )
    return error


Runner = Threads | Cluster


def _call(work: Callable[[Block], R], block: Block) -> R:
    return work(block)


@contextmanager
def open_runner(scheduler: str | None, threads: int | None = None) -> Iterator[Runner]:
    """Threads of this process, or the cluster whose scheduler is at an address such as tcp://host:8786."""
    if scheduler is None:
        yield Threads(threads)
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise FdsrError("--scheduler needs dask.distributed: pip install distributed") from error
    try:
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise FdsrError(f"no Dask scheduler answers at '{scheduler}'; start one, or leave --scheduler out") from error
    with client:
        yield Cluster(client)
