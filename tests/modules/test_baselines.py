"""Interpolation and the dressed baseline do what their names say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from scipy.fft import dctn
from synthetic import interpolate
from torch.nn import functional

from fdsr.callbacks.score_recorder import ScoreRecorder
from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.data.interpolate import HALO
from fdsr.errors import FdsrError
from fdsr.modules import (
    DownscalingModule,
    DressedModule,
    InterpolationModule,
    RegressionModule,
    load_module,
    save_pretrained,
)

Build = Callable[..., DownscalingModule]


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_interpolation_is_torch_interpolate(build: Build, field_batch: WeatherBatch, method: str) -> None:
    out = build("InterpolationModule", method=method).generate(field_batch, members=5, seed=1)
    assert out.shape == (2, 1, 2, 24, 48)
    fine = functional.interpolate(field_batch["low"], scale_factor=4, mode=method)
    torch.testing.assert_close(out[:, 0], fine[..., 4 * HALO : -4 * HALO, 4 * HALO : -4 * HALO], rtol=1e-5, atol=1e-4)


def test_interpolation_is_not_trained(data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer]) -> None:
    with pytest.raises(FdsrError, match="nothing to train"):
        quiet_trainer(max_steps=1).fit(InterpolationModule(), datamodule=data)


@pytest.fixture(scope="module")
def dressed(store_path: str) -> DressedModule:
    data = WeatherDataModule(store=store_path, patch=(8, 16))
    module = DressedModule(members=64)
    trainer = L.Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                        enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0)  # fmt: skip
    trainer.fit(module, datamodule=data)
    return module.eval()


@pytest.fixture(scope="module")
def train_residual(store_path: str) -> np.ndarray:
    """Standardised error of bicubic interpolation over the train block (10, 2, 24, 48), by numpy."""
    store = PairStore(store_path)
    high, low = (np.asarray(store.group[name][:10], np.float64) for name in ("high", "low"))
    std = store.spec.high_std.numpy()[:, None, None]
    return (high - interpolate(low, (4, 4), "bicubic", periodic=True)) / std


def test_dressing_measures_its_own_error(dressed: DressedModule, train_residual: np.ndarray) -> None:
    variance = (train_residual**2).mean(0)
    padded = np.pad(np.pad(variance, ((0, 0), (0, 0), (2, 2)), mode="wrap"), ((0, 0), (2, 2), (0, 0)), mode="edge")
    smooth = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2)).mean((-2, -1))
    np.testing.assert_allclose(dressed.local_std, np.sqrt(smooth), rtol=1e-3)
    power = (dctn(train_residual / np.sqrt(smooth), axes=(-2, -1), norm="ortho") ** 2).mean(0)
    np.testing.assert_allclose(dressed.power, power, rtol=2e-2, atol=1e-3)


def test_dressed_ensemble_has_the_spread_of_that_error(
    dressed: DressedModule, build: Build, field_batch: WeatherBatch, train_residual: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(dressed, "conserve", "none")  # as it was measured
    ensemble = dressed.generate(field_batch, 64, 0)
    assert ensemble.shape == (2, 64, 2, 24, 48)
    std = dressed.spec.high_std.float()[:, None, None]
    mean = build("InterpolationModule").generate(field_batch)
    noise = ((ensemble - mean) / std).flatten(0, 1)
    # unbiased: the mean of 128 fields is bicubic, to about 1/sqrt(128) of its noise
    assert (noise.mean(0).square().mean((1, 2)) < 3 / 128 * noise.square().mean((0, 2, 3))).all()
    # variance, over all and in bands of latitude
    np.testing.assert_allclose(noise.square().mean((0, 2, 3)), (train_residual**2).mean((0, 2, 3)), rtol=0.1)
    for rows in (slice(0, 8), slice(8, 16), slice(16, 24)):
        found, want = noise[..., rows, :].square().mean((0, 2, 3)), (train_residual[:, :, rows] ** 2).mean((0, 2, 3))
        np.testing.assert_allclose(found, want, rtol=0.25)
    # spectrum, in rings of the cosine basis
    k = np.hypot(np.arange(24)[:, None] / 48, np.arange(48)[None, :] / 96)
    for low, high in ((0.05, 0.12), (0.12, 0.2), (0.2, 0.35), (0.35, 0.71)):
        ring = (k >= low) & (k < high)
        power = [
            (dctn(x, axes=(-2, -1), norm="ortho") ** 2).mean(0)[:, ring].mean(1)
            for x in (noise.numpy(), train_residual)
        ]
        np.testing.assert_allclose(power[0], power[1], rtol=0.35)


def test_dressed_members_are_seeded_by_time_and_number(dressed: DressedModule, field_batch: WeatherBatch) -> None:
    first = dressed.generate(field_batch, 3, 7)
    torch.testing.assert_close(dressed.generate(field_batch, 2, 7), first[:, :2])
    second = {k: v[1:] for k, v in field_batch.items()}
    torch.testing.assert_close(dressed.generate(second, 3, 7), first[1:])  # type: ignore[arg-type]
    assert not torch.allclose(dressed.generate(field_batch, 3, 8), first)
    noise = first - first.mean(1, keepdim=True)
    assert not torch.allclose(noise[0], noise[1], rtol=0.1)


def test_dressing_in_the_errors_of_validation(store_path: str, quiet_trainer: Callable[..., L.Trainer]) -> None:
    """Of one deviation for all places: that of interpolation's error over the validation block, by numpy."""
    module, store = DressedModule(smoothing=None, errors="val"), PairStore(store_path)
    quiet_trainer(max_epochs=2).fit(module, datamodule=WeatherDataModule(store=store_path, patch=(8, 16)))
    first, end = store.splits["val"]
    high, low = (np.asarray(store.group[name][first:end], np.float64) for name in ("high", "low"))
    error = (high - interpolate(low, (4, 4), "bicubic", periodic=True)) / store.spec.high_std.numpy()[:, None, None]
    np.testing.assert_allclose(module.local_std[:, 0, 0], np.sqrt((error**2).mean((0, 2, 3))), rtol=1e-3)


