"""WeatherDataModule: batches, whole fields, shares of processes, and coarse fields from elsewhere."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from synthetic import SPLIT, latitude_weights, make_source, pair_config, write_source

import fdsr.data.making.prepare as making
import fdsr.data.serving.weather as weather
from fdsr.data import PairStore, WeatherDataModule, prepare
from fdsr.data.coarsen import coarsen
from fdsr.data.interpolate import HALO
from fdsr.data.serving.patches import PatchKey
from fdsr.errors import FdsrError


def rank(data: WeatherDataModule, r: int, world_size: int) -> None:
    """Pretend to be process r of world_size."""
    loop = SimpleNamespace(
        epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(processed=0)))
    )
    data.trainer = SimpleNamespace(global_rank=r, world_size=world_size, lightning_module=None, fit_loop=loop)  # type: ignore[assignment]


def test_training_batches(data: WeatherDataModule) -> None:
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 10
    for batch in batches:
        assert batch["high"].shape == (4, 2, 8, 16)
        assert batch["low"].shape == (4, 2, 2 + 2 * HALO, 4 + 2 * HALO)
        assert batch["conditioning"].shape == (4, 4, 8, 16)
        assert batch["time"].shape == batch["index"].shape == (4,)
        assert all(batch[name].dtype == torch.float32 for name in ("high", "low", "conditioning"))
    seen = torch.cat([b["index"] for b in batches])
    assert sorted(seen.tolist()) == sorted(4 * list(range(10)))


@pytest.mark.parametrize(
    ("stage", "block"), [("val", range(11, 13)), ("test", range(14, 17)), ("predict", range(14, 17))]
)
def test_whole_fields(data: WeatherDataModule, source_data: xr.Dataset, stage: str, block: range) -> None:
    batches = list(getattr(data, f"{stage}_dataloader")())
    assert [int(b["index"]) for b in batches] == list(block)
    for batch, i in zip(batches, block, strict=True):
        assert batch["high"].shape == (1, 2, 24, 48) and batch["low"].shape == (1, 2, 6 + 2 * HALO, 12 + 2 * HALO)
        np.testing.assert_array_equal(batch["high"][0, 0], source_data.t2m[i])
        assert np.datetime64(int(batch["time"]), "s") == source_data.time.values[i]


def test_whole_fields_in_training(store_path: str) -> None:
    data = WeatherDataModule(store=store_path, patch=None, batch_size=3)
    data.setup("fit")
    loader, blocks = data.train_dataloader(), data.fields("train")
    orders = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        assert [b["high"].shape for b in batches] == [(3, 2, 24, 48)] * 3
        orders.append([int(i) for b in batches for i in b["index"]])
        for batch in batches:
            for j, i in enumerate(batch["index"].tolist()):
                for name, expected in blocks[i].items():
                    assert torch.equal(batch[name][j], expected), name  # type: ignore[literal-required, arg-type]
    assert all(len(set(order)) == 9 for order in orders) and orders[0] != orders[1]
    assert set(orders[0]) != set(orders[1])  # the field that is left out varies


def test_conditioning_is_static_and_position(store: PairStore, source_data: xr.Dataset) -> None:
    static, x, y, z = store.spec.conditioning().double().numpy()
    assert static.mean() == pytest.approx(0, abs=1e-6) and static.std(ddof=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(x**2 + y**2 + z**2, 1, rtol=1e-6)
    assert np.corrcoef(static.ravel(), source_data.orography.values.ravel())[0, 1] == pytest.approx(1)
    np.testing.assert_allclose(np.rad2deg(np.arcsin(z[:, 0])), source_data.latitude, atol=1e-4)
    np.testing.assert_allclose(np.rad2deg(np.arctan2(y, x))[5] % 360, source_data.longitude, atol=1e-4)


@pytest.mark.parametrize("world_size", [2, 4])
def test_every_field_goes_to_one_process(data: WeatherDataModule, world_size: int) -> None:
    """Three fields: uneven shares, and none at all for the fourth process."""
    shares = []
    for r in range(world_size):
        rank(data, r, world_size)
        shares.append([int(b["index"]) for b in data.test_dataloader()])
    assert sorted(i for s in shares for i in s) == [14, 15, 16]
    assert [len(s) for s in shares] == ([2, 1] if world_size == 2 else [1, 1, 1, 0])


def test_every_nth_time_is_evaluated_and_all_are_predicted(store_path: str) -> None:
    data = WeatherDataModule(store=store_path, evaluate_every=2)
    data.setup("test")
    loaders = (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader())
    assert [[int(b["index"]) for b in loader] for loader in loaders] == [[11], [14, 16], [14, 15, 16]]
    with pytest.raises(FdsrError, match=r"data.evaluate_every is 0"):
        WeatherDataModule(store=store_path, evaluate_every=0)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_training_shares_are_equal(data: WeatherDataModule, world_size: int) -> None:
    """Forty patches, four of each of ten steps, in batches of four."""
    shares = []
    for r in range(world_size):
        rank(data, r, world_size)
        shares.append([i for b in data.train_dataloader() for i in b["index"].tolist()])
    assert [len(s) for s in shares] == [{1: 40, 2: 20, 3: 12}[world_size]] * world_size
    seen = Counter(i for s in shares for i in s)
    assert max(seen.values()) == 4 and sum(4 - seen[i] for i in range(10)) == 40 - sum(map(len, shares))


def test_too_few_patches(store_path: str) -> None:
    data = WeatherDataModule(store=store_path, patch=(8, 16), batch_size=64, patches_per_step=4)
    data.setup("fit")
    with pytest.raises(FdsrError, match="raise patches_per_step"):
        data.train_dataloader()


def module(source: str, cache: Path, **changes: Any) -> WeatherDataModule:
    arguments: dict[str, Any] = {
        "variables": ["t2m", "u10"],
        "factor": 4,
        "split": dict(SPLIT),
        "static": ["orography"],
    }
    return WeatherDataModule(source=source, cache=str(cache), **(arguments | changes))


def test_the_store_is_made_once_in_the_cache(
    tmp_path: Path, source_path: str, store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def counted(*args: Any) -> Path:
        calls.append(args)
        return prepare(*args)

    monkeypatch.setattr(making, "prepare", counted)
    for _ in range(2):
        first = module(source_path, tmp_path)
        first.prepare_data()
        first.setup("fit")
        assert first.spec.fingerprint == store.spec.fingerprint
    assert len(calls) == 1 and len(list(tmp_path.iterdir())) == 1
    other = module(source_path, tmp_path, factor=2)
    other.prepare_data()
    assert len(calls) == 2 and len(list(tmp_path.iterdir())) == 2
    monkeypatch.setenv("FDSR_CACHE", str(tmp_path / "elsewhere"))
    assert WeatherDataModule(source=source_path, variables=["t2m"]).path.startswith(str(tmp_path / "elsewhere"))  # type: ignore[union-attr]


def test_a_store_at_its_own_path(tmp_path: Path, source_path: str) -> None:
    data = module(source_path, tmp_path, store=str(tmp_path / "mine.zarr"))
    data.prepare_data()
    assert PairStore(tmp_path / "mine.zarr").splits["test"] == (14, 17)


def coarse(store_path: str, path: Path, **changes: Any) -> str:
    """The pair store's coarse fields as anybody's CF dataset, south first."""
    with xr.open_zarr(store_path, consolidated=False) as ds:
        low = ds.low.load()
    fields = xr.Dataset({str(n): low.sel(low_channel=n, drop=True) for n in low.low_channel.values})
    fields = fields.rename(lat_low="latitude", lon_low="longitude").isel(latitude=slice(None, None, -1)).drop_encoding()
    return write_source(fields.assign_coords(changes), path)


def test_predict_from_coarse_fields(tmp_path: Path, data: WeatherDataModule, store_path: str) -> None:
    plain = coarse(store_path, tmp_path / "coarse.zarr")
    expected = list(data.predict_dataloader())
    for low in (plain, store_path):
        other = WeatherDataModule(low=low)
        other.setup("predict")
        other.serve(data.spec)
        batches = list(other.predict_dataloader())
        assert len(batches) == 18 and "high" not in batches[0]
        for want in expected:
            have = batches[int(want["index"])]
            for name in ("low", "conditioning", "time"):
                assert torch.equal(have[name], want[name]), name


def test_coarse_fields_of_another_spacing(tmp_path: Path, store: PairStore, store_path: str, source_path: str) -> None:
    data = WeatherDataModule(low=source_path)
    with pytest.raises(FdsrError, match="need a trained model"):
        data.predict_dataloader()
    with pytest.raises(
        FdsrError, match=r"spaced 7\.5° × 7\.5°, 0\.25 times as far .*trained at 30° × 30°; .*any_spacing to true"
    ):
        data.serve(store.spec)
    data.low = str(prepare(pair_config(source_path, factor=(2, 2)), tmp_path / "pairs.zarr"))
    with pytest.raises(FdsrError, match="factor"):
        data.serve(store.spec)
    anyhow = WeatherDataModule(low=source_path, any_spacing=True, low_static=source_path)
    assert anyhow.serve(store.spec).shape == (96, 192)


def test_coarse_fields_with_holes(tmp_path: Path, store: PairStore, store_path: str) -> None:
    path = coarse(store_path, tmp_path / "coarse.zarr")
    ds = xr.open_zarr(path, consolidated=False).load()
    ds.u10[2, 1, 1] = np.nan
    data = WeatherDataModule(low=write_source(ds, tmp_path / "holes.zarr"))
    data.serve(store.spec)
    with pytest.raises(FdsrError, match=r"u10.*2020-01-01T12"):
        list(data.predict_dataloader())
    data.low = write_source(ds.drop_vars("t2m"), tmp_path / "lacking.zarr")
    with pytest.raises(FdsrError, match="no variable 't2m'"):
        data.serve(store.spec)


def test_refused(tmp_path: Path, store_path: str, source_path: str) -> None:
    with pytest.raises(FdsrError, match=r"data\.store"):
        WeatherDataModule()
    with pytest.raises(FdsrError, match="does not exist"):
        WeatherDataModule(store=str(tmp_path / "none.zarr")).setup("fit")
    with pytest.raises(FdsrError, match="has the variables t2m, u10, not msl"):
        WeatherDataModule(store=store_path, source=source_path, variables=["msl"]).setup("fit")
    for setting, words in (
        ({"factor": 2}, r"prepared with factor \[4, 4\], not \[2, 2\]"),
        ({"missing": "mask"}, "prepared with missing None, not mask"),
        ({"variables": ["t2m"]}, "has the variables t2m, u10, not t2m"),
    ):
        with pytest.raises(FdsrError, match=words):
            WeatherDataModule(store=store_path, **setting).setup("fit")
    WeatherDataModule(store=store_path, variables=["t2m", "u10"], factor=4, static=[]).setup("fit")
    with pytest.raises(FdsrError, match="--ckpt_path"):
        _ = WeatherDataModule(low=store_path).spec
    only_train = WeatherDataModule(
        store=str(prepare(pair_config(source_path, split={"train": 10}), tmp_path / "pairs.zarr"))
    )
    only_train.setup("test")
    assert only_train.val_dataloader() == []
    with pytest.raises(FdsrError, match="no 'test' block"):
        only_train.test_dataloader()


def test_shifted_patches_carry_their_own_coarse_fields(store_path: str) -> None:
    data = WeatherDataModule(store=store_path, patch=(8, 16), batch_size=4, patches_per_step=8, shift=True)
    data.setup("fit")
    spec = data.spec
    keys = list(data.train_dataloader().sampler)
    assert {k.row_shift for k in keys} == {0, 1, 2, 3} == {k.column_shift for k in keys}
    dataset = weather.PatchDataset(data.store, (8, 16))  # type: ignore[arg-type]
    weights = latitude_weights(spec.grid.rows)
    for key in keys[:40]:
        item = dataset[key]
        top = key.row + key.row_shift
        assert 0 <= top <= spec.shape[0] - 8
        own = coarsen(item["high"].numpy(), weights[top : top + 8], spec.factor)
        np.testing.assert_allclose(item["low"][:, HALO:-HALO, HALO:-HALO], own, rtol=1e-5)


def test_a_shift_by_nothing_reads_the_stored_coarse_fields(store_path: str) -> None:
    """Coarsening anew and reading the store agree, halo and date line included."""
    data = WeatherDataModule(store=store_path, patch=(8, 16), batch_size=4)
    data.setup("fit")
    dataset = weather.PatchDataset(data.store, (8, 16))  # type: ignore[arg-type]
    for row, column in ((0, 0), (16, 44), (8, 20)):
        stored = dataset[PatchKey(0, row, column)]["low"]
        # moved by a whole coarse cell, the same cells are coarsened from the fine field
        anew = dataset[PatchKey(0, row, column - 4, 0, 4)]["low"]
        np.testing.assert_allclose(anew, stored, rtol=1e-5)


def test_a_store_that_another_process_makes_meanwhile(
    tmp_path: Path, source_path: str, store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes into being between the look whether it is there and its preparation."""
    data = WeatherDataModule(
        store=str(tmp_path / "pairs.zarr"), source=source_path, variables=["t2m", "u10"], split=SPLIT
    )
    ours = making.prepare

    def beaten(config: Any, target: str) -> None:
        shutil.copytree(store_path, target)
        ours(config, target)

    monkeypatch.setattr(making, "prepare", beaten)
    data.prepare_data()
    data.setup("fit")
    with pytest.raises(FdsrError, match="exists already"):
        prepare(pair_config(source_path), tmp_path / "pairs.zarr")


def test_levels_are_found_under_their_names_in_the_store(tmp_path: Path) -> None:
    ds = make_source(variables=("t2m",))
    ds["z"] = ds.t2m.expand_dims(plev=[1000.0, 500.0], axis=1) * 10 + ds.t2m.mean("longitude")
    data = WeatherDataModule(
        source=write_source(ds, tmp_path / "levels.zarr"), variables=["z@500/1000", "warmth=t2m"], split=SPLIT,
        cache=str(tmp_path / "cache"),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    assert data.spec.high_channels == ["z500", "z1000", "warmth"]


def test_flips_of_a_transformed_wind_are_refused(tmp_path: Path, source_path: str) -> None:
    data = WeatherDataModule(
        source=source_path, variables=["u10"], split=SPLIT, transforms={"u10": {"name": "sqrt"}}, patch=(8, 16),
        batch_size=4, flips=["longitude"], cache=str(tmp_path),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    with pytest.raises(FdsrError, match="changes the sign of 'u10'"):
        data.train_dataloader()
