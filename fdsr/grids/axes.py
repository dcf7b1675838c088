"""Finding the axes of a dataset and bringing them into one orientation under one set of names: time, row, column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.cells import EARTH_RADIUS_KM
from fdsr.grids.cf import plain_attributes
from fdsr.grids.grid import Grid
from fdsr.grids.names import DEGREES, KILOMETRES, LATITUDE, LONGITUDE, TIME, Axis, X, Y, axis_unit

PROJECTION = "projection"  # name of the scalar coordinate that holds a normalised dataset's grid mapping

_GEOGRAPHIC = {"row": LATITUDE, "column": LONGITUDE}
_PROJECTED = {"row": Y, "column": X}


def grid_of(ds: xr.Dataset) -> Grid:
    """The grid of a normalised dataset."""
    if PROJECTION not in ds.coords:
        return Grid(ds.row.values, ds.column.values)
    latitude, longitude = (
        ds[n].transpose("row", "column").values.astype(np.float64) for n in ("latitude", "longitude")
    )
    mapping = plain_attributes(ds[PROJECTION])
    return Grid(ds.row.values, ds.column.values, ds.row.attrs["units"], mapping, latitude, longitude)


def normalise_axes(ds: xr.Dataset, where: str) -> xr.Dataset:
    """Rename the axes of `ds` to time, row and column and orient them north first, west to east.

    Axes are known by CF attributes first, then by usual names. A projected grid (y, x with a grid mapping) has its true places
    as two-dimensional coordinates `latitude` and `longitude`, its mapping as the scalar coordinate `projection`, and the
    unit of its axes spelt m, km or degrees. Raises FdsrError if an axis is missing or unevenly spaced, the unit is none of
    these, or the grid is curvilinear without a projection.
    """
    rules = {"time": TIME, **_GEOGRAPHIC}
    names = {axis: name for axis, rule in rules.items() if (name := _find(ds, rule)) is not None}
    plane = (_two_dimensional(ds, LATITUDE), _two_dimensional(ds, LONGITUDE))
    if None not in plane and (set(names) & {"row", "column"} != {"row", "column"} or _rotated(ds, names)):
        ds, names = _from_projection(ds, names, plane, where)
    for axis, rule in _GEOGRAPHIC.items():
        if axis not in names:
            raise FdsrError(f"'{where}' has no {rule.title} axis; name it one of {', '.join(rule.usual)}")
    ds = _renamed(ds, names)
    if ds.row.size > 1 and ds.row[0] < ds.row[-1]:
        ds = ds.isel(row=slice(None, None, -1))
    if ds.column.size > 1 and ds.column[0] > ds.column[-1]:
        ds = ds.isel(column=slice(None, None, -1))
    for axis in ("row", "column"):
        steps = np.diff(ds[axis].values.astype(np.float64))
        if steps.size and not np.allclose(steps, steps.mean(), rtol=1e-3):
            raise FdsrError(f"'{where}' has an unevenly spaced axis '{names[axis]}'; regrid it to even spacing first")
    if PROJECTION in ds.coords:
        ds = _with_unit(ds, names, where)
    return _with_dates(ds, where)


def _find(ds: xr.Dataset, rule: Axis) -> str | None:
    """The one-dimensional coordinate, or the bare dimension, that `rule` describes."""
    import cf_xarray  # noqa: F401  it registers the accessor

    by_attributes = [n for n, c in ds.coords.items() if c.attrs.get("standard_name") in rule.standard_names]
    known = [*by_attributes, *ds.cf.coordinates.get(rule.role, []), *ds.cf.axes.get(rule.role, [])]
    found = [str(n) for n in known if n in ds.coords and ds[n].ndim == 1]
    found.sort(key=lambda n: n not in ds.dims)  # stable: a dimension's own coordinate first
    found += [n for n in rule.usual if n in ds.dims and n not in found]
    return found[0] if found else None


def time_axis(ds: xr.Dataset) -> str | None:
    """What a source that is not normalised calls its time axis; None if it has none."""
    return _find(ds, TIME)


def _two_dimensional(ds: xr.Dataset, rule: Axis) -> str | None:
    import cf_xarray  # noqa: F401

    known = [*ds.cf.coordinates.get(rule.role, []), *rule.usual, rule.usual[0].upper(), f"X{rule.title.upper()}"]
    return next((str(n) for n in known if n in ds.variables and ds[n].ndim == 2), None)


def _rotated(ds: xr.Dataset, names: dict[str, str]) -> bool:
    """Whether the axes found are those of a rotated pole, which are usual names but no true latitudes."""
    return str(ds[names["row"]].attrs.get("standard_name", names["row"])) in ("grid_latitude", "rlat")


def _from_projection(
    ds: xr.Dataset, names: dict[str, str], plane: tuple[str | None, str | None], where: str
) -> tuple[xr.Dataset, dict[str, str]]:
    """`ds` with its mapping and true coordinates under one name each, and the names of its y and x axes."""
    mapping = next((n for n, v in ds.variables.items() if "grid_mapping_name" in v.attrs), None)
    axes = {axis: _find(ds, rule) for axis, rule in _PROJECTED.items()}
    if mapping is None or None in axes.values() or not all(n in ds.coords for n in axes.values()):
        raise FdsrError(
            f"'{where}' has a curvilinear grid ({plane[0]} and {plane[1]} are two-dimensional) and no projection (y and x axes "
            "with a grid_mapping); regrid it to latitude and longitude first"
        )
    ds = ds.rename({old: new for old, new in zip(plane, ("latitude", "longitude"), strict=True) if old and old != new})
    attributes = dict(ds[mapping].attrs)
    ds = ds.drop_vars(str(mapping)).assign_coords({PROJECTION: ((), np.int32(0), attributes)})
    ds = ds.set_coords(["latitude", "longitude"])
    time = {"time": names["time"]} if "time" in names else {}
    return ds, time | {axis: str(name) for axis, name in axes.items()}


def _renamed(ds: xr.Dataset, names: dict[str, str]) -> xr.Dataset:
    """`ds` with the dimensions of its axes renamed to the keys of `names`."""
    for axis, name in names.items():
        dimension = str(ds[name].dims[0]) if name in ds.variables else name
        if dimension != name:  # a coordinate along another dimension, as valid_time along GRIB's time
            ds = ds.swap_dims({dimension: name})
        clash = axis in ds.variables and axis != name
        if clash:
            ds = ds.drop_vars(axis)
        ds = ds.rename({name: axis}) if name != axis else ds
    return ds


def _with_unit(ds: xr.Dataset, names: dict[str, str], where: str) -> xr.Dataset:
    """`ds` of a projected grid with the unit of its axes in one spelling, found from the true places where it is not said."""
    said = [str(ds[axis].attrs.get("units", "")) for axis in ("row", "column")]
    units = {axis_unit(text) for text in said} if any(said) else {_measured_unit(ds)}
    if len(units) != 1 or None in units:
        raise FdsrError(
            f"'{where}' has axes '{names['row']}' and '{names['column']}' in {' and '.join(repr(s) for s in said)}; give both the "
            "attribute units: m, km, or degrees about a rotated pole"
        )
    (unit,) = units
    axes = {axis: (axis, ds[axis].values, {**ds[axis].attrs, "units": unit}) for axis in ("row", "column")}
    return ds.assign_coords(axes)


def _measured_unit(ds: xr.Dataset) -> str | None:
    """m or km, or degrees: what fits the way between the true places of the first and the last row."""
    if ds[PROJECTION].attrs.get("grid_mapping_name") == "rotated_latitude_longitude":
        return DEGREES
    if ds.row.size < 2:
        return None
    ends = ds.isel(row=[0, -1], column=0)
    lat, lon = (np.deg2rad(ends[n].values.astype(np.float64)) for n in ("latitude", "longitude"))
    haversine = np.sin((lat[1] - lat[0]) / 2) ** 2 + np.cos(lat).prod() * np.sin((lon[1] - lon[0]) / 2) ** 2
    measured = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(haversine)) / abs(float(ds.row[-1] - ds.row[0]))
    return next((unit for unit, km in KILOMETRES.items() if 0.2 < measured / km < 5), None)


def _with_dates(ds: xr.Dataset, where: str) -> xr.Dataset:
    """`ds` with times as datetime64; a calendar without some of our dates is refused."""
    if "time" not in ds.coords or ds.time.dtype != object:
        return ds
    calendar = ds.time.dt.calendar
    try:
        index = ds.indexes["time"].to_datetimeindex(unsafe=True, time_unit="us")
    except ValueError as error:
        raise FdsrError(
            f"'{where}' has times of the calendar '{calendar}', some of which are no dates of ours; convert it first "
            "(xarray: convert_calendar)"
        ) from error
    return ds.assign_coords(time=("time", index.values, ds.time.attrs))


def crop_region(ds: xr.Dataset, crop: Sequence[float] | None) -> xr.Dataset:
    """Cut a normalised `ds` to crop = (lat_min, lat_max, lon_min, lon_max), ends included; None keeps all.

    Longitudes may be given in either convention, and across the seam of a global source: the axis then counts from
    lon_min on. On a projected grid the four are those of y and x, in its own units.
    """
    if crop is None:
        return ds
    lat_min, lat_max, lon_min, lon_max = crop
    inside = np.flatnonzero((ds.row.values >= lat_min - 1e-6) & (ds.row.values <= lat_max + 1e-6))
    longitude = ds.column.values.astype(np.float64)
    if PROJECTION not in ds.coords and lon_max - lon_min < 360:
        # the representative of each longitude that lies at lon_min or next east of it
        longitude = longitude + 360 * np.ceil((lon_min - 1e-6 - longitude) / 360)
    across = np.flatnonzero((longitude >= lon_min - 1e-6) & (longitude <= lon_max + 1e-6))
    across = across[np.argsort(longitude[across], kind="stable")]
    if inside.size == 0 or across.size == 0:
        raise FdsrError(f"crop {tuple(crop)} leaves no grid point; give LAT_MIN,LAT_MAX,LON_MIN,LON_MAX of the source")
    cut = ds.isel(row=_slice(inside), column=_slice(across))
    cut = cut.assign_coords(column=("column", longitude[across], ds.column.attrs))
    step = np.diff(longitude[across])
    if step.size and not np.allclose(step, step[0], rtol=1e-3):
        raise FdsrError(f"crop {tuple(crop)} crosses the source's edge at {ds.column.values[-1]:g}°; stay within it")
    return cut


def _slice(index: np.ndarray) -> slice | np.ndarray:
    """The same positions as a slice where they follow each other, which sources read faster."""
    following = bool((np.diff(index) == 1).all())
    return slice(int(index[0]), int(index[-1]) + 1) if following else index
