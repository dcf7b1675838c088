"""The record of a run: configuration, code, data, device and versions, and its metrics line by line."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from os import PathLike
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from fdsr.callbacks.evaluation_mode import now
from fdsr.modules.downscaling import DownscalingModule
from fdsr.modules.identity import model_fingerprint
from fdsr.records import RunFolder, device_name
from fdsr.records.provenance import versions


class RunRecord(Callback):
    """Writes record and resolved configuration into the run's directory when a stage begins, under the method's name.

    When a fit ends it adds the steps made and `samples_seen`, the images or patches that all processes have trained on,
    interruptions included. With every validation it logs `train_seconds`, what training has taken up to there, validations
    apart. When a test of fields ends it adds `seconds_per_member`: the time that one member of one whole field takes, in
    batches of the test's own size on this device (median over the batches of the first process), and `weights`, a fingerprint of
    those that were tested.

    Args:
        run_dir: the run's directory.
        method: its method's name.
        config: its resolved configuration.
        fresh: whether a training that begins anew takes the place of what an earlier run left there, scores included.
    """

    def __init__(self, run_dir: str | PathLike[str], method: str, config: str, fresh: bool = False) -> None:
        self.folder, self.method, self.config, self.fresh = RunFolder(run_dir), method, config, fresh
        self.seen, self.seconds = 0, 0.0  # samples of all processes, seconds of this one, in training
        self._processes, self._began, self._seconds = 1, 0.0, list[float]()

    def state_dict(self) -> dict[str, float]:
        return {"seen": self.seen, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        # older checkpoints have what one process had seen, or no time
        seen = state_dict["seen"] if "seen" in state_dict else state_dict["samples"] * self._processes
        self.seen, self.seconds = int(seen), state_dict.get("seconds", 0.0)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._processes = trainer.world_size

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._clock = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        clock = time.perf_counter()
        self.seconds, self._clock = self.seconds + clock - self._clock, clock

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *args: Any) -> None:
        # a training may be gone on with by another number of processes
        self.seen += self._processes * len(batch["index"])

    def on_validation_start(self, *args: Any) -> None:
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._clock += time.perf_counter() - self._paused
            for logger in trainer.loggers:
                logger.log_metrics({"train_seconds": self.seconds}, step=trainer.global_step)

    @rank_zero_only
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # of a training that had ended before it was gone on with, too, in which nothing is trained
        # wall time of this process, resumed trainings' earlier parts and what is done between batches included, validations apart
        seconds = float(f"{self.seconds:.4g}")
        self.folder.add("fit", {"steps": trainer.global_step, "samples_seen": self.seen, "seconds": seconds})

    @rank_zero_only
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.fresh and trainer.ckpt_path is None:
            self.folder.clear()
        self._write(trainer, pl_module, "fit")

    @rank_zero_only
    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._seconds = []
        self._write(trainer, pl_module, "test")

    def on_test_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self._began = now(pl_module.device)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        if outputs and "prediction" in outputs:
            times, members = outputs["prediction"].shape[:2]
            self._seconds.append((now(pl_module.device) - self._began) / (times * members))

    @rank_zero_only
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._seconds:
            self.folder.add("test", {"seconds_per_member": float(f"{statistics.median(self._seconds):.4g}")})
        if isinstance(pl_module, DownscalingModule):
            self.folder.add("test", {"weights": model_fingerprint(pl_module)})

    def _write(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        facts = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "method": self.method,
            **versions(),
            "device": device_name(module.device),
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
            "data_fingerprint": module.spec.fingerprint,
            "synthetic": getattr(module.spec, "synthetic", False),
            "seed": module.seed,
            "parameters": _size(module),
            "networks": {name: n for name, part in module.named_children() if (n := _size(part))},
        }
        if stage == "test":
            facts["nfe"] = module.evaluations_per_member
        self.folder.begin(stage, facts, self.config)


def _size(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


class JSONLLogger(Logger):
    """Appends the metrics of each call to the run's directory."""

    def __init__(self, run_dir: str | PathLike[str]) -> None:
        super().__init__()
        self.folder = RunFolder(run_dir)

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's configuration holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.folder.metrics.append({"step": step, **metrics})
