"""Splits as blocks of time with a gap between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fdsr.errors import FdsrError

SPLITS = ("train", "val", "test")
Block = tuple[int, int]  # first time step, one past the last


def split_blocks(times: NDArray, split: Mapping[str, object], gap: int) -> dict[str, Block]:
    """Turn a split into index blocks over the sorted `times` (n,).

    Each value of `split` is a number of snapshots (int), a fraction of them (float), or [first, last] dates. Numbers and
    fractions are laid out in the order train, val, test from the start, with `gap` snapshots between blocks. Raises
    FdsrError if blocks are unknown, empty, overlap, or are nearer than the gap.
    """
    unknown = set(split) - set(SPLITS)
    if unknown or "train" not in split:
        raise FdsrError(f"split {dict(split)} needs 'train' and may have 'val' and 'test', nothing else")
    n, start, blocks = times.size, 0, {}
    for name in (s for s in SPLITS if s in split):
        value = split[name]
        if isinstance(value, Sequence) and not isinstance(value, str):
            first, last = np.datetime64(str(value[0])), np.datetime64(str(value[1]))
            inside = np.flatnonzero((times >= first) & (times <= last))
            if inside.size == 0:
                raise FdsrError(f"split '{name}' {list(value)} holds no time of the source")
            begin, end = int(inside[0]), int(inside[-1]) + 1
        else:
            number = float(value)  # type: ignore[arg-type]
            begin, end = start, start + (int(number * n + 1e-9) if isinstance(value, float) else int(number))
        if not 0 <= begin < end <= n:
            raise FdsrError(
                f"split '{name}' = {value} asks for snapshots {begin}…{end - 1} of {n} (gap {gap}); shorten the blocks"
            )
        blocks[name] = (begin, end)
        start = end + gap
    ordered = sorted(blocks.items(), key=lambda item: item[1])
    for (left, (_, end)), (right, (begin, _)) in pairwise(ordered):
        if begin - end < gap:
            raise FdsrError(f"splits '{left}' and '{right}' are {begin - end} snapshots apart; the gap asks for {gap}")
    return blocks
