"""The axis of time of a file: forecasts' begin and lead, axes that CDO writes, coordinates that are not called time."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic import make_source

from fdsr.errors import FdsrError
from fdsr.grids.axes import normalise_axes

HOUR = np.timedelta64(3600 * 10**9, "ns")


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return make_source(times=4, rows=4, columns=8, variables=("t2m",)).drop_vars("orography")


def times(ds: xr.Dataset) -> np.ndarray:
    return np.asarray(normalise_axes(ds, "here").time.values)


def test_begin_and_lead_are_added(ds: xr.Dataset) -> None:
    begin, leads = np.datetime64("2020-01-01", "ns"), np.array([0, 6, 12, 18])
    for name, lead in {
        "step": ("step", leads * HOUR, {}),
        "prediction_timedelta": ("prediction_timedelta", leads * HOUR, {}),
        "lead": ("lead", leads, {"units": "hours"}),
        "fcst": ("fcst", leads / 24.0, {"units": "days", "standard_name": "forecast_period"}),
    }.items():
        forecast = ds.drop_vars("time").rename(time=name).assign_coords({name: lead, "time": begin})
        np.testing.assert_array_equal(times(forecast), ds.time)
    pairs = xr.Dataset(
        {"t2m": (("init", "lead", "latitude", "longitude"), ds.t2m.values.reshape(2, 2, 4, 8))},
        {
            "init": begin + np.array([0, 12]) * HOUR,
            "lead": ("lead", [0, 6], {"units": "h"}),
            "latitude": ds.latitude,
            "longitude": ds.longitude,
        },
    )
    found = normalise_axes(pairs, "here")
    np.testing.assert_array_equal(found.time, ds.time)
    np.testing.assert_array_equal(found.t2m.transpose("time", "row", "column"), ds.t2m)
    np.testing.assert_array_equal(times(pairs.isel(lead=1)), ds.time[1::2])


def test_what_is_valid_already_stays(ds: xr.Dataset) -> None:
    """CF gives every time of a forecast its lead beside it."""
    for lead in (("time", np.arange(4) * 6, {"units": "hours"}), ((), 6, {"units": "hours"})):
        np.testing.assert_array_equal(times(ds.assign_coords(forecast_period=lead)), ds.time)
    reference = ds.assign_coords(step=6 * HOUR, forecast_reference_time=ds.time[0].values)
    np.testing.assert_array_equal(times(reference), ds.time)


def test_dates_of_another_coordinate(ds: xr.Dataset) -> None:
    """WRF's axis is called Time and has no values; XTIME has them."""
    counted = ds.rename(time="Time").assign_coords(Time=np.arange(4), XTIME=("Time", ds.time.values))
    for changed in (counted, counted.drop_vars("Time")):
        np.testing.assert_array_equal(times(changed), ds.time)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([20200131.0, 20200131.25, 20200131.5, 20200201.75], "day as %Y%m%d.%f"),
        ([0, 6, 12, 42], "Hours Since 2020-01-31"),
    ],
)
def test_axes_that_xarray_leaves_as_numbers(ds: xr.Dataset, values: list[float], unit: str) -> None:
    found = times(ds.assign_coords(time=("time", values, {"units": unit})))
    np.testing.assert_array_equal(found, np.datetime64("2020-01-31", "us") + np.array([0, 6, 12, 42]) * HOUR)


@pytest.mark.parametrize(
    ("values", "about", "words"),
    [
        ([20200131.0, 20200132.0, 20200133.0, 20200134.0], {"units": "day as %Y%m%d.%f"}, "20200132 is no date"),
        ([1.0, 2, 3, 4], {"units": "hour as %Y"}, "times written as 'hour as %Y'"),
        (np.array(["2020-01-01", "NaT", "NaT", "2020-01-02"], "datetime64[ns]"), {}, "2 missing values on its time axis"),
        (xr.date_range("2001-02-28", periods=4, calendar="360_day", use_cftime=True), {}, r"calendar '360_day'.*\(2001-02-29\)"),
    ],
)  # fmt: skip
def test_refused(ds: xr.Dataset, values: np.ndarray, about: dict[str, str], words: str) -> None:
    with pytest.raises(FdsrError, match=f"'here'.*{words}"):
        normalise_axes(ds.assign_coords(time=("time", values, about)), "here")
