"""A training that has come to nothing ends with one line and leaves a good checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from synthetic import TINY_DDGAN, TINY_UNET
from tiny_images import SPEC, TinyImages

from fdsr.callbacks import EMACallback, TrainingGuard
from fdsr.diffusion import Ancestral
from fdsr.errors import FdsrError
from fdsr.modules import DDGANModule, DDPMModule, load_module

MakeTrainer = Callable[..., L.Trainer]


def ddpm() -> DDPMModule:
    return DDPMModule(backbone_args=TINY_UNET, timesteps=10, sampler=Ancestral(2))


def ddgan(**arguments: Any) -> DDGANModule:
    return DDGANModule(**(TINY_DDGAN | arguments))


class PoisonAt(L.Callback):
    """Makes one weight a NaN before batch `step`, so that its loss is the first bad one."""

    def __init__(self, step: int, value: float = float("nan")) -> None:
        self.step, self.value = step, value

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                pl_module.network.stem.bias[0] = self.value


def checkpoints(folder: Path, every: int) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder, save_last=True, save_top_k=0, every_n_train_steps=every, save_on_train_epoch_end=False
    )


@pytest.mark.parametrize("make", [ddpm, ddgan])
@pytest.mark.parametrize(("every", "stops_at"), [(1, 6), (4, 8), (50, 10)])
def test_not_a_number_ends_training_before_it_is_saved(
    quiet_trainer: MakeTrainer, tmp_path: Path, make: Callable[[], Any], every: int, stops_at: int
) -> None:
    trainer = quiet_trainer(
        max_steps=40, limit_val_batches=0, enable_checkpointing=True,
        callbacks=[EMACallback(), TrainingGuard(every=every), PoisonAt(5), checkpoints(tmp_path / "c", 5)],
    )  # fmt: skip
    with pytest.raises(FdsrError) as caught:
        trainer.fit(make(), datamodule=TinyImages())
    message = str(caught.value)
    assert "\n" not in message and f"stopped at step {stops_at}:" in message and "no longer a number" in message
    assert str(tmp_path / "c" / "last.ckpt") in message
    good = load_module(tmp_path / "c" / "last.ckpt")
    assert all(bool(p.isfinite().all()) for p in good.parameters())
    assert torch.load(tmp_path / "c" / "last.ckpt", weights_only=True)["global_step"] == 5


def test_a_weight_that_is_no_number_is_never_saved(quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    """The loss of a batch may still be finite when its update has broken the weights."""

    class Break(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any) -> None:
            if trainer.global_step == 4:
                pl_module.network.stem.bias.data[0] = float("inf")

    trainer = quiet_trainer(
        max_steps=9, limit_val_batches=0, enable_checkpointing=True,
        callbacks=[Break(), TrainingGuard(), checkpoints(tmp_path / "c", 4)],
    )  # fmt: skip
    with pytest.raises(
        FdsrError, match="step 4: a loss or a weight is no longer a number; no checkpoint had been saved"
    ):
        trainer.fit(ddgan(), datamodule=TinyImages())
    assert not (tmp_path / "c" / "last.ckpt").exists()


class Says(DDGANModule):
    """Trains as ever, and tells the guard what the test wants it to hear."""

    told: Callable[[int], dict[str, float]]

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        told = {k: torch.tensor(v) for k, v in self.told(self.trainer.fit_loop.total_batch_idx).items()}
        return {**super().training_step(batch, batch_idx), **told}


@pytest.mark.parametrize(
    ("told", "stops_at", "words"),
    [
        (lambda step: {"d_accuracy": 1.0, "d_spread": 2.0}, 9, "has won: it knows 100.00 % of pairs"),
        (lambda step: {"d_accuracy": 0.5, "d_spread": 1e-6}, 9, "gone blind: its output varies by 1e-06"),
        # three bad windows must come in a row
        (lambda step: {"d_accuracy": 1.0 if step // 3 != 2 else 0.9, "d_spread": 2.0}, 18, "has won"),
        (lambda step: {"d_accuracy": 0.99, "d_spread": 2.0}, None, ""),
        (lambda step: {"d_accuracy": 0.5, "d_spread": 0.5}, None, ""),
    ],
)
def test_collapse_is_noticed_after_patience(
    quiet_trainer: MakeTrainer, told: Callable[[int], dict[str, float]], stops_at: int | None, words: str
) -> None:
    module = Says(**TINY_DDGAN)
    module.told = told
    trainer = quiet_trainer(max_steps=20, limit_val_batches=0, callbacks=[TrainingGuard(window=3, patience=3)])
    if stops_at is None:
        trainer.fit(module, datamodule=TinyImages())
        assert trainer.global_step == 20
        return
    with pytest.raises(FdsrError, match=words) as caught:
        trainer.fit(module, datamodule=TinyImages())
    assert f"step {stops_at}:" in str(caught.value) and "\n" not in str(caught.value)


def test_a_real_collapse_is_noticed(quiet_trainer: MakeTrainer) -> None:
    """A generator that cannot move against a discriminator that learns fast; and a discriminator that cannot speak."""
    silent = ddgan(discriminator_lr=0.0)
    silent.attach(SPEC)
    torch.nn.init.zeros_(silent.discriminator.head.weight)  # type: ignore[arg-type, union-attr]
    hopeless = ddgan(lr=0.0, discriminator_lr=3e-3, r1_gamma=0.0, timesteps=1)
    for module, words in ((hopeless, "has won"), (silent, "gone blind")):
        guard = TrainingGuard(window=10, patience=2)
        with pytest.raises(FdsrError, match=words):
            quiet_trainer(max_steps=200, limit_val_batches=0, callbacks=[guard]).fit(
                module, datamodule=TinyImages(batch_size=16)
            )


def test_a_healthy_fit_is_left_alone(quiet_trainer: MakeTrainer) -> None:
    for module in (ddpm(), ddgan()):
        trainer = quiet_trainer(max_steps=12, limit_val_batches=0, callbacks=[TrainingGuard(1, window=2, patience=2)])
        trainer.fit(module, datamodule=TinyImages())
        assert trainer.global_step == 12


@pytest.mark.parametrize("arguments", [{"every": 0}, {"window": 0}, {"patience": 0}])
def test_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(FdsrError, match="at least 1"):
        TrainingGuard(**arguments)
