"""Trains a tiny DDGAN in two processes on CPU; each writes what it drew and where its weights ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from synthetic import TINY_DDGAN
from tiny_images import TinyImages

from fdsr.callbacks import EMACallback
from fdsr.modules import DDGANModule


class Recorded(DDGANModule):
    """Keeps the first noise of every step."""

    def _noise(self, x_0: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        noise = super()._noise(x_0, rng)
        if self.trainer.training:
            self.drawn.append(noise.flatten()[:4].clone())
        return noise


def main(folder: Path, precision: Any) -> None:
    module = Recorded(**TINY_DDGAN, r1_every=2, lr=1e-3, discriminator_lr=1e-3)
    module.drawn = []
    ema = EMACallback()
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_steps=6, precision=precision, logger=False, callbacks=[ema],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
        use_distributed_sampler=False, val_check_interval=2, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, datamodule=TinyImages())
    result = {
        "step": trainer.global_step,
        "noise": torch.stack(module.drawn),
        "state": {k: v.clone() for k, v in module.state_dict().items()},
        "average": ema.average,
        "images": module.sample_images([2 * i + trainer.global_rank for i in range(3)], 0),
    }
    torch.save(result, folder / f"rank{trainer.global_rank}.pt")
