"""Finding the axes of a source and bringing them into one orientation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError

PROJECTION = "projection"  # name of the scalar coordinate that holds a normalised source's grid mapping


@dataclass(frozen=True)
class _Axis:
    """How an axis may be known: by its role in CF, by standard names, by usual names."""

    title: str
    role: str  # of cf-xarray's coordinates
    standard_names: tuple[str, ...]
    usual: tuple[str, ...]


_AXES = {
    "lat": _Axis("latitude", "latitude", ("latitude",), ("lat", "latitude", "nav_lat", "rlat")),
    "lon": _Axis("longitude", "longitude", ("longitude",), ("lon", "longitude", "nav_lon", "rlon")),
    "time": _Axis("time", "time", ("time",), ("time", "valid_time", "time_index", "forecast_time", "date", "t")),
}
_PROJECTED = {
    "lat": _Axis("y", "Y", ("projection_y_coordinate", "grid_latitude"), ("y", "rlat", "yc", "south_north", "nj", "j")),
    "lon": _Axis("x", "X", ("projection_x_coordinate", "grid_longitude"), ("x", "rlon", "xc", "west_east", "ni", "i")),
}


def is_projected(ds: xr.Dataset) -> bool:
    """Whether a normalised source lies on a projected grid: its axes `lat` and `lon` then hold y and x."""
    return PROJECTION in ds.coords


def normalise_axes(ds: xr.Dataset, where: str) -> xr.Dataset:
    """Rename the axes of `ds` to time, lat and lon and orient them north first, west to east.

    Axes are known by CF attributes first, then by usual names. A projected grid (y, x with a grid mapping) has its y and
    x renamed to lat and lon too; its two-dimensional coordinates are then `latitude` and `longitude`, its mapping the
    scalar coordinate `projection`. Raises FdsrError if an axis is missing or unevenly spaced, or the grid is curvilinear
    without a projection.
    """
    if is_projected(ds):
        return ds
    names = {axis: name for axis, rule in _AXES.items() if (name := _find(ds, rule)) is not None}
    plane = {axis: _two_dimensional(ds, _AXES[axis]) for axis in ("lat", "lon")}
    if plane["lat"] and plane["lon"] and (set(names) & {"lat", "lon"} != {"lat", "lon"} or _rotated(ds, names)):
        ds, names = _from_projection(ds, names, (plane["lat"], plane["lon"]), where)
    for axis in ("lat", "lon"):
        if axis not in names:
            rule = _AXES[axis]
            raise FdsrError(f"'{where}' has no {rule.title} axis; name it one of {', '.join(rule.usual)}")
    ds = _renamed(ds, names)
    if ds.lat.size > 1 and ds.lat[0] < ds.lat[-1]:
        ds = ds.isel(lat=slice(None, None, -1))
    if ds.lon.size > 1 and ds.lon[0] > ds.lon[-1]:
        ds = ds.isel(lon=slice(None, None, -1))
    for axis in ("lat", "lon"):
        steps = np.diff(ds[axis].values.astype(np.float64))
        if steps.size and not np.allclose(steps, steps.mean(), rtol=1e-3):
            raise FdsrError(f"'{where}' has an unevenly spaced {axis} axis; regrid it to even spacing first")
    return _with_dates(ds, where)


def _find(ds: xr.Dataset, rule: _Axis) -> str | None:
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
    return _find(ds, _AXES["time"])


def _two_dimensional(ds: xr.Dataset, rule: _Axis) -> str | None:
    import cf_xarray  # noqa: F401

    known = [*ds.cf.coordinates.get(rule.role, []), *rule.usual, rule.usual[0].upper(), f"X{rule.title.upper()}"]
    return next((str(n) for n in known if n in ds.variables and ds[n].ndim == 2), None)


def _rotated(ds: xr.Dataset, names: dict[str, str]) -> bool:
    """Whether the axes found are those of a rotated pole, which are usual names but no true latitudes."""
    return str(ds[names["lat"]].attrs.get("standard_name", names["lat"])) in ("grid_latitude", "rlat")


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
    inside = np.flatnonzero((ds.lat.values >= lat_min - 1e-6) & (ds.lat.values <= lat_max + 1e-6))
    longitude = ds.lon.values.astype(np.float64)
    if not is_projected(ds) and lon_max - lon_min < 360:
        # the representative of each longitude that lies at lon_min or next east of it
        longitude = longitude + 360 * np.ceil((lon_min - 1e-6 - longitude) / 360)
    across = np.flatnonzero((longitude >= lon_min - 1e-6) & (longitude <= lon_max + 1e-6))
    across = across[np.argsort(longitude[across], kind="stable")]
    if inside.size == 0 or across.size == 0:
        raise FdsrError(
            f"crop {tuple(crop)} leaves no grid point; give LAT_MIN,LAT_MAX,LON_MIN,LON_MAX in the source's degrees"
        )
    cut = ds.isel(lat=_slice(inside), lon=_slice(across))
    cut = cut.assign_coords(lon=("lon", longitude[across], ds.lon.attrs))
    step = np.diff(longitude[across])
    if step.size and not np.allclose(step, step[0], rtol=1e-3):
        raise FdsrError(
            f"crop {tuple(crop)} crosses the source's edge at {ds.lon.values[-1]:g}°; crop within its region"
        )
    return cut


def _slice(index: np.ndarray) -> slice | np.ndarray:
    """The same positions as a slice where they follow each other, which sources read faster."""
    following = bool((np.diff(index) == 1).all())
    return slice(int(index[0]), int(index[-1]) + 1) if following else index
