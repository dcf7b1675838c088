import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from synthetic import latitude_weights

from fdsr.errors import FdsrError
from fdsr.metrics import FieldMetrics, Task, evaluate, rapsd

from .fields import grid, sample

NAMES = ["t2m", "u10"]
POINTWISE = ("rmse", "mae", "bias", "crps", "crps_biased", "spread_skill", "q1_error", "q99_error", "rank_histogram")
TIMES = pd.date_range("2020-01-01", periods=3, freq="6h")
LAT, LON = grid().rows, grid().columns


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
    metrics = FieldMetrics(Task(grid(), NAMES, 4, members=5))
    metrics.update(prediction, truth, low)
    return metrics


def agree(result: xr.Dataset, expected: FieldMetrics) -> None:
    for metric, values in expected.compute().items():
        np.testing.assert_allclose(result[metric].sel(variable=NAMES), [values[n] for n in NAMES], rtol=1e-9)
    spectral = expected["spectral"]
    np.testing.assert_allclose(result["spectrum"], spectral.values()["power"], rtol=1e-9)
    np.testing.assert_allclose(result["spectrum_reference"], spectral.values()["reference"], rtol=1e-9)
    np.testing.assert_allclose(result["wavenumber"], spectral.coordinates()["wavenumber"][1], rtol=1e-12)
    np.testing.assert_allclose(
        result["rank_histogram"], expected["rank_histogram"].values()["rank_histogram"], rtol=1e-9
    )


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


def same(a: xr.Dataset, b: xr.Dataset, rtol: float = 1e-12) -> None:
    assert set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=1e-14, err_msg=str(name))


def test_data_arrays() -> None:
    prediction, truth, low = datasets()
    whole = evaluate(prediction, truth, low)
    same(
        evaluate(prediction["u10"], truth["u10"], low["u10"]),
        evaluate(prediction[["u10"]], truth[["u10"]], low[["u10"]]),
    )
    unnamed = evaluate(prediction["u10"].rename(None), truth["u10"].rename(None))
    assert unnamed["variable"].values.tolist() == ["field"]
    assert float(unnamed["rmse"][0]) == float(whole["rmse"].sel(variable="u10"))
    # as a pair store has them
    stacked = [d.to_array("channel") for d in (prediction, truth)]
    same(evaluate(*stacked, low.to_array("low_channel")), whole)


@pytest.mark.parametrize("moving", [False, True])
def test_a_mask_is_a_truth_that_is_missing(moving: bool) -> None:
    prediction, truth, low = datasets()
    counts = xr.DataArray(
        np.ones((3, 24, 36), dtype=bool), {"time": TIMES, "lat": LAT, "lon": LON}, ("time", "lat", "lon")
    )
    counts[:, 4:9, 10:20] = False
    if moving:
        counts[1, :, :3] = False
    given = counts if moving else counts.isel(time=0, drop=True)
    result = evaluate(prediction, truth, low, mask=given.isel(lat=slice(None, None, -1)))
    same(result, evaluate(prediction.where(counts), truth.where(counts), low))
    w = xr.DataArray(latitude_weights(LAT), {"lat": LAT}, ("lat",))
    error = (prediction.mean("member") - truth).astype(float)["t2m"].where(counts)
    expected = np.sqrt((error**2).weighted(w).mean())
    assert float(result["rmse"][0]) == pytest.approx(float(expected), rel=1e-6)
    assert np.isnan(result["lsd"]).all()  # the one box of this grid has masked cells
    with pytest.raises(FdsrError, match="of booleans"):
        evaluate(prediction, truth, mask=counts.astype(float))
    with pytest.raises(FdsrError, match="mask and truth are on different grids"):
        evaluate(prediction, truth, mask=counts.isel(lat=slice(1, None)))


def test_nothing_that_counts() -> None:
    prediction, truth, low = datasets()
    result = evaluate(prediction, truth.assign(u10=truth["u10"] * np.nan), low)
    assert all(np.isnan(result[name].sel(variable="u10")).all() for name in POINTWISE)
    assert all(np.isfinite(result[name].sel(variable="t2m")).all() for name in POINTWISE)


