"""Consistency tuning: it begins as the DDPM, its stages follow training, and it learns to draw in one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from synthetic import TINY_UNET, randomise
from tiny_images import SPEC, TinyImages
from torch import Tensor

from fdsr.callbacks import EMACallback
from fdsr.data import WeatherDataModule
from fdsr.diffusion import LevelPairs, Renoising
from fdsr.errors import FdsrError
from fdsr.modules import ConsistencyModule, DDPMModule, load_module, save_pretrained

MakeTrainer = Callable[..., L.Trainer]


def test_it_begins_with_the_ddpms_weights_and_its_estimate(quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    teacher = DDPMModule(backbone_args=TINY_UNET)
    teacher.attach(SPEC)
    randomise(teacher)
    path = save_pretrained(teacher, tmp_path / "ddpm")
    module = ConsistencyModule(backbone_args=TINY_UNET, from_ddpm=str(path), lr=0.0)
    quiet_trainer(max_steps=1, limit_val_batches=0).fit(module, datamodule=TinyImages())
    x_t, condition = torch.randn(3, 1, 8, 8), torch.zeros(3, 0, 8, 8)
    with torch.no_grad():
        for share in (0.1, 0.5, 1.0):
            ours, theirs = (
                m.parametrisation.to_x_0(m.process, m.predictor(condition)(x_t, t), x_t, t)
                for m in (module.eval(), teacher.eval())
                for t in [torch.full((3,), round(share * m.schedule.T))]
            )
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_stages_follow_training(quiet_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ConsistencyModule(backbone_args=TINY_UNET, stages=3)
    seen: list[int] = []
    original = LevelPairs.draw

    def draw(self: Any, process: Any, count: int, stage: int, rng: Any) -> Any:
        seen.append(stage)
        return original(self, process, count, stage, rng)

    monkeypatch.setattr(LevelPairs, "draw", draw)
    trainer = quiet_trainer(max_steps=6, limit_val_batches=0)
    trainer.fit(module, datamodule=TinyImages())
    assert seen == [0, 0, 1, 1, 2, 2]
    seen.clear()
    # at fixed levels and at the last stage, whatever training's is
    quiet_trainer(limit_val_batches=1).validate(module, datamodule=TinyImages(), verbose=False)
    assert not seen


def test_validation_knows_no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ConsistencyModule(backbone_args=TINY_UNET, stages=4)
    module.attach(SPEC)
    randomise(module)
    batch: Any = {"image": torch.rand(4, 1, 8, 8) * 2 - 1, "index": torch.arange(4)}
    losses = []
    for stage in (0, 2):
        monkeypatch.setattr(ConsistencyModule, "stage", stage)
        losses.append(module.validation_loss(batch, torch.Generator().manual_seed(0)))
    assert torch.equal(*losses) and float(losses[0]) > 0
    pairs = module.pairs.grid(module.process, 9, 3)
    assert bool((pairs.t[1:] > pairs.t[:-1]).all()) and bool((pairs.s < pairs.t).all())
    a = module.process.alphas_cumprod[pairs.t[4]]
    assert float(((1 - a) / a).sqrt().log()) == pytest.approx(-1.1, abs=1e-2)  # the median


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains_on_images_and_on_fields(
    quiet_trainer: MakeTrainer, data: WeatherDataModule, tmp_path: Path, precision: str
) -> None:
    for source in (TinyImages(), data):
        module = ConsistencyModule(backbone_args=TINY_UNET, members=2)
        trainer = quiet_trainer(
            max_steps=3, precision=precision, val_check_interval=1, limit_val_batches=1, callbacks=[EMACallback()]
        )
        trainer.fit(module, datamodule=source)
        assert all(bool(v.isfinite()) for v in trainer.callback_metrics.values())
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        loaded = load_module(tmp_path / "a.ckpt")
        assert isinstance(loaded, ConsistencyModule) and loaded.sampler == Renoising(2)
        assert loaded.evaluations_per_member == 2


def corners(images: Tensor) -> Tensor:
    """Mean brightness of the four corners (N, 4)."""
    return torch.stack([images[..., r : r + 3, c : c + 3].mean((1, 2, 3)) for r in (0, 3) for c in (0, 3)], 1)


@pytest.mark.slow
def test_a_ddpm_tuned_draws_in_one_step_what_it_could_not(quiet_trainer: MakeTrainer, tmp_path: Path) -> None:
    """One bright corner each, all four corners; in one step the DDPM draws the grey mean of all."""
    settings: dict[str, Any] = {"backbone_args": TINY_UNET, "lr": 4e-3, "member_batch": 256, "seed": 0}
    teacher = DDPMModule(**settings)
    quiet_trainer(max_steps=200, limit_val_batches=0).fit(teacher, datamodule=TinyImages(count=512, batch_size=32))
    path = save_pretrained(teacher, tmp_path / "ddpm")
    student = ConsistencyModule(**(settings | {"lr": 2e-3}), from_ddpm=str(path), stages=5, sampler=Renoising(1))
    quiet_trainer(max_steps=200, limit_val_batches=0).fit(student, datamodule=TinyImages(count=512, batch_size=32))
    teacher.sampler = Renoising(1)
    bright = {}
    for name, module in (("teacher", teacher), ("student", student)):
        values = corners(module.sample_images(range(256), 0)).sort(1).values
        bright[name] = float((values[:, -1] - values[:, -2]).mean())
    # of the data the brightest corner stands 1.8 above the others
    assert bright["teacher"] < 0.3 and bright["student"] > 0.6, bright


def test_bad_settings() -> None:
    for arguments in ({"stages": 0}, {"huber": -1.0}, {"shrink": 1.0}, {"level_deviation": -1.0}):
        with pytest.raises(FdsrError, match="stages must be at least 1"):
            ConsistencyModule(backbone_args=TINY_UNET, **arguments)  # type: ignore[arg-type]
