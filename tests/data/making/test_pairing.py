"""Two archives of different origin, paired by time; fields from another grid; area kept from one grid to the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from synthetic import interpolate, latitude_weights, make_source, pair_config, projected, write_source

from fdsr.data import PairStore, WeatherDataModule, prepare
from fdsr.data.making.pairing import plan_pairs
from fdsr.data.making.regrid import regridding
from fdsr.errors import FdsrError
from fdsr.grids import Grid


def centred(n: int) -> np.ndarray:
    return 90 - 180 / n * (np.arange(n) + 0.5)


@given(
    rows=st.integers(7, 40), columns=st.integers(6, 40), poles=st.booleans(), west=st.floats(-180, 180),
    target=st.tuples(st.integers(2, 6), st.integers(2, 6)), seed=st.integers(0, 99),
)  # fmt: skip
def test_regridding_keeps_the_global_mean(
    rows: int, columns: int, poles: bool, west: float, target: tuple[int, int], seed: int
) -> None:
    lat = np.linspace(90, -90, rows) if poles else centred(rows)
    lon = west + 360 / columns * np.arange(columns)
    to_lat, to_lon = centred(target[0]), 360 / target[1] * (np.arange(target[1]) + 0.5)
    field = np.random.default_rng(seed).normal(size=(rows, columns))
    low = regridding(Grid(lat, lon), Grid(to_lat, to_lon), "x")(field)
    fine = latitude_weights(lat) @ field.mean(1) / 2
    coarse = latitude_weights(to_lat) @ low.astype(np.float64).mean(1) / 2
    assert latitude_weights(lat).sum() == pytest.approx(2) and coarse == pytest.approx(fine, abs=1e-6)


@given(st.integers(2, 30), st.integers(2, 30), st.floats(0, 360))
def test_regridding_keeps_a_constant_and_finds_its_own_grid(rows: int, columns: int, west: float) -> None:
    source = Grid(centred(12), 30.0 * np.arange(12))
    lat, lon = centred(rows), west + 360 / columns * np.arange(columns)
    np.testing.assert_allclose(regridding(source, Grid(lat, lon), "x")(np.full((12, 12), 7.5)), 7.5, rtol=1e-6)
    assert regridding(source, source, "x").identity


def test_regridding_to_finer_cells_is_linear() -> None:
    lat, lon = centred(36), 5.0 * np.arange(72)
    fine_lat, fine_lon = np.linspace(60, -60, 97), np.linspace(10, 200, 153)
    field = lat[:, None] + 0 * lon
    found = regridding(Grid(lat, lon), Grid(fine_lat, fine_lon), "x")(field)
    np.testing.assert_allclose(found, np.broadcast_to(fine_lat[:, None], found.shape), atol=1e-4)


def test_a_source_that_does_not_reach() -> None:
    target = Grid(centred(18), 20.0 * np.arange(18))
    with pytest.raises(FdsrError, match=r"covers lat .*--crop"):
        regridding(Grid(np.linspace(60, 30, 31), 1.0 * np.arange(360)), target, "x")
    with pytest.raises(FdsrError, match=r"covers lon .*--crop"):
        regridding(Grid(centred(180), 1.0 * np.arange(100)), target, "x")
    with pytest.raises(FdsrError, match="'x' lies on a plane, not on latitudes and longitudes; regrid it"):
        regridding(Grid(centred(180), 1.0 * np.arange(360), "km"), target, "x")


def test_another_pole_is_another_grid() -> None:
    mapping = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 39.25,
        "earth_radius": 6371e3,
    }
    fine = Grid(np.linspace(10, -10, 41), np.linspace(-10, 10, 41), mapping=mapping)
    coarse = Grid(np.linspace(12, -12, 13), np.linspace(-12, 12, 13), mapping=mapping | {"earth_radius": 6371229.0})
    np.testing.assert_allclose(regridding(coarse, fine, "x")(np.full((13, 13), 2.5)), 2.5)
    tilted = Grid(coarse.rows, coarse.columns, mapping=mapping | {"grid_north_pole_latitude": 43.0})
    with pytest.raises(FdsrError, match=r"'x' lies on rotated_latitude_longitude, not on another one \(pole"):
        regridding(tilted, fine, "x")


def coarse_archive(ds: xr.Dataset, rows: int = 6, columns: int = 12) -> xr.Dataset:
    """Another model's fields on a coarse grid of its own, at other times, with a field of its own; south first."""
    low = make_source(times=20, rows=rows, columns=columns, variables=("t2m", "msl"), seed=5).drop_vars("orography")
    low = low.assign_coords(time=ds.time.values[2] + np.arange(20) * np.timedelta64(12, "h"))
    step = 360 / columns
    low = low.assign_coords(
        longitude=("longitude", step * (np.arange(columns) + 0.5) - 3.75, {"standard_name": "longitude"})
    )
    return low.isel(latitude=slice(None, None, -1))


