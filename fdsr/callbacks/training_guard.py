"""Ends a training that has come to nothing: losses or weights that are no numbers, a discriminator that has collapsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from fdsr.errors import FdsrError, require_at_least

# share of pairs held rightly, above which the discriminator tells its generator nothing any more
_WON = 0.999
# standard deviation of V over real and generated pairs, below which it tells nothing apart
_BLIND = 1e-4


class TrainingGuard(Callback):
    """Stops a fit that cannot recover, with one line that names the last good checkpoint.

    Not a number: a loss that is NaN or infinite, looked for every `every` batches and before every checkpoint, as are
    the weights then. So the last checkpoint is always a good one.

    Collapsed: averaged over each of `patience` windows of `window` batches in a row, the discriminator held at least
    99.9 % of all pairs rightly for real or generated (it has won, and its generator learns nothing), or V varied over
    all pairs of a batch by less than 1e−4 (it is blind). Methods say so by `d_accuracy` and `d_spread` in what their
    training step returns; others cannot collapse. A healthy discriminator may win for a while, above all early.

    Raises FdsrError on all ranks alike.
    """

    def __init__(self, every: int = 50, window: int = 500, patience: int = 4) -> None:
        require_at_least(1, "guard.", every=every, window=window, patience=patience)
        self.every, self.window, self.patience = every, window, patience
        self.broken: Tensor | None = None  # on the device, so that no batch waits for it
        self.sums: dict[str, Tensor] = {}
        self.batches = self.won = self.blind = 0
        self.stopped = False  # once is enough: whatever is saved on the way out is the caller's affair

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.broken = torch.zeros((), device=pl_module.device)
        self.sums, self.batches, self.won, self.blind = {}, 0, 0, 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self.broken is not None
        values = outputs if isinstance(outputs, dict) else {"loss": outputs}
        values = {k: v.detach() for k, v in values.items() if isinstance(v, Tensor)}
        for value in values.values():
            self.broken += (~value.isfinite()).any()
        for name in ("d_accuracy", "d_spread"):
            if name in values:
                self.sums[name] = self.sums.get(name, torch.zeros_like(values[name])) + values[name]
        self.batches += 1
        if self.batches % self.every == 0:
            self._require_numbers(trainer)
        if self.batches % self.window == 0 and self.sums:
            self._require_a_contest(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit" or self.broken is None or self.stopped:
            return
        for value in checkpoint["state_dict"].values():
            if value.is_floating_point():
                self.broken += ~value.isfinite().all().to(self.broken.device)
        self._require_numbers(trainer)

    def _require_numbers(self, trainer: L.Trainer) -> None:
        assert self.broken is not None
        if float(self._mean(trainer, self.broken)) > 0:
            self._stop(trainer, "a loss or a weight is no longer a number", "a lower learning rate")

    def _require_a_contest(self, trainer: L.Trainer) -> None:
        accuracy, spread = (float(self._mean(trainer, self.sums[k])) / self.window for k in ("d_accuracy", "d_spread"))
        self.sums = {}
        self.won = self.won + 1 if accuracy >= _WON else 0
        self.blind = self.blind + 1 if spread < _BLIND else 0
        mend = "a larger r1_gamma, or a lower discriminator_lr"
        if self.won >= self.patience:
            self._stop(trainer, f"the discriminator has won: it knows {100 * accuracy:.2f} % of pairs", mend)
        if self.blind >= self.patience:
            what = f"the discriminator has gone blind: its output varies by {spread:.1g}"
            self._stop(trainer, what, "a smaller r1_gamma")

    @staticmethod
    def _mean(trainer: L.Trainer, value: Tensor) -> Tensor:
        return trainer.strategy.reduce(value.clone(), reduce_op="mean")

    def _stop(self, trainer: L.Trainer, what: str, mend: str) -> None:
        self.stopped = True
        paths = [c.last_model_path for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        # the one that was just about to be written has a path already
        saved = (f"the last good checkpoint is '{p}'" for p in paths if p and Path(p).exists())
        good = next(saved, "no checkpoint had been saved")
        raise FdsrError(f"training stopped at step {trainer.global_step}: {what}; {good}; try {mend}")
