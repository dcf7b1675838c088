"""The axis of time of a dataset: forecasts' begin and lead made one, dates of whatever axis and calendar."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from xarray.coding.times import decode_cf_datetime

from fdsr.errors import FdsrError
from fdsr.grids.finding import find_axis, is_dated
from fdsr.grids.names import LEAD, TIME

DATED_AXIS = "cdo setreftime,1900-01-01,00:00:00,days"  # makes an axis that can be decoded of any that CDO understands

_TWO_TIMES = "begin and lead"
_BEGIN = "forecast_reference_time"
# of lead times, in nanoseconds
_UNITS = {
    spelling: length
    for length, spellings in {
        86400_000_000_000: ("d", "day", "days"),
        3600_000_000_000: ("h", "hr", "hrs", "hour", "hours"),
        60_000_000_000: ("min", "minute", "minutes"),
        1_000_000_000: ("s", "sec", "second", "seconds"),
    }.items()
    for spelling in spellings
}


def with_time(ds: xr.Dataset, given: Mapping[str, str]) -> xr.Dataset:
    """`ds` with an axis of time where a single one is said, and with one axis where a forecast has two, begin and lead.

    What a forecast is valid at is computed of begin and lead where it is not said.
    """
    ds = _with_valid_time(ds)
    dates = {str(n): c for n, c in ds.coords.items() if is_dated(c) and _is_valid(str(n), c)}
    if two := next((n for n, c in dates.items() if c.ndim == 2), None):
        begin, lead = (str(d) for d in ds[two].dims)
        ds = ds.chunk({begin: 1, lead: -1}).stack({_TWO_TIMES: (begin, lead)}, create_index=False)
        ds = ds.drop_vars([n for n in (begin, lead) if n in ds.variables]).swap_dims({_TWO_TIMES: two})
        return ds.isel({two: np.argsort(ds[two].values, kind="stable")})
    single = [n for n, c in dates.items() if c.ndim == 0]
    if not single or find_axis(ds, TIME, given) is not None:
        return ds
    return ds.expand_dims(min(single, key=lambda n: n != "valid_time"))


def is_lead(ds: xr.Dataset, name: object) -> bool:
    """Whether a coordinate, a line or one value, says how long after its begin a forecast is valid."""
    if name not in ds.coords or ds[name].ndim > 1:
        return False
    lead = ds[name]
    known = str(name).lower() in LEAD.usual or lead.attrs.get("standard_name") in LEAD.standard_names
    return known and (lead.dtype.kind == "m" or _unit(lead) in _UNITS)


def _unit(lead: xr.DataArray) -> str:
    return str(lead.attrs.get("units", "")).strip().lower()


def _with_valid_time(ds: xr.Dataset) -> xr.Dataset:
    """`ds` with a coordinate `valid_time`, begin and lead, where it has these two and no other time."""
    leads, dates = [n for n in ds.coords if is_lead(ds, n)], [n for n, c in ds.coords.items() if is_dated(c)]
    if len(leads) != 1 or len(dates) != 1 or ds[dates[0]].ndim > 1 or ds[dates[0]].dtype.kind != "M":
        return ds
    lead, begin = ds[leads[0]], ds[dates[0]]
    # beside one lead, or one for each of them, CF's times are those that fields are valid at; GRIB's one step says otherwise
    along = lead.dims == begin.dims if lead.ndim else leads[0] == "forecast_period"
    if begin.attrs.get("standard_name") != _BEGIN and along:
        return ds
    if lead.dtype.kind != "m":
        lead = (lead * _UNITS[_unit(lead)]).round().astype("timedelta64[ns]")
    valid = begin.reset_coords(drop=True) + lead.reset_coords(drop=True)
    return ds.assign_coords(valid_time=valid.drop_attrs())


def _is_valid(name: str, dates: xr.DataArray) -> bool:
    """Whether dates are those that fields are valid at."""
    return dates.attrs.get("standard_name", name.lower()) in ("time", *TIME.usual)


def with_dates(ds: xr.Dataset, where: str) -> xr.Dataset:
    """`ds` with times as datetime64; a calendar without some of our dates, and a date that is missing, are refused."""
    if "time" not in ds.coords:
        return ds
    times = ds.time
    if times.dtype == object:
        times = times.copy(data=_our_dates(ds.indexes["time"], where))
    elif times.dtype.kind in "fiu":
        times = times.copy(data=_counted(times, where))
    if bool(times.isnull().any()):
        raise FdsrError(
            f"'{where}' has {int(times.isnull().sum())} missing values on its time axis; leave these times out"
        )
    return ds if times is ds.time else ds.assign_coords(time=("time", times.values, times.attrs))


def _our_dates(index: pd.Index, where: str) -> np.ndarray:
    """Dates of another calendar as ours of the same day and hour."""
    try:
        return np.asarray(index.to_datetimeindex(unsafe=True, time_unit="us").values)
    except ValueError as error:
        calendar = index.calendar
        strange = next((f" ({found[0]})" for found in [re.search(r"\d+-\d\d-\d\d", str(error))] if found), "")
        raise FdsrError(
            f"'{where}' has times of the calendar '{calendar}', some of which are no dates of ours{strange}; convert it first "
            "(xarray: convert_calendar('standard', align_on='year'))"
        ) from error


def _counted(times: xr.DataArray, where: str) -> np.ndarray:
    """Times that are numbers: as dates where their unit says of which, in CDO's way or in capitals, else as they are."""
    unit, calendar = str(times.attrs.get("units", "")).strip(), str(times.attrs.get("calendar", "standard")).lower()
    if unit.lower() == "day as %y%m%d.%f":
        return np.array([_written(float(value), where) for value in times.values], dtype="datetime64[us]")
    if " since " in unit.lower():
        try:
            decoded = decode_cf_datetime(times.values, unit.lower(), calendar)
        except ValueError as error:
            raise FdsrError(
                f"'{where}': no dates can be told from '{unit}' of the calendar '{calendar}' ({DATED_AXIS})"
            ) from error
        return decoded if decoded.dtype.kind == "M" else _our_dates(xr.CFTimeIndex(decoded), where)
    if " as %" in unit:
        raise FdsrError(
            f"'{where}' has times written as '{unit}', which are no dates yet; give it others first ({DATED_AXIS})"
        )
    return times.values


def _written(value: float, where: str) -> np.datetime64:
    """The date of 20200131.25, six o'clock on a day."""
    day = f"{math.floor(value):08d}" if math.isfinite(value) else "a missing one"
    try:
        date = np.datetime64(f"{day[:-4]}-{day[-4:-2]}-{day[-2:]}", "us")
    except ValueError as error:
        raise FdsrError(
            f"'{where}' has times as %Y%m%d.%f, of which {value:.12g} is no date; correct the axis of time"
        ) from error
    # a day has 86,400 seconds, of which double precision keeps some ten digits behind the date
    return date + np.timedelta64(round((value - math.floor(value)) * 86400), "s")
