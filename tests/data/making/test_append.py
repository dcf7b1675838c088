"""New times are added behind the old ones, which stay as they are to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from killed import contents
from synthetic import make_source, pair_config, write_source

from fdsr.data import PairStore, prepare
from fdsr.data.making import append as append_module
from fdsr.data.making.append import append
from fdsr.data.making.checking import check_store
from fdsr.errors import FdsrError


@pytest.fixture
def years(tmp_path: Path) -> tuple[xr.Dataset, str, Path]:
    """(30 times, a source that holds the first 18, its pair store)."""
    ds = make_source(times=30)
    first = write_source(ds.isel(time=slice(0, 18)), tmp_path / "first.zarr")
    return ds, first, prepare(pair_config(first), tmp_path / "pairs.zarr")


def test_new_times_are_added_and_old_ones_stay(tmp_path: Path, years: tuple[xr.Dataset, str, Path]) -> None:
    ds, _, target = years
    before, fingerprint = contents(target), PairStore(target).spec.fingerprint
    # an archive that overlaps: what is there already is not taken again
    changed = ds.copy(deep=True)
    changed.t2m[:18] += 100
    whole = write_source(changed, tmp_path / "whole.zarr")
    assert append(target, whole, time_range=("2020-01-01", "2020-01-06")) == 6
    assert append(target, whole, factor=4, variables=["t2m", "u10"]) == 6
    store = PairStore(target)
    np.testing.assert_array_equal(store.times, ds.time)
    np.testing.assert_array_equal(store.group["high"][:, 0], ds.t2m)
    after = contents(target)
    chunks = [name for name in before if "/c/" in name and not name.startswith("time/")]
    assert all(after[name] == before[name] for name in chunks)
    reference = PairStore(prepare(pair_config(write_source(ds, tmp_path / "all.zarr")), tmp_path / "all-pairs.zarr"))
    np.testing.assert_array_equal(store.group["low"][:], reference.group["low"][:])
    assert store.spec.fingerprint == fingerprint and store.splits == {
        "train": (0, 10),
        "val": (11, 13),
        "test": (14, 17),
    }
    said = store.group.attrs["appended"]
    assert [a["times"] for a in said] == [6, 6] and said[1]["source"] == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "all-pairs.zarr",
        "all.zarr",
        "first.zarr",
        "pairs.zarr",
        "whole.zarr",
    ]
    with xr.open_zarr(target) as opened:
        assert opened.sizes["time"] == 30 and bool(np.isfinite(opened.high).all())
    assert "in no split  15" in check_store(target)


def test_times_without_dates_are_refused(tmp_path: Path, years: tuple[xr.Dataset, str, Path]) -> None:
    undated = years[0].assign_coords(time=np.arange(30))
    with pytest.raises(FdsrError, match="do not both have dates"):
        append(years[2], write_source(undated, tmp_path / "undated.zarr"))


@pytest.mark.parametrize("at", range(5))
def test_interrupted_while_moving_in(
    tmp_path: Path, years: tuple[xr.Dataset, str, Path], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    ds, _, target = years
    whole = write_source(ds, tmp_path / "whole.zarr")
    calls = 0
    true_array = append_module.array_of

    def interrupted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise RuntimeError("power cut")
        return true_array(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        if at < 3:
            patch.setattr(append_module, "array_of", interrupted)
        else:
            patch.setattr(append_module, "consolidate" if at == 3 else "_move_in", lambda *_: 1 / 0)
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            append(target, whole)
    assert PairStore(target).times.size in (18, 30)
    with pytest.raises(FdsrError, match="interrupted: run that command again"):
        check_store(target)
    assert append(target, whole) == 12
    np.testing.assert_array_equal(PairStore(target).group["high"][:, 1], ds.u10)
    assert [a["times"] for a in PairStore(target).group.attrs["appended"]] == [12]
    check_store(target)


def test_refused(tmp_path: Path, years: tuple[xr.Dataset, str, Path]) -> None:
    ds, first, target = years
    before = contents(target)
    shifted = ds.assign_coords(longitude=ds.longitude + 1)
    for source, words in (
        (first, "no time after 2020-01-05T06"),
        (write_source(shifted, tmp_path / "shifted.zarr"), "other values of lat or lon than"),
        (write_source(make_source(times=30, variables=("t2m",)), tmp_path / "less.zarr"), "no variable 'u10'"),
        (str(tmp_path / "none.zarr"), "does not exist"),
    ):
        with pytest.raises(FdsrError, match=words):
            append(target, source)
    with pytest.raises(FdsrError, match="prepared with factor"):
        append(target, first, factor=(2, 2))
    with pytest.raises(FdsrError, match="prepared with crop None"):
        append(target, first, crop=(0, 60, 90, 205))
    with pytest.raises(FdsrError, match="takes no compression"):
        append(target, first, compression="zstd")
    with pytest.raises(FdsrError, match="prepare it first"):
        append(tmp_path / "other.zarr", first)
    with pytest.raises(FdsrError, match="not a finished pair store"):
        append(first, first)
    assert contents(target) == before and not list(tmp_path.glob(".*"))


def test_new_times_in_other_units(tmp_path: Path, years: tuple[xr.Dataset, str, Path]) -> None:
    ds, _, target = years
    other = ds.assign(t2m=(ds.t2m - 273.15).assign_attrs(units="degC"), u10=(ds.u10 * 3.6).assign_attrs(units="km/h"))
    assert append(target, write_source(other, tmp_path / "other.zarr")) == 12
    high = PairStore(target).group["high"][:]
    np.testing.assert_allclose(high[:, 0], ds.t2m, atol=1e-4)
    np.testing.assert_allclose(high[:, 1], ds.u10, rtol=1e-6, atol=1e-6)
    longer = make_source(times=36)
    longer.u10.attrs["units"] = "K"
    with pytest.raises(FdsrError, match=r"u10 is in 'K' in .* and in 'm s-1' in the pair store"):
        append(target, write_source(longer, tmp_path / "wrong.zarr"))
