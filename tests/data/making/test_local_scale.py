"""The local scale of the residual: measured as it says, and added to a store that was prepared without it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dctn
from synthetic import interpolate

from fdsr.data import PairStore
from fdsr.data.making import local_scale
from fdsr.data.making.local_scale import FLOOR, SIDE, LocalSums, has_local_scale, require_local_scale
from fdsr.data.zarr_groups import consolidate


def files(path: Path) -> Iterator[tuple[str, bytes]]:
    return ((str(f.relative_to(path)), f.read_bytes()) for f in sorted(path.rglob("*")) if f.is_file())


@pytest.fixture
def old_store(store_path: str, tmp_path: Path) -> Path:
    """The tiny store as an earlier version of fdsr left it."""
    path = Path(shutil.copytree(store_path, tmp_path / "old.zarr"))
    for name in ("local_scale", "power_local"):
        shutil.rmtree(path / name)
    consolidate(str(path))
    assert not has_local_scale(path)
    return path


def test_is_the_smoothed_deviation_of_the_train_block(store: PairStore) -> None:
    """Recomputed with numpy: squares of 9 × 9 points that run over the date line and repeat the last row."""
    high, low = (np.asarray(store.group[name][:10], np.float64) for name in ("high", "low"))
    spec, half = store.spec, SIDE // 2
    unit = (spec.high_std * spec.residual_std).numpy()[:, None, None]
    residual = (high - interpolate(low, (4, 4), "bicubic", periodic=True)) / unit
    square = np.pad((residual**2).mean(0), ((0, 0), (0, 0), (half, half)), mode="wrap")
    square = np.pad(square, ((0, 0), (half, half), (0, 0)), mode="edge")
    rms = np.sqrt(sliding_window_view(square, (SIDE, SIDE), axis=(1, 2)).mean((-2, -1)))
    scale = np.maximum(rms, FLOOR * rms.mean((1, 2), keepdims=True))
    scale = scale * np.sqrt(((residual / scale) ** 2).mean((0, 2, 3)))[:, None, None]
    assert spec.local_scale is not None and spec.power_local is not None
    np.testing.assert_allclose(spec.local_scale, scale, rtol=1e-3)
    power = (dctn(residual / scale, axes=(-2, -1), norm="ortho") ** 2).mean(0)
    np.testing.assert_allclose(spec.power_local, power, rtol=2e-2, atol=1e-3)
    np.testing.assert_allclose(spec.power_local.mean((1, 2)), 1, rtol=1e-4)


def test_is_added_to_an_old_store_and_nothing_else_changes(old_store: Path, store: PairStore) -> None:
    before = dict(files(old_store))
    require_local_scale(old_store)
    spec = PairStore(old_store).spec
    np.testing.assert_array_equal(spec.local_scale, store.spec.local_scale)
    np.testing.assert_array_equal(spec.power_local, store.spec.power_local)
    assert spec.fingerprint == store.spec.fingerprint
    after = dict(files(old_store))
    changed = {name for name in after if before.get(name) != after[name]}
    assert {name.split("/")[0] for name in changed} == {"zarr.json", "local_scale", "power_local"}
    assert [p.name for p in old_store.parent.iterdir()] == ["old.zarr"]  # no lock is left


def test_is_measured_once(old_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_local_scale(old_store)
    monkeypatch.setattr(local_scale, "add_local_scale", lambda path: pytest.fail("measured again"))
    require_local_scale(old_store)


def test_an_interrupted_addition_is_not_seen_and_done_again(old_store: Path, store: PairStore) -> None:
    group = zarr.open_group(str(old_store), mode="r+", use_consolidated=False)
    group.create_array("local_scale", data=np.zeros((2, 24), np.float32))  # killed before the metadata say so
    assert not has_local_scale(old_store) and PairStore(old_store).spec.local_scale is None
    require_local_scale(old_store)
    np.testing.assert_array_equal(PairStore(old_store).spec.local_scale, store.spec.local_scale)


def test_a_long_block_is_measured_by_a_sample_of_its_steps(
    old_store: Path, store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_scale, "STEPS", 6)
    require_local_scale(old_store)
    spec = PairStore(old_store).spec
    assert spec.local_scale is not None and store.spec.local_scale is not None
    ratio = spec.local_scale / store.spec.local_scale
    assert 0 < float((ratio - 1).abs().max()) < 0.5


def test_gaps_quiet_places_and_channels_without_a_residual() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 3, 40, 40))
    x[:, 0, :, :20] *= 1e-3  # next to nothing happens
    x[:, 1, :, 20:] = np.nan  # never present
    x[:, 2] = 0.0
    sums = LocalSums.of(x[0])
    for field in x[1:]:
        sums = sums + LocalSums.of(field)
    scale = sums.scale(periodic=False)
    assert np.isfinite(scale).all() and (scale > 0).all()
    np.testing.assert_allclose(np.nanmean((x[:, :2] / scale[:2]) ** 2, axis=(0, 2, 3)), 1, rtol=1e-9)
    assert scale[0, :, 30:].mean() / scale[0, :, :10].mean() == pytest.approx(1 / (FLOOR * 0.53), rel=0.1)
    np.testing.assert_allclose(scale[1, :, :15], 1, rtol=0.1)
    np.testing.assert_array_equal(scale[2], 1)
