"""A regional model on a projected grid, from fit to the picture and the file of predictions."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from synthetic import projected, write_source


@pytest.mark.slow
def test_fit_test_predict(program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path) -> None:
    ds = projected()
    config, run = configure("DDPMModule", source=write_source(ds, tmp_path / "source.zarr")), tmp_path / "run"
    for verb in ("fit", "test", "predict"):
        assert program(verb, "--config", config, "--run", run) == 0
    metrics = {
        (r["metric"], r["variable"]): float(r["value"]) for r in csv.DictReader((run / "test_metrics.csv").open())
    }
    assert all(np.isfinite(metrics["rmse", name]) for name in ("t2m", "u10"))
    # scored in km of the grid's own spacing: nothing is resolved below two of its 25 km cells
    assert metrics["effective_resolution", "t2m"] >= 50
    upright = ds.isel(y=slice(None, None, -1))
    with xr.open_zarr(next(run.glob("*.zarr")), consolidated=False, decode_coords="all") as found:
        assert found.t2m.dims == ("time", "member", "y", "x") and "crs" in found.coords
        assert found.t2m.encoding["grid_mapping"] == "crs" or found.t2m.attrs.get("grid_mapping") == "crs"
        assert found.crs.attrs["grid_mapping_name"] == "lambert_conformal_conic"
        np.testing.assert_array_equal(found.y, upright.y)
        np.testing.assert_array_equal(found.latitude, upright.lat)
        assert found.x.attrs["units"] == "m" and found.x.attrs["standard_name"] == "projection_x_coordinate"
        assert bool(np.isfinite(found.t2m).all())
    assert program("report", run, "--output", tmp_path / "report") == 0
