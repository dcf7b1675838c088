"""Who makes which members of a prediction, where there are fewer of them than processes and where there are more."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fdsr.data.serving.shares import crew
from fdsr.data.serving.units import PredictionUnits, UnitSampler


class Fields:
    """Three times of nothing."""

    members = 1
    times = (0, 1, 2)

    def __len__(self) -> int:
        return 3

    def __getitems__(self, items: Any) -> dict[str, torch.Tensor]:
        return {"index": torch.tensor(list(items))}


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7, 12, 13])
@pytest.mark.parametrize(("times", "members"), [(3, 4), (1, 5), (2, 1), (1, 1)])
def test_each_member_is_made_once_by_one_crew(world: int, times: int, members: int) -> None:
    made: dict[tuple[int, int], list[int]] = {}
    for rank in range(world):
        units = PredictionUnits(Fields(), members, 4, world, times)  # type: ignore[arg-type]
        sampler = UnitSampler(units, rank, world)
        assert sampler.crew_size == (world // (times * members) or 1)
        for item in sampler:
            field, numbers = units.units[item]
            for number in numbers:
                made.setdefault((field, number), []).append(sampler.place)
    assert sorted(made) == [(t, m) for t in range(times) for m in range(members)]
    crews = {tuple(places) for places in made.values()}
    assert crews == {tuple(range(world // (times * members) or 1))}  # one of which writes


def test_the_remainder_has_nothing_to_do() -> None:
    assert [crew(3, rank, 8) for rank in (0, 1, 5, 6, 7)] == [(0, 0, 2), (0, 1, 2), (2, 1, 2), (3, 0, 2), (3, 1, 2)]
    assert [crew(9, rank, 4)[0] for rank in range(4)] == [0, 1, 2, 3]
