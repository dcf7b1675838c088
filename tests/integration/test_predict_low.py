"""`fdsr predict --low` with a file as someone has it, and what it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

Program = Callable[..., int]


def coarse(source: xr.Dataset) -> xr.Dataset:
    low = source[["t2m", "u10"]].isel(time=slice(2)).coarsen(latitude=4, longitude=4).mean()
    return low.assign({n: low[n].assign_attrs(source[n].attrs) for n in low})


@pytest.mark.slow
def test_an_ensemble_in_other_names_and_units_as_netcdf(
    program: Program,
    trained: tuple[Path, Path],
    source_data: xr.Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, run = trained
    low, (members, name) = coarse(source_data), ("number", "t")
    ensemble = xr.concat([low, low + 1], xr.Variable(members, [3, 8]))
    ensemble[name] = (ensemble.t2m - 273.15).assign_attrs(units="degC")
    ensemble.u10.attrs["units"] = "m/s"
    ensemble.drop_vars("t2m").to_netcdf(tmp_path / "ensemble")
    common = ("predict", "--config", config, "--run", run)
    named = ("--data.init_args.low_variables", "[t2m=t,u10]")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert program(*common, "--low", tmp_path / "ensemble", *named, "--output=~/fine.nc") == 0
    low.to_netcdf(tmp_path / "0.nc")
    assert program(*common, "--low", tmp_path / "0.nc", "--output", tmp_path / "first.zarr") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.nc", "ensemble", "fine.nc", "first.zarr"]
    with xr.open_dataset(tmp_path / "fine.nc") as fine, xr.open_zarr(tmp_path / "first.zarr") as first:
        assert fine.sizes == {"time": 2, "member": 4, "lat": 24, "lon": 48} and fine.t2m.attrs["units"] == "K"
        assert fine.low_member.values.tolist() == [3, 3, 8, 8] and (fine.time.values == low.time.values).all()
        # coarse cells keep the values of the member that was downscaled
        blocks = fine.t2m.coarsen(lat=4, lon=4).mean().values.mean((2, 3))
        np.testing.assert_allclose(blocks[:, 2:] - blocks[:, :2], 1, atol=0.5)
        assert not np.array_equal(fine.t2m[:, 0], fine.t2m[:, 1]) and np.isfinite(fine.t2m).all()
        # the first field of all has the same noise
        np.testing.assert_allclose(fine.t2m[0, :2], first.t2m[0], atol=2e-2)
    assert program(*common, "--low", tmp_path / "ensemble", *named, "--output=~/fine.nc") == 2
    assert program(*common, "--low", tmp_path / "ensemble", *named, "--output=~/fine.nc", "--overwrite") == 0
