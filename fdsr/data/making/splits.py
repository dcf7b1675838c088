"""Splits as blocks of time with a gap between them; those by region have all times each."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from numpy.typing import NDArray

from fdsr.data.making.periods import Period
from fdsr.data.making.regions import is_region
from fdsr.errors import FdsrError

SPLITS = ("train", "val", "test")
Block = tuple[int, int]  # first time step, one past the last


def split_blocks(times: NDArray, split: Mapping[str, Any], gap: int, where: str) -> dict[str, Block]:
    """Turn a split into index blocks over the sorted `times` (n,) of the source `where`.

    Each value of `split` is a number of snapshots (int), a fraction of them (float), or the first and the last date, each
    taken whole. Numbers and fractions are laid out in the order train, val, test from the start, with `gap` snapshots
    between blocks. A region has all times. Raises FdsrError if blocks are unknown, empty, overlap, or are nearer than the gap.
    """
    unknown = set(split) - set(SPLITS)
    if unknown or "train" not in split:
        raise FdsrError(f"split {dict(split)} needs 'train' and may have 'val' and 'test', nothing else")
    n, start, blocks = times.size, 0, {}
    if any(is_region(value) for value in split.values()):
        return {name: (0, n) for name in SPLITS if name in split}
    for name in (s for s in SPLITS if s in split):
        value = split[name]
        if isinstance(value, (int, float)):
            begin, end = start, start + (int(value * n + 1e-9) if isinstance(value, float) else value)
        else:
            begin, end = Period.parse(value, f"split {name}").block(times, where)
        if end <= begin:
            raise FdsrError(f"split '{name}' = {value} asks for no snapshot: there are {n}; take more, of more times")
        if end > n:
            raise FdsrError(
                f"split '{name}' = {value} asks for {begin}…{end - 1} of {n} snapshots (gap {gap}); take less"
            )
        blocks[name] = (begin, end)
        start = end + gap
    ordered = sorted(blocks.items(), key=lambda item: item[1])
    for (left, (_, end)), (right, (begin, _)) in pairwise(ordered):
        if begin - end < gap:
            mend = "move their dates apart" + (f", or set gap {begin - end}" if begin >= end else "")
            raise FdsrError(f"splits '{left}' and '{right}' are {begin - end} snapshots apart; gap is {gap}: {mend}")
    return blocks
