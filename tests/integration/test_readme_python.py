"""The first lines of Python in the README, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import xarray as xr

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_from_a_netcdf_file_to_a_plotted_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    (code,) = [
        c for c in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S) if "coarse.nc" in c
    ]
    assert len([line for line in code.splitlines() if line]) <= 10
    with xr.open_zarr(ROOT / "data" / "era5_sample.zarr") as sample:
        fields = sample[["t2m", "u10", "v10", "msl"]].isel(time=[20], latitude=slice(180))
        coarse = fields.coarsen(latitude=4, longitude=4).mean().drop_encoding()
        coarse.assign({n: coarse[n].assign_attrs(sample[n].attrs) for n in coarse}).to_netcdf(tmp_path / "coarse.nc")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    fine = names["fine"]
    assert (tmp_path / "members.png").stat().st_size > 10_000
    assert fine.t2m.dims == ("time", "member", "latitude", "longitude")
    assert dict(fine.sizes) == {"time": 1, "member": 8, "latitude": 40, "longitude": 80}
    assert (fine.longitude >= 0).all()  # as in the file
    truth = fields.t2m.sel(latitude=fine.latitude, longitude=fine.longitude).values
    error = abs(fine.t2m.mean("member").values - truth).mean()
    smooth = coarse.t2m.interp(latitude=fine.latitude, longitude=fine.longitude, kwargs={"fill_value": "extrapolate"})
    assert error < 0.8 * float(abs(smooth.values - truth).mean())
