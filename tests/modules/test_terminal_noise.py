"""What a process is at t = T, and what networks see of t."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import pytest
import torch
from synthetic import TINY_UNET
from tiny_images import TinyImages

from fdsr.data import WeatherBatch, WeatherDataModule
from fdsr.diffusion import GaussianDiffusion, Schedule, Spectrum, WhiteNoise
from fdsr.modules import DDPMModule, DownscalingModule
from fdsr.modules.ddpm import MAX_TERMINAL_SNR, warn_of_signal

Build = Callable[..., DownscalingModule]


def said(found: Sequence[warnings.WarningMessage]) -> list[str]:
    return [str(w.message) for w in found if "signal-to-noise" in str(w.message)]


@pytest.mark.parametrize(("ratio", "count"), [(0.0099, 0), (0.0101, 1), (0.3, 1)])
def test_a_line_above_the_limit_and_none_below(ratio: float, count: int) -> None:
    """Flat power under white noise: the ratio is ᾱ_T itself, in every coefficient."""
    schedule = Schedule(torch.tensor([1.0, ratio], dtype=torch.float64))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_signal(GaussianDiffusion(schedule, spectrum=Spectrum(power=torch.ones(1, 4, 4))))
        warn_of_signal(GaussianDiffusion(schedule))  # of unknown power there is nothing to say
    assert MAX_TERMINAL_SNR == 0.01 and len(said(found)) == count
    assert all("\n" not in line and f"{ratio:.2g}" in line for line in said(found))


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("DDPMModule", {}, 0),  # residuals, ᾱ_T = 4e-5
        ("DDPMModule", {"schedule": "linear", "timesteps": 100}, 1),  # ᾱ_T = 0.36
        ("FourierDDPMModule", {"schedule": "linear", "timesteps": 100}, 1),
        ("DDGANModule", {}, 0),
    ],
)
def test_a_fit_says_it_once(
    build: Build, data: WeatherDataModule, quiet_trainer: Callable[..., L.Trainer], name: str, arguments: dict, count: int
) -> None:  # fmt: skip
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        quiet_trainer(max_steps=3, val_check_interval=1, limit_val_batches=1).fit(
            build(name, **arguments), datamodule=data
        )
    assert len(said(found)) == count


def test_colour_lowers_the_ratio(build: Build) -> None:
    """The residual's own colour leaves ᾱ_T, white noise ᾱ_T times the strongest coefficient."""
    coloured = build("FourierDDPMModule").process
    white = build("FourierDDPMModule", noise=WhiteNoise()).process
    last = float(coloured.schedule.alphas_cumprod[-1])
    assert coloured.terminal_snr() == pytest.approx(last, rel=1e-6)
    assert white.terminal_snr() == pytest.approx(last * float(white.spectrum.power((24, 48)).max()), rel=0.5)


@pytest.mark.parametrize("name", ["DDPMModule", "FourierDDPMModule", "DDGANModule"])
def test_networks_see_time_through_one_function(
    build: Build, data: WeatherDataModule, field_batch: WeatherBatch, quiet_trainer: Callable[..., L.Trainer],
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    """Whatever `network_time` makes of t is what every network is given, in training, validation and sampling."""
    monkeypatch.setattr(GaussianDiffusion, "network_time", lambda self, t: torch.full_like(t, 7, dtype=torch.float32))
    module: Any = build(name)
    seen: dict[str, set[float]] = {}
    for part, network in module.named_children():
        if part in ("network", "discriminator"):
            seen[part] = set()
            network.register_forward_pre_hook(lambda _, args, part=part: seen[part].update(args[1].tolist()))
    quiet_trainer(max_steps=2, val_check_interval=1, limit_val_batches=1).fit(module, datamodule=data)
    module.eval().generate(field_batch, 2, 0)
    assert seen == ({"network": {7.0}, "discriminator": {7.0}} if name == "DDGANModule" else {"network": {7.0}})


def test_images_have_no_spectrum_to_be_warned_of(quiet_trainer: Callable[..., L.Trainer]) -> None:
    module = DDPMModule(backbone_args=TINY_UNET, schedule="linear", timesteps=100)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        quiet_trainer(max_steps=1, limit_val_batches=0).fit(module, datamodule=TinyImages())
    assert said(found) == []
