"""What a test leaves behind: the metric table, the scores, and one example to draw."""

from __future__ import annotations

from os import PathLike
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from fdsr.callbacks.example import example_dataset
from fdsr.callbacks.logged_names import score
from fdsr.callbacks.spec_metrics import spec_metrics, spec_task
from fdsr.data.field_spec import FieldSpec
from fdsr.data.interpolate import HALO
from fdsr.errors import FdsrError, require_at_least
from fdsr.metrics import FieldMetrics, require_scorable
from fdsr.metrics.blocks import BlockSums
from fdsr.metrics.registry import MetricNames, find_metrics
from fdsr.metrics.results import scores_dataset
from fdsr.modules.downscaling import DownscalingModule
from fdsr.modules.field_codec import FieldCodec
from fdsr.records import RunFolder, code_version, device_name


class ScoreRecorder(Callback):
    """Scores a test over all ranks and writes table, scores and example into the run's directory, see `RunFolder`.

    The table has every score of `metrics` (see `fdsr.metrics.registry.find_metrics`) that says something of so many members;
    the scores are what `fdsr.metrics.evaluate` gives for the same prediction, with spectra and rank histograms. A value
    that is missing where the truth is not stops the test with its place.

    With `blocks` it keeps the sums of every tile of about so many rows and columns, from which intervals come (`fdsr.metrics.blocks`).

    The metrics live here, not in the module, so that they never reach a checkpoint. Every rank feeds its own share;
    sums are merged when the test ends.
    """

    def __init__(
        self,
        run_dir: str | PathLike[str],
        method: str,
        overwrite: bool = False,
        metrics: MetricNames | None = None,
        blocks: int | None = None,
    ) -> None:
        require_at_least(8, "--", blocks=blocks)
        self.side = blocks
        self.chosen = find_metrics(metrics)
        self.folder, self.method, self.overwrite = RunFolder(run_dir), method, overwrite
        self.metrics: FieldMetrics | None = None
        self.blocks: BlockSums | None = None
        self.members, self.n_times = 0, 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "test" and self.folder.table.exists() and not self.overwrite:
            raise FdsrError(f"'{self.folder.table}' exists already; add --overwrite, or choose another --run")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DownscalingModule)
        if not isinstance(pl_module.codec, FieldCodec):
            return  # images are judged as a set, by FIDCallback
        self.metrics = spec_metrics(pl_module.codec.spec, self.chosen, pl_module.ensemble_size).to(pl_module.device)
        if self.side is not None:
            self.blocks = BlockSums(spec_task(pl_module.codec.spec), self.side)
        self.members, self.n_times = 0, 0

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        if self.metrics is None:
            return
        assert isinstance(pl_module, DownscalingModule)
        low = outputs["low"][..., HALO:-HALO, HALO:-HALO]
        prediction, truth = outputs["prediction"].float(), outputs["truth"].float()
        _require_finite(pl_module.fields.spec, prediction, truth, outputs["time"])
        self.metrics.update(prediction, truth, low, outputs["time"])
        if self.blocks is not None:
            self.blocks.update(prediction, truth, outputs["time"].tolist())
        self.members, self.n_times = prediction.shape[1], self.n_times + prediction.shape[0]
        if batch_idx == 0 and trainer.is_global_zero:
            self.folder.example.write(example_dataset(pl_module.fields.spec, outputs, self.method))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.metrics is None:
            return
        assert isinstance(pl_module, DownscalingModule)
        spec = pl_module.fields.spec
        values = self.metrics.compute(self.members)
        count = trainer.strategy.reduce(torch.tensor(float(self.n_times), device=pl_module.device), reduce_op="sum")
        units = {name: spec.attributes.get(name, {}).get("units", "1") for name in spec.high_channels}
        scores = scores_dataset([self.metrics], units, self.members, int(count))
        found = None if self.blocks is None else gathered(self.blocks.found)
        if not trainer.is_global_zero:
            return
        if self.blocks is not None:
            self.folder.blocks.write(self.blocks.dataset(found))
        facts: dict[str, Any] = {"split": "test", "members": self.members, "nfe": pl_module.evaluations_per_member}
        facts |= {"seed": pl_module.seed, "n_times": int(count)}
        facts |= {"device": device_name(pl_module.device), "commit": code_version()}
        rows = [
            {"method": self.method, "variable": variable, "metric": metric, "value": f"{value:.6g}"} | facts
            for metric, by_variable in values.items()
            for variable, value in by_variable.items()
        ]
        self.folder.table.write(rows)
        self.folder.scores.write(scores.assign_attrs(method=self.method, **facts))
        logged = {score(row["metric"], row["variable"]): float(row["value"]) for row in rows}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=trainer.global_step)


def gathered(found: list[Any]) -> list[Any]:
    """The lists of all processes, one after the other. A collective call."""
    if not torch.distributed.is_initialized():
        return found
    lists: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(lists, found)
    return [item for part in lists for item in part]


def _require_finite(spec: FieldSpec, prediction: torch.Tensor, truth: torch.Tensor, times: torch.Tensor) -> None:
    """FdsrError with the place of the first value of (B, M, C, H, W) or (B, C, H, W) that cannot be scored."""
    for b, seconds in enumerate(times.tolist()):
        for c, name in enumerate(spec.high_channels):
            time = str(np.datetime64(int(seconds), "s"))
            require_scorable(prediction[b, :, c], truth[b, c], name, time, spec.grid)
