"""Whatever form a source has, the pair store is the same; whatever is wrong with it is said in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr
from synthetic import make_source, pair_config, projected, write_source

from fdsr.data import PairStore, PrepareConfig, prepare
from fdsr.data.making.pairing import plan_pairs
from fdsr.data.making.sources import Channel, open_source, parse_channels, resolve, source_identity
from fdsr.errors import FdsrError
from fdsr.grids.axes import crop_region


def assert_same(found: PairStore, expected: PairStore) -> None:
    assert not expected.spec.differences(found.spec)
    np.testing.assert_array_equal(found.group["high"][:], expected.group["high"][:])
    np.testing.assert_array_equal(found.group["low"][:], expected.group["low"][:])


def zarr_2(ds: xr.Dataset, folder: Path) -> str:
    ds.to_zarr(folder / "two.zarr", zarr_format=2, consolidated=True)
    return str(folder / "two.zarr")


def netcdf_glob(ds: xr.Dataset, folder: Path) -> str:
    for i, part in enumerate((slice(0, 7), slice(7, 11), slice(11, None))):
        chosen = ds if i == 0 else ds.drop_vars("orography")
        chosen.isel(time=part).to_netcdf(folder / f"part-{i}.nc", engine="scipy")
    return str(folder / "part-*.nc")


def url(ds: xr.Dataset, folder: Path) -> str:
    ds.to_zarr("memory://sources/memory.zarr", mode="w", zarr_format=3)
    return "memory://sources/memory.zarr"


def url_of_netcdf(ds: xr.Dataset, folder: Path) -> str:
    ds.to_netcdf(folder / "far.nc", engine="scipy")
    with fsspec.open("memory://sources/far.nc", "wb") as far:
        far.write((folder / "far.nc").read_bytes())
    return "memory://sources/far.nc"


def levels_and_other_names(ds: xr.Dataset, folder: Path) -> str:
    """CF attributes say what the axes are; their names do not. One singleton dimension too many."""
    ds = ds.expand_dims(number=[0], axis=1)
    ds["orography"] = ds.orography.isel(number=0, drop=True)
    ds.latitude.attrs = {"units": "degrees_north"}
    ds.longitude.attrs = {"axis": "X", "standard_name": "longitude"}
    ds.time.attrs["standard_name"] = "time"
    return write_source(ds.rename(latitude="north", longitude="east", time="when"), folder / "named.zarr")


def packed(ds: xr.Dataset, folder: Path) -> str:
    """Integers with scale and offset, of which the fields are exact multiples."""
    encoding = {n: {"dtype": "int16", "scale_factor": 2.0**-6, "add_offset": 256.0} for n in ("t2m",)}
    ds.to_zarr(folder / "packed.zarr", encoding=encoding)
    return str(folder / "packed.zarr")


def test_a_member_of_its_own_is_no_level() -> None:
    dims = ("time", "number", "level", "row", "column")
    ds = xr.Dataset({"z": (dims, np.zeros((2, 1, 1, 3, 4)))}, {"number": [0], "level": [500.0]})
    assert resolve(ds, Channel("z500", "z", 500.0), "here") == ("z", "level", 0)
    scalar = ds.isel(level=0)  # the level as a coordinate of the whole
    assert resolve(scalar, Channel("z500", "z", 500.0), "here") == ("z", None, None)


@pytest.mark.parametrize("make", [zarr_2, netcdf_glob, url, url_of_netcdf, levels_and_other_names])
def test_every_form_gives_the_same_pairs(
    tmp_path: Path, source_data: xr.Dataset, store: PairStore, make: Callable[[xr.Dataset, Path], str]
) -> None:
    assert_same(PairStore(prepare(pair_config(make(source_data.copy(), tmp_path)), tmp_path / "pairs.zarr")), store)


def test_packed_integers(tmp_path: Path, source_data: xr.Dataset) -> None:
    ds = source_data.copy()
    ds["t2m"] = np.round(ds.t2m * 64) / 64
    found = PairStore(prepare(pair_config(packed(ds, tmp_path)), tmp_path / "pairs.zarr"))
    np.testing.assert_array_equal(found.group["high"][:, 0], ds.t2m)


def pressure_levels(unit: str = "hPa") -> xr.Dataset:
    ds = make_source(variables=("t2m",))
    levels = np.array([1000.0, 850.0, 500.0]) * {"hPa": 1, "Pa": 100, "PASCAL": 100, "bar": 1e-3}[unit]
    rng = np.random.default_rng(1)
    values = rng.normal(size=(18, 3, 24, 48)).astype(np.float32) + levels[:, None, None].astype(np.float32)
    ds["z"] = (("time", "plev", "latitude", "longitude"), values, {"units": "m2 s-2"})
    return ds.assign_coords(plev=("plev", levels, {"units": unit, "positive": "down"}))


@pytest.mark.parametrize("unit", ["hPa", "Pa", "PASCAL", "bar"])
def test_levels_become_channels(tmp_path: Path, unit: str) -> None:
    ds = pressure_levels(unit)
    config = pair_config(
        write_source(ds, tmp_path / "s.zarr"), variables=["z@500/1000", "warmth=t2m", "z850"], static=[]
    )
    found = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    assert found.spec.high_channels == ["z500", "z1000", "warmth", "z850"]
    np.testing.assert_array_equal(found.group["high"][:, [0, 1, 3]], ds.z[:, [2, 0, 1]])
    np.testing.assert_array_equal(found.group["high"][:, 2], ds.t2m)
    assert found.spec.attributes["z500"]["units"] == "m2 s-2" and found.spec.attributes["warmth"]["units"] == "K"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (["z@700"], ["no level 700", "1000, 850, 500"]),
        (["z"], ["3 values of 'plev'", "z@LEVEL"]),
        (["t2m@500"], ["no levels"]),
        (["z@500", "z500"], ["'z500'", "twice"]),
        (["z@high"], ["z@500"]),
        (["q@500"], ["no variable 'q'", "t2m"]),
        (["a=z@500/850"], ["one name to several levels"]),
    ],
)
def test_bad_levels(tmp_path: Path, variables: list[str], words: list[str]) -> None:
    source = write_source(pressure_levels(), tmp_path / "s.zarr")
    with pytest.raises(FdsrError) as caught:
        prepare(pair_config(source, variables=variables, static=[]), tmp_path / "pairs.zarr")
    assert all(w in str(caught.value) for w in words) and "\n" not in str(caught.value), caught.value
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_levels_as_they_are_written() -> None:
    ds = pressure_levels("Pa").rename(latitude="row", longitude="column", plev="level")
    assert resolve(ds, Channel("z", "z", 50000.0), "s.zarr") == ("z", "level", 2)
    thin = ds.assign_coords(level=("level", [85000.0, 2000.0, 500.0], {"units": "Pa"}))
    with pytest.raises(FdsrError, match="no level 500; it has 850, 20, 5"):  # 5 hPa is none of 500
        resolve(thin, Channel("z", "z", 500.0), "s.zarr")
    twice = ds.assign_coords(level=("level", [85000.0, 50000.0, 50000.0], {"units": "Pa"}))
    with pytest.raises(FdsrError, match="has level 500 2 times"):
        resolve(twice, Channel("z", "z", 500.0), "s.zarr")
    with pytest.raises(FdsrError, match="holds no numbers, but <U1"):
        resolve(xr.Dataset({"t": (("row", "column"), [["a"]])}), Channel("t", "t"), "s.zarr")
    named = ds.rename(level="member_id").assign_coords(member_id=["r1", "r2", "r3"])
    with pytest.raises(FdsrError, match="3 values of 'member_id', r1 … r3; say which: --select member_id=r1"):
        resolve(named, Channel("z", "z"), "s.zarr")


def test_a_variable_of_that_name_comes_before_a_level() -> None:
    ds = pressure_levels().rename(latitude="row", longitude="column")
    ds["z500"] = ds.z.isel(plev=0, drop=True)
    assert resolve(ds, Channel("z500", "z500"), "x") == ("z500", None, None)
    assert resolve(ds, Channel("z850", "z850"), "x") == ("z", "plev", 1)
    assert parse_channels(["a=b@1000", "c"]) == [Channel("a", "b", 1000.0), Channel("c", "c")]


def test_a_projected_grid(tmp_path: Path) -> None:
    ds = projected()
    store = PairStore(prepare(pair_config(write_source(ds, tmp_path / "s.zarr")), tmp_path / "pairs.zarr"))
    upright = ds.isel(y=slice(None, None, -1))
    np.testing.assert_array_equal(store.group["high"][:, 0], upright.t2m)
    expected = upright.t2m.astype("float64").coarsen(y=4, x=4).mean()
    np.testing.assert_allclose(store.group["low"][:, 0], expected, rtol=1e-7)
    spec = store.spec
    assert spec.grid.projected and not spec.periodic and (spec.grid.row_areas == 1).all()
    np.testing.assert_array_equal(spec.grid.rows, upright.y)
    np.testing.assert_array_equal(spec.static[0], upright.orography)
    position = spec.conditioning()[-3:]
    np.testing.assert_allclose(position[2], np.sin(np.deg2rad(upright.lat)), atol=1e-6)
    np.testing.assert_allclose(np.arctan2(position[1], position[0]), np.deg2rad(upright.lon), atol=1e-6)
    with xr.open_zarr(tmp_path / "pairs.zarr", consolidated=False, decode_coords="all") as stored:
        assert stored.high.dims == ("time", "high_channel", "y", "x") and stored.low.dims[2:] == ("y_low", "x_low")
        assert stored.crs.attrs["grid_mapping_name"] == "lambert_conformal_conic"
        np.testing.assert_array_equal(stored.latitude, upright.lat)
    # what a checkpoint carries
    again = type(spec).from_dict(spec.to_dict())
    assert (
        not spec.differences(again)
        and again.grid.projected
        and again.grid.units == "m"
        and again.grid.spacing == (25.0, 25.0)
    )
    cut = plan_pairs(pair_config(str(tmp_path / "s.zarr"), crop=(100e3, 275e3, 0, 375e3)))
    assert cut.grid.fine.shape == (8, 16) == cut.grid.fine.places[0].shape


def test_a_rotated_pole(tmp_path: Path) -> None:
    ds = projected()
    ds = ds.rename(y="rlat", x="rlon").assign_coords(
        rlat=("rlat", 0.2 * np.arange(24) + 20, {"standard_name": "grid_latitude", "units": "degrees"}),
        rlon=("rlon", 0.2 * np.arange(32), {"standard_name": "grid_longitude", "units": "degrees"}),
    )
    ds.lcc.attrs = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25}
    store = PairStore(prepare(pair_config(write_source(ds, tmp_path / "s.zarr")), tmp_path / "pairs.zarr"))
    weights = np.cos(np.deg2rad(store.spec.grid.rows))  # the areas of evenly spaced rows
    np.testing.assert_allclose(
        store.spec.grid.row_areas / store.spec.grid.row_areas[0], weights / weights[0], rtol=1e-9
    )
    np.testing.assert_allclose(store.spec.grid.latitude[::-1], ds.lat)


def test_a_curvilinear_grid_without_a_projection(tmp_path: Path) -> None:
    ds = projected(mapping=False).drop_vars(["y", "x"])
    with pytest.raises(FdsrError, match=r"curvilinear grid .*no projection.*regrid") as caught:
        prepare(pair_config(write_source(ds, tmp_path / "s.zarr")), tmp_path / "pairs.zarr")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("west", "east"), [(-60.0, 52.5), (300.0, 412.5), (-420, -307.5)])
def test_a_region_across_the_seam(source_path: str, source_data: xr.Dataset, west: float, east: float) -> None:
    cut = crop_region(open_source(source_path), (-90, 90, west, east))
    np.testing.assert_allclose(cut.column, west + 7.5 * np.arange(16))
    expected = np.concatenate([source_data.t2m[..., 40:], source_data.t2m[..., :8]], axis=-1)
    np.testing.assert_array_equal(cut.t2m.transpose("time", "row", "column"), expected)


def test_a_time_range_takes_all_of_its_last_day(source_path: str) -> None:
    config = pair_config(source_path, time_range=("2020-01-02", "2020-01-03"), split={"train": 4})
    pairs = plan_pairs(config)
    assert pairs.times[0] == np.datetime64("2020-01-02T00") and pairs.times[-1] == np.datetime64("2020-01-03T18")
    high, _, _ = pairs.reader.read(0, 1)
    np.testing.assert_array_equal(high[0, 0], open_source(source_path).t2m.isel(time=4).transpose("row", "column"))
    with pytest.raises(FdsrError, match=r"1999/1999. holds no time of"):
        plan_pairs(pair_config(source_path, time_range=("1999", "1999")))
    with pytest.raises(FdsrError, match=r"time range .*yesterday. is no date"):
        plan_pairs(pair_config(source_path, time_range=("yesterday", "today")))


def test_calendars(tmp_path: Path) -> None:
    ds = make_source()
    without_leap_days = ds.assign_coords(
        time=xr.date_range("2001-02-27", periods=18, calendar="noleap", use_cftime=True)
    )
    store = PairStore(
        prepare(pair_config(write_source(without_leap_days, tmp_path / "a.zarr")), tmp_path / "pairs.zarr")
    )
    assert store.times[2] == np.datetime64("2001-03-01")
    months_of_30_days = ds.assign_coords(
        time=xr.date_range("2001-02-27", periods=18, calendar="360_day", use_cftime=True)
    )
    with pytest.raises(FdsrError, match="calendar '360_day'"):
        open_source(write_source(months_of_30_days, tmp_path / "b.zarr"))


def test_files_in_different_units(tmp_path: Path, source_data: xr.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    pattern = netcdf_glob(source_data, tmp_path)
    with xr.open_dataset(tmp_path / "part-1.nc") as ds:
        other = ds.load()
    for t2m, unit, wind in ((other.t2m - 273.15, "degC", "m s**-1"), (other.t2m, "kelvin", "m/s")):
        changed = other.assign(t2m=t2m.assign_attrs(units=unit), u10=other.u10.assign_attrs(units=wind))
        changed.to_netcdf(tmp_path / "part-1.nc", engine="scipy")
        caplog.clear()
        with open_source(pattern) as found:
            np.testing.assert_allclose(found.t2m, source_data.t2m, atol=1e-4)
            np.testing.assert_array_equal(found.u10, source_data.u10)
            assert found.t2m.attrs["units"] == "K" and found.t2m.dtype == np.float32
        said = [record.getMessage() for record in caplog.records if record.name == "fdsr.units"]
        assert said == (
            ["'part-1.nc': converted to the units of 'part-0.nc': t2m (degC to K)"] if unit == "degC" else []
        )
    other.assign(t2m=other.t2m.assign_attrs(units="m")).to_netcdf(tmp_path / "part-1.nc", engine="scipy")
    with pytest.raises(FdsrError, match=r"t2m is in 'm' in 'part-1.nc' and in 'K' in 'part-0.nc'") as caught:
        open_source(pattern)
    assert "\n" not in str(caught.value)


def with_holes(ds: xr.Dataset, everywhere: bool = False) -> xr.Dataset:
    ds = ds.copy(deep=True)
    ds.u10[5, 0:3, 46:] = np.nan
    if everywhere:
        ds.u10[5] = np.nan
    return ds


def test_missing_values_are_filled_with_the_nearest(tmp_path: Path, source_data: xr.Dataset) -> None:
    source = write_source(with_holes(source_data), tmp_path / "s.zarr")
    store = PairStore(prepare(pair_config(source, missing="fill"), tmp_path / "pairs.zarr"))
    found, truth = store.group["high"][5, 1], source_data.u10[5].values
    missing = np.zeros(truth.shape, bool)
    missing[0:3, 46:] = True
    np.testing.assert_array_equal(found[~missing], truth[~missing])
    # the circle is closed: column 47 is next to column 0, column 46 to 45
    np.testing.assert_array_equal(found[0:2, 46], truth[0:2, 45])
    np.testing.assert_array_equal(found[0:2, 47], truth[0:2, 0])
    assert store.group.attrs["filled_values"] == {"u10": 6}
    with pytest.raises(FdsrError, match=r"'u10' has 6 missing .* 2020-01-02T06:00"):
        prepare(pair_config(source), tmp_path / "strict.zarr")


@pytest.mark.parametrize("policy", ["error", "fill"])
def test_a_field_all_missing(tmp_path: Path, source_data: xr.Dataset, policy: str) -> None:
    source = write_source(with_holes(source_data, everywhere=True), tmp_path / "s.zarr")
    with pytest.raises(FdsrError, match=r"'u10' is all missing at 2020-01-02T06:00"):
        prepare(pair_config(source, missing=policy), tmp_path / "pairs.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_filling_goes_on_from_what_needed_none(tmp_path: Path, source_data: xr.Dataset) -> None:
    source = write_source(with_holes(source_data), tmp_path / "s.zarr")
    arguments = {"steps_per_block": 1, "threads": 1}
    with pytest.raises(FdsrError, match=r"[45] of 18 time steps are finished and kept"):
        prepare(pair_config(source), tmp_path / "pairs.zarr", **arguments)
    first = Path("high/c/0/0/0/0")
    begun = (tmp_path / ".pairs.zarr.partial/store" / first).stat().st_ino
    prepare(pair_config(source, missing="fill"), tmp_path / "pairs.zarr", **arguments)
    assert (tmp_path / "pairs.zarr" / first).stat().st_ino == begun  # kept, not written again
    whole = prepare(pair_config(source, missing="fill"), tmp_path / "whole.zarr", **arguments)
    for name in ("high", "low", "power_residual"):
        np.testing.assert_array_equal(
            PairStore(tmp_path / "pairs.zarr").group[name][:], PairStore(whole).group[name][:]
        )


def test_the_cache_key_follows_the_source(tmp_path: Path, source_data: xr.Dataset) -> None:
    source = Path(write_source(source_data, tmp_path / "s.zarr"))
    config = pair_config(str(source))
    key, identity = config.key(), source_identity(str(source))
    assert config.key() == key and source_identity(str(source)) == identity
    chunk = next(f for f in sorted((source / "t2m/c").rglob("*")) if f.is_file())
    content, status = chunk.read_bytes(), chunk.stat()
    os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))  # written again, whatever into it
    assert config.key() != key
    os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert config.key() == key
    chunk.write_bytes(content + b"x")
    assert config.key() != key
    assert source_identity(str(tmp_path / "none.zarr")) == source_identity(str(tmp_path / "nothing.zarr"))
    memory = url(source_data, tmp_path)
    first = source_identity(memory)
    assert source_identity(memory) == first
    source_data.isel(time=slice(0, 9)).to_zarr(memory, mode="w", zarr_format=3)
    assert source_identity(memory) != first


def test_credentials_are_written_nowhere(tmp_path: Path, source_data: xr.Dataset) -> None:
    config = PrepareConfig(
        source=url(source_data, tmp_path),
        variables=["t2m"],
        factor=(4, 4),
        storage_options={"skip_instance_cache": True},
    )
    prepare(config, tmp_path / "pairs.zarr")
    assert "skip_instance_cache" not in repr(config)
    assert all(b"skip_instance_cache" not in f.read_bytes() for f in (tmp_path / "pairs.zarr").rglob("*.json"))


def test_a_url_that_leads_nowhere(tmp_path: Path) -> None:
    for place, words in (
        ("memory://sources/none.zarr", "does not exist"),
        ("no-such-protocol://bucket/a.zarr", "protocol that no installed package knows"),
        ("http://127.0.0.1:9/a.zarr", "cannot be reached|Python package"),
    ):
        with pytest.raises(FdsrError, match=words) as caught:
            prepare(pair_config(place), tmp_path / "pairs.zarr")
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
