"""Coarse fields to predict from are read as `fdsr prepare` reads sources, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from synthetic import make_source, pair_config, write_source

from fdsr.data import PairStore, WeatherDataModule, prepare
from fdsr.data.making.sources import View, parse_channels
from fdsr.data.serving.coarse import Asked, CoarseDataset
from fdsr.errors import FdsrError


@pytest.fixture(scope="module")
def across(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Pairs of a region that Greenwich runs through, of a source that counts from 0 to 360."""
    folder = tmp_path_factory.mktemp("across")
    config = pair_config(write_source(make_source(), folder / "s.zarr"), crop=(-30, 60, -60, 52.5), factor=(3, 4))
    return PairStore(prepare(config, folder / "pairs.zarr"))


def coarse(store: PairStore, columns: np.ndarray | None = None) -> xr.Dataset:
    """The store's coarse fields as someone has them who counts columns so."""
    grid = store.spec.low_grid
    axes = {"time": store.times, "lat": grid.rows, "lon": grid.columns if columns is None else columns}
    units = {"t2m": "K", "u10": "m s-1"}
    fields = {n: (("time", "lat", "lon"), store.group["low"][:, i], {"units": units[n]}) for i, n in enumerate(units)}  # type: ignore[index]
    return xr.Dataset(fields, axes)


def cells(found: CoarseDataset) -> np.ndarray:
    return np.concatenate([found.__getitems__([i])["low"][..., 2:-2, 2:-2].numpy() for i in range(len(found))])


def test_a_region_on_any_turn_of_longitude(tmp_path: Path, across: PairStore) -> None:
    region = coarse(across)
    assert region.lon.values.tolist() == [-48.75, -18.75, 11.25, 41.25]
    wrapped = region.assign_coords(lon=region.lon % 360)
    forms = {
        "same": region,
        "eastward": wrapped,
        "sorted": wrapped.sortby("lon"),
        "reversed": region.isel(lon=slice(None, None, -1), lat=slice(None, None, -1)),
    }
    for name, ds in forms.items():
        found = CoarseDataset(write_source(ds, tmp_path / f"{name}.zarr"), across.spec)
        assert not found.spec.grid.differences(across.spec.grid), name
        np.testing.assert_array_equal(cells(found), across.group["low"][:])  # type: ignore[index]
        assert torch.equal(found.spec.conditioning(), across.spec.conditioning())
    less = CoarseDataset(write_source(region.isel(lon=slice(1, 3), lat=[1, 2]), tmp_path / "less.zarr"), across.spec)
    np.testing.assert_array_equal(cells(less), across.group["low"][:, :, 1:3, 1:3])  # type: ignore[index]
    inner = across.spec.conditioning()[:, 3:9, 4:12]
    assert torch.equal(less.spec.conditioning(), inner)  # static fields too, standardised as in training


def test_a_region_of_what_has_none_is_refused(across: PairStore) -> None:
    with pytest.raises(FdsrError, match="is a pair store, of which no part is taken; leave --region out"):
        CoarseDataset(str(across.path), across.spec, Asked(region=(0, 30, -40, 40)))
    with pytest.raises(FdsrError, match=r"data\.region takes a part of coarse fields; give data\.low"):
        WeatherDataModule(store=str(across.path), region=(0, 30, -40, 40))


def test_a_region_is_cut_out_of_the_globe(tmp_path: Path, across: PairStore) -> None:
    region, grid = coarse(across), across.spec.low_grid
    lon = np.sort(np.mod(grid.columns[0] + 30.0 * np.arange(12), 360))
    lat = np.concatenate([grid.rows[:1] + 22.5, grid.rows, grid.rows[-1:] - 22.5])
    globe = region.assign_coords(lon=region.lon % 360).reindex(lat=lat, lon=lon, fill_value=-1.0)
    globe.to_netcdf(tmp_path / "globe.nc")
    found = CoarseDataset(str(tmp_path / "globe.nc"), across.spec, Asked(region=(-30, 60, -60, 52.5)))
    np.testing.assert_array_equal(cells(found), across.group["low"][:])  # type: ignore[index]
    with pytest.raises(FdsrError, match=r"needs the static field orography where .*globe.nc' lies .*: --static STORE"):
        CoarseDataset(str(tmp_path / "globe.nc"), across.spec)