def test_two_archives_are_paired_by_time(tmp_path: Path, source_data: xr.Dataset, source_path: str) -> None:
    low = coarse_archive(source_data)
    config = pair_config(
        source_path, low_source=write_source(low, tmp_path / "low.zarr"), low_variables=["t2m", "msl"],
        split={"train": 5, "test": 2}, gap=1,
    )  # fmt: skip
    store = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    np.testing.assert_array_equal(store.times, source_data.time[2::2])
    np.testing.assert_array_equal(store.group["high"][:, 0], source_data.t2m[2::2])
    assert store.spec.low_channels == ["t2m", "msl"] and store.spec.base_index == [0, -1]
    upright = low.isel(latitude=slice(None, None, -1))
    np.testing.assert_allclose(store.spec.low_grid.columns, upright.longitude)
    np.testing.assert_array_equal(store.group["low"][:, 0], upright.t2m[:8])
    np.testing.assert_array_equal(store.group["low"][:, 1], upright.msl[:8])
    assert store.spec.attributes["msl"]["units"] == "Pa"
    # the residual of t2m is over the other archive's t2m; u10 has no coarse counterpart and is its own residual
    fine, coarse = store.group["high"][:5].astype(np.float64), store.group["low"][:5]
    std = fine.std((0, 2, 3))
    residual = (fine[:, 0] - interpolate(coarse[:, :1], (4, 4), "bicubic", periodic=True)[:, 0]) / std[0]
    np.testing.assert_allclose(store.spec.residual_std, [np.sqrt((residual**2).mean()), 1.0], rtol=1e-5)
    np.testing.assert_allclose(store.spec.power_residual[1], store.spec.power_field[1])
    np.testing.assert_allclose(store.spec.power_residual.mean((1, 2)), 1, rtol=1e-6)
    data = WeatherDataModule(store=str(tmp_path / "pairs.zarr"), patch=(8, 16), batch_size=4, patches_per_step=4)
    data.setup("fit")
    data.shift = True  # coarsening the fine fields anew would give others than this archive's
    with pytest.raises(FdsrError, match="needs coarse fields that are the coarsened fine ones"):
        data.train_dataloader()
    data.shift = False
    batch = next(iter(data.train_dataloader()))
    assert batch["low"].shape[1] == 2 and batch["high"].shape[1] == 2


def test_shifts_are_refused_whatever_a_coarse_archive_calls_its_fields(
    tmp_path: Path, source_data: xr.Dataset, source_path: str
) -> None:
    low = coarse_archive(source_data).assign(u10=lambda ds: ds.msl.assign_attrs(units="m s-1"))[["t2m", "u10"]]
    config = pair_config(
        source_path, low_source=write_source(low, tmp_path / "low.zarr"), split={"train": 5, "test": 2}
    )
    store = prepare(config, tmp_path / "pairs.zarr")
    data = WeatherDataModule(store=str(store), patch=(8, 16), batch_size=4, patches_per_step=4, shift=True)
    data.setup("fit")
    with pytest.raises(FdsrError, match="needs coarse fields that are the coarsened fine ones"):
        data.train_dataloader()


def test_a_predictor_that_never_changes_is_refused(tmp_path: Path, source_data: xr.Dataset, source_path: str) -> None:
    low = coarse_archive(source_data)
    low["msl"] = low.msl * 0 + 5
    config = pair_config(
        source_path, low_source=write_source(low, tmp_path / "low.zarr"), low_variables=["t2m", "msl"],
        split={"train": 5, "test": 2},
    )  # fmt: skip
    with pytest.raises(FdsrError, match="coarse variable 'msl' is constant over the train block; leave it out"):
        prepare(config, tmp_path / "pairs.zarr")


