"""Run in each of two processes: which samples training and evaluation see here.

A plain Trainer on purpose, whose default is to put a distributed
sampler of its own into every DataLoader that it finds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import torch

from fdsr.data import WeatherDataModule
from fdsr.modules import RegressionModule


class Witness(L.LightningModule):
    """A parameter to train, and lists of (epoch, batch) indices seen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[list[int]]] = {"train": [[], []], "val": [], "test": [], "predict": []}
        self.sums: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen["train"][self.current_epoch].extend(batch["index"].tolist())
        return (self.weight - batch["high"].mean()).square()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.current_epoch == 0:
            self.seen["val"].append(batch["index"].tolist())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["test"].append(batch["index"].tolist())

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["predict"].append(batch["index"].tolist())

    def on_test_epoch_end(self) -> None:
        # what a process without a sample must not miss: the others wait for it here
        count = torch.tensor(float(len(self.seen["test"])))
        self.sums.append(float(self.trainer.strategy.reduce(count, reduce_op="sum")))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder: Path, stores: list[str]) -> None:
    """Writes the answers, one file a process, into `folder`."""
    answers: dict[str, Any] = {}
    rank = -1
    for store in stores:
        for whole_fields in (False, True):
            data = WeatherDataModule(
                store=store, patch=None if whole_fields else (8, 16), batch_size=2, patches_per_step=3
            )
            module = Witness()
            trainer = L.Trainer(
                accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_progress_bar=False,
                enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, default_root_dir=folder,
            )  # fmt: skip
            rank = trainer.global_rank
            trainer.fit(module, datamodule=data)
            trainer.test(module, datamodule=data, verbose=False)
            trainer.predict(module, datamodule=data, return_predictions=False)
            answers[f"{store} {whole_fields}"] = module.seen | {"weight": float(module.weight), "sums": module.sums}
        # a method with buffers, which DistributedDataParallel would synchronise in validation too
        method = RegressionModule(
            backbone_args={"width": 8, "multipliers": [1, 2], "groups": 4, "time_embedding": False}
        )
        data = WeatherDataModule(store=store, patch=(8, 16), batch_size=2, patches_per_step=3)
        trainer = L.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(method, datamodule=data)
        answers[f"{store} method"] = {
            "val_loss": float(trainer.callback_metrics["val_loss"]),
            "buffers": sum(1 for _ in method.buffers()),
            "weights": [float(p.detach().double().sum()) for p in method.parameters()],
        }
    (folder / f"rank{rank}.json").write_text(json.dumps(answers))
