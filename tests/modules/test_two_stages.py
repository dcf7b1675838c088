"""Targets of generative methods: the field, its residual over interpolation, its residual over a trained regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import pytest
import torch
from scipy.fft import dctn
from synthetic import TINY_UNET, randomise

from fdsr.callbacks import EMACallback
from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.data.making import local_scale
from fdsr.diffusion import DPMSolverPP, Globe, RealFourier, Spectrum
from fdsr.errors import FdsrError
from fdsr.modules import DDPMModule, DownscalingModule, RegressionModule, load_module, save_pretrained
from fdsr.modules.field_codec import FieldCodec, _same
from fdsr.modules.first_stage import ErrorSums, FirstStage
from fdsr.modules.generative import GenerativeModule
from fdsr.modules.model import Model
from fdsr.modules.settings import build as build_setting
from fdsr.modules.two_stages import measure_errors, measured, read_regression

Build = Callable[..., DownscalingModule]


@pytest.fixture
def regression(build: Build, tmp_path: Path) -> tuple[RegressionModule, str]:
    """A regression with random weights, and the folder that holds it."""
    module = build("RegressionModule", conserve="none")
    return cast(RegressionModule, module), str(save_pretrained(module, tmp_path / "regression"))


@pytest.fixture
def stage(regression: tuple[RegressionModule, str], data: WeatherDataModule) -> FirstStage:
    return measured(read_regression(regression[1], data.spec, "data"), data.fields("train"))


def train_block(data: WeatherDataModule) -> WeatherBatch:
    fields = data.fields("train")
    return cast(WeatherBatch, torch.utils.data.default_collate([fields[i] for i in range(len(fields))]))


def test_statistics_are_those_of_the_regressions_own_error(
    regression: tuple[RegressionModule, str], stage: FirstStage, data: WeatherDataModule
) -> None:
    """Recomputed from what the regression itself forecasts, in physical units, with numpy and scipy."""
    batch = train_block(data)
    forecast = regression[0].generate(batch)[:, 0].double().numpy()
    error = (batch["high"].double().numpy() - forecast) / data.spec.high_std.numpy()[:, None, None]
    np.testing.assert_allclose(stage.mean, error.mean((0, 2, 3)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(stage.std, np.sqrt((error**2).mean((0, 2, 3))), rtol=1e-4)
    power = (dctn(error, axes=(2, 3), norm="ortho") ** 2).mean(0) / (error**2).mean((0, 2, 3))[:, None, None]
    np.testing.assert_allclose(stage.power, power, rtol=2e-2, atol=1e-4)
    assert {v.dtype for v in (stage.mean, stage.std, stage.power)} == {torch.float64}


def test_the_target_has_unit_mean_square_and_comes_back(
    regression: tuple[RegressionModule, str], stage: FirstStage, data: WeatherDataModule
) -> None:
    codec, batch = FieldCodec(data.spec, "regression", stage=stage), train_block(data)
    encoded = codec.encode(batch)
    # the base is the regression's forecast, to the bit of rounding
    torch.testing.assert_close(
        codec.from_target(torch.zeros_like(encoded.base), encoded), regression[0].generate(batch)[:, 0]
    )
    x_0 = codec.to_target(batch["high"], encoded)
    torch.testing.assert_close(x_0.square().mean((0, 2, 3)), torch.ones(2), rtol=1e-4, atol=0)
    torch.testing.assert_close(codec.from_target(x_0, encoded), batch["high"], rtol=1e-5, atol=1e-4)
    assert encoded.condition.shape[1] == codec.condition_channels == 2 + 1 + 3 + 2
    assert codec.state_dict() == {} and not list(codec.parameters())


def test_sums_merge(stage: FirstStage, data: WeatherDataModule) -> None:
    """Two shares added up are one pass over all; so the number of processes does not matter."""
    block = data.fields("train")
    whole = measure_errors(stage, block)
    parts = [measure_errors(stage, block, place=(rank, 3)) for rank in range(3)]
    for name in (f.name for f in fields(ErrorSums)):
        merged = sum(getattr(p, name) for p in parts)
        np.testing.assert_allclose(getattr(parts[0] + parts[1] + parts[2], name), merged)
        np.testing.assert_allclose(merged, getattr(whole, name), rtol=1e-9, atol=1e-9)
    none = ErrorSums.none(2, (24, 48), (24, 48)) + whole
    np.testing.assert_array_equal(none.power, whole.power)


def test_a_long_block_is_measured_by_a_sample(
    stage: FirstStage, data: WeatherDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_scale, "STEPS", 4)
    block = data.fields("train")
    some, parts = measure_errors(stage, block), [measure_errors(stage, block, place=(rank, 3)) for rank in range(3)]
    assert some.seen.tolist() == [4, 4] == sum(p.seen for p in parts).tolist()
    np.testing.assert_allclose((parts[0] + parts[1] + parts[2]).std, some.std, rtol=1e-9)
    np.testing.assert_allclose(some.std, 1, rtol=0.3)  # in its own deviations over all ten


def test_overfitting_is_remarked(stage: FirstStage, data: WeatherDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    import fdsr.modules.two_stages as two

    train, val = data.fields("train"), data.fields("val")
    real = measure_errors(stage, train)
    doubled = replace(real, square=4 * real.square)
    monkeypatch.setattr(two, "measure_errors", lambda stage, block, *scale, **how: doubled if block is val else real)
    with pytest.warns(UserWarning, match="2.00 times as large on the validation block"):
        measured(stage, train, val)


def arguments_of(method: str, path: str, **more: Any) -> dict[str, Any]:
    own: dict[str, dict[str, Any]] = {
        "DDPMModule": {},
        "FourierDDPMModule": {"transform": Globe()},
        "DDGANModule": {},
    }
    return own[method] | {"target": "regression", "regression_ckpt": path} | more


@pytest.mark.parametrize("method", ["DDPMModule", "FourierDDPMModule", "DDGANModule"])
def test_two_stages_train_save_load_and_go_on(
    method: str, build: Build, regression: tuple[RegressionModule, str], data: WeatherDataModule, field_batch: WeatherBatch,
    quiet_trainer: Callable[..., L.Trainer], tmp_path: Path,
) -> None:  # fmt: skip
    before = {k: v.clone() for k, v in regression[0].network.state_dict().items()}
    module = cast(GenerativeModule, build(method, **arguments_of(method, regression[1], lr=1e-2)))
    with pytest.raises(FdsrError, match="not known yet"):
        module.generate(field_batch, 2, 0)
    ema = EMACallback()
    trainer = quiet_trainer(max_steps=2, callbacks=[ema], limit_val_batches=1)
    trainer.fit(module, datamodule=data)
    stage = module.codec.stage
    assert stage is not None and all(torch.equal(stage.state[k], v) for k, v in before.items())
    # neither optimised, averaged, nor in the state dict
    optimised = [p for o in trainer.optimizers for g in o.param_groups for p in g["params"]]
    assert len(optimised) == len(list(module.parameters()))
    assert set(ema.average) == {f"network.{n}" for n, _ in module.network.named_parameters()}
    assert all(k.startswith(("network.", "discriminator.", "process.")) for k in module.state_dict())
    if method == "FourierDDPMModule":
        expected = Spectrum(Globe(48), stage.power.float())
        assert module.process.spectrum.transform == expected.transform
        torch.testing.assert_close(module.process.spectrum.stored(), expected.stored())
    path = tmp_path / "second.ckpt"
    trainer.save_checkpoint(path)
    torch.load(path, weights_only=True)
    # self-contained: the regression may go
    for file in Path(regression[1]).iterdir():
        file.unlink()
    expected = load_module(path).generate(field_batch, 2, 3)
    again = load_module(save_pretrained(load_module(path), tmp_path / "folder"))
    assert torch.equal(again.generate(field_batch, 2, 3), expected)
    # test and resume as the program does, from the configuration's arguments and the checkpoint alone
    fresh = build_unattached(module)
    quiet_trainer(limit_predict_batches=1).predict(
        fresh, datamodule=data, ckpt_path=path, weights_only=True, return_predictions=False
    )
    torch.testing.assert_close(fresh.generate(field_batch, 2, 3), expected)
    resumed = build_unattached(module)
    quiet_trainer(max_steps=3, limit_val_batches=0).fit(resumed, datamodule=data, ckpt_path=path, weights_only=True)
    assert resumed.codec.stage is not None and resumed.codec.stage.fingerprint == stage.fingerprint
    torch.testing.assert_close(resumed.codec.stage.power, stage.power, rtol=0, atol=0)


def build_unattached(module: DownscalingModule) -> GenerativeModule:
    """A new module of the same arguments, which knows no data yet."""
    return cast(GenerativeModule, build_setting(type(module), module.hparams, "module"))


def test_another_regression_is_refused(
    build: Build, stage: FirstStage, regression: tuple[RegressionModule, str]
) -> None:
    module = build("DDPMModule", **arguments_of("DDPMModule", regression[1]))
    module.begin_from(stage)
    module.begin_from(stage)  # its own is welcome
    other = FirstStage.from_dict(stage.to_dict() | {"state." + k: v + 1 for k, v in stage.state.items()})
    with pytest.raises(FdsrError, match=f"another regression \\({other.fingerprint}, not {stage.fingerprint}"):
        module.begin_from(other)


def test_refusals(build: Build, store: PairStore, tmp_path: Path, regression: tuple[RegressionModule, str]) -> None:
    with pytest.raises(FdsrError, match=r"give model\.regression_ckpt"):
        build("DDPMModule", target="regression")
    with pytest.raises(FdsrError, match="leave it out"):
        build("DDGANModule", regression_ckpt="a.ckpt")
    with pytest.raises(FdsrError, match="does not exist"):
        read_regression(str(tmp_path / "none.ckpt"), store.spec, "data")
    generative = save_pretrained(build("DDPMModule"), tmp_path / "generative")
    with pytest.raises(FdsrError, match="holds a DDPMModule"):
        read_regression(str(generative), store.spec, "data")


@pytest.mark.parametrize(
    ("T", "target"), [*((T, "residual") for T in (1, 2, 4, 8)), (1, "full"), (4, "full"), (1, "field"), (4, "field")]
)
def test_ddgan_on_weather_in_few_steps(
    build: Build, data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer], T: int, target: str
) -> None:
    """Every T of the comparison, conditional, trains a step and draws an ensemble with the promised evaluations."""
    module = cast(GenerativeModule, build("DDGANModule", target=target, timesteps=T))
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(module, datamodule=data)
    calls: list[int] = []
    module.eval().network.register_forward_pre_hook(lambda _, args: calls.append(1))
    batch = cast(WeatherBatch, next(iter(data.train_dataloader())))
    ensemble = module.generate(batch, 2, 0)
    assert ensemble.shape == (4, 2, 2, 8, 16) and bool(ensemble.isfinite().all())
    assert len(calls) == 2 * T  # eight samples, four at a time


def test_field_is_another_name_for_full(store: PairStore) -> None:
    assert FieldCodec(store.spec, "field").target is FieldCodec(store.spec, "full").target
    found, expected = FieldCodec(store.spec, "field").spectrum(RealFourier()), Spectrum(power=store.spec.power_field)
    torch.testing.assert_close(found.stored(), expected.stored(), rtol=1e-6, atol=0)


def test_pieces_of_an_ensemble_share_the_first_stage(
    stage: FirstStage, regression: tuple[RegressionModule, str], data: WeatherDataModule, build: Build
) -> None:
    """One evaluation of it a time, however few members are drawn at once; and again where anything else is asked."""
    module = DDPMModule(backbone_args=TINY_UNET, sampler=DPMSolverPP(1), **arguments_of("DDPMModule", regression[1]))
    module.attach(data.spec, stage)
    randomise(module)
    model, calls = Model(module, "cpu"), []
    assert module.fields.regression is not None
    module.fields.regression._hidden[0].register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    module.member_batch = 8
    together = model.downscale(data.store.path, members=5)
    module.member_batch = 2
    calls.clear()
    apart = model.downscale(data.store.path, members=5)
    assert len(calls) == together.sizes["time"] == 18
    np.testing.assert_allclose(apart.t2m, together.t2m, rtol=1e-5, atol=1e-4)
    model.downscale(data.store.path, members=1, tile="off")
    assert len(calls) == 2 * 18
    missing = torch.full((1, 2), torch.nan)
    assert _same(missing, missing.clone()) and not _same(missing, torch.zeros(1, 2)) and not _same(missing, missing.T)
