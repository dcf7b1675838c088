"""The record of a run: configuration, code, data, device and versions, and its metrics line by line."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from fdsr import __version__
from fdsr.atomic import write_text
from fdsr.callbacks.evaluation_mode import train_step

_PACKAGES = ("torch", "lightning", "torchmetrics", "numpy", "scipy", "xarray", "zarr", "einops")


@lru_cache
def code_version() -> str:
    """Short git commit of the code, with `+` when the tree is dirty, or the package's version outside a checkout."""
    root = Path(__file__).parents[2]

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return __version__
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "fdsr") else "")
    except (OSError, subprocess.SubprocessError):
        return __version__


def device_name(device: torch.device) -> str:
    """The device in words, for a table."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type


class RunRecord(Callback):
    """Writes `run.json` and the resolved `config.yaml` into the run's directory when a stage begins.

    When training ends it adds the steps made and `samples_seen`, the images or patches that all processes have trained on,
    interruptions included. When a test of fields ends it adds `seconds_per_member`: the time that one member of one whole
    field takes, in batches of the test's own size on this device (median over the batches of the first process).
    """

    def __init__(self, run_dir: str | Path, config: str) -> None:
        self.run_dir, self.config = Path(run_dir), config
        self.samples = 0  # of this process
        self._began, self._seconds = 0.0, list[float]()

    def state_dict(self) -> dict[str, int]:
        return {"samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.samples = state_dict["samples"]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.samples += len(batch["index"])

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._add(
            "fit",
            {
                "steps": train_step(trainer, pl_module),
                "samples_seen": self.samples * trainer.world_size,
            },
        )

    @rank_zero_only
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._write(trainer, pl_module, "fit")

    @rank_zero_only
    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._seconds = []
        self._write(trainer, pl_module, "test")

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._began = _now(pl_module.device)

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if outputs and "prediction" in outputs:
            times, members = outputs["prediction"].shape[:2]
            self._seconds.append((_now(pl_module.device) - self._began) / (times * members))

    @rank_zero_only
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._seconds:
            self._add("test", {"seconds_per_member": float(f"{statistics.median(self._seconds):.4g}")})

    def _write(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        name = (
            "config.yaml" if stage == "fit" or not (self.run_dir / "config.yaml").exists() else f"config-{stage}.yaml"
        )
        (self.run_dir / name).write_text(self.config)
        path = self.run_dir / "run.json"
        record = json.loads(path.read_text()) if path.exists() else {}
        record[stage] = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": code_version(),
            "fdsr": __version__,
            "python": platform.python_version(),
            "packages": {p: importlib.metadata.version(p) for p in _PACKAGES},
            "device": device_name(module.device),
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
            "data_fingerprint": module.spec.fingerprint,
            "synthetic": getattr(module.spec, "synthetic", False),
            "seed": module.seed,
            "parameters": sum(p.numel() for p in module.parameters()),
            "networks": {
                name: n for name, part in module.named_children() if (n := sum(p.numel() for p in part.parameters()))
            },
        }
        if stage == "test":
            record[stage]["nfe"] = module.evaluations_per_member
        write_text(path, json.dumps(record, indent=2) + "\n")

    def _add(self, stage: str, facts: dict[str, Any]) -> None:
        """More facts of a stage that has begun."""
        path = self.run_dir / "run.json"
        record = json.loads(path.read_text())
        record[stage] |= facts
        write_text(path, json.dumps(record, indent=2) + "\n")


def _now(device: torch.device) -> float:
    """The clock in seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class JSONLLogger(Logger):
    """Appends one JSON object a call to `metrics.jsonl` in the run's directory."""

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__()
        self.path = Path(run_dir) / "metrics.jsonl"

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