def test_dressed_survives_saving(dressed: DressedModule, field_batch: WeatherBatch, tmp_path: Path) -> None:
    before = dressed.generate(field_batch, 2, 0)
    again = load_module(save_pretrained(dressed, tmp_path / "model"))
    torch.testing.assert_close(again.generate(field_batch, 2, 0), before)


def test_unfitted_dressing_says_so(build: Build, field_batch: WeatherBatch, store: PairStore) -> None:
    module = DressedModule()
    module.attach(store.spec)
    with pytest.raises(FdsrError, match="has not been fitted"):
        module.generate(field_batch, 2, 0)


def test_a_regression_of_which_members_were_asked_has_one(
    build: Build, data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    recorder = ScoreRecorder(tmp_path, "regression")
    trainer = quiet_trainer(limit_test_batches=1, callbacks=[recorder])
    trainer.test(build("RegressionModule", members=8), datamodule=data, verbose=False)
    assert {row["members"] for row in recorder.folder.table.read()} == {"1"}


@pytest.mark.parametrize("smoothing", [0, 4, 25])
def test_a_square_that_does_not_fit_is_refused(smoothing: int, store: PairStore) -> None:
    with pytest.raises(FdsrError, match=f"smoothing is {smoothing}; an odd number up to 24"):
        DressedModule(smoothing=smoothing).attach(store.spec)


def test_what_cannot_be_dressed_is_refused(
    build: Build, data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    ensemble = save_pretrained(build("DDPMModule"), tmp_path / "ddpm")
    with pytest.raises(FdsrError, match="holds a DDPMModule, which draws an ensemble"):
        DressedModule(str(ensemble))
    with pytest.raises(FdsrError, match=r"set trainer\.max_epochs to 2"):
        quiet_trainer(max_epochs=1).fit(DressedModule(), datamodule=data)


def test_regression_is_deterministic_and_starts_at_interpolation(
    build: Build, field_batch: WeatherBatch, store: PairStore
) -> None:
    module = build("RegressionModule")
    a, b = module.generate(field_batch, 8, 0), module.generate(field_batch, 1, 5)
    assert a.shape == (2, 1, 2, 24, 48) and torch.equal(a, b)
    network = {"width": 8, "multipliers": [1, 2], "time_embedding": False}
    fresh = RegressionModule(backbone_args=network, conserve="none")
    fresh.attach(store.spec)
    torch.testing.assert_close(fresh.eval().generate(field_batch), build("InterpolationModule").generate(field_batch))
