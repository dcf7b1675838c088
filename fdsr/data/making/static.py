"""Fields without time, brought to the fine grid."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from fdsr.data.making.missing_values import POLICIES
from fdsr.data.making.pair_grid import PairGrid
from fdsr.data.making.regrid import regridding
from fdsr.data.making.sources import is_projected, parse_channels, require_variables
from fdsr.errors import FdsrError
from fdsr.geometry import is_periodic_longitude


def static_fields(
    ds: xr.Dataset, names: list[str], grid: PairGrid, where: str, missing: str
) -> tuple[dict[str, NDArray], dict[str, dict[str, str]]]:
    """(fields (H, W) by name, their attributes) of a normalised `ds` on the fine grid of `grid`, regridded if need be.

    Names are as of variables: NAME=VARIABLE renames. Raises FdsrError for a field that is missing, varies with time, or
    has missing values under the policy `error`.
    """
    fields: dict[str, NDArray] = {}
    attributes: dict[str, dict[str, str]] = {}
    if not names:
        return fields, attributes
    to_plane = grid.mapping is not None and not is_projected(ds)
    regrid = None if to_plane else regridding(ds, grid.lat, grid.lon, where)
    for channel in parse_channels(names):
        require_variables(ds, [channel.variable], where)
        values = ds[channel.variable]
        if "time" in values.dims:
            raise FdsrError(f"static field '{channel.variable}' varies with time; list it among the variables instead")
        plane = values.transpose("lat", "lon").values.astype(np.float32)
        periodic = not is_projected(ds) and is_periodic_longitude(ds.lon.values)
        POLICIES[missing](plane[None], channel.name, lambda _: "every time", where, periodic)
        fields[channel.name] = _at_points(ds, plane, grid, where) if regrid is None else regrid(plane)
        attributes[channel.name] = {
            k: str(v) for k, v in values.attrs.items() if k in ("units", "standard_name", "long_name")
        }
    return fields, attributes


def _at_points(ds: xr.Dataset, plane: NDArray, grid: PairGrid, where: str) -> NDArray[np.float32]:
    """Bilinear interpolation of a latitude-longitude field at the true places of a projected grid."""
    assert grid.latitude is not None and grid.longitude is not None
    lat, lon = ds.lat.values.astype(np.float64), ds.lon.values.astype(np.float64)
    if is_periodic_longitude(lon):
        lon = np.append(lon, lon[0] + 360)
        plane = np.concatenate([plane, plane[:, :1]], axis=1)
    east = lon[0] + np.mod(grid.longitude - lon[0], 360)
    try:
        found = RegularGridInterpolator((lat[::-1], lon), plane[::-1].astype(np.float64))((grid.latitude, east))
    except ValueError as error:
        raise FdsrError(f"'{where}' does not reach all of the fine grid; take static fields that do") from error
    return np.asarray(found, dtype=np.float32)
