"""A thread that fetches the next batches while the model works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


def prefetched(make: Callable[[], Iterable[T]], depth: int) -> Generator[T]:
    """The items of `make()`, fetched by a thread that runs up to `depth` items ahead and then has one more in hand.

    The thread starts with the first `next`, so that an iterator that is made and dropped (as trainers do to check a
    loader) costs nothing. An exception in the thread is raised by `next` where its item would have come. The thread ends
    with the items, with `close`, or when nobody holds the iterator any longer.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="fdsr-prefetch") as thread:
        items = iter(make())

        def fetch() -> Future[Any]:
            return thread.submit(next, items, _END)

        waiting = deque(fetch() for _ in range(depth + 1))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(fetch())
                yield item
        finally:
            for future in waiting:
                future.cancel()
