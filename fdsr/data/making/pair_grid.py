"""The two grids of a pair: the fine one of the source, and the coarse one of its blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fdsr.errors import FdsrError
from fdsr.grids import Grid


@dataclass(frozen=True)
class PairGrid:
    """The fine grid, and how many of its cells make a coarse one.

    Cells of a projected grid count as equally large: exact for equal-area projections, and within a coarse cell true to
    the change of the map scale across it for others. A rotated pole's cells have the areas of latitudes.
    """

    fine: Grid
    factor: tuple[int, int]
    dropped: int = 0  # rows of the source, southernmost

    @cached_property
    def low(self) -> Grid:
        """The coarse grid."""
        return self.fine.coarse(self.factor)


def pair_grid(grid: Grid, factor: tuple[int, int]) -> PairGrid:
    """Grids of a source, north first. Raises FdsrError if the factor does not divide an axis."""
    rows, dropped = rows_kept(grid, factor[0])
    if grid.shape[1] % factor[1]:
        raise FdsrError(
            f"the longitude axis has {grid.shape[1]} columns, not divisible by the factor {factor[1]}; crop it "
            f"(--crop LAT_MIN,LAT_MAX,LON_MIN,LON_MAX) to a multiple, for instance {grid.shape[1] // factor[1] * factor[1]} columns"
        )
    return PairGrid(grid.part(slice(rows)), factor, dropped)


def rows_kept(grid: Grid, factor: int) -> tuple[int, int]:
    """(rows used, rows dropped) under the pole rule.

    A pole-to-pole axis of k·factor + 1 rows loses its southernmost row (ERA5 has 181 or 721). Any other remainder is an
    error.
    """
    n = grid.shape[0]
    remainder = n % factor
    if remainder == 0:
        return n, 0
    pole_to_pole = grid.spherical and all(abs(abs(grid.rows[i]) - 90) < 1e-6 for i in (0, -1))
    if remainder == 1 and pole_to_pole:
        return n - 1, 1
    raise FdsrError(
        f"the latitude axis has {n} rows, not divisible by the factor {factor}; "
        f"crop it (--crop LAT_MIN,LAT_MAX,LON_MIN,LON_MAX) to a multiple, for instance {n - remainder} rows"
    )
