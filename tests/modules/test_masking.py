"""Points without a truth: no loss counts them, no gradient comes from them, and samples hold them at the neutral value."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from synthetic import TINY_DDGAN, TINY_UNET, make_source, pair_config, randomise, write_source
from torch import Tensor

import fdsr.modules
from fdsr.data import PairStore, WeatherBatch, WeatherDataModule, prepare
from fdsr.diffusion import (
    PARAMETRISATIONS,
    ColouredNoise,
    Denoising,
    DPMSolverPP,
    FourierReferenceLoss,
    GaussianDiffusion,
    GaussianLikelihood,
    RobustSpectralLoss,
    SimpleLoss,
    SpectralWeightedLoss,
    Spectrum,
    SpectrumNormLoss,
    WhitenedLoss,
    vp_schedule,
)
from fdsr.errors import FdsrError
from fdsr.modules.generative import Targets
from fdsr.modules.masking import mean_present, neutral_output, points_over_present

LOSSES = [
    SimpleLoss(),
    FourierReferenceLoss(),
    SpectralWeightedLoss(),
    WhitenedLoss(),
    RobustSpectralLoss(),
    SpectrumNormLoss(),
]


def some(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def sea(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store whose u10 knows no land."""
    folder = tmp_path_factory.mktemp("sea")
    ds = make_source()
    ds.u10[:, 5:13, 10:23] = np.nan
    source = write_source(ds, folder / "source.zarr")
    return str(prepare(pair_config(source, missing="mask"), folder / "pairs.zarr"))


@pytest.fixture
def patches(sea: str) -> WeatherBatch:
    data = WeatherDataModule(store=sea, patch=(16, 32), batch_size=4, patches_per_step=4)
    data.setup("fit")
    batch: WeatherBatch = next(iter(data.train_dataloader()))
    assert 0 < float(batch["high"].isnan().float().mean()) < 0.5
    return batch


@pytest.fixture
def build_sea(sea: str) -> Callable[..., Any]:
    def make(name: str, **arguments: Any) -> Any:
        network = TINY_UNET | ({"time_embedding": False} if name == "RegressionModule" else {})
        common = dict(TINY_DDGAN) if name == "DDGANModule" else {"backbone_args": network}
        module = getattr(fdsr.modules, name)(**common, **arguments)
        module.attach(PairStore(sea).spec)
        randomise(module)
        return module

    return make


def process(coloured: bool) -> GaussianDiffusion:
    power = 1 / (1 + torch.arange(64.0).reshape(1, 8, 8)).expand(2, 8, 8)
    return GaussianDiffusion(vp_schedule(20), ColouredNoise() if coloured else None, Spectrum(power=power))


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS.values(), ids=list(PARAMETRISATIONS))
def test_masked_loss_is_the_loss_over_present_points(parametrisation: Any, coloured: bool) -> None:
    diffusion, present = process(coloured), some((3, 2, 16, 16), 0) > -0.5
    x_0 = torch.where(present, some((3, 2, 16, 16), 1), 0.0)
    eta, t = some((3, 2, 16, 16), 2), torch.tensor([1, 9, 20])
    output = some((3, 2, 16, 16), 3)
    predict = neutral_output(lambda x_t, t: output, present, diffusion, parametrisation)
    loss = SimpleLoss()(Denoising(predict, x_0, t, diffusion, parametrisation, lambda: eta)) * points_over_present(
        present
    )
    target = parametrisation.target(diffusion, x_0, diffusion.colour(eta), t)
    expected = (target - output)[present].double().square().mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS.values(), ids=list(PARAMETRISATIONS))
