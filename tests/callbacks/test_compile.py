"""A compiled network learns the same and is saved under the same names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from fdsr.callbacks import CompileCallback
from fdsr.data import WeatherDataModule
from fdsr.modules import DownscalingModule


class Losses(L.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *args: Any) -> None:
        self.values.append(float(outputs["loss" if "loss" in outputs else "g_loss"]))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The modes that were asked for. A real C++ compiler may be missing where tests run; this backend traces and guards as others do."""
    seen: list[str | None] = []
    original = torch.nn.Module.compile

    def spy(self: torch.nn.Module, mode: str | None = None) -> None:
        seen.append(mode)
        original(self, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", spy)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("method", ["DDPMModule", "DDGANModule"])
def test_same_losses_and_same_names(
    method: str,
    build: Callable[..., DownscalingModule],
    data: WeatherDataModule,
    quiet_trainer: Callable[..., L.Trainer],
    compiled: list[str | None],
) -> None:
    losses, states = [], []
    for mode in (None, "default"):
        recorder = Losses()
        # a gradient penalty in every other batch: its second derivative is not to be compiled
        module = build(method, seed=3, **({"r1_every": 2} if method == "DDGANModule" else {})).train()
        quiet_trainer(max_steps=4, callbacks=[CompileCallback(mode), recorder]).fit(module, data)  # type: ignore[arg-type]
        losses.append(recorder.values)
        states.append(set(module.state_dict()))
    assert compiled == ["default"] * (2 if method == "DDGANModule" else 1)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[0]) == 4
    assert states[0] == states[1]


def test_a_mode_from_the_configuration(
    program: Callable[..., int], configure: Callable[..., Path], capsys: Any
) -> None:
    assert program("fit", "--config", configure("DDPMModule"), "--compile.mode", "fast", "--run", "unused") == 2
    error = capsys.readouterr().err
    assert "compile.mode" in error and "\n" not in error.strip()


def test_predictions_run_compiled_as_well(
    build: Callable[..., DownscalingModule],
    data: WeatherDataModule,
    quiet_trainer: Callable[..., L.Trainer],
    compiled: list[str | None],
) -> None:
    """In tiles, whose network is tried without the compiler before it is used with it."""
    data.setup("test")
    predictions = []
    for mode in (None, "default"):
        module = build("DDPMModule", tile="8x8+4")
        trainer = quiet_trainer(callbacks=[CompileCallback(mode)], limit_predict_batches=1)  # type: ignore[arg-type]
        predictions.append(trainer.predict(module, data.test_dataloader())[0]["prediction"])
    assert compiled == ["default"]
    torch.testing.assert_close(predictions[1], predictions[0], rtol=1e-4, atol=1e-4)
