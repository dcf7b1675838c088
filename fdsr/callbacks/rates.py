"""A resumed training has the rates that its settings say."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.optim.lr_scheduler import LambdaLR


class Rates(Callback):
    """Puts the optimisers' settings (rates, decay of weights) back after a checkpoint has put those of its own training in place.

    A schedule that is a function of the step goes on at the step that the checkpoint has come to; other ones keep the rate
    of the checkpoint until their next step.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []  # of every group of parameters

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # the optimisers are made, and no checkpoint has reached them yet
        self.asked = [{k: v for k, v in group.items() if k != "params"} for group in _groups(trainer)]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for group, asked in zip(_groups(trainer), self.asked, strict=True):
            # under a schedule the rate of this step is another than the one it begins with
            group.update({k: v for k, v in asked.items() if k != "lr" or "initial_lr" not in asked})
        for scheduler in (config.scheduler for config in trainer.lr_scheduler_configs):
            if isinstance(scheduler, LambdaLR):
                groups = scheduler.optimizer.param_groups
                scheduler.base_lrs = [group["initial_lr"] for group in groups]
                for group, factor in zip(groups, scheduler.lr_lambdas, strict=True):
                    group["lr"] = group["initial_lr"] * factor(scheduler.last_epoch)


def _groups(trainer: L.Trainer) -> list[dict[str, Any]]:
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
