"""Dates of --split and --time-range, and of a configuration: what they take, and each mistake in one line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import zarr
from synthetic import make_source

Refused = Callable[..., str]
MADE = ("--variables", "t2m", "--factor", "4")


def test_the_same_dates_on_the_command_line_and_in_a_file(
    program: Callable[..., int], configure: Callable[..., Path], source_path: str, tmp_path: Path
) -> None:
    target, stores = tmp_path / "a.zarr", {}
    dates = {"train": "2020-01-01/2020-01-03", "test": "2020-01-04T06/2020-01"}
    split = ",".join(f"{name}={period}" for name, period in dates.items())
    asked = (
        "prepare",
        "--source",
        source_path,
        "--target",
        target,
        *MADE,
        "--split",
        split,
        "--time-range",
        "2020/2020",
    )
    assert program(*asked) == 0
    stores["a"] = zarr.open_group(target, mode="r").attrs["splits"]
    unquoted = {"train": [date(2020, 1, 1), date(2020, 1, 3)], "test": ["2020-01-04T06", 2020]}  # as YAML reads them
    for name, written in (("text", dates), ("dates", unquoted)):
        store = tmp_path / f"{name}.zarr"
        config = configure(name=name, data__store=str(store), data__split=written, data__time_range=[2020, 2020])
        assert program("fit", "--config", config, "--run", tmp_path / name, "--trainer.max_steps", "1") == 0
        stores[name] = zarr.open_group(store, mode="r").attrs["splits"]
    assert stores == {name: {"train": [0, 12], "test": [13, 18]} for name in ("a", "text", "dates")}


def test_days_that_follow_each_other(
    program: Callable[..., int], refused: Refused, source_path: str, tmp_path: Path
) -> None:
    """Dates say what lies between them: no gap is asked of them, unless it is."""
    asked = (
        "prepare",
        "--source",
        source_path,
        *MADE,
        "--split",
        "train=2020-01-01/2020-01-03,test=2020-01-04/2020-01-04",
    )
    assert program(*asked, "--target", tmp_path / "p.zarr") == 0
    stored = zarr.open_group(tmp_path / "p.zarr", mode="r").attrs
    assert stored["splits"] == {"train": [0, 12], "test": [12, 16]} and stored["config"]["gap"] == 0
    assert "0 snapshots apart; gap is 1" in refused(*asked, "--target", tmp_path / "q.zarr", "--gap", "1")
    mixed = ("--split", "train=2020-01-01/2020-01-03,val=2", "--target", tmp_path / "m.zarr")
    assert program("prepare", "--source", source_path, *MADE, *mixed) == 0
    assert zarr.open_group(tmp_path / "m.zarr", mode="r").attrs["splits"]["val"] == [13, 15]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--split", "train=2020/2020-13"), "split train '2020/2020-13': '2020-13' is no date; write it as"),
        (("--split", "train=2020-01/2020-01,test=2021/2020"), "split test '2021/2020' is reversed"),
        (("--split", "train=2020-01/2020-01,test=1999/1999"), "split test '1999/1999' holds no time of"),
        (("--split", "train=2020-01"), "split train '2020-01' is not FIRST/LAST"),
        (("--time-range", "2020"), "time range '2020' is not FIRST/LAST"),
        (("--time-range", "today/2021"), "'today' is no date"),
        (("--gap=-3",), "gap -3 would let the blocks of the split overlap; give at least 0"),
    ],
)
def test_refused(refused: Refused, source_path: str, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    target = tmp_path / "p.zarr"
    assert words in refused("prepare", "--source", source_path, "--target", target, *MADE, *options)
    assert not target.exists()


def test_append_refuses_as_prepare_does(refused: Refused, store_path: str, source_path: str) -> None:
    asked = ("prepare", "--append", "--source", source_path, "--target", store_path, "--time-range")
    assert "time range '2021/2020' is reversed" in refused(*asked, "2021/2020")


def test_a_configuration_is_refused_alike(refused: Refused, configure: Callable[..., Path], tmp_path: Path) -> None:
    for name, change, words in (
        ("date", {"data__split": {"train": ["2020-01", "2020-13"]}}, "'2020-13' is no date"),
        ("range", {"data__time_range": [2021, 2020]}, "time range '2021/2020' is reversed"),
        ("gap", {"data__gap": -1}, "gap -1 would let"),
    ):
        assert words in refused("fit", "--config", configure(name=name, **change), "--run", tmp_path / name)


@pytest.mark.parametrize("units", ["hours", "1"])
def test_a_source_that_only_counts(refused: Refused, tmp_path: Path, units: str) -> None:
    ds = make_source(times=6)
    ds.assign_coords(time=("time", 20200101.0 + np.arange(6), {"units": units})).to_netcdf(tmp_path / "s.nc")
    asked = ("prepare", "--source", tmp_path / "s.nc", "--target", tmp_path / "p.zarr", *MADE)
    for option, value in (("--time-range", "2020/2020"), ("--split", "train=2020/2020")):
        message = refused(*asked, option, value)
        assert "2020/2020' needs dates, and the time axis of" in message and "cdo setreftime" in message


def test_months_and_years_are_no_unit_of_time(refused: Refused, tmp_path: Path) -> None:
    ds = make_source(times=6)
    ds.assign_coords(time=("time", np.arange(6.0), {"units": "months since 2000-01-01"})).to_netcdf(tmp_path / "s.nc")
    message = refused("prepare", "--source", tmp_path / "s.nc", "--target", tmp_path / "p.zarr", *MADE)
    assert "no dates can be told from 'months since 2000-01-01'" in message and "cdo setreftime" in message