def test_events_where_a_variable_asks() -> None:
    prediction, truth, _ = datasets()
    rain = {"time": TIMES, "lat": LAT, "lon": LON}
    tp = xr.DataArray(np.maximum(truth["t2m"].values - 280.0, 0.0), rain, ("time", "lat", "lon"))
    member = xr.DataArray(np.maximum(prediction["t2m"].values - 280.0, 0.0), rain, ("time", "member", "lat", "lon"))
    prediction, truth = prediction.assign(tp=member), truth.assign(tp=tp)
    assert "brier" not in evaluate(prediction, truth)
    given = evaluate(prediction, truth, thresholds={"tp": [0.5, 1.0]}, scales=[60.0, 300.0])
    truth["tp"].attrs["thresholds"] = "0.5, 1"
    same(given, evaluate(prediction, truth, scales=[60.0, 300.0]))
    assert given["fss"].dims == ("variable", "event", "window") and given["brier"].dims == ("variable", "event")
    assert given["threshold"].sel(variable="tp").values.tolist() == [0.5, 1.0]
    assert given["scale"].sel(variable="tp").values.tolist() == [60.0, 300.0]
    assert np.isnan(given["brier"].sel(variable=NAMES)).all()
    w = xr.DataArray(latitude_weights(LAT), {"lat": LAT}, ("lat",))
    brier = (((member >= 0.5).mean("member") - (tp >= 0.5)) ** 2).weighted(w).mean()
    assert float(given["brier"].sel(variable="tp")[0]) == pytest.approx(float(brier), rel=1e-9)
    with pytest.raises(FdsrError, match="thresholds name rain, which is not scored"):
        evaluate(prediction, truth, thresholds={"rain": [1.0]})


def test_all_round_the_globe() -> None:
    rng = np.random.default_rng(0)
    coords = {"lat": np.linspace(87.5, -87.5, 36), "lon": 5.0 * np.arange(72)}
    truth = xr.Dataset({"z": (("lat", "lon"), rng.standard_normal((36, 72)))}, coords)
    result = evaluate(truth * 2.0, truth)
    assert result["zonal_spectrum"].dims == ("variable", "zonal_band", "zonal_mode")
    assert float(result["zonal_lsd"][0]) == pytest.approx(20 * np.log10(2.0), rel=1e-9)
    np.testing.assert_allclose(result["zonal_spectrum"], 4.0 * result["zonal_spectrum_reference"], rtol=1e-9)
    # one member: it is its own mean
    np.testing.assert_allclose(result["spectrum_mean"], result["spectrum"], rtol=1e-12)
    longitudes = truth.assign_coords(lon=(truth["lon"] + 180.0) % 360.0 - 180.0).sortby("lon")
    same(evaluate(longitudes * 2.0, truth), result)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_grid_of_few_rows_and_no_times(rows: int) -> None:
    prediction, truth, low = datasets()
    few = slice(0, rows)
    result = evaluate(prediction.isel(lat=few), truth.isel(lat=few))
    assert all(np.isfinite(result[name]).all() for name in POINTWISE)
    assert all(
        np.isnan(result[name]).all() for name in ("lsd", "lsd_fine", "melr", "effective_resolution", "resolved_scale")
    )
    nothing = evaluate(prediction.isel(time=[]), truth, low)
    assert nothing.attrs["n_times"] == 0
    assert all(np.isnan(nothing[name]).all() for name in POINTWISE)


def test_a_rotated_pole_is_a_grid_of_angles() -> None:
    prediction, truth, _ = datasets()
    rotated = [d.rename(lat="y", lon="x") for d in (prediction, truth)]
    for d in rotated:
        d["y"].attrs["units"] = d["x"].attrs["units"] = "degrees"
    same(evaluate(*rotated), evaluate(prediction, truth))
    same(evaluate(*(d.rename(lat="rlat", lon="rlon") for d in (prediction, truth))), evaluate(prediction, truth))


