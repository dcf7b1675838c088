"""Which patches training sees is a pure function of seed, epoch and place in the epoch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.data.patches import PatchSampler
from fdsr.errors import FdsrError


def sampler(epoch: int = 0, **changes: Any) -> PatchSampler:
    arguments = {"block": (2, 12), "shape": (24, 48), "patch": (8, 16), "factor": (4, 4), "periodic": True,
                 "patches_per_step": 4, "seed": 0}  # fmt: skip
    made = PatchSampler(**(arguments | changes))
    made.set_epoch(epoch)
    return made


@settings(max_examples=50, deadline=None)
@given(
    fy=st.integers(1, 5), fx=st.integers(1, 5), h=st.integers(1, 3), w=st.integers(1, 3), more=st.integers(0, 4),
    periodic=st.booleans(), seed=st.integers(0, 99), epoch=st.integers(0, 9),
)  # fmt: skip
def test_patches_lie_on_coarse_cells_inside_the_grid(
    fy: int, fx: int, h: int, w: int, more: int, periodic: bool, seed: int, epoch: int
) -> None:
    shape, patch = ((h + more) * fy, (w + more) * fx), (h * fy, w * fx)
    keys = list(sampler(epoch, shape=shape, patch=patch, factor=(fy, fx), periodic=periodic, seed=seed))
    assert Counter(k.time for k in keys) == dict.fromkeys(range(2, 12), 4)  # every step equally often
    for k in keys:
        assert k.row % fy == 0 == k.column % fx
        assert 0 <= k.row <= shape[0] - patch[0]
        assert 0 <= k.column < shape[1] if periodic else 0 <= k.column <= shape[1] - patch[1]


def test_pure_function_of_seed_and_epoch() -> None:
    used = sampler(0)
    first = list(used)
    used.set_epoch(1)
    second = list(used)
    assert first == list(sampler(0)) and second == list(sampler(1))
    assert first != second and first != list(sampler(0, seed=1))
    used.set_epoch(0)
    assert list(used) == first


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_ranks_share_one_order_equally(world_size: int) -> None:
    whole = list(sampler(5))
    parts = [list(sampler(5, rank=r, world_size=world_size)) for r in range(world_size)]
    each = 40 // world_size
    assert [len(p) for p in parts] == [each] * world_size == [len(sampler(rank=0, world_size=world_size))] * world_size
    # dealt out like cards: position i goes to rank i mod world_size, so no position goes to two
    times = [parts[i % world_size][i // world_size].time for i in range(each * world_size)]
    assert times == [k.time for k in whole[: each * world_size]]


@pytest.mark.parametrize(("world_size", "rank", "skip"), [(1, 0, 12), (1, 0, 0), (3, 2, 5)])
def test_skip_goes_on_where_it_stopped_once(world_size: int, rank: int, skip: int) -> None:
    whole = list(sampler(3, rank=rank, world_size=world_size))
    resumed = sampler(3, rank=rank, world_size=world_size)
    resumed.skip = skip
    assert list(resumed) == whole[skip:]
    resumed.set_epoch(4)
    assert list(resumed) == list(sampler(4, rank=rank, world_size=world_size))


def test_rows_near_the_poles_are_seen_as_often_as_others() -> None:
    rows = Counter(k.row for e in range(40) for k in sampler(e, shape=(48, 48)))
    seen = [sum(n for row, n in rows.items() if row <= y < row + 8) for y in range(48)]
    mean = sum(seen) / 48
    assert min(seen[0], seen[-1]) > 0.8 * mean  # without the margin: about a third
    assert max(seen) < 1.6 * mean


def test_columns_reach_across_the_date_line_only_on_a_circle() -> None:
    def beyond(periodic: bool) -> bool:
        return any(k.column + 16 > 48 for e in range(5) for k in sampler(e, periodic=periodic))

    assert beyond(True) and not beyond(False)


@pytest.mark.parametrize("patch", [(6, 16), (8, 18), (28, 16), (8, 52), (0, 16)])
def test_refused(patch: tuple[int, int]) -> None:
    with pytest.raises(FdsrError, match="multiple of the factor 4"):
        sampler(patch=patch)
