"""Local scale of x_0: at the right places, self-contained, without effect where it is 1; and the one that a regression predicts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import pytest
import torch
from scipy.fft import dctn
from synthetic import TINY_UNET

import fdsr.modules
from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.data.zarr_groups import consolidate
from fdsr.diffusion import GaussianLikelihood, SpectralPreconditioning
from fdsr.errors import FdsrError
from fdsr.modules import DownscalingModule, DressedModule, RegressionModule, load_module, save_pretrained
from fdsr.modules.field_codec import FieldCodec
from fdsr.modules.generative import GenerativeModule
from fdsr.modules.two_stages import measured, read_regression

Build = Callable[..., DownscalingModule]
Trainer = Callable[..., L.Trainer]
NET = TINY_UNET | {"time_embedding": False}
METHODS: dict[str, dict[str, Any]] = {
    "DDPMModule": {"precondition": SpectralPreconditioning()},
    "FourierDDPMModule": {},
    "DDGANModule": {},
    "CRPSModule": {"backbone_args": NET, "members": 2},
}


def whole(data: WeatherDataModule, split: str = "train") -> WeatherBatch:
    block = data.fields(split)
    return cast(WeatherBatch, torch.utils.data.default_collate([block[i] for i in range(len(block))]))


@pytest.fixture
def gaussian(build: Build, tmp_path: Path) -> tuple[RegressionModule, str]:
    """A regression that predicts a deviation, with random weights, and the folder that holds it."""
    module = build("RegressionModule", likelihood=GaussianLikelihood(), conserve="none")
    return cast(RegressionModule, module), str(save_pretrained(module, tmp_path / "gaussian"))


@pytest.mark.parametrize("method", METHODS)
def test_a_scale_of_one_changes_nothing(
    method: str, build: Build, store: PairStore, data: WeatherDataModule, field_batch: WeatherBatch
) -> None:
    plain, scaled = (
        cast(GenerativeModule, build(method, local_scale=scale, **METHODS[method]))
        for scale in ("none", "climatological")
    )
    spec = store.spec
    scaled._recode(
        replace(spec, local_scale=torch.ones(2, *spec.shape), power_local=spec.power_residual), scaled.codec.stage
    )
    scaled.load_state_dict(plain.state_dict())
    assert torch.equal(scaled.generate(field_batch, 2, 0), plain.generate(field_batch, 2, 0))
    patches = next(iter(data.train_dataloader()))
    if method != "DDGANModule":  # which has no single loss
        losses = [m.loss(patches, torch.Generator().manual_seed(0)) for m in (plain, scaled)]
        assert torch.equal(*losses)
    targets = [m.codec.to_target(patches["high"], m.codec.encode(patches)) for m in (plain, scaled)]
    assert torch.equal(*targets)


@pytest.mark.parametrize("rolled", [False, True])
def test_patches_have_the_scale_of_their_places(store_path: str, rolled: bool) -> None:
    """A scale that is a function of the conditioning, which patches carry, is the same function of theirs."""
    changes: dict[str, Any] = {"shift": True, "flips": ["longitude", "latitude"]} if rolled else {}
    data = WeatherDataModule(
        store=store_path,
        patch=(8, 48) if rolled else (8, 16),
        batch_size=16,
        patches_per_step=16,
        roll=rolled,
        **changes,
    )
    data.setup("fit")
    assert data.store is not None
    spec = data.store.spec
    places = spec.conditioning()
    scale = torch.stack([places[0], places[1] * places[2]]).exp()
    codec = FieldCodec(replace(spec, local_scale=scale), "residual", local_scale="climatological")
    for _, batch in zip(range(3), data.train_dataloader(), strict=False):
        given = batch["conditioning"]
        expected = torch.stack([given[:, 0], given[:, 1] * given[:, 2]], 1).exp() * spec.residual_std[:, None, None]
        found = codec.encode(batch).scale
        torch.testing.assert_close(found, expected.float())
        assert float(found[:, 0].std()) > 0.1 and found.shape == batch["high"].shape


def test_the_target_has_unit_mean_square_and_comes_back(store: PairStore, data: WeatherDataModule) -> None:
    codec, plain, batch = FieldCodec(store.spec, local_scale="climatological"), FieldCodec(store.spec), whole(data)
    encoded = codec.encode(batch)
    x_0 = codec.to_target(batch["high"], encoded)
    torch.testing.assert_close(x_0.square().mean((0, 2, 3)), torch.ones(2), rtol=1e-4, atol=0)
    torch.testing.assert_close(codec.from_target(x_0, encoded), batch["high"], rtol=1e-5, atol=1e-4)
    # more even from place to place than without
    spreads = [c.to_target(batch["high"], c.encode(batch)).square().mean(0).flatten(1).std(1) for c in (codec, plain)]
    assert bool((spreads[0] < spreads[1]).all())


@pytest.mark.parametrize("method", METHODS)
def test_trains_on_an_old_store_and_its_checkpoint_needs_no_store(
    method: str, store_path: str, field_batch: WeatherBatch, quiet_trainer: Trainer, tmp_path: Path
) -> None:
    """The scale is measured on first need, saved with the weights, and taken from there."""
    path = Path(shutil.copytree(store_path, tmp_path / "old.zarr"))
    shutil.rmtree(path / "power_local")
    consolidate(str(path))
    data = WeatherDataModule(store=str(path), patch=(8, 16), batch_size=4, patches_per_step=4)
    given = {"DDGANModule": {"discriminator_args": {"width": 8, "multipliers": [1, 2]}}}.get(method, {})
    arguments = {"backbone_args": TINY_UNET, "members": 2, "local_scale": "climatological"} | given | METHODS[method]
    module = getattr(fdsr.modules, method)(**arguments)
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = load_module(tmp_path / "a.ckpt")
    expected = again.generate(field_batch, 2, 0)
    assert bool(expected.isfinite().all())
    # a store whose own scale is not known, or another: the model's is the one that it was trained with
    shutil.rmtree(path / "power_local")
    consolidate(str(path))
    other = WeatherDataModule(store=str(path), patch=(8, 16), batch_size=4)
    other.setup("test")
    fresh = getattr(fdsr.modules, method)(**arguments)
    fresh.attach(other.spec)
    with pytest.raises(FdsrError, match="knows no local scale"):
        fresh.generate(field_batch, 2, 0)
    fresh.on_load_checkpoint(torch.load(tmp_path / "a.ckpt", weights_only=True))
    fresh.load_state_dict(again.state_dict())
    torch.testing.assert_close(fresh.eval().generate(field_batch, 2, 0), expected)


def test_scale_of_the_first_stages_own_residual(
    gaussian: tuple[RegressionModule, str], data: WeatherDataModule
) -> None:
    """Local deviation and power of what the regression leaves, by numpy from its forecasts in physical units."""
    stage = measured(read_regression(gaussian[1], data.spec, "data"), data.fields("train"), None, "climatological")
    batch, spec = whole(data), data.spec
    codec = FieldCodec(spec, "regression", None, stage, "climatological")
    x_0 = codec.to_target(batch["high"], codec.encode(batch))
    torch.testing.assert_close(x_0.square().mean((0, 2, 3)), torch.ones(2), rtol=1e-4, atol=0)
    forecast = gaussian[0].generate(batch)[:, 0].double().numpy()
    error = (batch["high"].double().numpy() - forecast) / spec.high_std.numpy()[:, None, None]
    from fdsr.data.making.local_scale import LocalSums

    sums = LocalSums((error**2).sum(0), np.full(error.shape[1:], 10.0))
    np.testing.assert_allclose(codec.target_scale, sums.scale(periodic=True), rtol=1e-3)
    power = (dctn(error / sums.scale(periodic=True), axes=(2, 3), norm="ortho") ** 2).mean(0)
    np.testing.assert_allclose(stage.power, power, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("told", [True, False])
def test_predicted_scale(gaussian: tuple[RegressionModule, str], data: WeatherDataModule, told: bool) -> None:
    stage = measured(read_regression(gaussian[1], data.spec, "data"), data.fields("train"), None, "predicted")
    batch, spec = whole(data), data.spec
    codec = FieldCodec(spec, "regression", None, stage, "predicted", told)
    encoded, (forecast, deviation) = codec.encode(batch), gaussian[0].moments(batch)
    assert deviation is not None and float(deviation.std()) > 0.01
    # the predicted deviation, corrected by one factor a channel
    ratio = encoded.scale / deviation
    torch.testing.assert_close(ratio, ratio.mean((0, 2, 3), keepdim=True).expand_as(ratio), rtol=1e-4, atol=0)
    x_0 = codec.to_target(batch["high"], encoded)
    torch.testing.assert_close(x_0.square().mean((0, 2, 3)), torch.ones(2), rtol=1e-4, atol=0)
    torch.testing.assert_close(codec.from_target(torch.zeros_like(x_0), encoded), forecast, rtol=1e-5, atol=1e-4)
    # power is that of x_0, after the division
    power = (dctn(x_0.double().numpy(), axes=(2, 3), norm="ortho") ** 2).mean(0)
    np.testing.assert_allclose(stage.power, power, rtol=2e-2, atol=1e-4)
    assert encoded.condition.shape[1] == codec.condition_channels == 2 + 1 + 3 + (4 if told else 0)
    if told:
        log = (deviation / spec.residual_std[:, None, None]).log()
        torch.testing.assert_close(encoded.condition[:, -2:], log.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_second_stage_on_a_predicted_scale_trains_and_comes_back(
    method: str, build: Build, gaussian: tuple[RegressionModule, str], data: WeatherDataModule, field_batch: WeatherBatch,
    quiet_trainer: Trainer, tmp_path: Path,
) -> None:  # fmt: skip
    arguments = METHODS[method] | {"target": "regression", "regression_ckpt": gaussian[1], "local_scale": "predicted"}
    module = cast(GenerativeModule, build(method, **arguments))
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "second.ckpt")
    shutil.rmtree(gaussian[1])
    expected = load_module(tmp_path / "second.ckpt").generate(field_batch, 2, 3)
    again = load_module(save_pretrained(load_module(tmp_path / "second.ckpt"), tmp_path / "folder"))
    assert torch.equal(again.generate(field_batch, 2, 3), expected) and bool(expected.isfinite().all())
    assert module.evaluations_per_member == module.sample_evaluations + 1


def test_dressing_uses_the_deviation_that_its_mean_predicts(
    gaussian: tuple[RegressionModule, str], data: WeatherDataModule, field_batch: WeatherBatch, quiet_trainer: Trainer
) -> None:
    module = DressedModule(mean=gaussian[1], members=200, conserve="none")
    quiet_trainer(max_epochs=2, limit_val_batches=0).fit(module, datamodule=data)
    batch = whole(data)
    forecast, deviation = gaussian[0].moments(batch)
    assert deviation is not None
    error = (batch["high"] - forecast) / data.spec.high_std.float()[:, None, None] / deviation
    torch.testing.assert_close(
        module.local_std.square().mean((1, 2)), error.square().mean((0, 2, 3)), rtol=0.05, atol=0
    )
    # spread in proportion to the predicted deviation
    forecast, deviation = gaussian[0].moments(field_batch)
    assert deviation is not None
    members = (module.generate(field_batch, 200, 0) - forecast[:, None]) / data.spec.high_std.float()[:, None, None]
    found = members.std(1) / (deviation * module.local_std)
    assert float(found.mean()) == pytest.approx(1, abs=0.02) and float(found.std()) < 0.08


@pytest.mark.slow
def test_a_gaussian_regression_recovers_a_known_mean_and_deviation(build: Build, field_batch: WeatherBatch) -> None:
    """Truths drawn anew at every step around a mean, with a deviation, that the position tells."""
    module = cast(RegressionModule, build("RegressionModule", likelihood=GaussianLikelihood(), lr=5e-3))
    torch.nn.init.zeros_(cast(torch.nn.Conv2d, module.network.head).weight)
    encoded, rng = module.fields.encode(field_batch), torch.Generator().manual_seed(0)
    north = encoded.condition[:, 5:6].expand(-1, 2, -1, -1)  # sine of latitude
    mean, deviation = 0.5 * north, (0.8 * north).exp()
    optimiser = torch.optim.AdamW(module.train().parameters(), lr=5e-3)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 5e-3 * (1 - step / 300)
        x_0 = mean + deviation * torch.randn(mean.shape, generator=rng)
        loss = module.loss(cast(WeatherBatch, {**field_batch, "high": module.fields.from_target(x_0, encoded)}), rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    forecast, found = module.eval().moments(field_batch)
    assert found is not None
    unit = encoded.scale
    error = (module.fields.standardise(forecast) - encoded.base) / unit - mean
    assert float((error / deviation).square().mean().sqrt()) < 0.12
    assert float((found / unit / deviation).log().square().mean().sqrt()) < 0.12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"local_scale": "seasonal"}, "choose one of none, climatological, predicted"),
        ({"local_scale": "predicted"}, "use target regression"),
        ({"local_scale": "climatological", "target": "field"}, "use target residual or regression"),
    ],
)
def test_refused_settings(build: Build, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(FdsrError, match=words):
        build("DDPMModule", **arguments)


def test_a_regression_without_a_deviation_is_refused(build: Build, data: WeatherDataModule, tmp_path: Path) -> None:
    path = str(save_pretrained(build("RegressionModule"), tmp_path / "mean"))
    with pytest.raises(FdsrError, match=r"--model\.likelihood GaussianLikelihood"):
        measured(read_regression(path, data.spec, "data"), data.fields("train"), None, "predicted")
