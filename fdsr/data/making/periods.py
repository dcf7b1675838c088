"""Dates in options. A date stands for the whole of what it names, as in xarray's selection by a part of a date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fdsr.errors import FdsrError
from fdsr.grids.times import DATED_AXIS

Date = str | int | date  # as written, or as YAML reads 2020 and 2020-01-01
Dates = str | Sequence[Date]  # FIRST/LAST, or the two

_ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,6}0*)?)?)?)?)?)?")
_LONGEST = len("2020-01-01T00:00:00.000000")
_TICK = "datetime64[us]"  # reaches over all years of four digits, where nanoseconds end in 2262


@dataclass(frozen=True)
class Period:
    """From the beginning of `first` to the end of `last`: 2020 ends with its last day, 2020-01-01 with its last hour.

    `what` names the option in messages. Raises FdsrError if a date is none, or the period ends before it begins.
    """

    first: str
    last: str
    what: str

    @classmethod
    def parse(cls, dates: Dates, what: str) -> Period:
        """The period that `dates` say, FIRST/LAST or a pair, for the option `what`."""
        pair = dates.split("/") if isinstance(dates, str) else dates
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise FdsrError(f"{what} '{dates}' is not FIRST/LAST, two dates such as 1990-01-01/2015-12-31")
        first, last = (_text(d) for d in pair)
        return cls(first, last, what)

    def __post_init__(self) -> None:
        begin, end = self.bounds
        if end <= begin:
            raise FdsrError(f"{self} is reversed: {self.last} lies before {self.first}; write the earlier date first")

    def __str__(self) -> str:
        return f"{self.what} '{self.first}/{self.last}'"

    @property
    def bounds(self) -> tuple[np.datetime64, np.datetime64]:
        """When the period begins, and the first moment after it."""
        return self._moment(self.first, 0), self._moment(self.last, 1)

    def block(self, times: NDArray, where: str) -> tuple[int, int]:
        """First position inside and one past the last, among the sorted `times` (n,) of the source `where`.

        Raises FdsrError if the times are no dates, or none of them lies in the period.
        """
        if times.dtype.kind != "M":
            raise FdsrError(
                f"{self} needs dates, and the time axis of '{where}' only counts; leave dates out, or give that axis units such "
                f"as 'days since 1900-01-01' ({DATED_AXIS})"
            )
        begin, end = (int(i) for i in np.searchsorted(times.astype(_TICK), np.array(self.bounds)))
        if begin == end:
            reach = "–".join(np.datetime_as_string(times[[0, -1]], unit="m")) if times.size else "nowhere"
            raise FdsrError(f"{self} holds no time of '{where}', which has {reach}; choose dates that it has")
        return begin, end

    def _moment(self, text: str, units_later: int) -> np.datetime64:
        """`text` in microseconds, or the moment that many of its own units later (years, months, … as it is written)."""
        try:
            if not _ISO.fullmatch(text):
                raise ValueError(text)
            return (np.datetime64(text[:_LONGEST]) + units_later).astype(_TICK)
        except ValueError as error:
            raise FdsrError(
                f"{self}: '{text}' is no date; write it as 2020, 2020-06, 2020-06-30 or 2020-06-30T18 (no time zone)"
            ) from error


def times_of(ds: xr.Dataset) -> NDArray:
    """The times of a normalised dataset, positions where it says none."""
    return ds.time.values if "time" in ds.coords else np.arange(ds.sizes.get("time", 0))


def chosen_times(ds: xr.Dataset, where: str, time_range: Dates | None = None) -> NDArray[np.int64]:
    """Positions of the times in `time_range`; FdsrError if times are unsorted or none is in the range."""
    times = times_of(ds)
    if times.size > 1 and not (times[1:] > times[:-1]).all():
        in_order = np.sort(times)
        twice = in_order[1:][in_order[1:] == in_order[:-1]]
        what = f"the time {twice[0]} twice" if twice.size else "unsorted times"
        raise FdsrError(
            f"'{where}' has {what}; sort its times and drop duplicates first (of forecasts, --select one lead time)"
        )
    if time_range is None:
        return np.arange(times.size)
    return np.arange(*Period.parse(time_range, "time range").block(times, where))


def _text(written: Date) -> str:
    if type(written) is int:
        return f"{written:04d}"
    return written.isoformat() if isinstance(written, date) else str(written).strip()
