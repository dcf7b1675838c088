"""Batches against a plain reading of the store: patches, augmentations, caches, readers, worker processes."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_source, pair_config, write_source

from fdsr.data import PairStore, WeatherDataModule, prepare
from fdsr.data.interpolate import HALO
from fdsr.data.serving.cache import StepCache
from fdsr.data.serving.datasets import PatchDataset
from fdsr.data.serving.patches import PatchKey
from fdsr.data.serving.readers import READERS, Reader

H, W = 24, 48


@pytest.fixture(scope="session")
def regional_path(world: Path, source_data: xr.Dataset) -> str:
    """A store whose longitudes do not close the circle."""
    source = write_source(source_data.isel(longitude=slice(0, 32)), world / "regional.zarr")
    return str(prepare(pair_config(source), world / "regional-pairs.zarr"))


@cache
def opened(store_path: str) -> tuple[PairStore, xr.Dataset]:
    return PairStore(store_path), xr.open_zarr(store_path, consolidated=False).load()


def expected(store_path: str, key: PatchKey, patch: tuple[int, int]) -> dict[str, np.ndarray]:
    """The patch by xarray and numpy's padding, for unshifted keys."""
    store, ds = opened(store_path)
    high, low, spec = ds.high[key.time].values, ds.low[key.time].values, store.spec
    (h, w), (fy, fx) = patch, spec.factor
    wrap = "wrap" if spec.periodic else "edge"
    everything = {"high": high, "conditioning": spec.conditioning().numpy()}
    out = {
        name: np.pad(field, ((0, 0), (0, 0), (0, w)), mode="wrap")[
            :, key.row : key.row + h, key.column : key.column + w
        ]
        for name, field in everything.items()
    }
    padded = np.pad(low, ((0, 0), (0, 0), (HALO, HALO + w // fx)), mode=wrap)
    padded = np.pad(padded, ((0, 0), (HALO, HALO), (0, 0)), mode="edge")
    out["low"] = padded[
        :, key.row // fy : (key.row + h) // fy + 2 * HALO, key.column // fx : (key.column + w) // fx + 2 * HALO
    ]
    for name, field in out.items():
        if key.flip_rows:
            field = field[:, ::-1]
        if key.flip_columns:
            field = field[:, :, ::-1]
        if name != "conditioning" and key.flip_columns:  # t2m, u10
            field = field * np.array([1, -1], np.float32)[:, None, None]
        out[name] = field
    return out


@settings(max_examples=40)
@given(data=st.data(), periodic=st.booleans())
def test_patches(store_path: str, regional_path: str, data: st.DataObject, periodic: bool) -> None:
    """Any place, date line and poles included, mirrored or not: static fields and position along, u reversed."""
    path, width = (store_path, W) if periodic else (regional_path, 32)
    h, w = 4 * data.draw(st.integers(1, H // 4)), 4 * data.draw(st.integers(1, width // 4))
    keys = [
        PatchKey(
            data.draw(st.integers(0, 17)),
            4 * data.draw(st.integers(0, (H - h) // 4)),
            4 * data.draw(st.integers(0, width // 4 - 1 if periodic else (width - w) // 4)),
            flip_rows=data.draw(st.booleans()),
            flip_columns=data.draw(st.booleans()),
        )
        for _ in range(3)
    ]
    batch = PatchDataset(opened(path)[0], (h, w)).__getitems__(keys)
    for j, key in enumerate(keys):
        for name, field in expected(path, key, (h, w)).items():
            np.testing.assert_array_equal(batch[name][j].numpy(), field, err_msg=f"{name} {key}")  # type: ignore[literal-required]
        assert int(batch["index"][j]) == key.time


def test_a_mirrored_shifted_patch_is_the_mirror_of_the_shifted_patch(store_path: str) -> None:
    dataset = PatchDataset(PairStore(store_path), (8, 16))
    key = PatchKey(3, 8, 40, 2, 3)
    plain, mirrored = dataset[key], dataset[key._replace(flip_rows=True, flip_columns=True)]
    sign = torch.tensor([1.0, -1.0])[:, None, None]
    for name in ("high", "low"):
        assert torch.equal(mirrored[name], plain[name].flip(-2, -1) * sign)  # type: ignore[literal-required]
    assert torch.equal(mirrored["conditioning"], plain["conditioning"].flip(-2, -1))


class Counting(Reader):
    """Counts what it is asked to decode."""

    name = "counting"

    def __init__(self, inner: Reader) -> None:
        super().__init__(inner.array, 1)
        self.inner, self.decoded = inner, Counter[int]()

    def read_step(self, step: int, out: Any) -> None:
        self.decoded[step] += 1
        self.inner.read_step(step, out)


def counted(store: PairStore) -> Counting:
    store.high = Counting(store.high)
    store._cache = StepCache(store.high, store.low, store.cached_steps)
    return store.high


@pytest.fixture(scope="session")
def long_path(world: Path) -> str:
    """Forty training steps, more than the caches of these tests hold."""
    source = write_source(make_source(times=46, rows=8, columns=16), world / "long.zarr")
    return str(prepare(pair_config(source, split={"train": 40, "test": 3}), world / "long-pairs.zarr"))


@pytest.mark.parametrize("cached_steps", [2, 8, 64])
def test_each_step_is_decoded_once_an_epoch(long_path: str, cached_steps: int) -> None:
    data = WeatherDataModule(store=long_path, patch=(4, 4), batch_size=6, patches_per_step=6, cached_steps=cached_steps)
    data.store = PairStore(long_path, cached_steps, resident_bytes=0)
    reader = counted(data.store)
    loader = data.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        assert Counter(i for b in loader for i in b["index"].tolist()) == dict.fromkeys(range(40), 6)
        # what the last epoch left in memory may save a few
        assert set(reader.decoded) == set(range(40)) and max(reader.decoded.values()) == (
            1 if cached_steps == 64 else 1 + epoch
        )


def test_a_small_store_is_decoded_once_for_all(long_path: str) -> None:
    data = WeatherDataModule(store=long_path, patch=None, batch_size=4, cached_steps=1)
    data.setup("fit")
    assert data.store is not None and data.store.resident
    reader = counted(data.store)
    for _ in range(3):
        list(data.train_dataloader())
    list(data.test_dataloader())
    assert reader.decoded == dict.fromkeys([*range(40), 41, 42, 43], 1)


def test_evaluation_leaves_the_steps_of_patches_in_memory(long_path: str) -> None:
    store = PairStore(long_path, cached_steps=4, resident_bytes=0)
    reader = counted(store)
    store.steps([0, 1, 2, 3])
    out = np.empty((6, *store.high.shape[1:]), np.float32)
    store.read_fields([9, 2, 8, 0, 7, 6], out, None)
    store.steps([0, 1, 2, 3])
    assert reader.decoded == {**dict.fromkeys([0, 1, 2, 3], 1), **dict.fromkeys([9, 8, 7, 6], 1)}
    with xr.open_zarr(long_path, consolidated=False) as ds:
        np.testing.assert_array_equal(out, ds.high.values[[9, 2, 8, 0, 7, 6]])


def batches(data: WeatherDataModule) -> list[dict[str, torch.Tensor]]:
    data.setup("fit")
    return [*data.train_dataloader(), *data.test_dataloader()]


def same(a: list[dict[str, torch.Tensor]], b: list[dict[str, torch.Tensor]]) -> bool:
    return len(a) == len(b) > 0 and all(
        x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x) for x, y in zip(a, b, strict=True)
    )


@pytest.fixture
def stream(long_path: str) -> Callable[..., WeatherDataModule]:
    def make(**changes: Any) -> WeatherDataModule:
        arguments: dict[str, Any] = {"patch": (4, 8), "batch_size": 8, "patches_per_step": 4, "shift": True, "roll": True,
                                     "flips": ["longitude", "latitude"]}  # fmt: skip
        return WeatherDataModule(store=long_path, **(arguments | changes))

    return make


@pytest.mark.parametrize(
    "changes", [{"reader": name} for name in READERS] + [{"reader_threads": 3}, {"prefetch": 0}, {"prefetch": 5}]
)
def test_how_it_is_read_changes_nothing(stream: Callable[..., WeatherDataModule], changes: dict[str, Any]) -> None:
    assert same(batches(stream(**changes)), batches(stream()))


@pytest.mark.slow
def test_worker_processes_change_nothing(stream: Callable[..., WeatherDataModule]) -> None:
    assert same(batches(stream(num_workers=2, reader="tensorstore")), batches(stream()))


def test_a_store_can_be_sent_to_another_process(long_path: str) -> None:
    store = PairStore(long_path, cached_steps=5, reader="zarr", resident_bytes=0)
    store.steps([1, 2])
    other = pickle.loads(pickle.dumps(store))
    assert (other.path, other.cached_steps, other.resident, other.high.name) == (long_path, 5, False, "zarr")
    assert all(torch.equal(a, b) for a, b in zip(other.read(7), store.read(7), strict=True))


def test_what_is_shared_cannot_be_written_to(long_path: str) -> None:
    store = PairStore(long_path)
    with pytest.raises(ValueError, match="read-only"):
        store.steps([1])[1].high[:] = 0
    high, _ = store.read(1)
    high.zero_()
    assert store.read(1)[0].any()


@pytest.mark.parametrize("changes", [{}, {"patch": None, "batch_size": 3}, {"cached_steps": 4, "batch_size": 5}])
@pytest.mark.parametrize("done", [0, 1, 6])
def test_a_resumed_epoch_goes_on_where_it_stopped(
    stream: Callable[..., WeatherDataModule], changes: dict[str, Any], done: int
) -> None:
    """Batches and all that is drawn for them; the epoch after begins at its beginning."""

    def epochs(processed: int) -> list[list[dict[str, torch.Tensor]]]:
        data = stream(**changes)
        progress = SimpleNamespace(current=SimpleNamespace(processed=processed))
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        data.trainer = SimpleNamespace(global_rank=0, world_size=1, lightning_module=None, fit_loop=loop)  # type: ignore[assignment]
        data.setup("fit")
        loader = data.train_dataloader()
        iter(loader)  # trainers look whether they can
        found = []
        for epoch in (2, 3):
            loader.sampler.set_epoch(epoch)
            found.append(list(loader))
        return found

    whole, resumed = epochs(0), epochs(done)
    assert len(whole[0]) > 6 and same(resumed[0], whole[0][done:]) and same(resumed[1], whole[1])


def test_undated_times_are_told_apart_by_fractions_too(tmp_path: Path) -> None:
    """Noise is drawn by these numbers: equal ones would draw it alike."""
    ds = make_source(times=12).assign_coords(time=("time", 0.25 * np.arange(12)))
    data = WeatherDataModule(
        str(
            prepare(
                pair_config(write_source(ds, tmp_path / "s.zarr"), split={"train": 8, "test": 3}), tmp_path / "p.zarr"
            )
        )
    )
    data.setup("test")
    fields = data.fields("test")
    assert [int(fields[i]["time"]) for i in range(3)] == [9, 10, 11]
