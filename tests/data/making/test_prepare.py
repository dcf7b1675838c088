"""A pair store holds what it says: the fields, their area means, and statistics of the train block alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.fft import dctn
from synthetic import interpolate, make_source, pair_config, write_source

from fdsr.data import PairStore, prepare
from fdsr.data.making.sources import open_source
from fdsr.data.values import Identity, SquareRoot
from fdsr.errors import FdsrError

STATISTICS = ("high_mean", "high_std", "low_mean", "low_std", "residual_std", "power_field", "power_residual")


def made(ds: xr.Dataset, folder: Path, name: str = "pairs", **changes: object) -> PairStore:
    source = write_source(ds, folder / f"{name}-source.zarr")
    return PairStore(prepare(pair_config(source, **changes), folder / f"{name}.zarr"))


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a store, by its place in it."""
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def statistics(store: PairStore) -> dict[str, np.ndarray]:
    return {name: getattr(store.spec, name).numpy() for name in STATISTICS}


def assert_fields_match(ds: xr.Dataset, store: PairStore, rows: int, edges: np.ndarray) -> None:
    """`store` against xarray's own coarsening of `ds` (north first), with areas from the rows' edges in degrees."""
    area = np.abs(np.diff(np.sin(np.deg2rad(edges))))[:rows]
    kept = (
        ds[["t2m", "u10"]]
        .to_array("channel")
        .transpose("time", "channel", "latitude", "longitude")
        .isel(latitude=slice(0, rows))
    )
    weighted = (kept.astype("float64") * area[:, None]).coarsen(latitude=4, longitude=4)
    expected = weighted.sum() / (4 * area.reshape(-1, 4).sum(1))[:, None]
    group = store.group
    np.testing.assert_array_equal(group["high"][:], kept)
    np.testing.assert_allclose(group["low"][:], expected, rtol=3e-7)
    np.testing.assert_allclose(store.spec.low_grid.rows, kept.latitude.coarsen(latitude=4).mean())
    np.testing.assert_allclose(store.spec.low_grid.columns, kept.longitude.coarsen(longitude=4).mean())


def test_content(source_data: xr.Dataset, store: PairStore) -> None:
    assert_fields_match(source_data, store, 24, np.linspace(90, -90, 25))
    np.testing.assert_array_equal(store.spec.static[0], source_data.orography)
    np.testing.assert_array_equal(store.times, source_data.time)
    assert store.spec.attributes["u10"]["units"] == "m s-1"
    assert store.splits == {"train": (0, 10), "val": (11, 13), "test": (14, 17)}
    assert store.group.attrs["dropped_rows"] == 0
    assert store.group["high"].chunks == (1, 2, 24, 48)


def test_xarray_opens_the_store(store_path: str, source_data: xr.Dataset) -> None:
    with xr.open_zarr(store_path, consolidated=False) as ds:
        assert ds.high.dims == ("time", "high_channel", "lat", "lon")
        assert ds.low.dims == ("time", "low_channel", "lat_low", "lon_low")
        assert list(ds.high_channel.values) == ["t2m", "u10"]
        np.testing.assert_array_equal(ds.time, source_data.time)
        assert ds.lat.attrs["units"] == "degrees_north" and ds.high.attrs["units"] == ["K", "m s-1"]


def test_pole_to_pole_grid_loses_its_southernmost_row(tmp_path: Path) -> None:
    ds = make_source(rows=25, poles=True)
    store = made(ds, tmp_path)
    assert store.spec.shape == (24, 48) and store.group.attrs["dropped_rows"] == 1
    inner = np.linspace(90, -90, 25)
    edges = np.concatenate([[90], (inner[1:] + inner[:-1]) / 2, [-90]])  # the pole's cell is a cap
    assert_fields_match(ds, store, 24, edges)


def test_orientation_and_names_do_not_matter(tmp_path: Path, source_data: xr.Dataset, store: PairStore) -> None:
    turned = source_data.isel(latitude=slice(None, None, -1)).rename(
        {"latitude": "lat", "longitude": "lon", "time": "valid_time"}
    )
    turned.valid_time.attrs["standard_name"] = "time"
    other = made(turned.transpose("lon", "valid_time", "lat"), tmp_path)
    assert not store.spec.differences(other.spec)
    for i in (0, 14):
        for a, b in zip(store.read(i), other.read(i), strict=True):
            np.testing.assert_array_equal(a, b)


