"""CRPSModule: one evaluation a member, its loss against the metrics' CRPS, gaps, training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import lightning as L
import pytest
import torch
from synthetic import TINY_UNET
from tiny_images import SPEC

from fdsr.data import WeatherBatch, WeatherDataModule
from fdsr.diffusion import BlockCRPS, Cosine
from fdsr.errors import FdsrError
from fdsr.metrics import CRPS
from fdsr.modules import CRPSModule, DownscalingModule, load_module

Build = Callable[..., DownscalingModule]
NET = TINY_UNET | {"time_embedding": False}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def patches(data: WeatherDataModule) -> WeatherBatch:
    return cast(WeatherBatch, next(iter(data.train_dataloader())))


@pytest.mark.parametrize("draws", [2, 3])
def test_without_its_term_the_loss_is_the_crps_of_the_members(build: Build, patches: WeatherBatch, draws: int) -> None:
    module = cast(CRPSModule, build("CRPSModule", backbone_args=NET, strength=0.0, draws=draws))
    encoded = module.codec.encode(patches)
    x_0 = module.codec.to_target(patches["high"], encoded)
    eta = torch.randn(draws * len(x_0), *x_0.shape[1:], generator=seeded(1))
    members = module.draw(eta, encoded.condition.repeat(draws, 1, 1, 1)).unflatten(0, (draws, -1))
    metric = CRPS(torch.ones(x_0.shape[-2]), x_0.shape[1])
    metric.update(members.detach().transpose(0, 1), x_0)
    expected = metric.compute()["crps"].mean()
    torch.testing.assert_close(module.loss(patches, seeded(1)).double(), expected, rtol=1e-5, atol=0)


def test_starts_as_noise_with_the_targets_spectrum(build: Build, patches: WeatherBatch) -> None:
    """The head is zero: a sample is the coloured noise itself, and zero where it is not dressed."""
    dressed, bare = (
        cast(CRPSModule, build("CRPSModule", backbone_args=NET, transform=Cosine(), dressed=d)) for d in (True, False)
    )
    encoded = dressed.codec.encode(patches)
    eta = torch.randn(encoded.base.shape, generator=seeded(0))
    noise = dressed.noise.colour(eta, dressed.codec.spectrum(Cosine()))
    for module in (dressed, bare):
        torch.nn.init.zeros_(module.network.head.weight)
        torch.nn.init.zeros_(module.network.head.bias)
    torch.testing.assert_close(dressed.draw(eta, encoded.condition), noise)
    assert not bool(bare.draw(eta, encoded.condition).any())


def test_members_do_not_depend_on_how_they_are_batched(build: Build, field_batch: WeatherBatch) -> None:
    whole = build("CRPSModule", backbone_args=NET, member_batch=8).generate(field_batch, 3, 5)
    single = build("CRPSModule", backbone_args=NET, member_batch=1).generate(field_batch, 3, 5)
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-4)
    assert whole.shape[1] == 3 and float((whole[:, 0] - whole[:, 1]).abs().max()) > 0
    assert build("CRPSModule", backbone_args=NET).evaluations_per_member == 1


@pytest.mark.slow
def test_images_without_a_spectrum_are_refused_at_once() -> None:
    module = CRPSModule(backbone_args=TINY_UNET | {"time_embedding": False})
    with pytest.raises(FdsrError, match="carry no climatological spectrum"):
        module.attach(SPEC)


def test_trains_and_comes_back_from_its_checkpoint(
    data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    module = CRPSModule(backbone_args=NET, term=BlockCRPS((2, 4)), strength=0.5, lr=3e-3, warmup_steps=1)
    trainer = quiet_trainer(max_steps=60)
    trainer.fit(module, data)
    batch = cast(WeatherBatch, next(iter(data.train_dataloader())))
    fresh = CRPSModule(backbone_args=NET, term=BlockCRPS((2, 4)), strength=0.5)
    fresh.attach(module.spec)
    with torch.no_grad():
        trained, untrained = (sum(float(m.loss(batch, seeded(i))) for i in range(20)) for m in (module, fresh))
    assert trained < 0.97 * untrained
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    again = load_module(tmp_path / "one.ckpt")
    assert isinstance(again, CRPSModule) and again.term == BlockCRPS((2, 4)) and again.strength == 0.5


@pytest.mark.parametrize("arguments", [{"draws": 1}, {"strength": -1.0}])
def test_wrong_settings_are_refused(arguments: dict) -> None:
    with pytest.raises(FdsrError, match="draws must be at least 2, and strength not negative"):
        CRPSModule(**arguments)
