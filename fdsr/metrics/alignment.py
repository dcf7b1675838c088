"""Two or three xarray datasets brought onto one grid and one list of times."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.grids.cells import around_circle, positions
from fdsr.grids.names import DEGREES, KILOMETRES, LATITUDE, LONGITUDE, MEMBER, TIME, X, Y, axis_unit
from fdsr.units import Conversion, conversions

AXES = {
    "time": TIME.usual,
    "member": MEMBER.usual,
    "row": (*LATITUDE.usual, *Y.usual),
    "column": (*LONGITUDE.usual, *X.usual),
}
# the dimension that holds the variables of a DataArray with several
CHANNEL = ("variable", "channel", "high_channel", "low_channel")


@dataclass(frozen=True)
class Fields:
    """A dataset with its axes named time, member, row, column; the unit of the last two is degrees or km."""

    what: str
    data: xr.Dataset
    units: str
    conversions: Mapping[str, Conversion] = field(default_factory=dict)  # of variables to be read in another unit

    @property
    def grid(self) -> Grid:
        """The grid it lies on."""
        return Grid(self.coordinate("row"), self.coordinate("column"), self.units)

    def coordinate(self, axis: str) -> np.ndarray:
        if axis not in self.data.coords:
            raise FdsrError(f"{self.what} has no {axis} coordinate")
        return np.asarray(self.data[axis].values)


def read_fields(data: xr.Dataset | xr.DataArray, what: str, name: str = "field") -> Fields:
    """The dataset with standard axis names, its fields only, and a time axis.

    A DataArray is split along a dimension of channels, or is one field called `name`.
    """
    if isinstance(data, xr.DataArray):
        channel = next((d for d in CHANNEL if d in data.dims), None)
        data = _channels(data, channel) if channel else data.to_dataset(name=name)
    if not isinstance(data, xr.Dataset):
        raise FdsrError(
            f"{what} must be an xarray.Dataset with one data variable a field, or a DataArray, got {type(data).__name__}"
        )
    dims = [str(d) for d in data.dims]
    names: dict[Hashable, str] = {}
    for axis, aliases in AXES.items():
        # on the low-resolution side of a pair store the axes are lat_low and lon_low
        coarse = [f"{a}_low" for a in aliases] if what == "low" else []
        candidates = [a for a in (*coarse, *aliases) if a in dims]
        if candidates:
            names[candidates[0]] = axis
        elif axis in ("row", "column"):
            raise FdsrError(f"{what} has no {' or '.join(aliases)} dimension, only {', '.join(dims) or 'none'}")
    fields = [v for v in data.data_vars if {"row", "column"} <= {names.get(d, d) for d in data[v].dims}]
    # names only: coordinates over other axes go, as do grid mappings
    data = data[fields].rename({old: new for old, new in names.items() if old != new})
    if "time" not in data.dims:
        data = data.expand_dims("time")
    rows = next(str(old) for old, new in names.items() if new == "row").removesuffix("_low")
    # a rotated pole has y and x in degrees: latitudes and longitudes about another pole
    found = Fields(what, data, DEGREES)
    if rows in LATITUDE.usual or axis_unit(str(data["row"].attrs.get("units", ""))) == DEGREES:
        return replace(found, data=_each_column_once(data))
    axes = {}
    for axis in ("row", "column"):
        values, said = found.coordinate(axis), str(data[axis].attrs.get("units", ""))
        if (unit := axis_unit(said)) not in KILOMETRES:
            raise FdsrError(f"{what}: the {axis} coordinate of a projected grid needs units m or km, got {said!r}")
        axes[axis] = (axis, values.astype(np.float64) * KILOMETRES[unit])
    return Fields(what, data.assign_coords(axes), "km")


def _each_column_once(data: xr.Dataset) -> xr.Dataset:
    """`data` without the column that closes the circle once more, at 360°."""
    if "column" not in data.coords:
        return data
    order, _ = around_circle(data.column.values.astype(np.float64))
    return data.isel(column=np.sort(order)) if order.size < data.sizes["column"] else data


def _channels(data: xr.DataArray, channel: str) -> xr.Dataset:
    """One variable a channel, with its unit where the array lists those of all, as the arrays of a pair store do."""
    split, units = data.to_dataset(dim=channel), data.attrs.get("units")
    if isinstance(units, list | tuple | np.ndarray) and len(units) == data.sizes[channel]:
        for name, unit in zip(split.data_vars, units, strict=True):
            split[name].attrs["units"] = str(unit)
    return split


def match_units(fields: Fields, reference: Fields, names: Sequence[str]) -> Fields:
    """`fields` to be read in the units of `reference`; what is converted is said. Raises FdsrError where that cannot be."""
    units = ({name: f.data[name].attrs.get("units") for name in names if name in f.data} for f in (fields, reference))
    given, wanted = units
    return replace(fields, conversions=conversions(given, wanted, fields.what, reference.what))


def check_dims(fields: Fields, name: str, allowed: Sequence[str]) -> None:
    """Raise FdsrError for a variable with other dimensions than `allowed`."""
    extra = [str(d) for d in fields.data[name].dims if d not in allowed]
    if extra:
        raise FdsrError(f"{fields.what}: variable {name} has the dimension {extra[0]}; select a value of it")


def _reorder(fields: Fields, wanted: dict[str, np.ndarray], tolerance: float) -> Fields | None:
    """The fields in the order of the `wanted` coordinates of row and column; None if they lie elsewhere."""
    data = fields.data
    for axis, values in wanted.items():
        circle = axis == "column" and fields.units == DEGREES
        have = fields.coordinate(axis)
        index = positions(have, values, circle, tolerance) if have.size == values.size else None
        if index is None:
            return None
        if (index != np.arange(index.size)).any():
            data = data.isel({axis: index})
    return replace(fields, data=data)


def match_grid(fine: Fields, reference: Fields) -> Fields:
    """`fine` with rows and columns in the order of `reference`. Raises FdsrError where the grids differ."""
    wanted = {axis: reference.coordinate(axis) for axis in ("row", "column")}
    matched = _reorder(fine, wanted, 1e-3) if fine.units == reference.units else None
    if matched is None:
        grids = f"{_extent(fine)}, and {_extent(reference)}"
        raise FdsrError(f"{fine.what} and {reference.what} are on different grids: {grids}")
    return matched


def _extent(fields: Fields) -> str:
    rows, columns = (fields.coordinate(axis) for axis in ("row", "column"))
    return f"{rows.size} × {columns.size} points from {rows[0]:g}, {columns[0]:g} to {rows[-1]:g}, {columns[-1]:g}"


def match_times(fields: Fields, other: Fields) -> tuple[list[str], list[int]]:
    """The times of `fields` as text, and the position of each in `other`."""
    n, others = fields.data.sizes["time"], other.data.sizes["time"]
    if "time" not in fields.data.coords or "time" not in other.data.coords:
        if n != others:
            raise FdsrError(f"{fields.what} has {n} times and {other.what} {others}, without coordinates")
        return [str(i) for i in range(n)], list(range(n))
    times, available = _times(fields), _times(other)
    position = {value: i for i, value in enumerate(available.tolist())}
    if len(position) < available.size or len(set(times.tolist())) < times.size:
        raise FdsrError(f"a time occurs twice in {fields.what} or {other.what}")
    missing = [str(t) for t in times[[value not in position for value in times.tolist()]]]
    if missing:
        raise FdsrError(f"{other.what} lacks {len(missing)} of {n} times of {fields.what}, the first {missing[0]}")
    return [str(t) for t in times], [position[value] for value in times.tolist()]


def _times(fields: Fields) -> np.ndarray:
    times = fields.coordinate("time")
    # one resolution, so that equal instants are equal
    return times.astype("datetime64[ns]") if times.dtype.kind == "M" else times


def match_low(low: Fields, reference: Fields, names: Sequence[str]) -> tuple[Fields, tuple[int, int]]:
    """The low-resolution input in the order of the fine grid, and the factor between the two."""
    for name in names:
        if name in low.data:
            check_dims(low, name, ("time", "row", "column"))
    factors, wanted = [], {}
    for axis in ("row", "column"):
        fine, n = reference.coordinate(axis), low.data.sizes[axis]
        if fine.size % n:
            raise FdsrError(f"{fine.size} {axis}s of truth are not a multiple of the {n} of low")
        factors.append(fine.size // n)
        wanted[axis] = fine.astype(np.float64).reshape(n, -1).mean(1)
    matched = _reorder(low, wanted, 0.5)
    if matched is None:
        raise FdsrError(f"low is not a coarser version of truth's grid: {_extent(low)}, and {_extent(reference)}")
    return matched, (factors[0], factors[1])
