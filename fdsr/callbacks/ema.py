"""Exponential moving average of a network's weights, used for every evaluation."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from fdsr.errors import FdsrError


class EMACallback(Callback):
    """Keeps an average of the weights of `module.<attribute>` and puts it in place for validation, and when training has ended.

    What is tested, predicted or generated then is the average's; another `fit` of the same trainer goes on from the raw weights.

    After step n the average moves by 1 − min(decay, (1 + n)/(10 + n)), so that early weights are soon forgotten. In a
    checkpoint the *average* stands in the module's state dict, and the raw weights here: whoever loads a checkpoint gets
    what was evaluated; a resumed fit goes on from the raw ones.
    """

    def __init__(self, decay: float = 0.999, attribute: str = "network") -> None:
        if not 0 <= decay < 1:
            raise FdsrError(f"EMA decay is {decay}; it must lie in [0, 1)")
        self.decay, self.attribute = decay, attribute
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self.raw: dict[str, Tensor] | None = None  # set while the average is in place

    def _parameters(self, module: L.LightningModule) -> dict[str, Tensor]:
        network: nn.Module | None = getattr(module, self.attribute, None)
        if network is None:  # a method without a network has nothing to average
            return {}
        return {f"{self.attribute}.{name}": p.data for name, p in network.named_parameters()}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        current = self._parameters(pl_module)
        if self.average:
            self.average = {k: v.to(current[k]) for k, v in self.average.items()}
        else:
            self.average = {k: v.clone() for k, v in current.items()}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step == self.updates:
            return  # gradients are still being accumulated
        self.updates = trainer.global_step
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = self._parameters(pl_module)
        if not current:
            return
        torch._foreach_lerp_([self.average[k] for k in current], list(current.values()), 1 - decay)

    def _swap_in(self, pl_module: L.LightningModule) -> None:
        if not self.average or self.raw is not None:
            return
        current = self._parameters(pl_module)
        self.raw = {k: v.clone() for k, v in current.items()}
        for name, value in current.items():
            value.copy_(self.average[name])

    def _swap_out(self, pl_module: L.LightningModule) -> None:
        if self.raw is None:
            return
        for name, value in self._parameters(pl_module).items():
            value.copy_(self.raw[name])
        self.raw = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # before the first step there is nothing to average; testing and predicting load averaged weights anyway
        if trainer.state.fn == "fit" and self.updates:
            self._swap_in(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._swap_out(pl_module)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._swap_out(pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.updates:
            self._swap_in(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if trainer.state.fn == "fit":
            self._swap_out(pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self.average:
            return
        state = checkpoint["state_dict"]
        raw = self.raw or {k: state[k] for k in self.average}
        checkpoint["fdsr_raw_weights"] = {k: v.clone() for k, v in raw.items()}
        checkpoint["fdsr_ema_updates"] = self.updates
        for name, value in self.average.items():
            state[name] = value.clone()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit" or "fdsr_raw_weights" not in checkpoint:
            return
        state, raw = checkpoint["state_dict"], checkpoint["fdsr_raw_weights"]
        self.average = {k: state[k].clone() for k in raw}
        self.updates, self.raw = int(checkpoint["fdsr_ema_updates"]), None
        # Lightning has put the average in place by now: it restores the module before the callbacks
        for name, value in self._parameters(pl_module).items():
            value.copy_(raw[name])