def test_a_name_forgotten_is_said(
    tmp_path: Path, source_data: xr.Dataset, source_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    low = write_source(coarse_archive(source_data).rename(t2m="tas"), tmp_path / "low.zarr")
    for names, said in ((["tas"], True), (["t2m=tas"], False), (["t2m=tas", "msl"], False)):
        caplog.clear()
        plan_pairs(pair_config(source_path, variables=["t2m"], low_source=low, low_variables=names))
        assert (
            any("the coarse field of t2m under another name is written t2m=tas" in m for m in caplog.messages) == said
        )


def test_times_that_never_meet(tmp_path: Path, source_data: xr.Dataset, source_path: str) -> None:
    low = coarse_archive(source_data)
    low = low.assign_coords(time=low.time + np.timedelta64(3, "h"))
    config = pair_config(source_path, low_source=write_source(low, tmp_path / "low.zarr"), low_variables=["t2m"])
    with pytest.raises(
        FdsrError, match=r"no time in common, and begin at 2020-01-01T00.* and 2020-01-01T15.*cdo shifttime"
    ):
        plan_pairs(config)


def test_a_coarse_archive_on_a_grid_of_its_own_is_regridded(
    tmp_path: Path, source_data: xr.Dataset, source_path: str
) -> None:
    low = coarse_archive(source_data, rows=18, columns=30)
    config = pair_config(
        source_path,
        low_source=write_source(low, tmp_path / "low.zarr"),
        low_variables=["t2m"],
        split={"train": 5, "test": 2},
    )
    store = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    assert store.group["low"].shape == (8, 1, 6, 12)
    fine = latitude_weights(low.latitude.values) @ low.t2m.values[0].astype(np.float64).mean(1)
    coarse = latitude_weights(store.spec.low_grid.rows) @ store.group["low"][0, 0].astype(np.float64).mean(1)
    assert coarse == pytest.approx(fine, rel=1e-6)


def test_a_coarse_archive_in_other_units_is_converted(
    tmp_path: Path, source_data: xr.Dataset, source_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    kelvin = coarse_archive(source_data)
    celsius = kelvin.assign(t2m=(kelvin.t2m - 273.15).assign_attrs(units="celsius"))
    spelled = kelvin.assign(t2m=kelvin.t2m.assign_attrs(units="kelvin"))
    bare = kelvin.assign(t2m=kelvin.t2m.drop_attrs())
    stores = []
    for name, ds in (("kelvin", spelled), ("celsius", celsius), ("bare", bare)):
        config = pair_config(
            source_path, low_source=write_source(ds, tmp_path / f"{name}.zarr"), low_variables=["t2m", "msl"],
            split={"train": 5, "test": 2}, gap=1,
        )  # fmt: skip
        caplog.clear()
        stores.append(PairStore(prepare(config, tmp_path / f"{name}-pairs.zarr")))
        said = [record.getMessage() for record in caplog.records if record.name == "fdsr.units"]
        assert len(said) == (name != "kelvin")
        assert name != "celsius" or "t2m (celsius to K)" in said[0]
        assert name != "bare" or "no units for t2m" in said[0]
    lows = [store.group["low"][:] for store in stores]
    np.testing.assert_allclose(lows[1], lows[0], atol=1e-4)
    np.testing.assert_array_equal(lows[2], lows[0])
    assert all(store.spec.attributes["t2m"]["units"] == "K" for store in stores)


def test_archives_that_cannot_be_paired(tmp_path: Path, source_data: xr.Dataset, source_path: str) -> None:
    low = coarse_archive(source_data)
    density = low.copy(deep=True)
    density.t2m.attrs["units"] = "kg m-3"
    later = low.assign_coords(time=low.time.values + np.timedelta64(3650, "D"))
    for i, (ds, words) in enumerate(
        (
            (density, r"t2m is in 'kg m-3' in .* and in 'K' in .*mixed units.*correct the attribute"),
            (later, "no time in common"),
            (low.isel(time=[0, 2, 1]), "unsorted"),
            (low.isel(latitude=slice(2, 5)), "covers lat"),
        )
    ):
        config = pair_config(source_path, low_source=write_source(ds, tmp_path / f"{i}.zarr"), low_variables=["t2m"])
        with pytest.raises(FdsrError, match=words) as caught:
            prepare(config, tmp_path / "pairs.zarr")
        assert "\n" not in str(caught.value)
    with pytest.raises(FdsrError, match="--low-source"):
        pair_config(source_path, low_variables=["t2m"])


def test_static_fields_from_a_finer_store(tmp_path: Path, source_path: str) -> None:
    relief = make_source(times=1, rows=72, columns=96)[["orography"]].assign(
        mask=lambda d: (d.orography > 0).astype("float32")
    )
    static = write_source(relief, tmp_path / "relief.zarr")
    config = pair_config(source_path, static=["height=orography", "mask"], static_source=static)
    store = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    assert store.spec.static_channels == ["height", "mask"] and store.spec.attributes["height"]["units"] == "m"
    fine = latitude_weights(relief.latitude.values) @ relief.orography.values.astype(np.float64).mean(1)
    kept = latitude_weights(store.spec.grid.rows) @ store.spec.static[0].numpy().astype(np.float64).mean(1)
    assert kept == pytest.approx(fine, abs=1e-3)
    assert float(store.spec.static[1].min()) >= 0 and float(store.spec.static[1].max()) <= 1


def test_static_fields_on_a_projected_grid(tmp_path: Path) -> None:
    lat, lon = centred(180), 1.0 * np.arange(360)
    tilted = xr.Dataset({"height": (("lat", "lon"), lat[:, None] + 0 * lon)}, coords={"lat": lat, "lon": lon})
    config = pair_config(
        write_source(projected(), tmp_path / "s.zarr"),
        static=["height"],
        static_source=write_source(tilted, tmp_path / "g.zarr"),
    )
    store = PairStore(prepare(config, tmp_path / "pairs.zarr"))
    np.testing.assert_allclose(store.spec.static[0], store.spec.grid.latitude, atol=1e-4)
