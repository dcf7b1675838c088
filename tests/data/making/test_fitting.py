"""Constants of transforms come from the train block, stand in the store, and travel with the model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from synthetic import interpolate, pair_config, rain_source, write_source

from fdsr.data import PairStore, PrepareConfig, prepare
from fdsr.data.field_spec import FieldSpec
from fdsr.data.making.append import append
from fdsr.data.values import ZeroInflated
from fdsr.errors import FdsrError

TRAIN = slice(0, 10)
RAIN = {"name": "zero_inflated", "threshold": 0.1}


def config_of(source: str, **changes: Any) -> PrepareConfig:
    values: dict[str, Any] = {"variables": ["rain"], "static": [], "transforms": {"rain": RAIN}, "missing": "mask"}
    return pair_config(source, **(values | changes))


@pytest.fixture(scope="module")
def rain() -> xr.Dataset:
    ds = rain_source(missing=True)
    ds.rain[10:] *= 3  # what lies behind the train block must not count
    return ds


@pytest.fixture(scope="module")
def source(rain: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_source(rain, tmp_path_factory.mktemp("rain") / "source.zarr")


@pytest.fixture(scope="module")
def store(source: str, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return PairStore(prepare(config_of(source), tmp_path_factory.mktemp("pairs") / "pairs.zarr", steps_per_block=3))


def test_scale_and_share_of_dry_points_are_those_of_the_train_block(rain: xr.Dataset, store: PairStore) -> None:
    values = rain.rain.values[TRAIN]
    values = values[~np.isnan(values)]
    recorded = store.group.attrs["config"]["transforms"]["rain"]  # type: ignore[index,call-overload]
    assert recorded["dry"] == pytest.approx(float((values < 0.1).mean())) and 0.7 < recorded["dry"] < 0.9
    assert recorded["scale"] == pytest.approx(float(np.exp(np.log(values[values >= 0.1]).mean())), rel=1e-5)
    (own,) = store.spec.high_transforms
    assert isinstance(own, ZeroInflated) and own.to_dict() == recorded and store.spec.low_transforms == [own]
    # as in every checkpoint
    assert FieldSpec.from_dict(store.spec.to_dict()).high_transforms == [own]


def test_statistics_are_of_cells_in_which_it_rains(rain: xr.Dataset, store: PairStore) -> None:
    (own,), group = store.spec.high_transforms, store.group
    high, low = (np.asarray(group[name][TRAIN], np.float64)[:, 0] for name in ("high", "low"))  # type: ignore[index]
    wet = np.nan_to_num(low) > 0
    points = wet.repeat(4, 1).repeat(4, 2) & ~np.isnan(high)
    assert 0.2 < wet.mean() < 0.8  # of both kinds there are many
    g = np.log1p(high / own.unit) - np.log1p(0.1 / own.unit) + 0.5
    y = np.where(high > 0, g, 0.0)
    spec = store.spec
    assert float(spec.high_mean) == pytest.approx(y[points].mean(), rel=1e-5)
    assert float(spec.high_std) == pytest.approx(y[points].std(), rel=1e-5)
    amounts = np.where(low >= 0.1, np.log1p(low / own.unit) - np.log1p(0.1 / own.unit) + 0.5, low / 0.1 * 0.25)
    assert float(spec.low_mean) == pytest.approx(amounts[wet].mean(), rel=1e-5)
    assert float(spec.low_std) == pytest.approx(amounts[wet].std(), rel=1e-5)
    whole = rain.rain.values[:, 12:, 16:]  # where nothing is missing, interpolation is plain
    assert not np.isnan(whole).any()
    base = interpolate(amounts[:, 3:, 4:], (4, 4), "bicubic", False)
    residual = (y[:, 12:, 16:] - base)[:, 8:-8, 8:-8][points[:, 12:, 16:][:, 8:-8, 8:-8]]
    assert float(spec.residual_std) * float(spec.high_std) == pytest.approx(np.sqrt((residual**2).mean()), rel=0.3)
    assert spec.present is not None and np.array_equal(spec.present[0].numpy(), ~np.isnan(rain.rain.values[0]))


def test_blocks_change_nothing(source: str, store: PairStore, tmp_path: Path) -> None:
    other = PairStore(prepare(config_of(source), tmp_path / "pairs.zarr", steps_per_block=10, threads=1))
    mine, theirs = (s.group.attrs["config"]["transforms"]["rain"] for s in (store, other))  # type: ignore[index,call-overload]
    assert mine["scale"] == pytest.approx(theirs["scale"], rel=1e-12) and mine["dry"] == theirs["dry"]


def test_a_store_is_what_was_asked_for_whatever_it_measured(source: str, store: PairStore) -> None:
    stored = PrepareConfig.from_dict(dict(store.group.attrs["config"]), {})  # type: ignore[arg-type]
    stored.require({"transforms": {"rain": RAIN}}, "pairs", "mend")
    stored.require({"transforms": {"rain": RAIN | {"lower": 0}}}, "pairs", "mend")
    for other in ({"rain": RAIN | {"threshold": 0.2}}, {"rain": RAIN | {"scale": 1.0}}, {"rain": "cbrt"}, {}):
        with pytest.raises(FdsrError, match="prepared with transforms"):
            stored.require({"transforms": other}, "pairs", "mend")


def test_later_times_are_measured_no_more(rain: xr.Dataset, tmp_path: Path) -> None:
    begun, later = (write_source(rain.isel(time=times), tmp_path / f"{name}.zarr")
                    for name, times in (("begun", slice(17)), ("later", slice(17, 18))))  # fmt: skip
    path = prepare(config_of(begun), tmp_path / "pairs.zarr")
    before = dict(PairStore(path).group.attrs["config"])  # type: ignore[arg-type]
    assert append(path, later, transforms={"rain": RAIN}) == 1
    after = PairStore(path)
    assert dict(after.group.attrs["config"]) == before and after.times.size == 18  # type: ignore[arg-type]


def test_nothing_is_left_behind_where_values_allow_no_fit(source: str, tmp_path: Path) -> None:
    asked = {"rain": RAIN | {"threshold": 1e6}}
    with pytest.raises(FdsrError, match=r"variable 'rain': no value of the train block reaches the threshold 1e\+06"):
        prepare(config_of(source, transforms=asked), tmp_path / "pairs.zarr")
    with pytest.raises(FdsrError, match="missing or infinite values at 2020-06-01T00:00; fill them"):
        prepare(config_of(source, missing="error"), tmp_path / "pairs.zarr")
    assert not list(tmp_path.iterdir())


def test_a_predictor_is_measured_on_its_own_archive(
    rain: xr.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    fine = write_source(rain_source(), tmp_path / "fine.zarr")
    coarse = rain_source(seed=3).coarsen(lat=4, lon=4).mean().rename(rain="pr")
    low = write_source(coarse, tmp_path / "coarse.zarr")
    config = config_of(
        fine, low_source=low, low_variables=["pr"], transforms={"pr": {"name": "zero_inflated", "threshold": 0.01}}
    )
    store = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    values = store.group["low"][TRAIN]  # type: ignore[index]
    (own,) = store.spec.low_transforms
    assert isinstance(own, ZeroInflated) and own.dry == pytest.approx(float((np.asarray(values) < 0.01).mean()))
    assert store.spec.high_transforms[0].to_dict()["name"] == "none"
