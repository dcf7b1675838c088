"""The two grids of a pair: the fine one of the source, and the coarse one of its blocks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.grids.cells import is_even
from fdsr.grids.grid import UNEVEN

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairGrid:
    """The fine grid, and how many of its cells make a coarse one.

    Cells of a projected grid count as equally large: exact for equal-area projections, and within a coarse cell true to
    the change of the map scale across it for others. A rotated pole's cells have the areas of latitudes.
    """

    fine: Grid
    factor: tuple[int, int]
    dropped: int = 0  # rows of the source, southernmost
    dropped_columns: int = 0  # easternmost

    @cached_property
    def low(self) -> Grid:
        """The coarse grid."""
        return self.fine.coarse(self.factor)


def pair_grid(grid: Grid, factor: tuple[int, int], where: str = "the source", trim: bool = False) -> PairGrid:
    """Grids of a source, north first; `trim` cuts southernmost rows and easternmost columns that make no whole block.

    A pole-to-pole axis of k·factor + 1 rows loses its southernmost row (ERA5 has 181 or 721). Raises FdsrError if the factor
    does not divide an axis otherwise, or an axis is not evenly spaced; Gaussian rows count as even.
    """
    for axis, name, tolerance in ((grid.rows, grid.names[0], UNEVEN), (grid.columns, grid.names[1], 1e-3)):
        if not is_even(axis, tolerance):
            raise FdsrError(f"'{where}' has an unevenly spaced axis '{name}'; regrid it to even spacing first")
    (rows, columns), (over_rows, over_columns) = grid.shape, (n % f for n, f in zip(grid.shape, factor, strict=True))
    if rows < factor[0] or columns < factor[1]:
        raise FdsrError(
            f"'{where}' has {rows} rows and {columns} columns, fewer than the factor {factor[0]},{factor[1]} needs"
        )
    kept = PairGrid(grid.part(slice(rows - over_rows), slice(columns - over_columns)), factor, over_rows, over_columns)
    pole_to_pole = grid.spherical and all(abs(abs(grid.rows[i]) - 90) < 1e-6 for i in (0, -1))
    if over_columns == 0 and (over_rows == 0 or (over_rows == 1 and pole_to_pole)):
        return kept
    if trim:
        log.warning(
            "'%s': the last %d rows and %d columns make no whole block and are cut", where, over_rows, over_columns
        )
        return kept
    ends = (kept.fine.rows[-1], kept.fine.rows[0], kept.fine.columns[0], kept.fine.columns[-1])
    crop = ",".join(f"{end:.6f}".rstrip("0").rstrip(".") for end in ends)
    raise FdsrError(
        f"'{where}' has {rows} rows and {columns} columns, not divisible by the factor {factor[0]},{factor[1]}; "
        f"--crop={crop} keeps {rows - over_rows} and {columns - over_columns}, and so does --trim"
    )
