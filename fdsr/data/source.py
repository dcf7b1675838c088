"""Opening a gridded source and bringing it into one orientation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError

_AXES = {
    "lat": ("latitude", ("lat", "latitude", "nav_lat", "rlat")),
    "lon": ("longitude", ("lon", "longitude", "nav_lon", "rlon")),
    "time": ("time", ("time", "valid_time", "time_index")),
}


def open_source(path: str) -> xr.Dataset:
    """Open a Zarr store or NetCDF file lazily (no dask) and rename its axes to time, lat, lon.

    Latitude is put north first and longitude ascending. Raises FdsrError if the path is missing or unreadable, or an
    axis cannot be found.
    """
    local = "://" not in path
    if local and not Path(path).exists():
        raise FdsrError(f"source '{path}' does not exist; check the path (data.source or --source)")
    try:
        is_netcdf = path.endswith((".nc", ".nc4", ".cdf"))
        with warnings.catch_warnings():
            # stores without consolidated metadata are common and fine here
            warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated", RuntimeWarning)
            ds = xr.open_dataset(path) if is_netcdf else xr.open_zarr(path, chunks=None)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FdsrError(f"source '{path}' cannot be opened as Zarr or NetCDF: {reason}") from error
    return normalise_axes(ds, path)


def normalise_axes(ds: xr.Dataset, where: str) -> xr.Dataset:
    """Rename the axes of `ds` to time, lat and lon and orient them north first, west to east."""
    names = {}
    for axis, (standard_name, usual) in _AXES.items():
        found = [n for n, c in ds.coords.items() if c.attrs.get("standard_name") == standard_name and c.ndim == 1]
        found += [n for n in usual if n in ds.dims and n not in found]
        if not found:
            if axis == "time":
                continue
            raise FdsrError(f"'{where}' has no {standard_name} axis; name it one of {', '.join(usual)}")
        names[str(found[0])] = axis
    ds = ds.rename({old: new for old, new in names.items() if old != new})
    if ds.lat.size > 1 and ds.lat[0] < ds.lat[-1]:
        ds = ds.isel(lat=slice(None, None, -1))
    if ds.lon.size > 1 and ds.lon[0] > ds.lon[-1]:
        ds = ds.isel(lon=slice(None, None, -1))
    for axis in ("lat", "lon"):
        steps = np.diff(ds[axis].values.astype(np.float64))
        if steps.size and not np.allclose(steps, steps.mean(), rtol=1e-3):
            raise FdsrError(f"'{where}' has an unevenly spaced {axis} axis; regrid it to even spacing first")
    return ds


def require_variables(ds: xr.Dataset, variables: Sequence[str], where: str) -> None:
    """Raise FdsrError naming the first variable that `ds` lacks."""
    for name in variables:
        if name not in ds.data_vars:
            present = ", ".join(str(v) for v in ds.data_vars)
            raise FdsrError(f"'{where}' has no variable '{name}'; it has {present}")


def crop_region(ds: xr.Dataset, crop: Sequence[float] | None) -> xr.Dataset:
    """Cut `ds` to crop = (lat_min, lat_max, lon_min, lon_max) in its own degrees, ends included; None keeps all."""
    if crop is None:
        return ds
    lat_min, lat_max, lon_min, lon_max = crop
    cut = ds.sel(lat=slice(lat_max, lat_min), lon=slice(lon_min, lon_max))
    if cut.lat.size == 0 or cut.lon.size == 0:
        raise FdsrError(
            f"crop {tuple(crop)} leaves no grid point; give LAT_MIN,LAT_MAX,LON_MIN,LON_MAX in the source's degrees"
        )
    return cut
