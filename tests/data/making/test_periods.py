"""A date in an option stands for the whole of what it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_source, pair_config, write_source

from fdsr.data.making.config import PrepareConfig
from fdsr.data.making.pairing import plan_pairs
from fdsr.data.making.periods import Dates, Period
from fdsr.data.making.splits import split_blocks
from fdsr.errors import FdsrError

SIX_HOURLY = np.datetime64("2020-01-01", "ns") + np.arange(4 * 730) * np.timedelta64(6, "h")


@pytest.mark.parametrize(
    ("train", "test", "sizes"),
    [
        ("2020-01-01/2020-06-30", "2021-01-01/2021-01-01", (728, 4)),
        ("2020-01/2020-06", "2021-03/2021-03", (728, 124)),
        ("2020/2020", "2021/2021", (1464, 1456)),
        ([2020, 2020], [2021, 2021], (1464, 1456)),
        ("2020-01-01T06/2020-01-01T06", "2021-01-01T05/2021-01-01T12:00", (1, 2)),
    ],
)
def test_split_by_dates_takes_them_whole(train: Dates, test: Dates, sizes: tuple[int, int]) -> None:
    blocks = split_blocks(SIX_HOURLY, {"train": train, "test": test}, 0, "s.zarr")
    assert tuple(end - begin for begin, end in blocks.values()) == sizes


def test_blocks_that_meet_are_refused_where_a_gap_is_asked_for() -> None:
    split = {"train": "2020/2020", "test": "2021/2021"}
    with pytest.raises(FdsrError, match="0 snapshots apart; gap is 1: move their dates apart, or set gap 0"):
        split_blocks(SIX_HOURLY, split, 1, "s.zarr")
    with pytest.raises(FdsrError, match=r"-4 snapshots apart; gap is 0: move their dates apart$"):
        split_blocks(SIX_HOURLY, {"train": "2020/2021-01-01", "test": "2021/2021"}, 0, "s.zarr")


@st.composite
def partial_dates(draw: st.DrawFn, calendar: str = "standard") -> str:
    """A moment of 2019 to 2022, cut after its year, month, day, hour, minute or second."""
    days = 30 if calendar == "360_day" else 28
    parts = [draw(st.integers(low, high)) for low, high in ((1, 12), (1, days), (0, 23), (0, 59), (0, 59))]
    marks, text = ("-", "-", draw(st.sampled_from("T ")), ":", ":"), str(draw(st.integers(2019, 2022)))
    for mark, part in zip(marks, parts[: draw(st.integers(0, 5))], strict=False):
        text += f"{mark}{part:02d}"
    return text


def as_xarray(times: Any, first: str, last: str) -> list[int]:
    positions = xr.DataArray(np.arange(len(times)), coords={"time": times}, dims="time")
    return positions.sel(time=slice(first, last)).values.tolist()


def ours(times: np.ndarray, first: str, last: str) -> list[int]:
    try:
        return list(range(*Period.parse(f"{first}/{last}", "time range").block(times, "s.zarr")))
    except FdsrError as error:
        assert "reversed" in str(error) or "holds no time" in str(error)
        return []


@given(partial_dates(), partial_dates(), st.integers(0, 10**6), st.sampled_from(["ns", "us", "s"]))
def test_as_xarray_selects(first: str, last: str, offset: int, unit: str) -> None:
    times = (SIX_HOURLY + np.timedelta64(offset, "s")).astype(f"datetime64[{unit}]")
    assert ours(times, first, last) == as_xarray(times, first, last)


@given(partial_dates(), partial_dates())
def test_as_xarray_selects_without_leap_days(first: str, last: str) -> None:
    index = xr.date_range("2020-01-01", periods=800, freq="1D", calendar="noleap", use_cftime=True)
    first, last = first.replace(" ", "T"), last.replace(" ", "T")
    assert ours(index.to_datetimeindex(unsafe=True, time_unit="us").values, first, last) == as_xarray(
        index, first, last
    )


def test_calendars_of_a_source(tmp_path: Path) -> None:
    """A year without leap day, and months of 30 days as far as these are dates of ours, through `plan_pairs`."""
    ds = make_source(times=26)
    for calendar, start, step, period, count in (
        ("noleap", "2020-02-20", "1D", "2020-02/2020-02", 9),
        ("360_day", "2001-01-16", "30D", "2001-02/2001-12", 11),
        ("360_day", "2001-01-16", "30D", "2002-01-16/2002", 12),
    ):
        times = xr.date_range(start, periods=26, freq=step, calendar=calendar, use_cftime=True)
        source = write_source(ds.assign_coords(time=times), tmp_path / f"{calendar}-{count}.zarr")
        pairs = plan_pairs(pair_config(source, time_range=period))
        assert pairs.times.size == count == len(as_xarray(times, *period.split("/")))


def test_years_far_away() -> None:
    assert Period.parse("0001/9999", "time range").block(SIX_HOURLY, "s.zarr") == (0, SIX_HOURLY.size)


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        ("2020-13/2021", "'2020-13' is no date; write it as"),
        ("2021-02-30/2021-03", "'2021-02-30' is no date"),
        ("20200101/20200630", "'20200101' is no date"),
        ("2020/now", "'now' is no date"),
        ("2020/2021-01-01T00Z", "no time zone"),
        ("2020/", "'' is no date"),
        ([20200101, 20200630], "'20200101' is no date"),
        ("2020", "'2020' is not FIRST/LAST"),
        (["2020"], "is not FIRST/LAST"),
        ("2020/2021/2022", "is not FIRST/LAST"),
        ("2021/2020", "reversed: 2020 lies before 2021; write the earlier date first"),
        ("2020-06-02/2020-06-01", "is reversed"),
        ("2020-06-01T01/2020-06-01T05", "holds no time of 's.zarr', which has 2020-01-01T00:00–2021-12-30T18:00"),
    ],
)
def test_refused(dates: Dates, words: str) -> None:
    with pytest.raises(FdsrError, match=r"^time range ") as caught:
        Period.parse(dates, "time range").block(SIX_HOURLY, "s.zarr")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_yaml_reads_means_what_it_says() -> None:
    text = "{variables: [t2m], time_range: [2020, 2020-06-30], gap: 0, split: {train: [2020-01, 2020-01-02], test: 2021/2021, val: 3}}"
    config = PrepareConfig("s.zarr", **yaml.safe_load(text))
    described = json.loads(json.dumps(config.to_dict()))
    assert described["time_range"] == ["2020", "2020-06-30"]
    assert described["split"] == {"train": ["2020-01", "2020-01-02"], "test": ["2021", "2021"], "val": 3}
    assert PrepareConfig.from_dict(described, {}).to_dict() == described
    at_six = yaml.safe_load("[2020-01-01 06:00:00, 2020-01-01 06:00:00]")
    assert Period.parse(at_six, "time range").block(SIX_HOURLY, "s.zarr") == (1, 2)


def test_only_a_split_by_dates_has_a_new_name_in_the_cache(source_path: str) -> None:
    """A cache's stores of before, whose blocks end where their last date begins, are not taken for what dates mean now."""
    assert pair_config(source_path, split={"train": 4}).key() != pair_config(source_path, split={"train": 5}).key()
    same = [pair_config(source_path, split={"train": value}).key() for value in ("2020/2020", [2020, 2020])]
    assert same[0] == same[1] != pair_config(source_path, split={"train": 4}).key()
