"""Evaluation in the midst of training: when, on which times, and one ensemble for all callbacks that want it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from torch.utils.data import default_collate
from tqdm import tqdm

from fdsr.callbacks.evaluation_mode import evaluation_mode
from fdsr.callbacks.logged_names import score
from fdsr.data.serving.datasets import FieldDataset
from fdsr.errors import FdsrError, require_at_least
from fdsr.modules.downscaling import DownscalingModule, Ensemble

Scores = dict[str, dict[str, float]]


class EvaluationCallback(Callback):
    """Base of callbacks that look at ensembles of the validation block's whole fields while a model trains.

    Ensembles are those that `fdsr test` would make of these times with the averaged weights, in float32: member m of a
    time is the same field whatever the precision of training, the number of processes, or the other callbacks. Every
    process makes its own share of the times; only sums are exchanged. Callbacks due at the same moment share one
    ensemble, of the largest size asked for. Training is not touched: its losses are those of a run without callbacks.

    Subclasses implement `begin`, `add` and `finish`, and hold what they sum up, which is no part of a checkpoint.

    Args:
        every_n_steps: evaluate after every so many training steps; None: not by steps.
        on_validation: evaluate at the end of every validation.
        times: how many times of the validation block, evenly spread; None: all.
        members: M of the ensembles; deterministic methods make one.
    """

    needs_rank_zero = False  # whether its times must be made by rank 0

    def __init__(
        self, every_n_steps: int | None = None, on_validation: bool = True, times: int | None = 2, members: int = 4
    ) -> None:
        name = type(self).__name__
        if every_n_steps is None and not on_validation:
            raise FdsrError(f"{name} would never run: give every_n_steps, or on_validation: true")
        require_at_least(1, f"{name}: ", every_n_steps=every_n_steps, times=times, members=members)
        self.every_n_steps, self.on_validation, self.times, self.members = every_n_steps, on_validation, times, members
        self._last_step = -1

    def begin(self, module: DownscalingModule) -> None:
        """Forget what was added before."""
        raise NotImplementedError

    def add(self, module: DownscalingModule, ensemble: Ensemble) -> None:
        """Take one time, with batch axis: prediction (1, M, C, H, W), truth, low, time, index. On its own rank only."""
        raise NotImplementedError

    def finish(self, trainer: L.Trainer, module: DownscalingModule, step: int) -> Scores:
        """Merge over processes, every one of which calls this: metric → variable → value, the same on all."""
        raise NotImplementedError

    def positions(self, n: int) -> list[int]:
        """Which of the n times of the validation block to look at."""
        return sorted({round(i) for i in np.linspace(0, n - 1, min(n, self.times or n)).tolist()})

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._last_step = -1
        if stage in ("fit", "validate"):
            validation_fields(trainer, type(self).__name__)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self._evaluate_first(trainer, pl_module, validating=False)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._evaluate_first(trainer, pl_module, validating=True)

    def _due(self, step: int, validating: bool) -> bool:
        """At the end of a validation, or after a batch; one that only accumulates gradients is no step."""
        in_turn = bool(self.every_n_steps and step and step % self.every_n_steps == 0)
        return (self.on_validation if validating else in_turn) and step != self._last_step

    def _evaluate_first(self, trainer: L.Trainer, module: L.LightningModule, validating: bool) -> None:
        """The first of the callbacks that are due serves all of them; none is due any more when the others ask."""
        every = [c for c in trainer.callbacks if isinstance(c, EvaluationCallback)]  # type: ignore[attr-defined]
        due = [callback for callback in every if callback._due(trainer.global_step, validating)]
        if self in due:
            assert isinstance(module, DownscalingModule)
            evaluate_together(trainer, module, due)


def evaluate_together(trainer: L.Trainer, module: DownscalingModule, callbacks: Sequence[EvaluationCallback]) -> None:
    """One ensemble of each time that any of `callbacks` wants, and the scores of all of them logged.

    A collective call: every process must make it at the same step. Not for strategies that shard the network over
    processes, which have shares of different sizes here.
    """
    step = trainer.global_step
    fields = validation_fields(trainer, type(callbacks[0]).__name__)
    wanted = [(callback, set(callback.positions(len(fields)))) for callback in callbacks]
    scores: Scores = {}
    with evaluation_mode(trainer, module), module.at_split("val"):
        for callback in callbacks:
            callback._last_step = step
            callback.begin(module)
        share = shares(wanted, trainer.world_size)[trainer.global_rank]
        quiet = not trainer.is_global_zero or trainer.progress_bar_callback is None
        for i in tqdm(share, desc="evaluating", unit="time", leave=False, disable=quiet):
            takers = [callback for callback, positions in wanted if i in positions]
            batch = trainer.strategy.batch_to_device(default_collate([fields[i]]), module.device)
            prediction = module.generate(batch, max(c.members for c in takers), module.seed).float()
            given = {"truth": batch["high"]} | {name: batch[name] for name in ("low", "time", "index")}
            for callback in takers:
                callback.add(module, {"prediction": prediction[:, : callback.members], **given})  # type: ignore[typeddict-item]
        for callback in callbacks:
            for metric, values in callback.finish(trainer, module, step).items():
                scores.setdefault(metric, {}).update(values)
    log_scores(trainer, module, scores, step)


def shares(wanted: Sequence[tuple[EvaluationCallback, set[int]]], world_size: int) -> list[list[int]]:
    """The times of every rank: those that rank 0 must make, and the others spread evenly."""
    drawn = sorted({i for callback, positions in wanted if callback.needs_rank_zero for i in positions})
    others = sorted({i for _, positions in wanted for i in positions} - set(drawn))
    lists = [drawn, *([] for _ in range(world_size - 1))]
    for i in others:
        min(lists, key=len).append(i)
    return lists


def log_scores(trainer: L.Trainer, module: L.LightningModule, scores: Scores, step: int) -> None:
    """`fdsr/{metric}/{variable}` to every logger at `step`, and to whoever monitors (checkpoints, early stopping)."""
    values = {score(metric, name): value for metric, named in scores.items() for name, value in named.items()}
    if not values:
        return
    for logger in trainer.loggers:
        logger.log_metrics(values, step=step)
    # every process has the same values; Lightning wants an epoch's to be averaged over processes all the same
    epoch = not trainer.training
    module.log_dict(values, logger=False, on_step=not epoch, on_epoch=epoch, sync_dist=epoch, batch_size=1)


def validation_fields(trainer: L.Trainer, who: str) -> FieldDataset:
    """The whole fields of the validation block. Raises FdsrError if the data have none."""
    fields = getattr(trainer.datamodule, "fields", None)  # type: ignore[attr-defined]
    if fields is None:
        raise FdsrError(f"{who} looks at weather fields, and these data have none; take it out of trainer.callbacks")
    found: FieldDataset = fields("val")
    if len(found) == 0:
        raise FdsrError(f"{who} looks at the validation block, which is empty; give data.split a val block")
    return found
