"""GRIB files: messages of several kinds, of which what is asked for is read; needs cfgrib, else it is skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from synthetic import make_source, pair_config

from fdsr.data import PairStore, prepare
from fdsr.data.making.sources import open_source, parse_channels
from fdsr.errors import FdsrError

HOUR = np.timedelta64(1, "h")
Message = tuple[int, np.datetime64, np.ndarray, dict[str, Any]]


@pytest.fixture
def eccodes() -> Any:
    pytest.importorskip("cfgrib", exc_type=(ImportError, OSError, RuntimeError))
    return pytest.importorskip("eccodes", exc_type=(ImportError, OSError, RuntimeError))


def write_grib(eccodes: Any, path: Path, messages: list[Message], sample: str = "regular_ll_sfc_grib2") -> str:
    """Messages of (paramId, date, field, other keys), each of the whole globe, north first from 0° on."""
    with path.open("wb") as file:
        for parameter, time, field, keys in messages:
            handle = eccodes.codes_grib_new_from_samples(sample)
            rows, columns = field.shape
            step_lat, step_lon = 180 / rows, 360 / columns
            settings = {
                "Ni": columns, "Nj": rows, "latitudeOfFirstGridPointInDegrees": 90 - step_lat / 2,
                "latitudeOfLastGridPointInDegrees": -90 + step_lat / 2, "longitudeOfFirstGridPointInDegrees": 0.0,
                "longitudeOfLastGridPointInDegrees": 360 - step_lon, "iDirectionIncrementInDegrees": step_lon,
                "jDirectionIncrementInDegrees": step_lat, "bitsPerValue": 24,
                "dataDate": int(str(time.astype("datetime64[D]")).replace("-", "")),
                "dataTime": 100 * int((time - time.astype("datetime64[D]")) / HOUR),
            }  # fmt: skip
            for key, value in (settings | keys | {"paramId": parameter}).items():
                eccodes.codes_set(handle, key, value)
            eccodes.codes_set_values(handle, field.astype(np.float64).ravel())
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)
    return str(path)


def test_two_heights_and_a_static_field(
    eccodes: Any, tmp_path: Path, source_data: xr.Dataset, store: PairStore
) -> None:
    """Fields of 2 m and 10 m stand in one file, and orography for one time only."""
    times = source_data.time.values
    messages: list[Message] = [(228002, times[0], source_data.orography.values, {})]
    for name, parameter in (("t2m", 167), ("u10", 165)):
        messages += [(parameter, t, source_data[name].values[i], {}) for i, t in enumerate(times)]
    path = write_grib(eccodes, tmp_path / "all.grib2", messages)
    found = PairStore(prepare(pair_config(path, static=["orog"]), tmp_path / "pairs.zarr"))
    assert sorted(f.name for f in tmp_path.iterdir()) == ["all.grib2", "pairs.zarr"]  # no index beside the source
    for i, name in enumerate(("t2m", "u10")):
        np.testing.assert_allclose(found.group["high"][:, i], source_data[name], atol=1e-4)  # packed to 24 bits
    np.testing.assert_allclose(found.spec.static[0], source_data.orography, atol=1e-2)
    np.testing.assert_array_equal(found.times, store.times)
    assert found.spec.attributes["t2m"]["units"] == "K"


def test_accumulated_fields_have_their_valid_time(
    eccodes: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """ERA5: hourly analyses of temperature, and precipitation of the forecasts that begin at 06 and 18."""
    day, rng = np.datetime64("2020-01-01T00"), np.random.default_rng(0)
    messages: list[Message] = [(167, day + h * HOUR, 280 + rng.normal(size=(8, 16)), {}) for h in range(24)]
    begins = [day - 6 * HOUR, day + 6 * HOUR, day + 18 * HOUR]
    for begin in begins:
        for lead in range(1, 13):
            hours = float((begin - day) / HOUR + lead)
            keys = {"timeRangeIndicator": 4, "stepRange": f"{lead - 1}-{lead}"}
            messages.append((228, begin, np.full((8, 16), hours), keys))
    path = write_grib(eccodes, tmp_path / "era5.grib", messages, "regular_ll_sfc_grib1")
    alone = open_source(path, channels=parse_channels(["t2m"]))
    assert alone.time.size == 24 and list(alone.data_vars) == ["t2m"] and not caplog.records
    rain = open_source(path, channels=parse_channels(["tp"]))
    np.testing.assert_array_equal(rain.time, day + HOUR * np.arange(-5, 31))
    np.testing.assert_allclose(rain.tp.isel(row=0, column=0), np.arange(-5, 31), atol=1e-4)
    both = open_source(path, channels=parse_channels(["t2m", "tp"]))
    np.testing.assert_array_equal(both.time, day + HOUR * np.arange(24))
    np.testing.assert_allclose(both.tp.isel(row=0, column=0), np.arange(24), atol=1e-4)
    np.testing.assert_allclose(both.t2m.isel(row=3, column=2), [m[2][3, 2] for m in messages[:24]], atol=1e-4)
    assert "24 times are in all variables and are taken (24 of t2m, 36 of tp)" in caplog.messages[-1]


def test_one_variable_on_levels_of_two_kinds(eccodes: Any, tmp_path: Path) -> None:
    time, field = np.datetime64("2020-01-01T00"), np.zeros((8, 16))
    kinds = [{"typeOfLevel": kind, "level": 100} for kind in ("isobaricInhPa", "hybrid")]
    path = write_grib(eccodes, tmp_path / "a.grib", [(130, time, field, keys) for keys in kinds], "regular_ll_pl_grib2")
    with pytest.raises(
        FdsrError, match=r"'t' at 2020-01-01.* is in 'a.grib \(hybrid instant\)' and in .*grib_copy -w"
    ) as no:
        open_source(path, channels=parse_channels(["t"]))
    assert "\n" not in str(no.value)


def test_a_file_cut_short(eccodes: Any, tmp_path: Path) -> None:
    ds = make_source(times=4, variables=("t2m",))
    messages: list[Message] = [(167, t, ds.t2m.values[i], {}) for i, t in enumerate(ds.time.values)]
    path = Path(write_grib(eccodes, tmp_path / "a.grib", messages))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3 + 11])
    with pytest.raises(FdsrError, match="cannot be opened as GRIB") as no:
        open_source(str(path))
    assert "\n" not in str(no.value)
    path.write_bytes(b"IRRIGULAR HEADING\r\r\n" + whole)  # of a bulletin
    assert open_source(str(path)).time.size == 4


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cfgrib", None)
    (tmp_path / "a").write_bytes(b"GRIB")
    with pytest.raises(FdsrError, match="pip install cfgrib"):
        open_source(str(tmp_path / "a"))
