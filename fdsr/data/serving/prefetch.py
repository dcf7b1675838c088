"""A thread that fetches the next batches while the model works on this one."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Prefetcher(Generic[T], Iterator[T]):
    """Iterates over `make()` in a thread that runs up to `depth` items ahead.

    The thread starts with the first `next`, so that an iterator that is made and dropped (as trainers do to check a
    loader) costs nothing. An exception in the thread is raised by `next` where its item would have come. The thread ends
    with the items, with `close`, or when nobody holds the iterator any longer.
    """

    def __init__(self, make: Callable[[], Iterable[T]], depth: int) -> None:
        self._make, self._depth = make, depth
        self._queue: queue.Queue[Any] | None = None
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None
        self._finished = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._finished:
            raise StopIteration
        if self._queue is None:
            self._start()
        assert self._queue is not None
        item = self._queue.get()
        if item is _END or isinstance(item, _Failure):
            self.close()
            if isinstance(item, _Failure):
                raise item.error
            raise StopIteration
        return item

    def close(self) -> None:
        """End the thread and wait until it has gone. Harmless when repeated."""
        self._finished = True
        self._stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _start(self) -> None:
        self._queue, stopped = queue.Queue(maxsize=self._depth), threading.Event()
        # neither the thread nor the finaliser may hold this object, or it would never be collected
        self._thread = threading.Thread(
            target=_produce, args=(self._make, self._queue, stopped), name="fdsr-prefetch", daemon=True
        )
        self._stop = weakref.finalize(self, _halt, self._queue, stopped)
        self._thread.start()


_END = object()


def _produce(make: Callable[[], Iterable], out: queue.Queue, stopped: threading.Event) -> None:
    try:
        for item in make():
            out.put(item)
            if stopped.is_set():
                return
        out.put(_END)
    except BaseException as error:  # handed to the consumer, who raises it
        out.put(_Failure(error))


def _halt(out: queue.Queue, stopped: threading.Event) -> None:
    stopped.set()
    # room for the one item that the thread may be waiting to put down; it looks at `stopped` right after
    while True:
        try:
            out.get_nowait()
        except queue.Empty:
            return
