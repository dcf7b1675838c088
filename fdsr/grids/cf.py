"""A grid as CF coordinates of a file, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.grid import Grid
from fdsr.grids.names import X, Y, axis_unit

MAPPING = "crs"  # the scalar coordinate that holds the grid mapping
_LATITUDE = {"standard_name": "latitude", "units": "degrees_north"}
_LONGITUDE = {"standard_name": "longitude", "units": "degrees_east"}


def coordinates(grid: Grid) -> dict[str, Any]:
    """Coordinates as xarray takes them: lat and lon, or y, x and the mapping with true latitudes and longitudes."""
    (rows, columns), (of_rows, of_columns) = grid.names, _attributes(grid)
    axes: dict[str, Any] = {
        rows: (rows, grid.rows, of_rows | {"axis": "Y"}),
        columns: (columns, grid.columns, of_columns | {"axis": "X"}),
    }
    if grid.mapping is not None:
        axes[MAPPING] = ((), np.int32(0), dict(grid.mapping))
    if grid.latitude is not None and grid.longitude is not None:
        axes["latitude"] = ((rows, columns), grid.latitude, _LATITUDE)
        axes["longitude"] = ((rows, columns), grid.longitude, _LONGITUDE)
    return axes


def low_names(grid: Grid) -> tuple[str, str]:
    """What the coarse axes beside those of `grid` are called in a pair store."""
    return f"{grid.names[0]}_low", f"{grid.names[1]}_low"


def low_coordinates(grid: Grid) -> dict[str, Any]:
    """The axes of a coarse grid under names of their own, to stand beside those of the fine one."""
    axes = zip(low_names(grid), (grid.rows, grid.columns), _attributes(grid), strict=True)
    return {name: (name, values, attributes) for name, values, attributes in axes}


def mapped(grid: Grid) -> dict[str, str]:
    """Attributes of a field that say where its mapping is; none where it lies on latitudes and longitudes."""
    return {"grid_mapping": MAPPING} if grid.mapping is not None else {}


def read_coordinates(ds: xr.Dataset, where: str) -> Grid:
    """The grid that `coordinates` wrote. Raises FdsrError where the axes of a projection have no unit."""
    if MAPPING not in ds.variables:
        return Grid(ds.lat.values, ds.lon.values)
    units = axis_unit(str(ds.y.attrs.get("units", "")))
    if units is None:
        raise FdsrError(f"'{where}' does not say the unit of its axes y and x; prepare it anew")
    places = (ds.latitude.values, ds.longitude.values)
    return Grid(ds.y.values, ds.x.values, units, plain_attributes(ds[MAPPING]), *places)


def _attributes(grid: Grid) -> tuple[dict[str, str], dict[str, str]]:
    """CF attributes of rows and columns."""
    if not grid.projected:
        return _LATITUDE, _LONGITUDE
    names = [axis.standard_names[grid.spherical] for axis in (Y, X)]
    first, second = ({"standard_name": name, "units": grid.units} for name in names)
    return first, second


def plain_attributes(variable: xr.DataArray) -> dict[str, Any]:
    """Attributes as strings, numbers and lists of numbers, which checkpoints may hold."""
    return {str(k): v if isinstance(v, str) else np.asarray(v).tolist() for k, v in variable.attrs.items()}
