"""The axes that GRIB's keys say are those that the places of the points lie on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.axes import grid_of, normalise_axes
from fdsr.grids.projection import rotated_places

# a corner of a sample of cfgrib's: Lambert's cone touches 54°, steps of 2.5 km, on GRIB's sphere
LAMBERT = {
    "GRIB_gridType": "lambert", "GRIB_LaDInDegrees": 54.0, "GRIB_Latin1InDegrees": 54.0, "GRIB_Latin2InDegrees": 54.0,
    "GRIB_LoVInDegrees": 3.0, "GRIB_DxInMetres": 2500,
}  # fmt: skip


def message(latitude: np.ndarray, longitude: np.ndarray, keys: dict[str, Any]) -> xr.Dataset:
    return xr.Dataset(
        {"t": (("y", "x"), np.arange(latitude.size).reshape(latitude.shape), keys)},
        {"latitude": (("y", "x"), latitude), "longitude": (("y", "x"), longitude)},
    )


def stereographic(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of 4 × 6 points 25 km apart about a pole, by the inverse of the projection true at 60° (Snyder 1987, eq. 20-14 on)."""
    y, x = np.meshgrid(side * -(3e6 + 25e3 * np.arange(4)), 25e3 * np.arange(-2, 4), indexing="ij")
    distance, scale = np.hypot(x, y), 6371000 * (1 + np.sin(np.deg2rad(60)))
    latitude = side * (90 - np.rad2deg(2 * np.arctan(distance / scale)))
    return latitude, 10 + np.rad2deg(np.arctan2(x, -side * y))


@pytest.mark.parametrize("side", [1, -1])
def test_polar_stereographic(side: int) -> None:
    keys = {
        "GRIB_gridType": "polar_stereographic", "GRIB_LaDInDegrees": side * 60.0, "GRIB_orientationOfTheGridInDegrees": 10.0,
        "GRIB_projectionCentreFlag": 0 if side > 0 else 128, "GRIB_DxInMetres": 25000,
    }  # fmt: skip
    grid = grid_of(normalise_axes(message(*stereographic(side), keys), "here"))
    assert grid.units == "m" and grid.projection == "polar_stereographic"
    np.testing.assert_allclose(np.sort(np.abs(grid.rows)), 3e6 + 25e3 * np.arange(4), rtol=1e-6)
    np.testing.assert_allclose(grid.columns, 25e3 * np.arange(-2, 4), rtol=1e-6, atol=1e-3)
    assert grid.mapping and grid.mapping["latitude_of_projection_origin"] == side * 90


def test_a_rotated_pole() -> None:
    mapping = {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
    rows, columns = np.arange(2, -3, -0.5), np.arange(-3, 4, 0.5)
    keys = {
        "GRIB_gridType": "rotated_ll",
        "GRIB_latitudeOfSouthernPoleInDegrees": -39.25,
        "GRIB_longitudeOfSouthernPoleInDegrees": 18.0,
    }
    places = rotated_places(rows, columns, mapping)
    grid = grid_of(normalise_axes(message(*places, keys), "here"))
    assert grid.units == "degrees" and grid.spherical
    np.testing.assert_allclose(grid.rows, rows, atol=1e-9)
    np.testing.assert_allclose(grid.columns, columns, atol=1e-9)


def test_lamberts_cone_and_keys_that_do_not_fit() -> None:
    """First and last places of the sample; its keys with another meridian leave it the curvilinear grid that it seems."""
    angles = np.sin(np.deg2rad(54)) * np.deg2rad(np.array([-0.05, 0.0, 0.05]))
    radius = 6367470 / np.tan(np.deg2rad(54)) + np.array([-2500.0, 0.0, 2500.0])
    y, x = np.meshgrid(radius, radius[1] * angles, indexing="ij")
    # points on a plane, back to places
    cone, scale = np.sin(np.deg2rad(54)), 6367470 * np.cos(np.deg2rad(54)) / np.sin(np.deg2rad(54))
    distance = np.hypot(x, y)
    latitude = 2 * np.arctan(np.tan(np.deg2rad(45 + 27)) * (scale / distance) ** (1 / cone)) - np.pi / 2
    longitude = 3 + np.rad2deg(np.arctan2(x, y)) / cone
    keys = LAMBERT | {"GRIB_DxInMetres": float(x[0, 1] - x[0, 0])}
    found = normalise_axes(message(np.rad2deg(latitude), longitude, keys), "here")
    np.testing.assert_allclose(found.row, [2500, 0, -2500], atol=1)
    np.testing.assert_allclose(found.column, x[0], atol=1)
    assert found.projection.attrs["earth_radius"] == pytest.approx(6367470, rel=1e-6)
    for wrong in ({"GRIB_Latin2InDegrees": 10.0, "GRIB_Latin1InDegrees": 10.0}, {"GRIB_LoVInDegrees": 60.0}):
        with pytest.raises(FdsrError, match="curvilinear grid"):
            normalise_axes(message(np.rad2deg(latitude), longitude, keys | wrong), "here")
