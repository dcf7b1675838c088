"""Rain as archives have it: other units and names, packed, with sectors that no radar sees, with rows turned round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter
from synthetic import pair_config, rain_source

from fdsr.commands.options import Parser
from fdsr.commands.prepare import add_options
from fdsr.data import PairStore, PrepareConfig, prepare
from fdsr.errors import FdsrError

RAIN = {"name": "zero_inflated", "threshold": 0.1}


def made(ds: xr.Dataset, folder: Path, name: str = "rain", **changes: Any) -> PairStore:
    source = folder / f"{name}.nc"
    ds.to_netcdf(source)
    values: dict[str, Any] = {"variables": ["rain"], "static": [], "transforms": {"rain": RAIN}, "missing": "mask"}
    return PairStore(prepare(pair_config(str(source), **(values | changes)), folder / f"{name}.zarr"))


@pytest.fixture(scope="module")
def rain() -> xr.Dataset:
    return rain_source(missing=True)


@pytest.fixture(scope="module")
def plain(rain: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return made(rain, tmp_path_factory.mktemp("plain"))


def test_a_flux_of_mass_is_a_rate_of_water(rain: xr.Dataset, plain: PairStore, tmp_path: Path) -> None:
    flux = (rain / 3600).rename(rain="pr", lat="latitude", lon="longitude")
    flux.pr.attrs |= {"units": "kg m-2 s-1", "thresholds": "2.77777778e-5"}
    store = made(flux, tmp_path, variables=["rain=pr"], units={"rain": "mm h-1"})
    assert store.spec.attributes["rain"]["units"] == "mm h-1" and store.spec.attributes["rain"]["thresholds"] == "0.1"
    np.testing.assert_allclose(store.group["high"][:], plain.group["high"][:], rtol=1e-5)
    for name in ("high_mean", "high_std", "residual_std"):
        np.testing.assert_allclose(getattr(store.spec, name), getattr(plain.spec, name), rtol=1e-4)
    # in its own unit it is as good, with a threshold in that
    own = made(flux, tmp_path, "own", variables=["pr"], transforms={"pr": RAIN | {"threshold": 0.1 / 3600}})
    assert own.spec.attributes["pr"]["units"] == "kg m-2 s-1"
    np.testing.assert_allclose(own.spec.high_mean, plain.spec.high_mean, rtol=1e-4)
    with pytest.raises(
        FdsrError, match=r"variable 'pr': no value of the train block reaches the threshold 0.1; give one in the"
    ):
        made(flux, tmp_path, "wrong", variables=["pr"], transforms={"pr": RAIN})


def test_a_unit_that_measures_something_else_is_refused(rain: xr.Dataset, tmp_path: Path) -> None:
    hourly = (rain / 1000).assign(rain=lambda ds: ds.rain.assign_attrs(units="m"))
    with pytest.raises(FdsrError, match=r"rain is in 'm' in .* and in 'mm h-1' in the pair store: mixed units"):
        made(hourly, tmp_path, units={"rain": "mm h-1"})
    store = made(hourly, tmp_path, "depth", units={"rain": "mm"})
    assert store.spec.attributes["rain"]["units"] == "mm"


def test_an_archive_without_units_has_those_that_are_given(rain: xr.Dataset, tmp_path: Path) -> None:
    bare = rain.copy()
    bare.rain.attrs.clear()
    store = made(bare, tmp_path, units={"rain": "mm h-1"}, thresholds={"rain": [0.1, 5]})
    assert store.spec.attributes["rain"] == {"units": "mm h-1", "thresholds": "0.1, 5"}
    with pytest.raises(FdsrError, match="thresholds of 'tp', which is no channel: there are rain"):
        made(bare, tmp_path, "other", thresholds={"tp": [1]})


def test_packed_rain_is_the_same_rain(rain: xr.Dataset, tmp_path: Path) -> None:
    rounded = rain.assign(rain=(rain.rain / 0.1).round() * np.float32(0.1)).assign(
        rain=lambda d: d.rain.assign_attrs(units="mm h-1")
    )
    packed = rounded.copy()
    packed.rain.encoding = {"dtype": "int16", "scale_factor": 0.1, "add_offset": 0.0, "_FillValue": -1}
    ours, theirs = (made(ds, tmp_path, name) for ds, name in ((rounded, "float"), (packed, "int16")))
    high, other = ours.group["high"][:], theirs.group["high"][:]
    np.testing.assert_allclose(other, high, rtol=1e-6)
    assert ((other == 0) == (high == 0)).all()  # type: ignore[operator]
    dry = [s.spec.high_transforms[0].to_dict()["dry"] for s in (ours, theirs)]
    assert dry[0] == dry[1]


def test_coarse_means_are_of_what_the_radar_sees(rain: xr.Dataset, plain: PairStore) -> None:
    values = rain.rain.values
    low = np.asarray(plain.group["low"][:])[:, 0]
    seen = ~np.isnan(values[0])
    partly = [(i, j) for i in range(8) for j in range(12) if 0 < seen[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean() < 1]
    assert len(partly) > 3 and np.isnan(low[0]).any()
    area = np.cos(np.deg2rad(rain.lat.values))[:, None] * np.ones(48)
    for i, j in partly:
        block = (slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4))
        there = seen[block]
        expected = [np.average(x[block][there], weights=area[block][there]) for x in values]
        np.testing.assert_allclose(low[:, i, j], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("rows", [[9], [20, 21, 22], [5, 25]])
@pytest.mark.parametrize("times", [slice(None), slice(0, 1)])
def test_rows_that_are_turned_round_are_refused(tmp_path: Path, rows: list[int], times: slice) -> None:
    turned = rain_source(dry=0.3)
    smooth = gaussian_filter(turned.rain.values, (0, 1.5, 1.5))  # as rain is between neighbours a kilometre apart
    turned.rain[:] = np.where(smooth > 0.3, smooth, 0.0)
    turned.rain[:, :10, :13] = np.nan
    assert made(turned, tmp_path, "straight").times.size == 18
    turned.rain[times, rows] = turned.rain[times, rows].values[..., ::-1]
    with pytest.raises(
        FdsrError, match=rf"(each of the )?rows? {rows[0]}.* of 'rain' seems to be reversed at 2020-06-01T00:00"
    ):
        made(turned, tmp_path)


def test_the_options(rain: xr.Dataset) -> None:
    parser = Parser("prepare", "")
    add_options(parser)
    given = vars(
        parser.parse_args(["--units", "pr=mm h-1,tp=m", "--thresholds", "pr=0.1,1", "--thresholds", "tp=1e-4"])
    )
    assert given["units"] == {"pr": "mm h-1", "tp": "m"}
    assert dict(given["thresholds"]) == {"pr": [0.1, 1.0], "tp": [1e-4]}
    with pytest.raises(FdsrError, match="thresholds 'pr=wet' are not NAME=T"):
        parser.parse_args(["--thresholds", "pr=wet"])
    config = PrepareConfig("source", ["pr"], units={"pr": "mm h-1"}, thresholds={"pr": (0.1, 1)})
    assert PrepareConfig.from_dict(config.to_dict(), {}) == PrepareConfig.from_dict(config.to_dict(), {})
    assert config.to_dict()["thresholds"] == {"pr": [0.1, 1.0]} and config.to_dict()["units"] == {"pr": "mm h-1"}
    plain = PrepareConfig("source", ["pr"]).to_dict()
    assert "units" not in plain and "thresholds" not in plain  # the fingerprints of stores made before stay
