"""Projected grids of GRIB files, whose points have places and no axes: the axes and the mapping that the file's keys say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from fdsr.grids.cells import EARTH_RADIUS_KM, FloatArray, is_even

Keys = Mapping[str, Any]  # without the prefix GRIB_
Projected = tuple[FloatArray, FloatArray, dict[str, Any]]  # rows and columns of all points, and CF's attributes

_RADIUS = 1000 * EARTH_RADIUS_KM
_MAPPING = "grib_mapping"  # what the mapping is called until it is the coordinate of the projection
READ_KEYS = [
    "orientationOfTheGridInDegrees",
    "projectionCentreFlag",
    "LaDInDegrees",
    "DxInMetres",
]  # which cfgrib leaves out of some


def with_grib_axes(ds: xr.Dataset) -> xr.Dataset:
    """`ds` with axes y and x and a grid mapping, where its keys say a projection that fits the places of its points."""
    keys = next((v.attrs for v in ds.data_vars.values() if v.attrs.get("GRIB_gridType") in _PROJECTIONS), None)
    if (
        keys is None
        or not {"y", "x"} <= set(ds.dims)
        or "y" in ds.coords
        or not {"latitude", "longitude"} <= set(ds.coords)
    ):
        return ds
    latitude, longitude = (ds[name].transpose("y", "x").values.astype(np.float64) for name in ("latitude", "longitude"))
    kind = keys["GRIB_gridType"]
    try:
        rows, columns, mapping = _PROJECTIONS[kind](
            latitude, longitude, {k.removeprefix("GRIB_"): v for k, v in keys.items()}
        )
    except KeyError:  # a key that this file lacks
        return ds
    y, x = rows.mean(1), columns.mean(0)
    apart = max(np.abs(rows - y[:, None]).max(), np.abs(columns - x).max())
    if not (
        is_even(y, 0.01) and is_even(x, 0.01) and apart < 0.05 * min(np.abs(np.diff(y)).min(), np.abs(np.diff(x)).min())
    ):
        return ds
    if "earth_radius" in mapping and (size := float(keys.get("GRIB_DxInMetres", 0))) > 0:
        # the sphere that the file's steps are measured on
        ratio = size / abs(x[1] - x[0])
        if abs(ratio - 1) > 0.02:
            return ds
        y, x, mapping = ratio * y, ratio * x, mapping | {"earth_radius": round(ratio * _RADIUS)}
    unit, about = ("degrees", "grid") if kind == "rotated_ll" else ("m", "projection")
    names = (
        ("grid_latitude", "grid_longitude")
        if about == "grid"
        else ("projection_y_coordinate", "projection_x_coordinate")
    )
    axes = {
        a: (a, v, {"units": unit, "standard_name": n})
        for a, v, n in zip("yx", (_even(y), _even(x)), names, strict=True)
    }
    return ds.assign_coords(axes).assign_coords({_MAPPING: ((), np.int32(0), mapping)})


def _even(axis: FloatArray) -> FloatArray:
    """The line through the coordinates: places are written in millionths of a degree, or thousandths."""
    return np.linspace(axis[0], axis[-1], axis.size)


def _lambert(latitude: FloatArray, longitude: FloatArray, keys: Keys) -> Projected:
    """Lambert's conformal cone on a sphere (Snyder 1987, eq. 15-1 to 15-5)."""
    first, second, origin = (np.deg2rad(float(keys[f"{n}InDegrees"])) for n in ("Latin1", "Latin2", "LaD"))
    meridian = float(keys["LoVInDegrees"])

    def height(phi: Any) -> Any:
        return np.tan(np.pi / 4 + phi / 2)

    cone = np.sin(first)
    if abs(first - second) > 1e-6:
        cone = np.log(np.cos(first) / np.cos(second)) / np.log(height(second) / height(first))
    scale = _RADIUS * np.cos(first) * height(first) ** cone / cone
    radius, angle = scale / height(np.deg2rad(latitude)) ** cone, cone * np.deg2rad(_east(longitude, meridian))
    mapping = {
        "grid_mapping_name": "lambert_conformal_conic",
        "standard_parallel": np.rad2deg([first, second]).tolist(),
        "longitude_of_central_meridian": meridian,
        "latitude_of_projection_origin": float(np.rad2deg(origin)),
        "earth_radius": _RADIUS,
    }
    return scale / height(origin) ** cone - radius * np.cos(angle), radius * np.sin(angle), mapping


def _polar(latitude: FloatArray, longitude: FloatArray, keys: Keys) -> Projected:
    """Polar stereographic on a sphere (Snyder 1987, eq. 21-5 to 21-12), true at the latitude LaD."""
    true, meridian = float(keys["LaDInDegrees"]), float(keys["orientationOfTheGridInDegrees"])
    side = -1.0 if keys.get("projectionCentreFlag", 0) else 1.0
    scale = _RADIUS * (1 + np.sin(np.deg2rad(abs(true))))
    radius, angle = scale * np.tan(np.pi / 4 - side * np.deg2rad(latitude) / 2), np.deg2rad(_east(longitude, meridian))
    mapping = {
        "grid_mapping_name": "polar_stereographic",
        "latitude_of_projection_origin": side * 90.0,
        "straight_vertical_longitude_from_pole": meridian,
        "standard_parallel": side * abs(true),
        "earth_radius": _RADIUS,
    }
    return -side * radius * np.cos(angle), radius * np.sin(angle), mapping


def _rotated(latitude: FloatArray, longitude: FloatArray, keys: Keys) -> Projected:
    """Latitudes and longitudes about another pole (CF, appendix F)."""
    south, east = (float(keys[f"{n}OfSouthernPoleInDegrees"]) for n in ("latitude", "longitude"))
    turn = float(keys.get("angleOfRotationInDegrees", 0.0))
    pole, meridian = -south, (east + 360) % 360 - 180
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude - meridian)
    up, across = np.sin(np.deg2rad(pole)), np.cos(np.deg2rad(pole))
    rows = np.arcsin(np.clip(np.sin(phi) * up + np.cos(phi) * across * np.cos(lam), -1, 1))
    columns = np.arctan2(-np.cos(phi) * np.sin(lam), np.sin(phi) * across - np.cos(phi) * up * np.cos(lam))
    mapping = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": pole,
        "grid_north_pole_longitude": meridian,
        "north_pole_grid_longitude": turn,
    }
    return np.rad2deg(rows), np.unwrap(np.rad2deg(columns) + turn, axis=1, period=360.0), mapping


def _east(longitude: FloatArray, meridian: float) -> FloatArray:
    """Degrees east of a meridian, −180 … 180."""
    return (longitude - meridian + 180.0) % 360.0 - 180.0


_PROJECTIONS: dict[str, Callable[[FloatArray, FloatArray, Keys], Projected]] = {
    "lambert": _lambert,
    "polar_stereographic": _polar,
    "rotated_ll": _rotated,
}
