"""Splits are disjoint blocks of time with the gap between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdsr.data.making.splits import split_blocks
from fdsr.errors import FdsrError

TIMES = np.datetime64("2020-01-01") + np.arange(100) * np.timedelta64(1, "D")

sizes = st.one_of(st.integers(1, 60), st.floats(0.01, 0.6))


@given(train=sizes, val=st.none() | sizes, test=st.none() | sizes, gap=st.integers(0, 10), n=st.integers(1, 100))
def test_blocks_are_disjoint_and_a_gap_apart(
    train: float, val: float | None, test: float | None, gap: int, n: int
) -> None:
    split = {name: size for name, size in (("test", test), ("val", val), ("train", train)) if size is not None}
    try:
        blocks = split_blocks(TIMES[:n], split, gap, "s.zarr")
    except FdsrError:
        wanted = [int(s * n + 1e-9) if isinstance(s, float) else s for s in split.values()]
        # refused only if it is not to be had
        assert min(wanted) == 0 or sum(wanted) + gap * (len(wanted) - 1) > n
        return
    assert list(blocks) == [name for name in ("train", "val", "test") if name in split]
    assert blocks["train"][0] == 0
    ends = [0 - gap]
    for name, (begin, end) in blocks.items():
        assert begin == ends[-1] + gap  # laid out in this order, no more than the gap lost
        size = split[name]
        assert end - begin == (int(size * n + 1e-9) if isinstance(size, float) else size) > 0
        ends.append(end)
    assert ends[-1] <= n


intervals = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(sorted)


@given(train=intervals, test=intervals, gap=st.integers(0, 5))
def test_dates_select_what_they_say(train: list[int], test: list[int], gap: int) -> None:
    (a, b), (c, d) = train, test
    split = {"train": [str(TIMES[a]), str(TIMES[b])], "test": [str(TIMES[c]), str(TIMES[d])]}
    between = c - b - 1 if c >= a else a - d - 1
    if between < gap:
        with pytest.raises(FdsrError, match="gap"):
            split_blocks(TIMES, split, gap, "s.zarr")
    else:
        assert split_blocks(TIMES, split, gap, "s.zarr") == {"train": (a, b + 1), "test": (c, d + 1)}


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"val": 5}, "train"),
        ({"train": 5, "dev": 5}, "nothing else"),
        ({"train": 101}, "of 100"),
        ({"train": 90, "test": 10}, "gap"),
        ({"train": 0}, "train"),
        ({"train": 0.001}, "train"),
        (
            {"train": ["1999-01-01", "1999-02-01"]},
            "split train .* no time of .s.zarr., which has 2020-01-01T00:00–2020-04-09",
        ),
    ],
)
def test_refused(split: dict, words: str) -> None:
    with pytest.raises(FdsrError, match=words):
        split_blocks(TIMES, split, 1, "s.zarr")