def test_no_gradient_comes_from_gaps(loss: Any, parametrisation: Any) -> None:
    diffusion, present = process(isinstance(loss, WhitenedLoss)), some((2, 2, 16, 16), 0) > -0.5
    x_0 = torch.where(present, some((2, 2, 16, 16), 1), 0.0)
    copies = 2 if isinstance(loss, FourierReferenceLoss) else 1
    output = some((2 * copies, 2, 16, 16), 3).requires_grad_()
    rng = torch.Generator().manual_seed(4)
    predict = neutral_output(lambda x_t, t: output, present, diffusion, parametrisation)
    value = loss(
        Denoising(
            predict,
            x_0,
            torch.tensor([3, 12]),
            diffusion,
            parametrisation,
            lambda: torch.randn(x_0.shape, generator=rng),
        )
    )
    value.backward()
    known = present.repeat(copies, 1, 1, 1)
    assert output.grad is not None and bool((output.grad[~known] == 0).all())
    assert float((output.grad[known] != 0).float().mean()) > 0.99


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_perfect_network_has_no_loss(loss: Any) -> None:
    diffusion, present = process(False), some((2, 2, 16, 16), 0) > -0.5
    x_0 = torch.where(present, some((2, 2, 16, 16), 1), 0.0)

    def perfect(x_t: Tensor, t: Tensor) -> Tensor:
        truth = x_0.repeat(len(x_t) // len(x_0), 1, 1, 1)
        return torch.where(present.repeat(len(x_t) // 2, 1, 1, 1), diffusion.eps_from_x_0(x_t, t, truth), 99.0)

    rng = torch.Generator().manual_seed(4)
    value = loss(Denoising(
        neutral_output(perfect, present, diffusion, PARAMETRISATIONS["eps"]),
        x_0, torch.tensor([3, 12]), diffusion, PARAMETRISATIONS["eps"], lambda: torch.randn(x_0.shape, generator=rng),
    ))  # fmt: skip
    assert float(value) < 1e-6


def test_means_over_present_points() -> None:
    values, present = some((2, 3, 4, 5), 0).requires_grad_(), some((2, 3, 4, 5), 1) > 0
    torch.testing.assert_close(mean_present(values, present), values[present].mean())
    assert mean_present(values, None) == values.mean() and points_over_present(None) == 1
    nothing = torch.zeros_like(present)
    (gradient,) = torch.autograd.grad(mean_present(values, nothing) + values.sum() * 0, values)
    assert mean_present(values, nothing) == 0 and bool((gradient == 0).all())
    assert bool(torch.isfinite(torch.as_tensor(points_over_present(nothing))))


@pytest.mark.parametrize("local_scale", ["none", "climatological"])
def test_what_the_network_sees_is_finite_and_says_what_is_missing(
    local_scale: str, build_sea: Callable, patches: WeatherBatch
) -> None:
    codec = build_sea("DDPMModule", local_scale=local_scale).codec
    encoded, present = codec.encode(patches), codec.present(patches)
    x_0 = codec.to_target(patches["high"], encoded)
    assert all(bool(x.isfinite().all()) for x in (*encoded[:3], x_0))
    assert encoded.condition.shape[1] == codec.condition_channels == 2 + 1 + 3 + 2 + 2
    assert bool((x_0[~present] == 0).all()) and bool((present == ~patches["high"].isnan()).all())
    # where any training step has a value, and where the coarse cell has one: every point with a value lies in such a cell
    ever, coarse = encoded.condition[:, 6:8].bool(), encoded.condition[:, 8:].bool()
    assert bool((ever == present).all()) and bool(coarse[present].all()) and not bool(coarse.all())
    assert bool((encoded.base[:, 1][~coarse[:, 1]] == 0).all())
    # back to physical units, where there is a truth
    back = codec.from_target(x_0, encoded)
    torch.testing.assert_close(back[present], patches["high"][present], rtol=1e-5, atol=1e-3)


def test_target_has_unit_variance_over_present_points(build_sea: Callable, sea: str) -> None:
    data = WeatherDataModule(store=sea)
    data.setup("fit")
    fields = data.fields("train")
    batch = torch.utils.data.default_collate([fields[i] for i in range(10)])
    for target, scale in (("residual", "none"), ("residual", "climatological"), ("full", "none")):
        codec = build_sea("DDPMModule", target=target, local_scale=scale).codec
        x_0, present = codec.to_target(batch["high"], codec.encode(batch)), codec.present(batch)
        for c in range(2):
            assert float(x_0[:, c][present[:, c]].square().mean()) == pytest.approx(1, rel=2e-3)


@pytest.mark.parametrize("name", ["DDPMModule", "FourierDDPMModule", "RegressionModule", "gaussian"])
def test_losses_of_modules_have_no_gradient_from_gaps(name: str, build_sea: Callable, patches: WeatherBatch) -> None:
    module = build_sea("RegressionModule", likelihood=GaussianLikelihood()) if name == "gaussian" else build_sea(name)
    outputs: list[Tensor] = []
    module.network.register_forward_hook(lambda m, i, o: (o.retain_grad(), outputs.append(o))[1])
    loss = module.loss(patches, torch.Generator().manual_seed(0))
    loss.backward()
    present = module.codec.present(patches)
    (output,) = outputs
    present = present.repeat(1, output.shape[1] // present.shape[1], 1, 1)
    assert bool(loss.isfinite()) and output.grad is not None
    assert bool((output.grad[~present] == 0).all()) and float((output.grad[present] != 0).float().mean()) > 0.99
    if name == "RegressionModule":
        encoded = module.codec.encode(patches)
        error = output - module.codec.to_target(patches["high"], encoded)
        torch.testing.assert_close(loss, error[present].square().mean())


def test_a_gan_learns_nothing_from_gaps(build_sea: Callable, patches: WeatherBatch) -> None:
    module = build_sea("DDGANModule")
    encoded, present = module.codec.encode(patches), module.codec.present(patches)
    x_0 = module.codec.to_target(patches["high"], encoded)
    prediction = some(tuple(x_0.shape), 1).requires_grad_()
    module.predict = lambda *arguments: prediction
    module.generator_loss(Targets(x_0, encoded.condition, present), torch.Generator().manual_seed(0)).backward()
    assert prediction.grad is not None
    assert bool((prediction.grad[~present] == 0).all()) and bool((prediction.grad[present] != 0).any())
    # the critic cannot tell real from fake by their gaps
    with torch.no_grad():
        changed = [
            module.discriminator_loss(
                Targets(x_0, encoded.condition, present), torch.Generator().manual_seed(0), False
            )[0]
            for prediction in (prediction, torch.where(present, prediction, 99.0))
            if not setattr(module, "predict", lambda *a, p=prediction: p)
        ]
    assert torch.equal(*changed)


@pytest.mark.parametrize("name", ["DDPMModule", "DDGANModule"])
def test_samples_hold_gaps_at_zero(name: str, build_sea: Callable) -> None:
    module = build_sea(name, **({"sampler": DPMSolverPP(2)} if name == "DDPMModule" else {}))
    shape = (2, 24, 48)
    condition = some((1, module.codec.condition_channels, 24, 48), 0)
    with torch.no_grad():
        x_0 = module.sample(condition, shape, [torch.Generator().manual_seed(1)], module.codec.clip)
    never = ~module.spec.present
    assert bool((x_0[0][never] == 0).all()) and bool((x_0[0][~never] != 0).all())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["DDPMModule", "DDGANModule", "RegressionModule"])
def test_fit_test_predict(
    method: str, program: Callable[..., int], configure: Callable[..., Path], tmp_path: Path
) -> None:
    ds = make_source()
    ds.u10[:, 5:13, 10:23] = np.nan
    ds.u10[15, 20, 40] = np.nan  # in the test block
    source = write_source(ds, tmp_path / "source.zarr")
    config, run = configure(method, source=source, data__missing="mask", data__patch=[16, 32]), tmp_path / "run"
    for verb in ("fit", "test", "predict"):
        assert program(verb, "--config", config, "--run", run) == 0
    rows = [
        r for r in csv.DictReader((run / "test_metrics.csv").open()) if r["metric"] in ("rmse", "coarse_consistency")
    ]
    assert rows and all(np.isfinite(float(r["value"])) for r in rows)
    with xr.open_zarr(next(run.glob("*.zarr")), consolidated=False) as found:
        land = np.isnan(ds.u10.values[:10]).all(0)
        assert bool((np.isnan(found.u10) == land).all()) and bool(np.isfinite(found.t2m).all())


@pytest.mark.slow
def test_a_dressed_baseline_measures_present_points(sea: str, quiet_trainer: Callable) -> None:
    data = WeatherDataModule(store=sea, patch=None, batch_size=1)
    module = fdsr.modules.DressedModule(members=2)
    quiet_trainer(max_epochs=2).fit(module, datamodule=data)
    assert bool(module.local_std.isfinite().all()) and bool(module.power.isfinite().all())
    # error / σ has variance one, near the coast too
    torch.testing.assert_close(module.power.mean((1, 2)), torch.ones(2), rtol=0.35, atol=0)


def test_a_checkpoint_without_gaps_refuses_data_with_them(sea: str, store: PairStore) -> None:
    with pytest.raises(FdsrError, match="trained without missing values, data with them"):
        store.spec.require_same(PairStore(sea).spec, sea)
