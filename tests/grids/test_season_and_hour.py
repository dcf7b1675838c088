"""Fractions of the year and of the day, in our calendar and in others."""

from __future__ import annotations

import cftime
import numpy as np
import pytest
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.dates import year_and_day


def test_our_calendar() -> None:
    times = np.array(
        ["2020-01-01T00", "2020-07-01T12", "2021-07-02T12", "2020-12-31T18", "1969-12-31T18"], "datetime64[ns]"
    )
    expected = [[0, 0], [182.5 / 366, 0.5], [182.5 / 365, 0.5], [365.75 / 366, 0.75], [364.75 / 365, 0.75]]
    np.testing.assert_allclose(year_and_day(times), expected, atol=1e-12)


@pytest.mark.parametrize(("calendar", "days"), [("360_day", 360), ("noleap", 365), ("standard", 366)])
def test_a_calendar_has_years_of_its_own(calendar: str, days: int) -> None:
    """The 30th of the second month, the 60th day of the year, is a date in one of them alone."""
    month, day = (2, 30) if calendar == "360_day" else (3, 1)
    times = np.array(
        [
            cftime.datetime(2020, month, day, 6, calendar=calendar),
            cftime.datetime(2020, 12, 30, 18, 30, calendar=calendar),
        ]
    )
    passed = {"360_day": 59, "noleap": 59, "standard": 60}[calendar]
    last = {"360_day": 359, "noleap": 363, "standard": 364}[calendar]
    expected = [[(passed + 0.25) / days, 0.25], [(last + 18.5 / 24) / days, 18.5 / 24]]
    np.testing.assert_allclose(year_and_day(times), expected, atol=1e-12)


def test_what_xarray_decodes() -> None:
    axis = xr.date_range("2000-01-01", periods=720, freq="12h", calendar="360_day", use_cftime=True)
    found = year_and_day(np.asarray(axis))
    np.testing.assert_allclose(found[:, 0], np.arange(720) / 720, atol=1e-12)
    np.testing.assert_allclose(found[:, 1], np.tile([0, 0.5], 360), atol=1e-12)


@pytest.mark.parametrize("times", [np.arange(4), np.arange(4.0), np.array(["a", "b"], dtype=object)])
def test_times_that_only_count(times: np.ndarray) -> None:
    with pytest.raises(FdsrError, match="have no dates"):
        year_and_day(times)
