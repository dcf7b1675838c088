"""Projected grids of datasets: their mapping, the true places of their points, the unit of their axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.cells import EARTH_RADIUS_KM
from fdsr.grids.finding import find_axis, places_of
from fdsr.grids.names import DEGREES, KILOMETRES, X, Y, axis_unit

PROJECTION = "projection"  # name of the scalar coordinate that holds a normalised dataset's grid mapping
_ROTATED = "rotated_latitude_longitude"


def projected_axes(ds: xr.Dataset, names: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What row and column of a projected grid are called, where its points have places; empty if `ds` has no such grid.

    Axes that may be latitude and longitude, `names`, are these, except where they are those of a rotated pole.
    """
    mapping = _mapping(ds)
    rows, columns = find_axis(ds, Y, given), find_axis(ds, X, given)
    if mapping is None or rows not in ds.coords or columns not in ds.coords:
        return {}
    rotated = ds[mapping].attrs["grid_mapping_name"] == _ROTATED
    placed = len(places_of(ds, 2)) == 2
    geographic = set(names) >= {"row", "column"} and not rotated
    return {"row": str(rows), "column": str(columns)} if (placed or rotated) and not geographic else {}


def _mapping(ds: xr.Dataset) -> str | None:
    return next((str(n) for n, v in ds.variables.items() if "grid_mapping_name" in v.attrs), None)


def with_projection(ds: xr.Dataset, axes: Mapping[str, str]) -> xr.Dataset:
    """`ds` with the coordinates `projection`, `latitude` and `longitude`; the last two are computed if they are not there."""
    mapping = _mapping(ds)
    attributes = dict(ds[mapping].attrs)
    ds = ds.drop_vars(str(mapping)).assign_coords({PROJECTION: ((), np.int32(0), attributes)})
    plane = places_of(ds, 2)
    if len(plane) == 2:
        renamed = {old: new for old, new in zip(plane, ("latitude", "longitude"), strict=True) if old != new}
        return ds.drop_vars([new for new in renamed.values() if new in ds.variables]).rename(renamed)
    rows, columns = axes["row"], axes["column"]
    latitude, longitude = rotated_places(ds[rows].values, ds[columns].values, attributes)
    return ds.assign_coords(latitude=((rows, columns), latitude), longitude=((rows, columns), longitude))


def rotated_places(rows: np.ndarray, columns: np.ndarray, mapping: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """True latitudes and longitudes (H, W) of the rows and columns about a rotated pole, all in degrees (CF, appendix F)."""
    pole, meridian, turn = (
        float(np.asarray(mapping.get(name, default)))
        for name, default in (
            ("grid_north_pole_latitude", 90), ("grid_north_pole_longitude", 180), ("north_pole_grid_longitude", 0)
        )
    )  # fmt: skip
    phi, lam = np.deg2rad(rows.astype(np.float64))[:, None], np.deg2rad(columns.astype(np.float64) - turn)[None, :]
    up, across = np.sin(np.deg2rad(pole)), np.cos(np.deg2rad(pole))
    latitude = np.arcsin(np.clip(up * np.sin(phi) + across * np.cos(phi) * np.cos(lam), -1, 1))
    east = np.arctan2(np.cos(phi) * np.sin(lam), up * np.cos(phi) * np.cos(lam) - across * np.sin(phi))
    return np.rad2deg(latitude), (np.rad2deg(east) + meridian + 360) % 360 - 180


def with_unit(ds: xr.Dataset, names: Mapping[str, str], where: str) -> xr.Dataset:
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
    if ds[PROJECTION].attrs.get("grid_mapping_name") == _ROTATED:
        return DEGREES
    if ds.row.size < 2:
        return None
    ends = ds.isel(row=[0, -1], column=0)
    lat, lon = (np.deg2rad(ends[n].values.astype(np.float64)) for n in ("latitude", "longitude"))
    haversine = np.sin((lat[1] - lat[0]) / 2) ** 2 + np.cos(lat).prod() * np.sin((lon[1] - lon[0]) / 2) ** 2
    measured = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(haversine)) / abs(float(ds.row[-1] - ds.row[0]))
    return next((unit for unit, km in KILOMETRES.items() if 0.2 < measured / km < 5), None)
