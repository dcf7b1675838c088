import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.metrics import FieldMetrics, evaluate

from .fields import grid, sample

NAMES = ["t2m", "u10"]
TIMES = pd.date_range("2020-01-01", periods=3, freq="6h")
LAT, LON = grid()


def datasets() -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    p, y = sample()
    low = torch.randn(3, 2, 6, 9, generator=torch.Generator().manual_seed(9)) + 280
    coords = {"time": TIMES, "lat": LAT, "lon": LON}
    coarse = {"time": TIMES, "lat": LAT.reshape(6, 4).mean(1), "lon": LON.reshape(9, 4).mean(1)}
    fine_dims, member_dims = ("time", "lat", "lon"), ("time", "member", "lat", "lon")
    return (
        xr.Dataset({n: (member_dims, p[:, :, i].numpy()) for i, n in enumerate(NAMES)}, coords),
        xr.Dataset({n: (fine_dims, y[:, i].numpy(), {"units": "K"}) for i, n in enumerate(NAMES)}, coords),
        xr.Dataset({n: (fine_dims, low[:, i].numpy()) for i, n in enumerate(NAMES)}, coarse),
    )


@pytest.fixture(scope="module")
def expected() -> FieldMetrics:
    prediction, truth, low = (
        torch.from_numpy(np.stack([d[n].values for n in NAMES], axis=axis))
        for d, axis in zip(datasets(), (2, 1, 1), strict=True)
    )
    metrics = FieldMetrics(LAT, LON, NAMES, 4, members=5)
    metrics.update(prediction, truth, low)
    return metrics


def agree(result: xr.Dataset, expected: FieldMetrics) -> None:
    for metric, values in expected.compute().items():
        np.testing.assert_allclose(result[metric].sel(variable=NAMES), [values[n] for n in NAMES], rtol=1e-9)
    spectra = expected.spectra()
    np.testing.assert_allclose(result["spectrum"], spectra.power, rtol=1e-9)
    np.testing.assert_allclose(result["spectrum_reference"], spectra.reference, rtol=1e-9)
    np.testing.assert_allclose(result["wavenumber"], spectra.wavenumber, rtol=1e-12)
    np.testing.assert_allclose(result["rank_histogram"], expected.rank_histogram(), rtol=1e-9)


def test_equals_field_metrics(expected: FieldMetrics) -> None:
    result = evaluate(*datasets())
    assert result["rmse"].dims == ("variable",)
    assert result["spectrum"].dims == ("variable", "band", "ring")
    assert result.attrs == {"members": 5, "n_times": 3}
    agree(result, expected)


@pytest.mark.parametrize("change", ["dims", "names", "order", "longitudes", "more times", "dask", "low dims", "zarr"])
def test_the_layout_does_not_matter(change: str, expected: FieldMetrics, tmp_path: object) -> None:
    prediction, truth, low = datasets()
    if change == "dims":
        prediction = prediction.transpose("lon", "member", "time", "lat")
    elif change == "names":
        names = {"lat": "latitude", "lon": "longitude", "time": "valid_time"}
        prediction, truth = prediction.rename(names | {"member": "number"}), truth.rename(names)
    elif change == "order":
        prediction, low = prediction.isel(lat=slice(None, None, -1)), low.isel(lat=slice(None, None, -1))
        prediction = prediction.isel(time=[2, 0, 1])
    elif change == "longitudes":
        prediction = prediction.assign_coords(lon=prediction.lon.values - 360.0)
    elif change == "more times":
        later = truth.assign_coords(time=TIMES + pd.Timedelta("1D"))
        truth = xr.concat([later, truth], "time")
        truth["z500"] = truth["t2m"]
    elif change == "dask":
        prediction, truth, low = (d.chunk({"time": 1}) for d in (prediction, truth, low))
    elif change == "low dims":
        low = low.rename(lat="lat_low", lon="lon_low")
    else:
        prediction.to_zarr(f"{tmp_path}/p.zarr")
        prediction = xr.open_zarr(f"{tmp_path}/p.zarr", chunks=None)
    agree(evaluate(prediction, truth, low), expected)


def test_without_members_low_or_several_times(expected: FieldMetrics) -> None:
    prediction, truth, _ = datasets()
    result = evaluate(prediction.isel(member=0, time=0), truth.isel(time=0))
    np.testing.assert_array_equal(result["crps"], result["mae"])
    assert "single member" in result["crps"].attrs["long_name"]
    assert result["spread_skill"].isnull().all()
    assert "coarse_consistency" not in result
    assert result.attrs["n_times"] == 1
    assert result["units"].values.tolist() == ["K", "K"]


def test_a_variable_that_low_lacks() -> None:
    prediction, truth, low = datasets()
    result = evaluate(prediction, truth, low[["u10"]])
    assert np.isnan(result["coarse_consistency"].sel(variable="t2m"))
    assert np.isfinite(result["coarse_consistency"].sel(variable="u10"))


def test_projected_grid_in_metres() -> None:
    prediction, truth, _ = datasets()
    names = {"lat": "y", "lon": "x"}
    axes = {"y": ("y", np.arange(24) * 2500.0, {"units": "m"}), "x": ("x", np.arange(36) * 2500.0, {"units": "m"})}
    prediction, truth = (d.rename(names).assign_coords(axes) for d in (prediction, truth))
    result = evaluate(prediction, truth.assign(crs=0))
    assert result["wavenumber"].values[0, 0] == pytest.approx(1 / 60.0)
    error = prediction["t2m"].mean("member") - truth["t2m"]
    assert float(result["rmse"][0]) == pytest.approx(float(np.sqrt((error.astype(float) ** 2).mean())), rel=1e-5)
    with pytest.raises(FdsrError, match="units m or km"):
        evaluate(prediction, truth.assign_coords(y=np.arange(24)))


def test_errors_name_what_is_wrong() -> None:
    prediction, truth, low = datasets()
    broken = prediction.copy(deep=True)
    broken["u10"][1, 2, 3, 4] = np.nan
    cases = [
        ((broken, truth), r"prediction: u10 is NaN or infinite at time 2020-01-01T06:00.* in 1 of 4320 cells"),
        ((prediction.rename(t2m="a", u10="b"), truth), "share no variable"),
        ((prediction, truth.isel(time=[0, 2])), "truth lacks 1 of 3 times of prediction, the first 2020-01-01T06:00"),
        ((prediction, truth.isel(lat=slice(1, None))), "different grids"),
        ((prediction, truth.assign_coords(lat=LAT + 0.1)), "different grids"),
        ((prediction.expand_dims(level=[500]), truth), "dimension level"),
        ((prediction["t2m"].values, truth), "must be an xarray.Dataset"),
        ((prediction.rename(lat="row_number"), truth), "prediction has no lat"),
        ((prediction.isel(time=[0, 0]), truth), "twice"),
        ((prediction, truth, low.isel(lat=slice(1, None))), "not a multiple"),
        ((prediction, truth, low.assign_coords(lat=low.lat + 20)), "not a coarser version"),
        ((prediction, truth, low.isel(time=[0, 1])), "low lacks 1 of 3 times"),
    ]
    for arguments, message in cases:
        with pytest.raises(FdsrError, match=message) as caught:
            evaluate(*arguments)
        assert "\n" not in str(caught.value)