def test_crop(tmp_path: Path, source_data: xr.Dataset) -> None:
    store = made(source_data, tmp_path, crop=(0, 60, 90, 205))
    assert store.spec.shape == (8, 16)
    cut = source_data.sel(latitude=slice(60, 0), longitude=slice(90, 205))
    np.testing.assert_array_equal(store.read(0)[0][0], cut.t2m[0])
    assert not store.spec.periodic


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_statistics_are_those_of_the_train_block(tmp_path: Path, source_data: xr.Dataset, method: str) -> None:
    store = made(source_data, tmp_path, interpolation=method)
    found = statistics(store)
    high, low = np.asarray(store.group["high"][:10], np.float64), np.asarray(store.group["low"][:10], np.float64)
    mean, std = high.mean((0, 2, 3)), high.std((0, 2, 3))
    np.testing.assert_allclose(found["high_mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(found["high_std"], std, rtol=1e-6)
    np.testing.assert_allclose(found["low_mean"], low.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(found["low_std"], low.std((0, 2, 3)), rtol=1e-6)
    residual = (high - interpolate(low, (4, 4), method, periodic=True)) / std[:, None, None]
    deviation = np.sqrt((residual**2).mean((0, 2, 3)))
    np.testing.assert_allclose(found["residual_std"], deviation, rtol=1e-4)
    assert (deviation > 0.05).all() and (deviation < 1).all()

    def power(x: np.ndarray) -> np.ndarray:
        return (dctn(x, axes=(-2, -1), norm="ortho") ** 2).mean(0)  # the whole grid is one tile

    standard = (high - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(found["power_field"], power(standard), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(
        found["power_residual"], power(residual / deviation[:, None, None]), rtol=1e-2, atol=1e-4
    )
    # Parseval: the mean square coefficient is the mean square of the standardised values
    np.testing.assert_allclose(found["power_field"].mean((1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(found["power_residual"].mean((1, 2)), 1, rtol=1e-6)


def test_other_blocks_cannot_leak_into_the_statistics(
    tmp_path: Path, source_data: xr.Dataset, store: PairStore
) -> None:
    changed = source_data.copy(deep=True)
    changed.t2m[10:] = 5 * changed.t2m[10:] + 17  # gap, validation, test
    for name, values in statistics(made(changed, tmp_path, "outside")).items():
        np.testing.assert_array_equal(values, statistics(store)[name])
    changed = source_data.copy(deep=True)
    changed.t2m[9] = changed.t2m[9] + 1  # the last train step
    inside = made(changed, tmp_path, "inside")
    assert (statistics(inside)["high_mean"] != statistics(store)["high_mean"]).tolist() == [True, False]
    assert inside.spec.fingerprint != store.spec.fingerprint


def test_statistics_of_transformed_values(tmp_path: Path) -> None:
    ds = make_source(variables=("t2m", "tp"))
    store = made(ds, tmp_path, variables=["t2m", "tp"], transforms={"tp": SquareRoot(1e-3, lower=0.0)})
    tp = np.sqrt(ds.tp.values[:10].astype(np.float64) / 1e-3)
    assert float(store.spec.high_mean[1]) == pytest.approx(tp.mean(), rel=1e-5)
    assert float(store.spec.high_std[1]) == pytest.approx(tp.std(), rel=1e-5)
    assert store.spec.high_transforms == [Identity(), SquareRoot(1e-3, lower=0.0)]
    np.testing.assert_array_equal(store.read(0)[0][1], ds.tp[0])  # the fields themselves stay physical


def test_fingerprint_tells_configurations_apart(tmp_path: Path, source_path: str, store: PairStore) -> None:
    again = PairStore(prepare(pair_config(source_path), tmp_path / "again.zarr"))
    assert again.spec.fingerprint == store.spec.fingerprint
    found = {store.spec.fingerprint}
    for i, changes in enumerate(
        (
            {"split": {"train": 9, "test": 3}},
            {"factor": (2, 2)},
            {"interpolation": "bilinear"},
            {"static": []},
            {"variables": ["u10"]},
        )
    ):
        found.add(PairStore(prepare(pair_config(source_path, **changes), tmp_path / f"{i}.zarr")).spec.fingerprint)
    assert len(found) == 6


def test_a_preparation_that_failed_is_no_store_and_is_finished_by_the_next(
    tmp_path: Path, source_path: str, store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        assert any(tmp_path.iterdir())  # it had begun to write
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["fdsr.data.making.prepare"], "finish", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            prepare(pair_config(source_path), tmp_path / "pairs.zarr")
    assert [p.name for p in tmp_path.iterdir()] == [".pairs.zarr.partial"]
    with pytest.raises(FdsrError, match="not a finished pair store"):
        PairStore(tmp_path / ".pairs.zarr.partial" / "store")
    prepare(pair_config(source_path), tmp_path / "pairs.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.zarr"]
    assert contents(tmp_path / "pairs.zarr") == contents(Path(store_path))


def test_an_existing_target_is_refused_and_untouched(tmp_path: Path, source_path: str) -> None:
    target = tmp_path / "pairs.zarr"
    target.mkdir()
    (target / "mine").write_text("dear")
    with pytest.raises(FdsrError, match="exists already"):
        prepare(pair_config(source_path), target)
    assert [p.name for p in target.iterdir()] == ["mine"]


def test_an_unwritable_target_is_refused(tmp_path: Path, source_path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FdsrError, match="cannot be written"):
        prepare(pair_config(source_path), tmp_path / "file" / "pairs.zarr")


def _bad(kind: str) -> xr.Dataset:
    ds = make_source()
    if kind == "nan":
        ds.u10[4, 3, 2] = np.nan
    elif kind == "constant":
        ds.u10[:10] = 3.0
    elif kind == "duplicate":
        ds = ds.isel(time=[0, 1, 1, *range(2, 18)])
    elif kind == "unsorted":
        ds = ds.isel(time=[1, 0, *range(2, 18)])
    elif kind == "uneven":
        ds = ds.isel(latitude=[*range(10), *range(11, 24)])
    elif kind == "rows":
        ds = ds.isel(latitude=slice(0, 22))
    elif kind == "columns":
        ds = ds.isel(longitude=slice(0, 46))
    elif kind == "no latitude":
        ds = ds.rename(latitude="north")
        ds.north.attrs.clear()
    elif kind == "no time":
        ds = ds.isel(time=0, drop=True)
    elif kind == "static":
        ds["orography"] = ds.t2m * 2
    return ds


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nan", ["u10", "2020-01-02T00:00"]),
        ("constant", ["u10", "constant"]),
        ("duplicate", ["duplicate"]),
        ("unsorted", ["unsorted"]),
        ("uneven", ["uneven", "lat"]),
        ("rows", ["22 rows", "factor 4", "--crop"]),
        ("columns", ["46 columns", "factor 4", "--crop"]),
        ("no latitude", ["latitude axis"]),
        ("no time", ["t2m", "time"]),
        ("static", ["orography", "varies with time"]),
    ],
)
def test_bad_sources(tmp_path: Path, kind: str, words: list[str]) -> None:
    source = write_source(_bad(kind), tmp_path / "source.zarr")
    with pytest.raises(FdsrError) as caught:
        prepare(pair_config(source), tmp_path / "pairs.zarr")
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert [p.name for p in tmp_path.iterdir()] == ["source.zarr"]


def test_missing_source_and_variables(tmp_path: Path, source_path: str) -> None:
    with pytest.raises(FdsrError, match=r"nowhere\.zarr' does not exist"):
        prepare(pair_config(str(tmp_path / "nowhere.zarr")), tmp_path / "pairs.zarr")
    with pytest.raises(FdsrError, match=r"no variable 'q'; it has .*t2m"):
        prepare(pair_config(source_path, variables=["t2m", "q"]), tmp_path / "pairs.zarr")
    with pytest.raises(FdsrError, match="no variable 'land'"):
        prepare(pair_config(source_path, static=["land"]), tmp_path / "pairs.zarr")
    with pytest.raises(FdsrError, match="leaves no grid point"):
        prepare(pair_config(source_path, crop=(95, 99, 0, 10)), tmp_path / "pairs.zarr")


def test_not_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "broken.nc"
    path.write_text("not netCDF")
    with pytest.raises(FdsrError, match="cannot be opened") as caught:
        open_source(str(path))
    assert "\n" not in str(caught.value)


def test_netcdf_source(tmp_path: Path, source_data: xr.Dataset, store: PairStore) -> None:
    path = tmp_path / "source.nc"
    source_data.to_netcdf(path, engine="scipy")
    other = PairStore(prepare(pair_config(str(path)), tmp_path / "pairs.zarr"))
    assert not store.spec.differences(other.spec)


def test_integer_times(tmp_path: Path) -> None:
    """Some archives count their steps and know no dates."""
    ds = make_source().assign_coords(time=np.arange(18))
    assert made(ds, tmp_path).splits["train"] == (0, 10)


def test_a_folder_that_is_no_pair_store(tmp_path: Path, source_path: str) -> None:
    with pytest.raises(FdsrError, match="does not exist"):
        PairStore(tmp_path / "none.zarr")
    with pytest.raises(FdsrError, match="not a finished pair store"):
        PairStore(source_path)
