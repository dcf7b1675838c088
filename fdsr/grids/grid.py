"""What a grid is: the places of its rows and columns, and all that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdsr.errors import FdsrError
from fdsr.grids import cells
from fdsr.grids.cells import EARTH_RADIUS_KM, FloatArray, is_even, mean_step
from fdsr.grids.names import DEGREES, KILOMETRES, axis_names

# spacing may vary by this share of itself: Gaussian latitudes do by less
UNEVEN = 0.05
Part = slice | NDArray[np.int64]  # of an axis


@dataclass(frozen=True, eq=False)
class Grid:
    """A rectilinear grid: latitudes and longitudes, or the y and x of a map projection.

    A rotated pole has latitudes and longitudes about another pole: angles, with a mapping, and true places beside them.

    Args:
        rows: (H,) in `units`, increasing or decreasing.
        columns: (W,) likewise. In degrees they may cross the seam: … 359, 0, 1 … become … 359, 360, 361 ….
        units: of both: degrees, m or km.
        mapping: CF attributes of the projection or the rotated pole; None for latitudes and longitudes proper.
        latitude, longitude: (H, W) true places in degrees, where rows and columns are not these.

    Raises FdsrError unless rows and columns are lines of finite numbers.
    """

    rows: FloatArray
    columns: FloatArray
    units: str = DEGREES
    mapping: Mapping[str, Any] | None = None
    latitude: FloatArray | None = field(default=None, repr=False)
    longitude: FloatArray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for axis in ("rows", "columns"):
            values = np.asarray(getattr(self, axis), dtype=np.float64)
            if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
                raise FdsrError(f"the {axis[:-1]} coordinates of a grid must be one line of finite numbers")
            if axis == "columns" and self.spherical:
                values = np.unwrap(values, period=360.0)
            steps = np.diff(values)
            if not ((steps > 0).all() or (steps < 0).all()):
                raise FdsrError(f"the {axis[:-1]} coordinates of a grid must increase or decrease throughout")
            object.__setattr__(self, axis, values)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.rows.size, self.columns.size

    @property
    def spherical(self) -> bool:
        """Whether rows and columns are angles, about the Earth's pole or another."""
        return self.units == DEGREES

    @property
    def projected(self) -> bool:
        """Whether the axes are y and x, whose true latitudes and longitudes are others."""
        return self.mapping is not None or not self.spherical

    @property
    def projection(self) -> str:
        """The kind of projection, in CF's words; `a plane` where it is not known."""
        if self.mapping is None:
            return "latitudes and longitudes" if self.spherical else "a plane"
        return str(self.mapping.get("grid_mapping_name", "a plane"))

    def projected_as(self, other: Grid) -> bool:
        """Whether both have one projection: numbers that both mappings say (poles, parallels) are alike, the Earth's size apart."""
        mine, theirs = self.mapping or {}, other.mapping or {}
        for name in (
            n for n in mine if n in theirs and not any(word in n for word in ("radius", "axis", "flattening"))
        ):
            one, two = np.asarray(mine[name]), np.asarray(theirs[name])
            if one.dtype.kind in "fi" and (one.shape != two.shape or not np.allclose(one, two, atol=1e-6)):
                return False
        return self.projection == other.projection

    @property
    def names(self) -> tuple[str, str]:
        """What the axes are called in files."""
        return axis_names(self.projected)

    @property
    def extent(self) -> str:
        """Its axes in words: how many values, from where to where."""
        axes = zip(self.names, (self.rows, self.columns), strict=True)
        return " and ".join(f"{v.size} {name} points from {v[0]:g} to {v[-1]:g}" for name, v in axes)

    def point(self, row: int, column: int) -> str:
        """Where a cell is, in words."""
        return f"{self.names[0]} {self.rows[row]:g}, {self.names[1]} {self.columns[column]:g}"

    @cached_property
    def periodic(self) -> bool:
        """Whether the columns close the circle of longitude: W · Δλ = 360°."""
        around, step = (
            self.spherical and self.columns.size > 1 and is_even(self.columns, UNEVEN),
            mean_step(self.columns),
        )
        return around and bool(abs(step * self.columns.size - 360.0) < 0.01 * step)

    @cached_property
    def row_edges(self) -> FloatArray:
        """Where one row ends and the next begins (H + 1,), such that cells have the areas of its differences: sin φ on a sphere."""
        if self.spherical:
            return np.sin(np.deg2rad(cells.cell_edges(self.rows, -90.0, 90.0)))
        return cells.cell_edges(self.rows)

    @cached_property
    def row_areas(self) -> FloatArray:
        """Area of a cell of each row (H,), up to a factor. Those of a plane's even rows are all 1."""
        if not self.spherical and is_even(self.rows, 1e-3):
            return np.ones(self.rows.size)
        return np.abs(np.diff(self.row_edges))

    @cached_property
    def cell_areas(self) -> FloatArray:
        """Area of the cells, up to a factor: (H,) where the columns are evenly spaced, else (H, W)."""
        if is_even(self.columns, 1e-3):
            return self.row_areas
        return self.row_areas[:, None] * np.abs(np.diff(cells.cell_edges(self.columns)))[None, :]

    @property
    def dy(self) -> float:
        """Mean spacing of the rows in km, a Δφ where they are latitudes."""
        step = mean_step(self.rows)
        return float(EARTH_RADIUS_KM * np.deg2rad(step)) if self.spherical else KILOMETRES[self.units] * step

    @property
    def dx(self) -> FloatArray:
        """Mean spacing of the columns in km, row by row (H,), a cos φ Δλ; 0 on a pole."""
        step = mean_step(self.columns)
        if not self.spherical:
            return np.full(self.rows.size, KILOMETRES[self.units] * step)
        cosine = np.where(np.abs(self.rows) >= 90.0, 0.0, np.cos(np.deg2rad(self.rows)))
        return EARTH_RADIUS_KM * np.deg2rad(step) * cosine

    @property
    def spacing(self) -> tuple[float, float]:
        """(dy, dx) in km, dx at the mean of the latitudes."""
        if not self.spherical:
            return self.dy, float(self.dx[0])
        at_equator = EARTH_RADIUS_KM * np.deg2rad(mean_step(self.columns))
        return self.dy, float(np.cos(np.deg2rad(self.rows.mean())) * at_equator)

    @property
    def places(self) -> tuple[FloatArray, FloatArray]:
        """True latitudes and longitudes in degrees: (H, W) both, or (H, 1) and (1, W), which broadcast to it."""
        if self.latitude is not None and self.longitude is not None:
            return self.latitude, self.longitude
        return self.rows[:, None], self.columns[None, :]

    def part(self, rows: Part = slice(None), columns: Part = slice(None)) -> Grid:
        """The grid of some of its rows and columns, which may begin anywhere on a circle of longitude."""
        plane = {n: v[rows][:, columns] for n in _PLANES if (v := getattr(self, n)) is not None}
        return replace(self, rows=self.rows[rows], columns=self.columns[columns], **plane)

    def positions(self, other: Grid, tolerance: float = 1e-3) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Which of its rows and columns those of `other` are, on whichever turn of longitude; None where it is not part of it."""
        other = other.in_units(self.units)
        if not self.projected_as(other) or self.units != other.units:
            return None
        rows = cells.positions(self.rows, other.rows, False, tolerance)
        columns = cells.positions(self.columns, other.columns, self.spherical and not self.projected, tolerance)
        return None if rows is None or columns is None else (rows, columns)

    def coarse(self, factor: tuple[int, int]) -> Grid:
        """The grid of its blocks of `factor` cells, which divides it. Their true places are left out."""
        rows, columns = cells.block_means(self.rows, factor[0]), cells.block_means(self.columns, factor[1])
        return Grid(rows, columns, self.units, self.mapping)

    def fine(self, factor: tuple[int, int], steps: tuple[float, float]) -> Grid:
        """The grid whose blocks of `factor` cells are its cells; `steps` are its own where it has a single row or column."""
        shares = [cells.divided(n, f) for n, f in zip(self.shape, factor, strict=True)]
        rows, columns = (
            cells.at_shares(v, share, step)
            for v, share, step in zip((self.rows, self.columns), shares, steps, strict=True)
        )
        plane = dict(zip(_PLANES, cells.places_at_shares(self.latitude, self.longitude, *shares), strict=True))
        return Grid(rows, columns, self.units, self.mapping, **plane)

    @property
    def steps(self) -> tuple[float, float]:
        """Mean spacing of rows and of columns, in its own units."""
        return mean_step(self.rows), mean_step(self.columns)

    def in_units(self, units: str) -> Grid:
        """The same grid with its axes in m or km; as it is where they are angles."""
        if self.units == units or self.spherical or units == DEGREES:
            return self
        scale = KILOMETRES[self.units] / KILOMETRES[units]
        return replace(self, rows=self.rows * scale, columns=self.columns * scale, units=units)

    def lies_on(self, other: Grid, tolerance: float) -> bool:
        """Whether rows and columns are where those of `other` are, to a share `tolerance` of its spacing, on whichever turn."""
        if self.shape != other.shape or self.units != other.units:
            return False
        turn = 360.0 * round((other.columns[0] - self.columns[0]) / 360.0) if self.spherical else 0.0
        pairs = ((self.rows, other.rows), (self.columns + turn, other.columns))
        return all(bool((np.abs(have - want) <= tolerance * mean_step(want)).all()) for have, want in pairs)

    def differences(self, other: Grid, tolerance: float = 1e-5) -> list[str]:
        """Where `other` lies elsewhere by more than this share of a coordinate, one short phrase each; empty if nowhere."""
        different = []
        if self.mapping != other.mapping or self.units != other.units:
            different.append(f"projection {self._about()} against {other._about()}")
        for axis, plain in (("rows", "latitudes"), ("columns", "longitudes")):
            mine, theirs = getattr(self, axis), getattr(other, axis)
            if mine.shape != theirs.shape or not np.allclose(mine, theirs, rtol=tolerance, atol=1e-6):
                different.append(f"{axis if self.projected else plain} {_span(mine)} against {_span(theirs)}")
        return different

    def _about(self) -> str:
        return f"{dict(self.mapping)} in {self.units}" if self.mapping is not None else f"none, {self.units}"

    def to_dict(self) -> dict[str, Any]:
        """Its fields, plain values and arrays; those without a value are left out."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: dict(v) if isinstance(v, Mapping) else v for k, v in out.items() if v is not None}


_PLANES = ("latitude", "longitude")


def _span(values: FloatArray) -> str:
    return f"{values[0]:g}…{values[-1]:g} ({values.size})"
