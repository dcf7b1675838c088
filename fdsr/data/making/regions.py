"""Splits by region: blocks of longitude or latitude with a gap between them, for archives of much space and few times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fdsr.data.making.pair_grid import PairGrid
from fdsr.data.windows import Window
from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.grids.cells import rounding

# name of an axis in a split → 0 for rows, 1 for columns
AXES = {"lat": 0, "lon": 1, "y": 0, "x": 1}
_BLOCK = re.compile(rf"({'|'.join(AXES)})\s*:.*")
_LINE = "is not like lon:-125/-100, an axis (lat, lon, y, x) and its least and largest coordinate"


def is_region(value: object) -> bool:
    """Whether the value of a split says a region, and no number of times, or dates."""
    return isinstance(value, str) and _BLOCK.fullmatch(value.strip()) is not None


@dataclass(frozen=True)
class Region:
    """All points between two coordinates of an axis, ends included; longitudes count eastwards, across the date line too.

    Raises FdsrError if there is nothing between them.
    """

    axis: str
    first: float
    last: float

    @classmethod
    def parse(cls, text: str, what: str) -> Region:
        """The region that `text` says, AXIS:FIRST/LAST, for the option `what`."""
        axis, _, ends = (part.strip() for part in text.partition(":"))
        try:
            first, last = (float(end) for end in ends.split("/"))
            if not np.isfinite([first, last]).all():
                raise ValueError(text)
        except ValueError as error:
            raise FdsrError(f"{what} '{text}' {_LINE}") from error
        if last <= first and not (axis == "lon" and last < first - 180):
            raise FdsrError(f"{what} '{text}' ends before it begins; write the smaller coordinate first")
        return cls(axis, first, last)

    def __str__(self) -> str:
        return f"{self.axis}:{self.first:.10g}/{self.last:.10g}"

    def block(self, grid: Grid, factor: tuple[int, int], where: str) -> tuple[int, int]:
        """First row or column and one past the last: those of the whole coarse cells inside.

        Raises FdsrError where the grid of the source `where` has no such axis, or no coarse cell inside, or ends in the midst.
        """
        if self.axis not in grid.names:
            raise FdsrError(f"split by {self.axis}: '{where}' has the axes {' and '.join(grid.names)}; use these")
        number = AXES[self.axis]
        values, f = (grid.rows, grid.columns)[number], factor[number]
        last, slack = self.last, 1e-6 + rounding(values)
        if self.axis == "lon":
            values, last = self.first - slack + (values - self.first + slack) % 360, last + 360 * (last <= self.first)
        inside = np.flatnonzero((values >= self.first - slack) & (values <= last + slack))
        if inside.size and (np.diff(inside) > 1).any():
            edge = grid.columns[-1]
            raise FdsrError(
                f"split {self} goes on across the edge of '{where}' at {edge:g}°; end it there, or begin the grid elsewhere (--crop)"
            )
        begin, end = (-(-inside[0] // f) * f, (inside[-1] + 1) // f * f) if inside.size else (0, 0)
        if end <= begin:
            what = "holds no whole coarse cell" if inside.size else "lies outside"
            raise FdsrError(
                f"split {self} {what} of '{where}', which has {grid.extent} in cells of {f}; choose another"
            )
        return int(begin), int(end)


def split_windows(grid: PairGrid, split: Mapping[str, Any], gap: int, where: str) -> dict[str, Window]:
    """The window of each block of a split by region, of whole coarse cells; empty where it is one by time.

    Raises FdsrError unless blocks are of one axis and at least `gap` coarse cells apart, around a closed circle too.
    """
    regions = {name: Region.parse(value, f"split {name}") for name, value in split.items() if is_region(value)}
    if not regions:
        return {}
    if len(regions) < len(split) or len({region.axis for region in regions.values()}) > 1:
        raise FdsrError(
            f"split {dict(split)} mixes axes; give every block as times, or every one as a region of one axis"
        )
    fine, factor = grid.fine, grid.factor
    blocks = {name: region.block(fine, factor, where) for name, region in regions.items()}
    axis = AXES[next(iter(regions.values())).axis]
    ordered = sorted(blocks.items(), key=lambda item: item[1])
    if axis == 1 and fine.periodic and len(ordered) > 1:  # the last one's neighbour is the first
        name, (begin, end) = ordered[0]
        ordered.append((name, (begin + fine.shape[1], end + fine.shape[1])))
    for (left, (_, end)), (right, (begin, _)) in pairwise(ordered):
        apart = (begin - end) // factor[axis]
        if apart < gap:
            found = f"are {apart} coarse cells apart" if apart >= 0 else "overlap"
            mend = f", or set gap {apart}" if apart > 0 else ""
            raise FdsrError(f"splits '{left}' and '{right}' {found}; gap is {gap}: move them apart{mend}")
    whole = [(0, n) for n in fine.shape]
    return {
        name: Window(*(block if axis == 0 else whole[0]), *(block if axis == 1 else whole[1]))
        for name, block in blocks.items()
    }
