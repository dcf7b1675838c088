"""Where in its year and in its day a time is, in whatever calendar."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdsr.errors import FdsrError


def year_and_day(times: NDArray) -> NDArray[np.float64]:
    """(n, 2) fractions of the year and of the day, in UTC, that have passed at `times` (n,).

    A year is that of the times' own calendar: datetime64 has ours, cftime's dates may have years of 360 days.
    Raises FdsrError for times that only count.
    """
    if times.size and times.dtype == object and hasattr(times.flat[0], "calendar"):
        return np.array([_of_calendar(time) for time in times])
    if not np.issubdtype(times.dtype, np.datetime64):
        raise FdsrError(
            "the times of these data have no dates, so day of year and solar time are not known; set data.time_channels to false"
        )
    day, year = times.astype("datetime64[D]"), times.astype("datetime64[Y]")
    begin, end = year.astype("datetime64[D]"), (year + 1).astype("datetime64[D]")
    passed = (times - day) / np.timedelta64(1, "D")
    return np.stack([((day - begin).astype(float) + passed) / (end - begin).astype(float), passed], axis=1)


def _of_calendar(time: Any) -> tuple[float, float]:
    passed = (time.hour + (time.minute + time.second / 60) / 60) / 24
    begin, end = (type(time)(time.year + n, 1, 1, calendar=time.calendar) for n in (0, 1))
    return (time.dayofyr - 1 + passed) / (end - begin).days, passed
