"""A grid knows its areas, spacing, periodicity, names and parts, on the sphere and on a plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from synthetic import latitude_weights, projected

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.grids.axes import grid_of, normalise_axes
from fdsr.grids.cf import coordinates, read_coordinates
from fdsr.metrics import FieldMetrics, Task, spectral_bands, zonal_bands

DEGREE_KM = 6371.0 * np.pi / 180


def test_cells_that_are_not_square() -> None:
    grid = Grid(np.arange(16) * 3.0, np.arange(24) * 2.0, "km")
    assert grid.dy == 3.0 and grid.dx.tolist() == [2.0] * 16 and grid.spacing == (3.0, 2.0)
    assert (grid.row_areas == 1).all() and grid.names == ("y", "x") and not grid.periodic
    (band,) = spectral_bands(grid)
    assert band.spacing == (3.0, 2.0)
    sphere = Grid(np.linspace(60, 50, 21), np.arange(40) * 0.25)
    assert sphere.dy == pytest.approx(0.5 * DEGREE_KM)
    np.testing.assert_allclose(sphere.dx, 0.25 * DEGREE_KM * np.cos(np.deg2rad(sphere.rows)))
    assert sphere.spacing == pytest.approx((0.5 * DEGREE_KM, 0.25 * DEGREE_KM * np.cos(np.deg2rad(55))))
    np.testing.assert_allclose(sphere.cell_areas, latitude_weights(sphere.rows))
    assert sphere.names == ("lat", "lon") and not sphere.projected


def test_metres_and_kilometres_are_one_grid() -> None:
    metres, kilometres = (Grid(s * np.arange(8.0), s * np.arange(9.0), u) for s, u in ((2000.0, "m"), (2.0, "km")))
    assert metres.spacing == kilometres.spacing == (2.0, 2.0)
    assert not metres.lies_on(kilometres, 1e-3) and metres.in_units("km").lies_on(kilometres, 1e-3)
    assert metres.differences(kilometres) == [
        "projection none, m against none, km", "rows 0…14000 (8) against 0…14 (8)", "columns 0…16000 (9) against 0…16 (9)"
    ]  # fmt: skip


def test_uneven_columns_weigh_what_they_cover() -> None:
    # cells of 1 and 2 km: halfway to the neighbours
    grid = Grid(np.arange(3.0), np.array([0.0, 1.0, 2.0, 4.0, 6.0]), "km")
    np.testing.assert_allclose(grid.cell_areas, np.ones((3, 1)) * [1.0, 1.0, 1.5, 2.0, 2.0])
    assert spectral_bands(grid) == []
    metrics = FieldMetrics(Task(grid, ["a"]))
    p = torch.zeros(1, 1, 1, 3, 5)
    p[..., 4] = 7.5
    metrics.update(p, torch.zeros(1, 1, 3, 5))
    assert metrics.compute()["bias"]["a"] == pytest.approx(2.0)
    assert np.isnan(metrics.compute()["lsd"]["a"])


def test_gaussian_latitudes_have_spectra() -> None:
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(64)[0]))
    grid = Grid(lat, 2.8125 * np.arange(128))
    assert spectral_bands(grid) and zonal_bands(grid) and grid.periodic


def test_longitudes_across_the_date_line() -> None:
    grid = Grid(np.arange(10.0), (350.0 + np.arange(20.0)) % 360.0)
    np.testing.assert_allclose(np.diff(grid.columns), 1.0)
    assert not grid.periodic and grid.cell_areas.ndim == 1


def test_parts_and_blocks() -> None:
    grid = Grid(90 - 0.5 - np.arange(180.0), np.arange(360.0))
    assert grid.periodic and not grid.part(columns=slice(180)).periodic
    band = grid.part(slice(30, 45))
    assert band.shape == (15, 360) and band.spacing[1] == pytest.approx(DEGREE_KM * np.cos(np.deg2rad(52.5)))
    low = grid.coarse((4, 5))
    assert low.shape == (45, 72) and low.rows[0] == 88.0 and low.columns[0] == 2.0 and low.periodic


@pytest.mark.parametrize("rows", [[1.0, 3.0, 2.0], [1.0, np.nan, 2.0], [1.0, 1.0], []])
def test_rows_that_are_no_axis(rows: list[float]) -> None:
    with pytest.raises(FdsrError, match="row coordinates"):
        Grid(np.array(rows), np.arange(4.0))


def test_files_keep_all_of_a_grid() -> None:
    plane = grid_of(normalise_axes(projected(), "here"))
    assert plane.units == "m" and plane.projection == "lambert_conformal_conic" and plane.places[0].shape == (24, 32)
    for grid in (plane, Grid(np.linspace(60, 50, 21), np.arange(40) * 0.25)):
        again = read_coordinates(xr.Dataset(coords=coordinates(grid)), "there")
        assert grid.differences(again) == [] and again.units == grid.units and again.projected == grid.projected
        np.testing.assert_array_equal(again.places[0], grid.places[0])


@pytest.mark.parametrize(
    ("units", "scale", "found"), [("metres", 1.0, "m"), ("km", 1e-3, "km"), ("", 1.0, "m"), ("", 1e-3, "km")]
)
def test_the_unit_of_a_plane(units: str, scale: float, found: str) -> None:
    """What the axes say, however they spell it; where they say nothing, what fits the true places."""
    ds = projected()
    ds = ds.assign_coords({a: (a, scale * ds[a].values, {**ds[a].attrs, "units": units}) for a in ("y", "x")})
    grid = grid_of(normalise_axes(ds, "here"))
    assert grid.units == found and grid.spacing == pytest.approx((25.0, 25.0))


def test_a_unit_that_is_none_of_length() -> None:
    ds = projected()
    ds.y.attrs["units"] = ds.x.attrs["units"] = "rad"
    with pytest.raises(
        FdsrError, match="'here' has axes 'y' and 'x' in 'rad' and 'rad'; give both the attribute units: m, km"
    ):
        normalise_axes(ds, "here")


@pytest.mark.parametrize("shape", [(1, 12), (12, 1), (1, 1)])
@pytest.mark.parametrize("units", ["degrees", "km"])
def test_a_single_row_or_column(shape: tuple[int, int], units: str) -> None:
    grid = Grid(10.0 + np.arange(shape[0]), np.arange(shape[1]), units)
    metrics = FieldMetrics(Task(grid, ["tp"], members=2, thresholds={"tp": [0.5]}))
    p = torch.ones(2, 2, 1, *shape)
    p[:, 1] = 2.0
    metrics.update(p, torch.zeros(2, 1, *shape))
    scores = {k: v["tp"] for k, v in metrics.compute().items()}
    assert scores["rmse"] == scores["mae"] == scores["bias"] == 1.5
    assert scores["crps"] == pytest.approx(1.0) and scores["crps_biased"] == pytest.approx(1.25)
    assert scores["q99_error"] == pytest.approx(2.0, abs=1e-3) and scores["q1_error"] == pytest.approx(1.0, abs=1e-3)
    assert scores["brier_0.5"] == 1.0
    for name in ("lsd", "lsd_fine", "melr", "effective_resolution", "resolved_scale"):
        assert np.isnan(scores[name])
    assert metrics["spectral"].arrays()["spectrum"][1].shape == (1, 0, 0)
    np.testing.assert_allclose(metrics["rank_histogram"].values()["rank_histogram"], [[1.0, 0.0, 0.0]])
