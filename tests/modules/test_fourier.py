"""Fourier diffusion: each noise, loss and transform reaches the mathematics, trains and draws; the joint loss is DDPM's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from synthetic import TINY_UNET
from torch import Tensor

import fdsr.diffusion
from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.diffusion import (
    ColouredNoise,
    Cosine,
    Denoising,
    ErrorLoss,
    FourierReferenceLoss,
    Globe,
    InverseAmplitudeWeight,
    Loss,
    PowerLawWeight,
    Product,
    RealFourier,
    RobustSpectralLoss,
    SimpleLoss,
    SpectralWeightedLoss,
    SpectrumNormLoss,
    WhitenedLoss,
    WhiteNoise,
)
from fdsr.modules import DDPMModule, FourierDDPMModule
from fdsr.modules.seeding import generator

Build = Callable[..., FourierDDPMModule]

# noise, loss, transform
VARIANTS: list[tuple[Any, Loss, Any]] = [
    (WhiteNoise(), FourierReferenceLoss(), RealFourier()),
    (WhiteNoise(), SpectralWeightedLoss(PowerLawWeight(1.0)), RealFourier()),
    (WhiteNoise(), SpectralWeightedLoss(InverseAmplitudeWeight()), Cosine()),
    (WhiteNoise(), RobustSpectralLoss(), RealFourier()),
    (WhiteNoise(), RobustSpectralLoss(penalty="l1"), Globe()),
    (WhiteNoise(), SpectrumNormLoss(strength=0.1), RealFourier()),
    (ColouredNoise(0.5), SimpleLoss(), RealFourier()),
    (ColouredNoise(), WhitenedLoss(), Globe()),
    (ColouredNoise(), SpectralWeightedLoss(), Product(lat=Cosine(), lon=RealFourier())),
]


def test_variants_cover_every_loss() -> None:
    public = {value for name, value in vars(fdsr.diffusion).items() if name.endswith("Loss")} - {Loss, ErrorLoss}
    assert {type(loss) for _, loss, _ in VARIANTS} == public


def test_it_is_ddpm_with_the_targets_own_colour(build: Build, patches: WeatherBatch) -> None:
    own, named = build("FourierDDPMModule"), build("DDPMModule", noise=ColouredNoise())
    assert own.noise == ColouredNoise(exponent=1.0) and isinstance(own, DDPMModule)
    a, b = (m.loss(patches, generator("cpu", 0, "train", 0)) for m in (own, named))
    assert torch.equal(a, b)
    assert isinstance(build("FourierDDPMModule", noise=WhiteNoise()).process.noise, WhiteNoise)
    assert isinstance(build("DDPMModule").process.noise, WhiteNoise)


@pytest.mark.parametrize("target", ["residual", "full"])
def test_noise_has_the_colour_of_the_target(store: PairStore, target: Any) -> None:
    module = FourierDDPMModule(backbone_args=TINY_UNET, target=target)
    module.attach(store.spec)
    power = store.spec.power_residual if target == "residual" else store.spec.power_field
    expected = power.double().clamp(min=1e-4 * power.mean())
    expected = expected / expected.mean((1, 2), keepdim=True)
    torch.testing.assert_close(module.process.spectrum.stored(), expected.clamp(min=0), rtol=1e-5, atol=0)
    variance = module.process.noise.variance(module.process.spectrum, (24, 48))
    torch.testing.assert_close(variance, module.process.spectrum.power((24, 48)), rtol=1e-9, atol=0)


def test_transforms_follow_the_grid(build: Build) -> None:
    """`Globe` is periodic along longitude only, and only on a grid that goes round: here of 48 columns."""
    assert build("FourierDDPMModule", transform=Globe()).process.spectrum.transform == Globe(48)
    mixed = Product(lat=Cosine(), lon=Globe())
    module = build("FourierDDPMModule", transform=mixed)
    assert module.process.spectrum.transform == Product(lat=Cosine(), lon=Globe(48)) and module.transform is mixed
    codec = module.codec
    codec.spec = type("Region", (), {"periodic": False, "shape": (24, 48), "power_residual": torch.ones(2, 8, 8)})()
    assert codec.spectrum(Globe()).transform == Cosine()


def steps(module: DDPMModule, batch: WeatherBatch, n: int = 12) -> Iterator[Tensor]:
    """Losses of n steps of AdamW, each on fresh noise."""
    adam = torch.optim.AdamW(module.parameters(), lr=5e-3, foreach=False)
    for i in range(n):
        adam.zero_grad()
        loss = module.loss(batch, generator("cpu", 0, "train", i))
        loss.backward()
        adam.step()
        yield loss.detach()


@pytest.fixture
def patches(data: WeatherDataModule) -> WeatherBatch:
    return cast(WeatherBatch, next(iter(data.train_dataloader())))


class Coupled(SimpleLoss):
    """Plain DDPM with two draws, of which the second is f⁻¹ of the one it was given: white noise all the same."""

    def __call__(self, task: Denoising) -> Tensor:
        draws = iter([task.draw(), RealFourier().inverse(task.draw())])
        return super().__call__(replace(task, draw=lambda: next(draws)))


def test_the_joint_loss_has_the_curve_of_ddpm_with_doubled_draws(build: Build, patches: WeatherBatch) -> None:
    """Not only one loss and its gradient: the whole training, step by step, to rounding."""
    white: dict[str, Any] = {"noise": WhiteNoise(), "prediction": "eps"}
    reference = build("FourierDDPMModule", loss=FourierReferenceLoss(), **white)
    doubled = build("DDPMModule", loss=Coupled(draws=2), **white)
    assert all(torch.equal(a, b) for a, b in zip(reference.parameters(), doubled.parameters(), strict=True))
    curves = [torch.stack(list(steps(m, patches))) for m in (reference, doubled)]
    torch.testing.assert_close(curves[0], curves[1], rtol=1e-3, atol=1e-5)
    assert float(curves[0][-3:].mean()) < 0.9 * float(curves[0][:3].mean())  # it does learn
    # DDPM's own two draws are others, and give another curve of the same kind
    own = torch.stack(list(steps(build("DDPMModule", loss=SimpleLoss(draws=2), **white), patches)))
    assert not torch.allclose(own, curves[0], rtol=1e-3)
    torch.testing.assert_close(own.mean(), curves[0].mean(), rtol=0.1, atol=0)


@pytest.mark.parametrize(("noise", "loss", "transform"), VARIANTS, ids=repr)
def test_every_variant_trains_and_draws(
    build: Build, patches: WeatherBatch, noise: Any, loss: Loss, transform: Any
) -> None:
    module = build("FourierDDPMModule", noise=noise, loss=loss, transform=transform)
    assert (module.process.noise, module.objective) == (noise, loss)
    rng = generator("cpu", 0, "train", 0)
    adam = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        adam.zero_grad()
        rng.manual_seed(1)  # the same noise, so that the loss must fall
        value = module.loss(patches, rng)
        value.backward()
        adam.step()
        losses.append(float(value.detach()))
    assert losses[-1] < losses[0], losses
    ensemble = module.generate(patches, 2, 0)
    assert ensemble.shape == (4, 2, 2, 8, 16) and bool(ensemble.isfinite().all())
