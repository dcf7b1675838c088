"""The thread that fetches ahead: order, errors, and that it always goes away."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fdsr.data.serving.loader import BatchLoader
from fdsr.data.serving.prefetch import prefetched


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("fdsr-prefetch")]


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert eventually(lambda: not threads())


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_all_items_in_order(depth: int, n: int) -> None:
    items = prefetched(lambda: range(n), depth)
    assert list(items) == list(range(n))
    assert next(items, "end") == "end"


def test_runs_ahead_but_not_further_than_its_depth() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    ahead = prefetched(items, 3)
    assert not made and not threads()  # nothing before the first item is asked for
    assert next(ahead) == 0
    assert eventually(lambda: len(made) == 5)  # one given out, three waiting, one in hand
    time.sleep(0.05)
    assert len(made) == 5
    ahead.close()


def test_an_error_comes_where_its_item_would_have() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    ahead = prefetched(items, 5)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(ahead)
    assert next(ahead, "end") == "end"


def test_an_error_before_the_first_item() -> None:
    def items() -> Iterator[int]:
        raise OSError("gone")
        yield 1

    with pytest.raises(OSError, match="gone"):
        next(prefetched(items, 1))


@pytest.mark.parametrize("taken", [1, 3])
@pytest.mark.parametrize("depth", [1, 4])
def test_close_ends_the_thread_and_the_source(taken: int, depth: int) -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    ahead = prefetched(items, depth)
    for _ in range(taken):
        next(ahead)
    assert len(threads()) == 1
    ahead.close()
    ahead.close()
    assert not threads() and closed.wait(30) and next(ahead, "end") == "end"


def test_dropping_the_iterator_ends_the_thread() -> None:
    for value in prefetched(lambda: iter(range(10**9)), 2):
        if value == 3:
            break
    gc.collect()
    assert eventually(lambda: not threads())


class Squares:
    def __init__(self, broken: int = -1) -> None:
        self.broken = broken

    def __getitems__(self, items: list[int]) -> list[int]:
        if self.broken in items:
            raise ValueError(f"sample {self.broken}")
        return [i * i for i in items]


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(("n", "drop_last", "expected"), [(7, False, 3), (7, True, 2), (6, True, 2), (0, False, 0)])
def test_loader(prefetch: int, n: int, drop_last: bool, expected: int) -> None:
    loader = BatchLoader(Squares(), range(n), batch_size=3, drop_last=drop_last, prefetch=prefetch)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader) == expected
        assert [x for batch in batches for x in batch] == [i * i for i in range(expected * 3 if drop_last else n)]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_loader_raises_what_its_dataset_raises(prefetch: int) -> None:
    batches = iter(BatchLoader(Squares(broken=4), range(9), batch_size=3, prefetch=prefetch))
    assert next(batches) == [0, 1, 4]
    with pytest.raises(ValueError, match="sample 4"):
        next(batches)


def test_loader_without_a_length() -> None:
    with pytest.raises(TypeError):
        len(BatchLoader(Squares(), range(3), batch_size=1, sized=False))


@pytest.mark.slow
def test_loader_with_workers() -> None:
    """Same batches from two processes; an iterator made and dropped, as trainers do, starts none and uses up no sample."""
    sampler = iter(range(9))
    loader = BatchLoader(Squares(), sampler, batch_size=2, drop_last=True, num_workers=2)
    iter(loader)
    assert list(loader) == [[0, 1], [4, 9], [16, 25], [36, 49]]
