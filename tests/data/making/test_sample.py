"""The embedded sample is what its README says, and the script that made it averages relief as it claims."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

DATA = Path(__file__).parents[3] / "data"
STORE = DATA / "era5_sample.zarr"
ATMOSPHERE = ("t2m", "u10", "v10", "msl", "tp")


def load_script() -> ModuleType:
    """`data/make_era5_sample.py` as a module; `data` is a folder of files, not a package."""
    spec = importlib.util.spec_from_file_location("make_era5_sample", DATA / "make_era5_sample.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script()


@pytest.fixture(scope="module")
def sample() -> xr.Dataset:
    with xr.open_zarr(STORE, chunks=None) as ds:
        return ds.load()


def area_mean(field: xr.DataArray) -> float:
    """Mean over the sphere, the rows at the poles taken as caps."""
    edges = np.clip(np.append(field["latitude"] + 0.5, field["latitude"][-1] - 0.5), -90, 90)
    weights = xr.DataArray(-np.diff(np.sin(np.deg2rad(edges))), dims="latitude")
    return float(field.weighted(weights).mean())


def test_grid_and_times(sample: xr.Dataset) -> None:
    assert dict(sample.sizes) == {"time": 24, "latitude": 181, "longitude": 360}
    for name in ATMOSPHERE:
        assert sample[name].dims == ("time", "latitude", "longitude")
    for name in ("orography", "land_fraction"):
        assert sample[name].dims == ("latitude", "longitude")
    assert np.issubdtype(sample["time"].dtype, np.datetime64)
    time = sample["time"].values.astype("datetime64[h]")
    assert time[0] == np.datetime64("2026-03-25T00") and time[-1] == np.datetime64("2026-03-31T23")
    assert set(np.diff(time).astype(int)) == {7, 8}
    np.testing.assert_array_equal(sample["latitude"], np.arange(90.0, -91.0, -1.0))
    np.testing.assert_array_equal(sample["longitude"], np.arange(0.0, 360.0))


def test_cf_attributes(sample: xr.Dataset) -> None:
    for name, units, axis in (("latitude", "degrees_north", "Y"), ("longitude", "degrees_east", "X")):
        attributes = sample[name].attrs
        assert (attributes["standard_name"], attributes["units"], attributes["axis"]) == (name, units, axis)
    assert (sample["time"].attrs["standard_name"], sample["time"].attrs["axis"]) == ("time", "T")
    assert sample["time"].encoding["calendar"] == "proleptic_gregorian"
    for variable in sample.data_vars.values():
        assert {"standard_name", "long_name", "units"} <= set(variable.attrs)
    assert {"title", "source", "license", "attribution", "references", "history"} <= set(sample.attrs)
    assert "Contains modified Copernicus Climate Change Service information 2026" in sample.attrs["attribution"]


@pytest.mark.parametrize(
    ("name", "low", "high", "mean_low", "mean_high"),
    [
        ("t2m", 190, 330, 285, 290),
        ("u10", -45, 45, -2, 2),
        ("v10", -45, 45, -1, 1),
        ("msl", 91_000, 107_000, 100_800, 101_500),
        ("tp", 0, 0.1, 2.5e-3 / 24, 3.3e-3 / 24),  # about 2.9 mm a day: an hour's precipitation in metres
        ("orography", 0, 6500, 220, 250),
        ("land_fraction", 0, 1, 0.27, 0.31),
    ],
)
def test_values_are_plausible(
    sample: xr.Dataset, name: str, low: float, high: float, mean_low: float, mean_high: float
) -> None:
    values = sample[name].values
    assert np.isfinite(values).all()
    assert low <= values.min() and values.max() <= high
    assert mean_low < area_mean(sample[name]) < mean_high


def test_the_map_is_the_right_way_up(sample: xr.Dataset) -> None:
    t2m = sample["t2m"].mean("time")
    tropics = float(t2m.sel(latitude=slice(20, -20)).mean())
    assert float(t2m.sel(latitude=slice(90, 75)).mean()) < tropics - 30
    assert float(t2m.sel(latitude=slice(-75, -90)).mean()) < tropics - 50
    # Subtropical highs, and the low pressure around Antarctica
    assert float(sample["msl"].sel(latitude=-65).mean()) < float(sample["msl"].sel(latitude=-35).mean()) - 1500
    assert 4500 < float(sample["orography"].sel(latitude=33, longitude=85)) < 5500
    assert float(sample["orography"].sel(latitude=-81, longitude=10)) > 3000  # where ETOPO5 has a broken line
    assert float(sample["orography"].sel(latitude=0, longitude=200)) == 0
    land = sample["land_fraction"]
    for latitude, longitude, expected in ((-90, 0, 1), (90, 0, 0), (50, 100, 1), (-25, 135, 1), (30, 320, 0)):
        assert float(land.sel(latitude=latitude, longitude=longitude)) == expected
    # High ground is cold: orography and temperature lie on the same map
    band = sample.sel(latitude=slice(40, 25), longitude=slice(70, 105))
    assert xr.corr(band["orography"], band["t2m"].mean("time")) < -0.8


def test_packing(sample: xr.Dataset, script: ModuleType) -> None:
    assert sum(file.stat().st_size for file in STORE.rglob("*") if file.is_file()) <= 14e6
    assert 0.2 < float((sample["tp"] == 0).mean()) < 0.5
    drizzle = sample["tp"].where(sample["tp"] > 0)
    assert float(drizzle.min()) == 2.0**-21  # the smallest amount in the source is still there
    for name in ATMOSPHERE:
        values = sample[name].values
        step = sample[name].encoding["scale_factor"]
        assert step == script.VARIABLES[name].step < 1e-3 * values.std() * (2 if name == "tp" else 1)
        np.testing.assert_array_equal(values.astype(np.float32).astype(np.float64), values)  # exact in float32


def synthetic_relief() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A 30-minute relief with ETOPO5's layout: rows from pole to pole, columns from 0° on."""
    lat, lon = np.arange(-90.0, 90.1, 0.5), np.arange(0.0, 360.0, 0.5)
    rng = np.random.default_rng(0)
    return rng.normal(size=(lat.size, lon.size)) + lat[:, None] / 30, lat, lon


