"""Modes of Fourier diffusion: each takes its own settings to its own loss, and trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from fdsr.modules.fourier_modes import BASES, FOURIER_MODES
from torch import Tensor

from fdsr.data import PairStore, WeatherBatch, WeatherDataModule
from fdsr.diffusion import (
    ColouredNoise,
    Cosine,
    Globe,
    InverseAmplitudeWeight,
    Product,
    RealFourier,
    RobustSpectralLoss,
    SimpleLoss,
    SpectralWeightedLoss,
    SpectrumNormLoss,
    WhitenedLoss,
)
from fdsr.modules import DDPMModule, FourierDDPMModule
from fdsr.modules.seeding import generator

Build = Callable[..., FourierDDPMModule]

# every mode in its variants
VARIANTS: list[dict[str, Any]] = [
    {"mode": "reference"},
    {"mode": "weighted", "weight_exponent": 1.0},
    {"mode": "weighted", "weight": "inverse_amplitude"},
    {"mode": "robust"},
    {"mode": "robust", "penalty": "l1"},
    {"mode": "spectrum_norm", "spectrum_strength": 0.1},
    {"mode": "coloured", "colour": 0.5},
    {"mode": "coloured", "norm": "variational", "transform": "product"},
]
variants = pytest.mark.parametrize("arguments", VARIANTS, ids=lambda v: "-".join(str(x) for x in v.values()))


def test_variants_cover_every_mode() -> None:
    assert {v["mode"] for v in VARIANTS} == set(FOURIER_MODES)


def test_settings_reach_the_mathematics(build: Build, store: PairStore) -> None:
    def objective(**arguments: Any) -> Any:
        return build("FourierDDPMModule", transform="cosine", **arguments).objective

    weighted = objective(mode="weighted", weight_exponent=1.5, weight_bounds=(0.5, 2.0))
    assert isinstance(weighted, SpectralWeightedLoss) and weighted.transform == Cosine()
    assert (weighted.weight.exponent, weighted.weight.w_min, weighted.weight.w_max) == (1.5, 0.5, 2.0)  # type: ignore[attr-defined]
    inverse = objective(mode="weighted", weight="inverse_amplitude").weight
    assert isinstance(inverse, InverseAmplitudeWeight) and torch.equal(inverse.power, store.spec.power_residual)
    assert objective(mode="robust", penalty="l1", penalty_scale=0.5) == RobustSpectralLoss(Cosine(), 0.5, "l1")
    norm = objective(mode="spectrum_norm", spectrum_strength=0.3, spectrum_bins=7)
    assert norm == SpectrumNormLoss(Cosine(), 0.3, 7)
    assert (
        objective(mode="coloured") == SimpleLoss() and objective(mode="coloured", norm="variational") == WhitenedLoss()
    )
    noise = build("FourierDDPMModule", transform="cosine", colour=0.3).process.noise
    assert isinstance(noise, ColouredNoise) and noise.exponent == 0.3
    assert cast(DDPMModule, build("DDPMModule", draws=3)).objective == SimpleLoss(draws=3)


def test_transforms_follow_the_grid(build: Build, store: PairStore) -> None:
    """`product` is periodic along longitude only, and only on a grid that goes round: here of 48 columns."""
    module = build("FourierDDPMModule", transform="product")
    assert module.transform(module.codec) == Globe(48)
    mixed = build("FourierDDPMModule", transform="cosine", transform_lon="fourier")
    assert mixed.transform(mixed.codec) == Product(lat=Cosine(), lon=RealFourier())
    region = module.codec
    region.spec = type("Region", (), {"periodic": False, "shape": (24, 48)})()
    assert BASES["product"](region) == Cosine()


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

    def __call__(self, predict: Any, x_0: Any, t: Any, process: Any, parametrisation: Any, draw: Any) -> Tensor:
        draws = iter([draw(), RealFourier().inverse(draw())])
        return super().__call__(predict, x_0, t, process, parametrisation, lambda: next(draws))


def test_reference_mode_has_the_loss_curve_of_ddpm_with_doubled_draws(build: Build, patches: WeatherBatch) -> None:
    """Not only one loss and its gradient: the whole training, step by step, to rounding."""
    reference = build("FourierDDPMModule", mode="reference", prediction="eps")
    doubled = cast(DDPMModule, build("DDPMModule", draws=2, prediction="eps"))
    doubled.objective = Coupled(draws=2)
    assert all(torch.equal(a, b) for a, b in zip(reference.parameters(), doubled.parameters(), strict=True))
    curves = [torch.stack(list(steps(m, patches))) for m in (reference, doubled)]
    torch.testing.assert_close(curves[0], curves[1], rtol=1e-3, atol=1e-5)
    assert float(curves[0][-3:].mean()) < 0.9 * float(curves[0][:3].mean())  # it does learn
    # DDPM's own two draws are others, and give another curve of the same kind
    own = torch.stack(list(steps(cast(DDPMModule, build("DDPMModule", draws=2, prediction="eps")), patches)))
    assert not torch.allclose(own, curves[0], rtol=1e-3)
    torch.testing.assert_close(own.mean(), curves[0].mean(), rtol=0.1, atol=0)


@variants
def test_every_variant_trains_and_draws(build: Build, patches: WeatherBatch, arguments: dict[str, Any]) -> None:
    module = build("FourierDDPMModule", **arguments)
    noise = generator("cpu", 0, "train", 0)
    adam = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        adam.zero_grad()
        noise.manual_seed(1)  # the same noise, so that the loss must fall
        loss = module.loss(patches, noise)
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0], losses
    ensemble = module.generate(patches, 2, 0)
    assert ensemble.shape == (4, 2, 2, 8, 16) and bool(ensemble.isfinite().all())
