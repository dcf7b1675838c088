"""How a field is cut into boxes for local spectra, and into circles of longitude for zonal ones.

On a latitude–longitude grid a spectrum in kilometres only has a meaning where the grid is nearly a plane, so the field
is cut into latitude bands at most 15° tall, each tiled by boxes about square in km, with the spacing of the band's mean
latitude φ̄: dy = a Δφ, dx = a cos φ̄ Δλ. Bands with |φ̄| > 75° are left out: a box there covers most of a circle round
the pole and has no local plane. Boxes neither overlap nor wrap around. A plane is one box.

Where the longitudes close the circle, a row is periodic and has an exact spectrum of its own: zonal bands hold the rows
of at most 15°, with the circumference at φ̄, again for |φ̄| ≤ 75°.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fdsr.grids import Grid
from fdsr.grids.cells import is_even, mean_step
from fdsr.grids.grid import UNEVEN
from fdsr.metrics.spectra import MIN_POINTS, Rings, make_rings, make_zonal_rings

MAX_HEIGHT_DEGREES = 15.0
MAX_LATITUDE = 75.0


@dataclass(frozen=True)
class Band:
    """Rows start … stop tiled by `n_boxes` boxes of `width` columns from column 0 on.

    spacing: (dy, dx) in km; latitude: mean of the rows in degrees, NaN on a plane; area: weight of the band
    among all bands, in any common unit.
    """

    start: int
    stop: int
    width: int
    n_boxes: int
    spacing: tuple[float, float]
    latitude: float
    area: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of one box."""
        return self.stop - self.start, self.width

    def cut(self, field: Tensor) -> Tensor:
        """Boxes of fields (..., H, W): (..., n_boxes, rows, width)."""
        part = field[..., self.start : self.stop, : self.n_boxes * self.width]
        return part.unflatten(-1, (self.n_boxes, self.width)).movedim(-2, -3)

    def rings(self) -> Rings:
        """Rings of wavenumber of one box."""
        return make_rings(self.shape, self.spacing)


@dataclass(frozen=True)
class ZonalBand:
    """Rows start … stop of a closed circle of `width` longitudes, dx km apart; latitude and area as for `Band`."""

    start: int
    stop: int
    width: int
    dx: float
    latitude: float
    area: float

    @property
    def n_boxes(self) -> int:
        """Rows: each is a box of its own."""
        return self.stop - self.start

    def cut(self, field: Tensor) -> Tensor:
        """Rows of fields (..., H, W) as boxes one row tall: (..., rows, 1, W)."""
        return field[..., self.start : self.stop, None, :]

    def rings(self) -> Rings:
        """Zonal modes of one row."""
        return make_zonal_rings(self.width, self.dx)


def spectral_bands(grid: Grid) -> list[Band]:
    """Bands of a grid, whose rows may run in either order; none where the spacing is uneven, or fewer than 8 rows or columns.

    A plane is one box. On the sphere rows are shared out evenly over the fewest bands that are at most 15° tall. Each band is
    cut into round(W / w) boxes, w = rows · dy/dx (but at least `rows`) the width of a square box, all of one width; the
    columns left over, fewer than there are boxes, are not used. A field smaller than that is one box. On grids coarser than
    1.875° fifteen degrees hold too few rows for a spectrum: bands are then at least 8 rows tall, and their spectra only
    indicative.
    """
    height, width = grid.shape
    if min(height, width) < MIN_POINTS or not (is_even(grid.rows, UNEVEN) and is_even(grid.columns, UNEVEN)):
        return []
    if not grid.spherical:
        return [Band(0, height, width, 1, grid.spacing, float("nan"), 1.0)]
    rows = max(MIN_POINTS, int(np.floor(MAX_HEIGHT_DEGREES / mean_step(grid.rows) + 1e-6)))
    bands = []
    for start, stop, part, mean, area in _latitude_bands(grid, min(-(-height // rows), height // MIN_POINTS)):
        dy, dx = part.spacing
        ideal = max(stop - start, round((stop - start) * dy / dx))
        n_boxes = max(1, round(width / ideal))
        if width // n_boxes < MIN_POINTS:
            n_boxes = 1
        bands.append(Band(start, stop, width // n_boxes, n_boxes, (dy, dx), mean, area))
    return bands


def zonal_bands(grid: Grid) -> list[ZonalBand]:
    """Zonal bands of a grid; none unless its columns close the circle of longitude."""
    if not grid.periodic:
        return []
    n, width = grid.shape
    height = float(np.ptp(grid.rows)) * n / max(1, n - 1)
    bands = _latitude_bands(grid, max(1, int(np.ceil(height / MAX_HEIGHT_DEGREES - 1e-6))))
    return [ZonalBand(start, stop, width, part.spacing[1], mean, area) for start, stop, part, mean, area in bands]


def _latitude_bands(grid: Grid, n: int) -> Iterator[tuple[int, int, Grid, float, float]]:
    """Start, stop, grid, mean latitude and area of the n bands, of as many rows as is possible, that are not left out."""
    for index in np.array_split(np.arange(grid.shape[0]), n):
        if index.size:
            start, stop = int(index[0]), int(index[-1]) + 1
            part = grid.part(slice(start, stop))
            if abs(mean := float(part.rows.mean())) <= MAX_LATITUDE:
                yield start, stop, part, mean, float(grid.row_areas[start:stop].sum())
