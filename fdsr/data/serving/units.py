"""What a prediction is made of: the members of every field, in pieces that processes share and that are gone on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from fdsr.data.serving.datasets import WeatherBatch, WholeFields
from fdsr.data.serving.shares import crew, crews


class PredictionUnits(Dataset[WeatherBatch]):
    """Pieces of `members` of each of the first `count` of `fields`: a field and some members that follow each other.

    A piece has up to `at_once` members, the same ones whatever is finished already, so that what is computed anew is computed alike;
    fewer where several processes are busier then; where there are fewer members than processes, crews of these share them. A batch
    has besides its field `members` (1, m), numbers of those asked for, `streams` (1, m), by which their noise is drawn, and `field`
    (1,), the position of it. Members of one coarse field are numbered as they are in the prediction, so that those of an ensemble of
    coarse fields have noise of their own each.
    """

    def __init__(
        self, fields: WholeFields, members: int, at_once: int, world_size: int = 1, count: int | None = None
    ) -> None:
        self.fields, self.members = fields, members
        count = len(fields) if count is None else min(count, len(fields))
        self.times = fields.times[: -(-count // fields.members)]
        sizes = range(min(at_once, members), 0, -1) if world_size > 1 else [min(at_once, members)]
        world_size = crews(count * members, world_size)
        # the longest share decides when all is there; of equally long ones that of the largest pieces
        _, _, self.units = min(
            (_longest(units, world_size), -size, units) for size in sizes for units in [_pieces(count, members, size)]
        )

    def __len__(self) -> int:
        return len(self.units)

    def __getitems__(self, items: Sequence[int]) -> Any:
        (item,) = items
        field, numbers = self.units[item]
        batch: Any = self.fields.__getitems__([field])
        streams = [self.place(field, number)[1] for number in numbers]
        return batch | {
            "members": torch.tensor([list(numbers)]),
            "streams": torch.tensor([streams]),
            "field": torch.tensor([field]),
        }

    def place(self, field: int, number: int) -> tuple[int, int]:
        """(time, member) in the prediction: of an ensemble of coarse fields its first member's come first."""
        time, of_low = divmod(field, self.fields.members)
        return time, of_low * self.members + number


Units = list[tuple[int, range]]


def _pieces(fields: int, members: int, size: int) -> Units:
    return [(f, range(m, min(m + size, members))) for f in range(fields) for m in range(0, members, size)]


def _longest(units: Units, world_size: int) -> int:
    return max(sum(len(units[i][1]) for i in range(*share(len(units), rank, world_size))) for rank in range(world_size))


def share(n: int, rank: int, world_size: int) -> tuple[int, int]:
    """First and one past the last of the n pieces that process `rank` makes: neighbours, as they are of the same fields."""
    return rank * n // world_size, (rank + 1) * n // world_size


class UnitSampler:
    """The pieces of one process, or of the crew that it is of (see `shares.crew`), without those all of which is `done`."""

    def __init__(self, units: PredictionUnits, rank: int = 0, world_size: int = 1) -> None:
        working = crews(len(units), world_size)
        own, self.place, self.crew_size = crew(len(units), rank, world_size)
        self.units, self.left = units, list(range(*share(len(units), own, working))) if own < working else []

    def skip(self, done: set[tuple[int, int]]) -> None:
        """Leave out pieces of whose members all (time, member) are done."""

        def finished(item: int) -> bool:
            field, numbers = self.units.units[item]
            return all(self.units.place(field, number) in done for number in numbers)

        self.left = [item for item in self.left if not finished(item)]

    def __iter__(self) -> Iterator[int]:
        return iter(self.left)

    def __len__(self) -> int:
        return len(self.left)
