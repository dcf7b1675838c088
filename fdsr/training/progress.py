"""How far a training, a test or a prediction has come, on standard error: standard output is for results."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from fdsr.callbacks.run_record import device_name

# seconds between two drawings: on a terminal, and where every drawing is a line of a log
_TERMINAL, _LOG = 0.2, 30.0


class Progress(ProgressBar):
    """One bar for the whole of a training, with the time that is left: an epoch means little where patches are random.

    A training counts optimiser steps where these are limited, batches otherwise. A validation within it has a bar of its own below.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.bars: list[tqdm] = []  # open ones; the last one moves

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:
        tqdm.write(sep.join(map(str, args)), **kwargs)

    def _open(self, name: str, total: float | None, done: int = 0) -> None:
        self.bars.append(
            tqdm(desc=name, total=total, initial=done, unit="step", dynamic_ncols=True, leave=not self.bars,
                 mininterval=_TERMINAL if sys.stderr.isatty() else _LOG, disable=not self.enabled)
        )  # fmt: skip

    def _close(self, *args: Any, **kwargs: Any) -> None:
        self.bars.pop().close()

    def _step(self, *args: Any, **kwargs: Any) -> None:
        self.bars[-1].update()

    # -- training --------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.enabled:
            size = sum(p.numel() for p in pl_module.parameters())
            print(
                f"{type(pl_module).__name__}: {size:,} parameters, {device_name(pl_module.device)}; run: {trainer.default_root_dir}",
                flush=True,
            )
        steps: float | None = trainer.max_steps
        if trainer.max_steps < 0:
            steps = (trainer.max_epochs or -1) * trainer.num_training_batches
        self._open("training", steps if steps and 0 < steps < float("inf") else None, _trained(trainer))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        bar = self.bars[-1]
        # numbers are fetched from the device when the bar is drawn and not at every step
        if bar.update(_trained(trainer) - bar.n):
            bar.set_postfix(self.get_metrics(trainer, pl_module), refresh=False)

    on_train_end = _close

    # -- everything else -------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._open("validation", sum(trainer.num_val_batches))

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._open("test", sum(trainer.num_test_batches))

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._open("prediction", sum(trainer.num_predict_batches))

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = _step
    on_validation_end = on_test_end = on_predict_end = _close

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """What is said next begins a line."""
        while self.bars:
            self._close()


def _trained(trainer: L.Trainer) -> int:
    return trainer.global_step if trainer.max_steps > 0 else trainer.fit_loop.total_batch_idx + 1
