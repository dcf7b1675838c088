"""Bringing the axes of a dataset into one orientation under one set of names: time, row, column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.cells import around_circle, is_even, rounding
from fdsr.grids.cf import plain_attributes
from fdsr.grids.finding import find_axis, require_rows_and_columns, with_places
from fdsr.grids.grib import with_grib_axes
from fdsr.grids.grid import Grid
from fdsr.grids.names import LATITUDE, LONGITUDE, TIME
from fdsr.grids.projection import PROJECTION, projected_axes, with_projection, with_unit
from fdsr.grids.times import with_dates, with_time

_GEOGRAPHIC = {"row": LATITUDE, "column": LONGITUDE}


def grid_of(ds: xr.Dataset) -> Grid:
    """The grid of a normalised dataset."""
    if PROJECTION not in ds.coords:
        return Grid(ds.row.values, ds.column.values)
    latitude, longitude = (
        ds[n].transpose("row", "column").values.astype(np.float64) for n in ("latitude", "longitude")
    )
    mapping = plain_attributes(ds[PROJECTION])
    return Grid(ds.row.values, ds.column.values, ds.row.attrs["units"], mapping, latitude, longitude)


def normalise_axes(ds: xr.Dataset, where: str, given: Mapping[str, str] | None = None) -> xr.Dataset:
    """Rename the axes of `ds` to time, row and column and orient them north first, west to east, each place once.

    Axes are those that `given` names (time, lat, lon, y, x), or known by CF attributes, or by usual names. A single time is
    an axis of one. A projected grid (y, x with a grid mapping) has its true places as two-dimensional coordinates `latitude`
    and `longitude`, its mapping as the scalar coordinate `projection`, and the unit of its axes spelt m, km or degrees.
    Raises FdsrError if an axis is missing or has no values, the unit is none of these, or the grid is curvilinear without a
    projection, or a list of cells.
    """
    ds, given = with_time(with_grib_axes(with_places(ds)), given or {}), given or {}
    names, projected = _named_axes(ds, given)
    if projected:
        ds = with_projection(ds, {axis: names[axis] for axis in _GEOGRAPHIC})
    require_rows_and_columns(ds, names, where)
    ds = _renamed(ds, names)
    for axis in ("row", "column"):
        ds = ds.assign_coords({axis: _places(ds[axis], names[axis], where)})
    ds = _ordered(ds, "row", np.argsort(-ds.row.values.astype(np.float64), kind="stable"))
    columns = ds.column.values.astype(np.float64)
    if PROJECTION in ds.coords:
        return with_dates(with_unit(_ordered(ds, "column", np.argsort(columns, kind="stable")), names, where), where)
    if np.abs(ds.row.values).max() > 90.001:
        raise FdsrError(
            f"axis '{names['row']}' of '{where}' reaches {np.abs(ds.row.values).max():g}, which is no latitude in degrees"
        )
    attributes = ds.column.attrs
    order, values = around_circle(columns)
    ds = _ordered(ds, "column", order)
    if (values != columns[order]).any():
        ds = ds.assign_coords(column=("column", values, attributes))
    return with_dates(ds, where)


def axis_names(ds: xr.Dataset, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What row, column and time of a dataset are called, as far as they are there, known as in `normalise_axes`."""
    return _named_axes(with_places(ds), given or {})[0]