def test_names_and_levels(tmp_path: Path, source_data: xr.Dataset) -> None:
    ds = xr.Dataset({"z": xr.concat([source_data.t2m, source_data.u10], "level").assign_coords(level=[500.0, 850.0])})
    ds.z.attrs = {"units": "m"}
    asked = ["high=z@500", "z@850"]
    store = PairStore(
        prepare(pair_config(write_source(ds, tmp_path / "s.zarr"), variables=asked, static=[]), tmp_path / "p.zarr")
    )
    low, grid = store.group["low"][:].transpose(1, 0, 2, 3), store.spec.low_grid  # type: ignore[union-attr]
    axes = {"level": [500.0, 850.0], "time": store.times, "lat": grid.rows, "lon": grid.columns}
    levels = xr.Dataset({"z": (("level", "time", "lat", "lon"), low, {"units": "m"})}, axes)
    named = levels.z.isel(level=0, drop=True).to_dataset(name="high").assign(gh=levels.z)
    for name, data, channels in (
        ("as_trained", levels, asked),
        ("as_called", named, ["high=t@1", "z850=gh@850"]),
        ("renamed", levels.rename(z="gh"), ["high=gh@500", "z850=gh@850"]),
    ):
        found = CoarseDataset(
            write_source(data, tmp_path / f"{name}.zarr"), store.spec, Asked(parse_channels(channels))
        )
        np.testing.assert_array_equal(cells(found), store.group["low"][:])  # type: ignore[index]
    with pytest.raises(FdsrError, match="has no variable 'high'; it has z"):
        CoarseDataset(str(tmp_path / "as_trained.zarr"), store.spec)


def test_units_are_the_models(tmp_path: Path, store: PairStore, caplog: pytest.LogCaptureFixture) -> None:
    ds = coarse(store)

    def found(name: str, **changed: xr.DataArray) -> CoarseDataset:
        return CoarseDataset(write_source(ds.assign(changed), tmp_path / f"{name}.zarr"), store.spec)

    spelt = found("spelt", u10=ds.u10.assign_attrs(units="m s**-1"), t2m=ds.t2m.assign_attrs(units="kelvin"))
    np.testing.assert_array_equal(cells(spelt), store.group["low"][:])  # type: ignore[index]
    said = [r.getMessage() for r in caplog.records if r.name == "fdsr.units"]
    assert not said
    celsius = found("celsius", t2m=(ds.t2m - 273.15).assign_attrs(units="degC"))
    np.testing.assert_allclose(cells(celsius), store.group["low"][:], atol=1e-3)  # type: ignore[index]
    (said,) = [r.getMessage() for r in caplog.records if r.name == "fdsr.units"]
    assert said.endswith("converted to the units of the model: t2m (degC to K)")
    with pytest.raises(FdsrError, match=r"t2m is in 'm' in .* and in 'K' in the model"):
        found("metres", t2m=ds.t2m.assign_attrs(units="m"))


def test_a_single_time_or_none(tmp_path: Path, store: PairStore) -> None:
    one = coarse(store).isel(time=4)
    dated = CoarseDataset(write_source(one, tmp_path / "dated.zarr"), store.spec)
    assert dated.times.tolist() == store.times[4:5].tolist()
    undated = CoarseDataset(write_source(one.drop_vars("time"), tmp_path / "undated.zarr"), store.spec)
    assert len(undated) == 1
    for found in (dated, undated):
        np.testing.assert_array_equal(cells(found), store.group["low"][4:5])  # type: ignore[index]
    twice = xr.concat([coarse(store), coarse(store).isel(time=[17])], "time")
    with pytest.raises(FdsrError, match=r"has the time 2020-01-05T06.* twice; .*drop duplicates"):
        CoarseDataset(write_source(twice, tmp_path / "twice.zarr"), store.spec)


def test_every_member_is_a_field(tmp_path: Path, store: PairStore) -> None:
    ds = coarse(store).isel(time=slice(3))
    members = xr.concat([ds, ds + 1, ds + 2], xr.Variable("number", [0, 5, 7]), combine_attrs="override")
    members = members.assign({n: members[n].assign_attrs(ds[n].attrs) for n in members})
    path = write_source(members.transpose("time", "lat", "number", "lon"), tmp_path / "members.zarr")
    found = CoarseDataset(path, store.spec)
    assert len(found) == 9 and found.numbers == [0, 5, 7] and found.times.size == 3
    low = store.group["low"][:3]  # type: ignore[index]
    np.testing.assert_array_equal(cells(found), np.stack([low, low + 1, low + 2], 1).reshape(9, *low.shape[1:]))
    batch = found.__getitems__([4])
    assert batch["time"].tolist() == store.times[1:2].astype("datetime64[s]").astype(int).tolist()
    assert batch["index"].tolist() == [4]
    one = CoarseDataset(path, store.spec, Asked(view=View(select={"number": 5})))
    np.testing.assert_array_equal(cells(one), low + 1)


def test_axes_by_their_names(tmp_path: Path, store: PairStore) -> None:
    odd = coarse(store).rename(lat="a", lon="b", time="c")
    path = write_source(odd, tmp_path / "odd.zarr")
    with pytest.raises(FdsrError, match=r"no latitude and longitude axis among its dimensions c, a, b; .*--axes"):
        CoarseDataset(path, store.spec)
    found = CoarseDataset(path, store.spec, Asked(view=View({"lat": "a", "lon": "b", "time": "c"})))
    np.testing.assert_array_equal(cells(found), store.group["low"][:])  # type: ignore[index]
