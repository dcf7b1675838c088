"""What makes training fast does not change what is learnt: the same loss curve to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from synthetic import TINY_UNET

from fdsr.data import WeatherBatch
from fdsr.diffusion import axes
from fdsr.modules import FourierDDPMModule
from fdsr.modules.seeding import generator

Build = Callable[..., FourierDDPMModule]


def curve(module: FourierDDPMModule, batch: WeatherBatch, **optimiser: Any) -> list[float]:
    """Losses of 15 steps of AdamW from the module's weights."""
    adam = torch.optim.AdamW(module.parameters(), lr=5e-3, **optimiser)
    losses = []
    for _ in range(15):
        adam.zero_grad()
        loss = module.loss(batch, generator("cpu", 0, "train", 0))  # the same noise, so that it falls fast
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses


@pytest.fixture
def reference(build: Build, field_batch: WeatherBatch) -> list[float]:
    """The curve without any optimisation, a falling one."""
    module = build("FourierDDPMModule", seed=1).to(memory_format=torch.contiguous_format)
    losses = curve(module, field_batch, foreach=False, fused=False)
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])
    return losses


def test_fused_optimiser(build: Build, field_batch: WeatherBatch, reference: list[float]) -> None:
    assert curve(build("FourierDDPMModule", seed=1), field_batch, fused=True) == pytest.approx(reference, rel=1e-3)


def test_memory_layout(build: Build, field_batch: WeatherBatch, reference: list[float]) -> None:
    module = build("FourierDDPMModule", seed=1).to(memory_format=torch.channels_last)
    assert curve(module, field_batch, foreach=False) == pytest.approx(reference, rel=1e-3)


def test_transforms_by_matrix_and_by_fft(
    build: Build, field_batch: WeatherBatch, reference: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axes, "MATRIX_LENGTH", 0)
    assert curve(build("FourierDDPMModule", seed=1), field_batch, foreach=False) == pytest.approx(reference, rel=1e-3)


def test_recomputed_activations(build: Build, field_batch: WeatherBatch, reference: list[float]) -> None:
    module = build("FourierDDPMModule", seed=1, backbone_args=TINY_UNET | {"recompute": True})
    assert curve(module, field_batch, foreach=False) == pytest.approx(reference, rel=1e-3)
