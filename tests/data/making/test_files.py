"""What a file is, its content says; several files of one source are one, or it is said which differs."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from synthetic import make_source, pair_config, write_source

from fdsr.data import PairStore, prepare
from fdsr.data.making.sources import View, open_source, parse_channels, source_identity
from fdsr.errors import FdsrError


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return make_source(times=6, rows=8, columns=16, variables=("t2m",)).drop_vars("orography")


@pytest.fixture
def file(ds: xr.Dataset, tmp_path: Path) -> Path:
    ds.to_netcdf(tmp_path / "s.nc")
    return tmp_path / "s.nc"


def assert_whole(path: object, ds: xr.Dataset) -> None:
    with open_source(str(path)) as found:
        np.testing.assert_array_equal(found.time, ds.time)
        np.testing.assert_array_equal(found.t2m.transpose("time", "row", "column"), ds.t2m)


@pytest.mark.parametrize("name", ["imerg.HDF5", "x.h5", "wrfout_d01_2020-01-01", "x.zarr", "x.grib"])
def test_a_name_says_nothing(name: str, file: Path, ds: xr.Dataset) -> None:
    assert_whole(file.rename(file.with_name(name)), ds)


def test_folders_patterns_and_archives(tmp_path: Path, ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = [ds.isel(time=slice(0, 3)), ds.isel(time=slice(3, None))]
    folder, bracket = tmp_path / "folder", tmp_path / "part[1]"
    for where in (folder, bracket):
        where.mkdir()
        for i, half in enumerate(halves):
            half.to_netcdf(where / f"{i}.nc")
    (folder / "README.txt").write_text("two files")
    (folder / ".hidden").write_bytes(b"CDF\x01")
    for i, half in enumerate(halves):
        write_source(half, tmp_path / f"y{i}.zarr")
    with zipfile.ZipFile(tmp_path / "cds.nc", "w") as archive:
        for i in (1, 0):
            archive.write(folder / f"{i}.nc", f"data_stream-oper/{i}.nc")
        archive.writestr("licence.txt", "free")
    with zarr.storage.ZipStore(tmp_path / "z.zip", mode="w") as store:
        ds.to_zarr(store)
    for path in (
        folder,
        bracket,
        f"{bracket}/*.nc",
        f"{folder}/?.nc",
        f"{tmp_path}/y?.zarr",
        tmp_path / "cds.nc",
        tmp_path / "z.zip",
    ):
        assert_whole(path, ds)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_whole("~/folder", ds)
    assert source_identity("~/folder") == source_identity(str(folder)) != source_identity("~/none")


def test_a_group_of_a_file(tmp_path: Path, ds: xr.Dataset) -> None:
    ds.to_netcdf(tmp_path / "imerg.HDF5", group="Grid")
    assert_whole(tmp_path / "imerg.HDF5", ds)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n<HTML><head>log in</head>", "it is a web page; a login or an error came instead of the data"),
        (b"", "it is empty; fetch it again"),
        (gzip.compress(b"CDF\x01", mtime=0), r"it is compressed by gzip; unpack it first \(gunzip\)"),
        (b"PK\x03\x04cut", "ZIP archive cut short"),
        (b"II*\0" + bytes(9), r"it is TIFF; convert it to NetCDF first"),
        (b"1980,281.3", "of no kind that is known; NetCDF, HDF5, GRIB and Zarr are read"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "cannot be opened as NetCDF"),
    ],
)
def test_what_is_no_data(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.nc").write_bytes(content)
    with pytest.raises(FdsrError, match=words) as no:
        open_source(str(tmp_path / "a.nc"))
    assert "\n" not in str(no.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FdsrError, match=r"'.*/empty' is a folder without"):
        open_source(str(tmp_path / "empty"))


def test_files_that_differ_a_little(tmp_path: Path, ds: xr.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    a, b = ds.isel(time=slice(0, 3)), ds.isel(time=slice(3, None))
    cases = {
        "rounding": (a, b.assign_coords(latitude=b.latitude + 1e-9)),
        "float32": (a, b.assign_coords(longitude=(b.longitude + 1e-6).astype("f4"))),
        "south_first": (a, b.isel(latitude=slice(None, None, -1))),
        "other_names": (a, b.rename(latitude="lat", longitude="lon", time="valid_time")),
        "another_variable": (a.assign(u10=a.t2m), b),
        "later_first": (b, a),
        "interleaved": (ds.isel(time=slice(0, None, 2)), ds.isel(time=slice(1, None, 2))),
    }
    for name, parts in cases.items():
        for i, part in enumerate(parts):
            part.to_netcdf(tmp_path / f"{name}-{i}.nc")
        found = open_source(str(tmp_path / f"{name}-*.nc"), channels=parse_channels(["t2m"]))
        np.testing.assert_array_equal(found.time, ds.time)
        np.testing.assert_array_equal(found.t2m.transpose("time", "row", "column"), ds.t2m)
        np.testing.assert_allclose(found.row, ds.latitude, atol=1e-12)
    assert not caplog.records
    both = open_source(str(tmp_path / "another_variable-*.nc"), channels=parse_channels(["t2m", "u10"]))
    assert (
        both.time.size == 3 and "3 times are in all variables and are taken (6 of t2m, 3 of u10)" in caplog.messages[-1]
    )


def test_files_that_differ(tmp_path: Path, ds: xr.Dataset) -> None:
    a, b = ds.isel(time=slice(0, 3)), ds.isel(time=slice(3, None))
    a.to_netcdf(tmp_path / "a.nc")
    for other, words in (
        (b.isel(latitude=slice(7)), r"b.nc' and 'a.nc' lie on different grids: latitudes 78.75…-56.25 \(7\) against"),
        (b.assign_coords(longitude=b.longitude + 1), r"b.nc' and 'a.nc' lie on different grids: longitudes 1…338.5"),
        (ds.isel(time=slice(2, None)), r"'t2m' at 2020-01-01T12.* is in 'a.nc' and in 'b.nc'; leave one of them out"),
        (b.expand_dims(level=[1.0, 2.0]), r"'t2m' has the axes .* in 'a.nc' and others in 'b.nc'"),
        (b.drop_vars("latitude"), r"b.nc' has a dimension 'latitude' without values"),
    ):
        other.to_netcdf(tmp_path / "b.nc", engine="scipy")
        with pytest.raises(FdsrError, match=words) as no:
            open_source(str(tmp_path / "?.nc"))
        assert "\n" not in str(no.value)


def test_zeros_of_zarr_2(tmp_path: Path, ds: xr.Dataset) -> None:
    """What is not written counts as 0 there, and 0 not as missing; packed integers may have their mark there."""
    dry = ds.t2m.where(ds.t2m > 280, 0).to_dataset(name="tp")
    dry.to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=False)
    for name in ("tp", "longitude"):
        described = tmp_path / "s.zarr" / name / ".zarray"
        described.write_text(json.dumps(json.loads(described.read_text()) | {"fill_value": 0.0}))
    with open_source(str(tmp_path / "s.zarr")) as found:
        np.testing.assert_array_equal(found.tp.transpose("time", "row", "column"), dry.tp)
        np.testing.assert_array_equal(found.column, ds.longitude)
    dry.longitude.encoding["_FillValue"] = 0.0
    dry.to_netcdf(tmp_path / "s.nc")
    with pytest.raises(FdsrError, match=r"'longitude' of .* holds missing values"):
        open_source(str(tmp_path / "s.nc"))
    packed = {"dtype": "uint16", "scale_factor": 0.1, "add_offset": 200.0, "_FillValue": 0}
    ds.t2m.where(ds.t2m > 280).to_dataset().to_zarr(tmp_path / "p.zarr", zarr_format=2, encoding={"t2m": packed})
    with open_source(str(tmp_path / "p.zarr")) as found:
        np.testing.assert_array_equal(np.isnan(found.t2m.transpose("time", "row", "column")), ds.t2m <= 280)


def test_era5_with_its_early_values(tmp_path: Path, ds: xr.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    final, early = ds.t2m.where(ds.time < ds.time[4]), ds.t2m.where(ds.time >= ds.time[4])
    both = xr.concat([final, early], xr.Variable("expver", [1, 5])).transpose("time", "expver", ...).to_dataset()
    both.to_netcdf(tmp_path / "s.nc")
    assert_whole(tmp_path / "s.nc", ds)
    assert "several versions (expver)" in caplog.messages[0]
    config = pair_config(str(tmp_path / "s.nc"), variables=["t2m"], static=[], split={"train": 3}, select={"expver": 1})
    with pytest.raises(FdsrError, match="all missing at 2020-01-02"):
        prepare(config, tmp_path / "p.zarr")


def test_members_and_levels(tmp_path: Path, ds: xr.Dataset) -> None:
    cube = xr.concat([ds.t2m, ds.t2m + 1, ds.t2m + 2], xr.Variable("number", [0, 3, 6])).expand_dims(
        isobaricInhPa=[500.0, 850.0]
    )
    cube.to_dataset(name="t").to_netcdf(tmp_path / "s.nc")

    def asked(**changes: object) -> PairStore:
        settings = {"variables": ["t@850"], "static": [], "split": {"train": 3}} | changes
        return PairStore(prepare(pair_config(str(tmp_path / "s.nc"), **settings), tmp_path / "p.zarr"))

    with pytest.raises(FdsrError, match="'t' has 3 values of 'number', 0 … 6; say which: --select number=0"):
        asked()
    with pytest.raises(FdsrError, match="has no number 1; it has 0, 3, 6"):
        asked(select={"number": 1})
    with pytest.raises(FdsrError, match="select: no source has 'member'; they have"):
        asked(select={"member": 1})
    with pytest.raises(FdsrError, match="axes: no source has 'TIME'"):
        asked(axes={"time": "TIME"}, select={"number": 3})
    np.testing.assert_array_equal(asked(select={"number": 3}).group["high"][:, 0], ds.t2m + 1)  # type: ignore[index]
    with pytest.raises(FdsrError, match="has no number 6; it has 3"):  # one member alone, and another asked for
        View(select={"number": 6}).of(cube.isel(number=1).to_dataset(name="t"), "s.nc")


def test_one_lead_time_of_forecasts_that_overlap(tmp_path: Path, ds: xr.Dataset) -> None:
    lead = np.array([6, 12]) * np.timedelta64(1, "h").astype("timedelta64[ns]")
    two = xr.concat([ds.t2m, ds.t2m + 1], xr.Variable("step", lead)).to_dataset().rename(time="begin")
    settings = {"variables": ["t2m"], "static": [], "split": {"train": 3}}
    for said in (two, two.assign_coords(valid_time=two.begin + two.step)):
        _one_lead_time(said, ds, settings, tmp_path / str(len(said.coords)))


def _one_lead_time(two: xr.Dataset, ds: xr.Dataset, settings: dict[str, object], tmp_path: Path) -> None:
    tmp_path.mkdir()
    two.to_netcdf(tmp_path / "s.nc")
    with pytest.raises(FdsrError, match=r"has the time 2020-01-01T12.* twice; .*--select one lead time"):
        prepare(pair_config(str(tmp_path / "s.nc"), **settings), tmp_path / "p.zarr")
    found = PairStore(
        prepare(pair_config(str(tmp_path / "s.nc"), select={"step": 12}, **settings), tmp_path / "p.zarr")
    )
    np.testing.assert_array_equal(found.times, ds.time + np.timedelta64(12, "h"))
    np.testing.assert_array_equal(found.group["high"][:, 0], ds.t2m + 1)  # type: ignore[index]


def test_files_of_a_glob_that_cannot_be_joined(tmp_path: Path, ds: xr.Dataset) -> None:
    first, last = ds.isel(time=slice(0, 3)), ds.isel(time=slice(3, None))
    for folder, second, words in (
        ("dates", last.assign_coords(time=np.arange(last.sizes["time"])), "'0.nc' and '1.nc' do not both have dates"),
        ("numbers", None, "'t2m' has other values of 'number' in '0.nc' than in '1.nc'"),
    ):
        one, two = (first, second) if second is not None else (first.expand_dims(number=[i]) for i in (0, 1))
        (tmp_path / folder).mkdir()
        one.to_netcdf(tmp_path / folder / "0.nc")
        two.to_netcdf(tmp_path / folder / "1.nc")
        with pytest.raises(FdsrError, match=words):
            open_source(str(tmp_path / folder / "?.nc"), None, parse_channels(["t2m"]))


def test_a_glob_on_two_turns_of_longitude_with_a_file_of_something_else(
    tmp_path: Path, ds: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    ds.isel(time=slice(0, 3)).to_netcdf(tmp_path / "0.nc")
    later = ds.isel(time=slice(3, None))
    later.assign_coords(longitude=later.longitude - 360).to_netcdf(tmp_path / "1.nc")
    xr.Dataset({"x": 1}).to_netcdf(tmp_path / "2.nc")
    found = open_source(str(tmp_path / "?.nc"), None, parse_channels(["t2m"]))
    np.testing.assert_array_equal(found.column, ds.longitude)
    np.testing.assert_array_equal(found.t2m, ds.t2m)
    assert "1 files hold none of the variables and are passed over" in caplog.text and "2.nc" in caplog.text


def test_what_cannot_be_read_says_so(tmp_path: Path, ds: xr.Dataset) -> None:
    ds.to_netcdf(tmp_path / "whole.nc", engine="scipy")
    whole = (tmp_path / "whole.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[:-2000])
    (tmp_path / "link.nc").symlink_to(tmp_path / "nowhere.nc")
    for name, words in (
        ("cut.nc", "it seems to be cut short"),
        ("link*.nc", "cannot be read: No such file"),
        ("", "does not exist"),
    ):
        with pytest.raises(FdsrError, match=words):
            open_source(str(tmp_path / name) if name else "")


@pytest.mark.parametrize("target", ["s3://bucket/p.zarr", "pairs.nc", " "])
def test_targets_that_are_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.chdir(tmp_path)
    for given in (target, Path(target)):
        with pytest.raises(FdsrError, match=r"is a URL|no name for a store"):
            prepare(pair_config("s.nc"), given)
    assert not list(tmp_path.iterdir())
