"""Which patches training sees is a pure function of seed, epoch and place in the epoch."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.data.serving.patches import PatchSampler
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


@settings(max_examples=100)
@given(
    steps=st.integers(1, 40), patches_per_step=st.integers(1, 9), world_size=st.integers(1, 12), epoch=st.integers(0, 5),
    window=st.none() | st.integers(1, 50),
)  # fmt: skip
def test_processes_share_an_epoch(
    steps: int, patches_per_step: int, world_size: int, epoch: int, window: int | None
) -> None:
    """Equally many samples each, none twice, fewer than world_size left out, whatever the sizes."""
    shares = [
        sampler(block=(3, 3 + steps), patches_per_step=patches_per_step, window=window, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    orders = [s.order(epoch).tolist() for s in shares]
    each = steps * patches_per_step // world_size
    assert [len(o) for o in orders] == [each] * world_size == [len(s) for s in shares]
    together = [i for o in orders for i in o]
    assert len(set(together)) == len(together) and set(together) <= set(range(steps * patches_per_step))
    # neighbours in a process's share come from the same steps: at most one step at either border is another's too
    for order in orders:
        assert len({i // patches_per_step for i in order}) <= -(-each // patches_per_step) + 1


def test_what_a_patch_is_does_not_depend_on_the_number_of_processes() -> None:
    whole = sampler(5, shift=True, flips=("longitude", "latitude"))
    patches = dict(zip(whole.order(5).tolist(), whole, strict=True))
    for r in range(3):
        share = sampler(5, shift=True, flips=("longitude", "latitude"), window=2, rank=r, world_size=3)
        assert [patches[i] for i in share.order(5).tolist()] == list(share)


def test_what_is_left_out_varies_by_epoch() -> None:
    """Of 40 samples three processes use 39; the one left out is another's in every few epochs."""
    parts = [sampler(rank=r, world_size=3) for r in range(3)]
    left = [set(range(40)) - {i for p in parts for i in p.order(e).tolist()} for e in range(12)]
    assert {len(s) for s in left} == {1} and len(set().union(*left)) > 4


@settings(max_examples=50)
@given(steps=st.integers(1, 60), patches_per_step=st.integers(1, 8), window=st.integers(1, 20), epoch=st.integers(0, 3))
def test_a_cache_of_two_windows_decodes_each_step_once(
    steps: int, patches_per_step: int, window: int, epoch: int
) -> None:
    order = sampler(block=(0, steps), patches_per_step=patches_per_step, window=window).order(epoch) // patches_per_step
    cache: OrderedDict[int, None] = OrderedDict()
    decoded = Counter()
    for i in order.tolist():
        decoded[i] += i not in cache
        cache[i] = None
        cache.move_to_end(i)
        if len(cache) > 2 * window:
            cache.popitem(last=False)
    assert decoded == dict.fromkeys(range(steps), 1)


def test_a_window_decodes_at_a_steady_rate_and_mixes_steps() -> None:
    order = sampler(block=(0, 400), patches_per_step=32, window=20).order(0) // 32
    first = np.sort(np.unique(order, return_index=True)[1])
    assert np.diff(first).max() < 8 * 32 and np.abs(first / 32 - np.arange(400)).max() < 25
    batches = order[1600:].reshape(-1, 16)
    assert np.mean([len(set(b)) for b in batches]) > 10  # sixteen draws from twenty steps: 11.2 expected


@pytest.mark.parametrize("roll", [False, True])
def test_whole_circles_roll_only_when_asked(roll: bool) -> None:
    columns = {k.column for e in range(3) for k in sampler(e, patch=(24, 48), roll=roll)}
    assert columns == (set(range(0, 48, 4)) if roll else {0})


@pytest.mark.parametrize("flips", [(), ("longitude",), ("latitude",), ("longitude", "latitude")])
def test_flips_are_drawn_for_half_of_the_patches(flips: tuple[str, ...]) -> None:
    keys = [k for e in range(20) for k in sampler(e, flips=flips)]
    for axis, flipped in (("longitude", [k.flip_columns for k in keys]), ("latitude", [k.flip_rows for k in keys])):
        assert np.mean(flipped) == (pytest.approx(0.5, abs=0.05) if axis in flips else 0)
    # the other draws stay what they were
    assert [k[:5] for k in sampler(0)] == [k[:5] for k in sampler(0, flips=flips)]


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


def test_refused_augmentations() -> None:
    with pytest.raises(FdsrError, match="close the circle"):
        sampler(periodic=False, roll=True)
    with pytest.raises(FdsrError, match="'lon' is unknown; choose one of longitude, latitude"):
        sampler(flips=("lon",))


def test_patches_by_area() -> None:
    """Rows are seen in proportion to their cells' area, blurred over the height of a patch; the other draws stay what they were."""
    edges = np.deg2rad(np.linspace(90, -90, 25))
    areas = np.abs(np.diff(np.sin(edges)))
    drawn = [k for e in range(400) for k in sampler(e, areas=areas)]
    middles = np.bincount([k.row // 4 for k in drawn], minlength=5) / len(drawn)
    # two coarse rows a patch: its middle lies on one of the seven edges of the six, of which the two at the poles move inside
    coarse = areas.reshape(6, 4).sum(1)
    density = np.array([coarse[0], *(0.5 * (coarse[1:] + coarse[:-1])), coarse[-1]])
    expected = np.array([density[:2].sum(), *density[2:-2], density[-2:].sum()]) / density.sum()
    assert middles == pytest.approx(expected, abs=0.012)  # standard error .004
    # patches of one coarse row see it as often as its area says
    low = np.bincount([k.row // 4 for e in range(400) for k in sampler(e, areas=areas, patch=(4, 16))]) / len(drawn)
    assert low == pytest.approx(coarse / coarse.sum(), abs=0.012)
    assert [k[2:5] for k in drawn[:40]] == [k[2:5] for k in sampler(0)]
    level = [k.row for e in range(400) for k in sampler(e, areas=np.ones(24))]
    assert np.bincount(np.array(level) // 4) == pytest.approx(16000 * np.array([2, 1, 1, 1, 2]) / 7, rel=0.06)
