"""Fields without time, brought to the fine grid."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from fdsr.data.making.missing_values import settle
from fdsr.data.making.regrid import regridding
from fdsr.data.making.sources import parse_channels, resolve
from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.grids.axes import grid_of

_LOOKED_AT = 24  # times of a field that must be alike


def static_fields(
    ds: xr.Dataset, names: list[str], grid: Grid, where: str, missing: str
) -> tuple[dict[str, NDArray], dict[str, dict[str, str]]]:
    """(fields (H, W) by name, their attributes) of a normalised `ds` on `grid`, regridded if need be.

    Names are as of variables: NAME=VARIABLE@LEVEL. A field with times is taken where some of them are alike. Raises
    FdsrError for a field that is missing, varies with time, or has missing values under the policy `error`.
    """
    fields: dict[str, NDArray] = {}
    attributes: dict[str, dict[str, str]] = {}
    if not names:
        return fields, attributes
    source = grid_of(ds)
    to_places = grid.projected and not source.projected
    regrid = None if to_places else regridding(source, grid, where)
    for channel in parse_channels(names):
        variable, axis, level = resolve(ds, channel, where)
        values = ds[variable] if axis is None else ds[variable].isel({axis: level})
        if "time" in values.dims:
            first = values.isel(time=0, drop=True)
            # some of many times: a year of hours would take long to read
            looked_at = np.unique(np.linspace(0, values.sizes["time"] - 1, _LOOKED_AT).round().astype(int))
            if not all(first.equals(values.isel(time=i, drop=True)) for i in looked_at):
                raise FdsrError(f"static field '{variable}' varies with time; list it among the variables instead")
            values = first
        # what is left has one value
        plane = values.transpose(..., "row", "column").values.astype(np.float32).reshape(source.shape)
        settle(missing, plane[None], channel.name, lambda _: "every time", where, source.periodic)
        fields[channel.name] = _at_places(source, plane, grid, where) if regrid is None else regrid(plane)
        attributes[channel.name] = {
            k: str(v) for k, v in values.attrs.items() if k in ("units", "standard_name", "long_name")
        }
    return fields, attributes


def _at_places(source: Grid, plane: NDArray, grid: Grid, where: str) -> NDArray[np.float32]:
    """Bilinear interpolation of a latitude-longitude field at the true places of a projected grid."""
    latitude, longitude = grid.places
    lat, lon = source.rows, source.columns
    if source.periodic:
        lon = np.append(lon, lon[0] + 360)
        plane = np.concatenate([plane, plane[:, :1]], axis=1)
    east = lon[0] + np.mod(longitude - lon[0], 360)
    try:
        values = RegularGridInterpolator((lat[::-1], lon), plane[::-1].astype(np.float64))((latitude, east))
    except ValueError as error:
        raise FdsrError(f"'{where}' does not reach all of the fine grid; take static fields that do") from error
    return np.asarray(values, dtype=np.float32)
