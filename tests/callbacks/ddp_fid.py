"""Measures a tiny DDGAN's images in several processes on CPU, before it has learnt anything and in a test."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from synthetic import TINY_DDGAN

from fdsr.callbacks import EMACallback, FIDCallback
from fdsr.data import FashionMNISTDataModule
from fdsr.modules import DDGANModule


def main(images: Path, folder: Path, processes: int) -> None:
    torch.manual_seed(0)  # equal weights, however many processes train them
    # a learning rate of zero: shares of several processes train differently, and are not what is compared
    module = DDGANModule(**TINY_DDGAN, lr=0.0, discriminator_lr=0.0)
    callback = FIDCallback(n_images=70, batch_size=9, every_n_steps=2, grid=16, cache=str(folder / "cache"))
    trainer = L.Trainer(
        accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto", max_steps=4, logger=False,
        callbacks=[EMACallback(), callback], enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, default_root_dir=folder,
    )  # fmt: skip
    data = FashionMNISTDataModule(folder=str(images), verify=False, batch_size=8)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