def test_coarsening_conserves_the_area_mean(script: ModuleType) -> None:
    relief, lat, lon = synthetic_relief()
    target = (np.arange(90.0, -91.0, -1.0), np.arange(0.0, 360.0))
    coarse = script.coarsen(relief, (lat, lon), target)
    assert coarse.shape == (181, 360)
    fine_area = script.latitude_overlap(lat, lat).sum(axis=1)
    coarse_area = script.latitude_overlap(target[0], target[0]).sum(axis=1)
    for area in (fine_area, coarse_area):  # the cells tile the sphere
        assert area.sum() == pytest.approx(2.0, abs=1e-12)
    assert coarse_area @ coarse.mean(axis=1) == pytest.approx(fine_area @ relief.mean(axis=1), abs=1e-12)


def test_coarsening_is_centred_and_wraps(script: ModuleType) -> None:
    relief, lat, lon = synthetic_relief()
    target = (np.arange(90.0, -91.0, -1.0), np.arange(0.0, 360.0))
    np.testing.assert_allclose(script.coarsen(np.full_like(relief, 7.0), (lat, lon), target), 7.0, rtol=1e-13)
    point = np.zeros_like(relief)
    point[lat == 10.0, lon == 0.0] = 1.0  # inside one cell, which straddles Greenwich
    coarse = script.coarsen(point, (lat, lon), target)
    assert np.argwhere(coarse > 0).tolist() == [[80, 0]]
    edge = np.zeros_like(relief)
    edge[lat == 10.0, lon == 359.5] = 1.0  # shared in halves by the cells of 359° and 0°
    coarse = script.coarsen(edge, (lat, lon), target)
    assert np.argwhere(coarse > 0).tolist() == [[80, 0], [80, 359]]
    assert coarse[80, 0] == pytest.approx(coarse[80, 359])
    # The row of the pole is a cap: every column sees the fine rows down to 89.5°, the last of them in part.
    north = np.where(lat >= 89.25, 1.0, 0.0)[:, None] * np.ones(lon.size)
    covered = (1 - np.sin(np.deg2rad(89.75))) / (1 - np.sin(np.deg2rad(89.5)))
    top = script.coarsen(np.where(lat == 90.0, 1.0, 0.0)[:, None] * np.ones(lon.size), (lat, lon), target)[0]
    np.testing.assert_allclose(top, covered, rtol=1e-6)
    np.testing.assert_allclose(script.coarsen(north, (lat, lon), target)[0], 1.0, rtol=1e-13)


def test_an_existing_store_is_kept(script: ModuleType, tmp_path: Path) -> None:
    ds = xr.Dataset({"a": ("x", np.arange(3.0))})
    target = tmp_path / "store.zarr"
    script.write(ds, {}, target, overwrite=False)
    with pytest.raises(SystemExit, match="exists already"):
        script.write(ds + 1, {}, target, overwrite=False)
    script.write(ds + 1, {}, target, overwrite=True)
    with xr.open_zarr(target) as stored:
        np.testing.assert_array_equal(stored["a"], [1.0, 2.0, 3.0])
    assert [path.name for path in tmp_path.iterdir()] == ["store.zarr"]
