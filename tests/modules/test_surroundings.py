"""Losses count the patch alone, and what stands in it is what it is in a whole field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from synthetic import TINY_UNET, randomise
from torch import Tensor, nn

from fdsr.backbones.padding import Conv
from fdsr.data import WeatherBatch, WeatherDataModule
from fdsr.diffusion import (
    ColouredNoise,
    FourierReferenceLoss,
    Loss,
    RobustSpectralLoss,
    SimpleLoss,
    SpectralWeightedLoss,
    SpectrumNormLoss,
    WhitenedLoss,
)
from fdsr.modules import DDGANModule, DDPMModule, DownscalingModule, RegressionModule
from fdsr.modules.network import NetworkModule

Build = Callable[..., DownscalingModule]
LOSSES = [
    SimpleLoss(2),
    FourierReferenceLoss(),
    SpectralWeightedLoss(),
    WhitenedLoss(),
    RobustSpectralLoss(),
    SpectrumNormLoss(),
]
ONE_PASS = {"backbone_args": TINY_UNET | {"time_embedding": False}}


class Near(nn.Module):
    """A network that looks three points far."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Conv(channels, 8), Conv(8, 8), Conv(8, out)])
        randomise(self, 0.3)

    def forward(self, x: Tensor, t: Tensor | None = None, *, wrap: bool = False) -> Tensor:
        for layer in self.layers:
            x = layer(torch.tanh(x), wrap)
        return x


def batch_of(store_path: str, context: int, **settings: Any) -> WeatherBatch:
    data = WeatherDataModule(
        store=store_path, patch=(8, 16), batch_size=16, patches_per_step=4, context=context, **settings
    )
    data.setup("fit")
    return cast(WeatherBatch, next(iter(data.train_dataloader())))


def inside(batch: WeatherBatch) -> Tensor:
    """Where in its window a patch is: (B, 1, 16, 24), bool."""
    out, rows, columns = torch.zeros(16, 1, 16, 24, dtype=torch.bool), batch["inner_rows"], batch["inner_columns"]
    out[torch.arange(16)[:, None, None], 0, rows[:, :, None], columns[:, None, :]] = True
    return out


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("context", [0, 1, 9])
def test_a_patch_with_context_is_a_piece_of_the_whole_field(
    build: Build, store_path: str, data: WeatherDataModule, context: int
) -> None:
    """Poles and date line included: one coarse cell is farther than this network looks. Without context edges differ."""
    module = cast(RegressionModule, build("RegressionModule"))
    module.network = Near(module.codec.condition_channels, 2)
    batch, fields = batch_of(store_path, context), data.fields("train")
    with torch.no_grad():
        counted = module.codec.counted(batch)
        encoded = module.codec.encode(batch)
        found, position = counted(module(encoded)), counted(batch["conditioning"])
        apart = []
        for j, i in enumerate(batch["index"].tolist()):
            whole = cast(WeatherBatch, torch.utils.data.default_collate([fields[i]]))
            # where the patch is: its corner's position on the sphere and the static field are those of one point alone
            place = (whole["conditioning"][0] - position[j, :, 0, 0, None, None]).abs().sum(0)
            row, column = divmod(int(place.argmin()), 48)
            assert float(place.min()) == 0
            columns = torch.arange(column, column + 16) % 48
            expected = module(module.codec.encode(whole))[0, :, row : row + 8][..., columns]
            apart.append(float((found[j] - expected).abs().max()))
    assert max(apart) < 1e-5 if context else min(apart) > 1e-2


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("noise", [None, ColouredNoise()])
def test_diffusion_losses_count_the_patch_alone(build: Build, store_path: str, loss: Loss, noise: Any) -> None:
    """An error outside changes nothing, one inside does."""
    module = cast(DDPMModule, build("DDPMModule", loss=loss, **({"noise": noise} if noise else {})))
    batch = batch_of(store_path, 1)
    patch, network = inside(batch).float(), module.network
    spoilt = [torch.zeros_like(patch), 1 - patch, patch]

    class Spoilt(nn.Module):
        def forward(self, x: Tensor, t: Tensor, *, wrap: bool = False) -> Tensor:
            return network(x, t, wrap=wrap) + 10 * spoilt[len(values)].repeat(len(x) // 16, 1, 1, 1)

    module.network, values = Spoilt(), cast(list[float], [])
    for _ in spoilt:
        values.append(float(module.loss(batch, seeded()).detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-6) and values[2] > 2 * values[0]


def windows(store_path: str) -> tuple[WeatherBatch, WeatherBatch]:
    """A batch of patches with context, and the same with another truth outside of the patches."""
    batch = batch_of(store_path, 1)
    return batch, cast(WeatherBatch, batch | {"high": batch["high"] + 5 * ~inside(batch)})


@pytest.mark.parametrize("name", ["RegressionModule", "CRPSModule"])
def test_other_losses_count_the_patch_alone(build: Build, store_path: str, name: str) -> None:
    module = cast(NetworkModule, build(name, **(ONE_PASS if name == "CRPSModule" else {})))
    batch, other = windows(store_path)
    first, changed = (float(module.loss(b, seeded()).detach()) for b in (batch, other))
    assert first == pytest.approx(changed, rel=1e-6)
    uncut = cast(WeatherBatch, {k: v for k, v in other.items() if not k.startswith("inner")})
    assert float(module.loss(uncut, seeded()).detach()) > 1.2 * first


def test_a_discriminator_judges_the_patch_alone(build: Build, store_path: str) -> None:
    """Of windows that the generator sees whole; the penalty is of the same V."""
    module, judged, made = cast(DDGANModule, build("DDGANModule")), [], []
    module.discriminator.register_forward_hook(lambda _, args, out: judged.append(args[0].detach()))
    module.network.register_forward_hook(lambda _, args, out: made.append(out.shape[-2:]))
    penalties = []
    for batch in windows(store_path):
        targets = module.targets(batch)
        penalties.append(module.discriminator_loss(targets, seeded(), True)[1])
        module.generator_loss(targets, seeded()).backward()
    assert {x.shape[-2:] for x in judged} == {(8, 16)} and set(made) == {(16, 24)}
    torch.testing.assert_close(judged[0], judged[3])  # real pairs
    assert float(penalties[0].detach()) == pytest.approx(float(penalties[1].detach()), rel=1e-5)


def test_the_noise_of_a_diffusion_reaches_over_the_whole_window(build: Build, store_path: str) -> None:
    module, seen = cast(DDPMModule, build("DDPMModule")), []
    module.network.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    module.loss(batch_of(store_path, 1), seeded())
    (x,) = seen
    assert x.shape == (16, 2 + module.codec.condition_channels, 16, 24)
    assert bool((x[:, :2].flatten(2).std(-1) > 0.1).all())
