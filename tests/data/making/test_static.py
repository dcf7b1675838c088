"""Static fields as archives deliver them: with an axis of time, on Gaussian rows, on a grid of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from synthetic import pair_config

from fdsr.data.making.pairing import Pairs, plan_pairs
from fdsr.errors import FdsrError


def planned(source_path: str, fields: xr.Dataset, folder: Path, static: str = "z") -> Pairs:
    file = folder / f"static-{len(list(folder.iterdir()))}.nc"
    fields.to_netcdf(file)
    return plan_pairs(pair_config(source_path, static=[static], static_source=str(file)))


@pytest.fixture
def geopotential(source_data: xr.Dataset) -> xr.Dataset:
    """As the climate data store delivers it."""
    z = source_data.orography.rename("z").expand_dims(valid_time=[np.datetime64("2020-01-01", "ns")])
    ds = z.to_dataset().assign_coords(number=0, expver=("valid_time", ["0001"]))
    ds.valid_time.attrs["standard_name"] = "time"
    return ds


def test_an_axis_of_one_time(
    source_path: str, source_data: xr.Dataset, geopotential: xr.Dataset, tmp_path: Path
) -> None:
    for ds in (geopotential, geopotential.squeeze(), geopotential.expand_dims(step=[np.timedelta64(0, "ns")])):
        found = planned(source_path, ds, tmp_path, "orography=z").static["orography"]
        np.testing.assert_array_equal(found, source_data.orography)


def test_many_times_that_are_alike(source_path: str, source_data: xr.Dataset, tmp_path: Path) -> None:
    repeated = source_data.orography.rename("z").expand_dims(time=source_data.time.values[:5]).copy(deep=True)
    np.testing.assert_array_equal(
        planned(source_path, repeated.to_dataset(name="z"), tmp_path).static["z"], source_data.orography
    )
    for moved in (-1, 2):
        changed = repeated + xr.where(repeated.time == repeated.time[moved], 1, 0)
        with pytest.raises(FdsrError, match="static field 'z' varies with time; list it among the variables"):
            planned(source_path, changed.to_dataset(name="z"), tmp_path)


def test_names_of_static_fields_are_asked_for_and_their_own(source_path: str) -> None:
    with pytest.raises(FdsrError, match=r"no field is asked for of 'z\.nc'"):
        pair_config(source_path, static=[], static_source="z.nc")
    with pytest.raises(FdsrError, match="'u10' is the name of a variable and of a static field"):
        pair_config(source_path, static=["u10=orography"])


def test_a_level_of_a_static_field(source_path: str, source_data: xr.Dataset, tmp_path: Path) -> None:
    depths = xr.concat([source_data.orography, source_data.orography + 1], xr.Variable("depth", [0.1, 0.4])).to_dataset(
        name="z"
    )
    np.testing.assert_array_equal(
        planned(source_path, depths, tmp_path, "soil=z@0.4").static["soil"], source_data.orography + 1
    )
    with pytest.raises(FdsrError, match="2 values of 'depth'"):
        planned(source_path, depths, tmp_path)


def test_gaussian_rows_are_remapped(source_path: str, tmp_path: Path) -> None:
    """The latitude itself: its mean over the area of each fine row from rows that are finer, its value from coarser ones."""
    rows = plan_pairs(pair_config(source_path)).grid.fine.rows
    edges = np.deg2rad(np.array([rows + 3.75, rows - 3.75]))
    means = np.rad2deg(np.diff(edges * np.sin(edges) + np.cos(edges), axis=0) / np.diff(np.sin(edges), axis=0))[0]
    for n, expected in ((96, means), (16, rows)):
        lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(n)[0]))
        lon = 180 / n * np.arange(2 * n)
        z = xr.Dataset({"z": (("lat", "lon"), lat[:, None] + 0 * lon)}, {"lat": lat, "lon": lon})
        found = planned(source_path, z, tmp_path).static["z"][1:-1]
        np.testing.assert_allclose(found, np.broadcast_to(expected[1:-1, None], found.shape), atol=0.02)