def _named_axes(ds: xr.Dataset, given: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """(names of the axes, whether rows and columns are those of a projection)."""
    rules = {"time": TIME, **_GEOGRAPHIC}
    names = {axis: name for axis, rule in rules.items() if (name := find_axis(ds, rule, given)) is not None}
    axes = projected_axes(ds, names, given)
    return names | (axes or {}), bool(axes)


def _renamed(ds: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    """`ds` with the dimensions of its axes renamed to the keys of `names`."""
    for axis, name in names.items():
        dimension = str(ds[name].dims[0]) if name in ds.variables else name
        if dimension != name:  # a coordinate along another dimension, as valid_time along GRIB's time
            ds = ds.set_coords(name).swap_dims({dimension: name})
        clash = axis in ds.variables and axis != name
        if clash:
            ds = ds.drop_vars(axis)
        ds = ds.rename({name: axis}) if name != axis else ds
    return ds


def _places(axis: xr.DataArray, name: str, where: str) -> xr.DataArray:
    """The coordinates of an axis, radians in degrees. Raises FdsrError for what are no numbers, or missing ones, or some twice."""
    what = f"axis '{name}' of '{where}'"
    if axis.dtype.kind not in "iuf":
        raise FdsrError(f"{what} holds no numbers ({axis.values.flat[0]}); write its coordinates in degrees, or in m")
    values = axis.values.astype(np.float64)
    if not np.isfinite(values).all():
        raise FdsrError(f"{what} holds missing values; write all of its coordinates")
    in_radians = str(axis.attrs.get("units", "")).strip().lower() in ("rad", "radian", "radians")
    if in_radians and PROJECTION not in axis.coords:
        axis = axis.copy(data=np.rad2deg(values)).assign_attrs(units="degrees")
    if axis.name == "row" and np.unique(values).size < values.size:
        raise FdsrError(f"{what} holds a coordinate twice; write each once")
    return axis


def _ordered(ds: xr.Dataset, axis: str, order: np.ndarray) -> xr.Dataset:
    """`ds` with those positions of an axis, as slices where they follow each other, which sources read faster."""
    falling = order.size == ds.sizes[axis] and bool((np.diff(order) == -1).all())
    return ds.isel({axis: slice(None, None, -1) if falling else _slice(order)})


def _slice(index: np.ndarray) -> slice | np.ndarray:
    """The same positions as a slice where they follow each other."""
    following = bool((np.diff(index) == 1).all())
    return slice(int(index[0]), int(index[-1]) + 1) if following else index


def crop_region(ds: xr.Dataset, crop: Sequence[float] | None) -> xr.Dataset:
    """Cut a normalised `ds` to crop = (lat_min, lat_max, lon_min, lon_max), ends included; None keeps all.

    Longitudes may be given in either convention, and across the seam of a global source: the axis then counts from
    lon_min on. On a projected grid the four are those of y and x, in its own units.
    """
    if crop is None:
        return ds
    lat_min, lat_max, lon_min, lon_max = crop
    turns = PROJECTION not in ds.coords
    if turns and -360 < lon_max - lon_min < 0:  # 170 to −170
        lon_max += 360
    longitude, latitude = ds.column.values.astype(np.float64), ds.row.values.astype(np.float64)
    slack = 1e-6 + rounding(latitude)
    inside = np.flatnonzero((latitude >= lat_min - slack) & (latitude <= lat_max + slack))
    slack = 1e-6 + rounding(longitude)
    # the representative of each longitude that lies at lon_min or next east of it
    turned = longitude + 360 * np.ceil((lon_min - slack - longitude) / 360) if turns else longitude
    # a whole turn keeps all of a region that it would cut in two
    if lon_max - lon_min < 360 or is_even(np.sort(turned), 1e-3):
        longitude = turned
    elif turns:
        lon_min, lon_max = -np.inf, np.inf
    across = np.flatnonzero((longitude >= lon_min - slack) & (longitude <= lon_max + slack))
    across = across[np.argsort(longitude[across], kind="stable")]
    if inside.size == 0 or across.size == 0:
        raise FdsrError(f"crop {tuple(crop)} leaves no grid point; give LAT_MIN,LAT_MAX,LON_MIN,LON_MAX of the source")
    cut = ds.isel(row=_slice(inside), column=_slice(across))
    cut = cut.assign_coords(column=("column", longitude[across], ds.column.attrs))
    if not is_even(longitude[across], 1e-3):
        raise FdsrError(f"crop {tuple(crop)} crosses the source's edge at {ds.column.values[-1]:g}°; stay within it")
    return cut