def test_cells_that_are_not_square() -> None:
    prediction, truth, _ = datasets()
    axes = {"y": ("y", np.arange(24) * 3.0, {"units": "km"}), "x": ("x", np.arange(36) * 2.0, {"units": "km"})}
    result = evaluate(*(d.rename(lat="y", lon="x").assign_coords(axes) for d in (prediction, truth)))
    # rings of 1/72 km up to 1/(2 · 3) km
    np.testing.assert_allclose(result["wavenumber"].values[0], np.arange(1, 13) / 72.0)
    k, density = rapsd(torch.from_numpy(truth["t2m"].values), (3.0, 2.0))
    np.testing.assert_allclose(result["spectrum_reference"].sel(variable="t2m")[0], density.mean(0), rtol=1e-9)
    assert k[-1] == pytest.approx(1 / 6.0)


def test_errors_name_what_is_wrong() -> None:
    prediction, truth, low = datasets()
    broken = prediction.copy(deep=True)
    broken["u10"][1, 2, 3, 4] = np.nan
    cases = [
        (
            (broken, truth),
            r"prediction: u10 is NaN or infinite at time 2020-01-01T06:00.* in 1 of 4320 cells, "
            r"the first at member 2, lat 58.5, lon 2;",
        ),
        (
            (prediction, truth.where(truth["u10"] != truth["u10"][1, 3, 4], np.inf)),
            "truth: t2m is NaN or infinite at time .* lat 58.5, lon 2",
        ),
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


def test_units_that_differ(expected: FieldMetrics, caplog: pytest.LogCaptureFixture) -> None:
    prediction, truth, low = datasets()
    kelvin = {n: {"units": "kelvin"} for n in NAMES}
    for name in NAMES:
        prediction[name] = (prediction[name].astype(np.float64) - 273.15).assign_attrs(units="degC")
        low[name] = low[name].assign_attrs(kelvin[name])
    result = evaluate(prediction, truth, low)
    for name in ("rmse", "crps", "bias", "coarse_consistency"):
        np.testing.assert_allclose(
            result[name].sel(variable=NAMES), [expected.compute()[name][n] for n in NAMES], rtol=1e-6, atol=1e-6
        )
    assert result["units"].values.tolist() == ["K", "K"]
    said = [record.getMessage() for record in caplog.records if record.name == "fdsr.units"]
    assert said == ["prediction: converted to the units of truth: t2m (degC to K), u10 (degC to K)"]
    prediction.u10.attrs["units"] = "m s-1"
    with pytest.raises(FdsrError, match="u10 is in 'm s-1' in prediction and in 'K' in truth: mixed units") as caught:
        evaluate(prediction, truth)
    assert "\n" not in str(caught.value)


def test_an_array_of_channels_lists_their_units(caplog: pytest.LogCaptureFixture) -> None:
    prediction, truth, _ = datasets()
    hotter = truth.assign(u10=truth.u10 * 10)
    stacked = hotter.to_dataarray("high_channel").assign_attrs(units=["K", "mm"])
    fine = prediction.assign(t2m=prediction.t2m.assign_attrs(units="K"), u10=prediction.u10.assign_attrs(units="cm"))
    result = evaluate(fine, stacked)
    assert result["units"].values.tolist() == ["K", "mm"] and stacked.attrs["units"] == ["K", "mm"]
    in_cm = evaluate(prediction, truth)
    np.testing.assert_allclose(result.rmse.sel(variable="u10"), 10 * in_cm.rmse.sel(variable="u10"), rtol=1e-6)
    np.testing.assert_allclose(result.rmse.sel(variable="t2m"), in_cm.rmse.sel(variable="t2m"), rtol=1e-9)


def test_a_column_repeated_at_360_degrees_counts_once() -> None:
    values = np.random.default_rng(0).normal(size=(2, 8, 16)).astype(np.float32)
    axes = {"time": np.arange(2), "lat": 78.75 - 22.5 * np.arange(8), "lon": 22.5 * np.arange(16)}
    once = xr.Dataset({"t": (("time", "lat", "lon"), values)}, axes)
    twice = xr.concat([once, once.isel(lon=[0]).assign_coords(lon=[360.0])], "lon")
    assert twice.sizes["lon"] == 17
    for prediction in (once + 1, twice + 1):
        xr.testing.assert_identical(evaluate(prediction, twice), evaluate(once + 1, once))
