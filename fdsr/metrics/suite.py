"""Several metrics of fields on one grid, updated together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from fdsr.errors import FdsrError
from fdsr.metrics.registry import MetricNames, find_metrics
from fdsr.metrics.score_metric import Sample, ScoreMetric, Task
from fdsr.scores import Score


class FieldMetrics(nn.Module):
    """The scores of named variables on one grid, of all metrics that have a meaning there.

    A module may hold it: its sums follow the module's device, keep float64, are added over processes when computed, and
    are not part of the state dict. `metrics["spectral"]` is one of its metrics.

    Args:
        task: grid, variables, and what else there is to know.
        metrics: which ones, see `fdsr.metrics.registry.find_metrics`.
    """

    def __init__(self, task: Task, metrics: MetricNames | None = None) -> None:
        super().__init__()
        self.names = tuple(task.names)
        built = {metric.name: metric.for_task(task) for metric in find_metrics(metrics)}
        self.metrics = nn.ModuleDict({name: metric for name, metric in built.items() if metric is not None})

    def __iter__(self) -> Iterator[ScoreMetric]:
        return cast("Iterator[ScoreMetric]", iter(self.metrics.values()))

    def __getitem__(self, name: str) -> ScoreMetric:
        if name not in self.metrics:
            raise FdsrError(f"the metric '{name}' is not kept; there is {', '.join(self.metrics)}")
        return cast(ScoreMetric, self.metrics[name])

    @torch.no_grad()
    def update(self, prediction: Tensor, truth: Tensor, low: Tensor | None = None, time: Tensor | None = None) -> None:
        """Add times: (B, M, C, H, W), (B, C, H, W) and, with a factor, (B, C_low, h, w), physical units; (B,) seconds of time."""
        if prediction.ndim != 5:
            raise FdsrError(f"a prediction is (time, member, variable, lat, lon), got {tuple(prediction.shape)}")
        sample = Sample(prediction, truth, low, time)
        for metric in self:
            metric.take(sample)

    def compute(self, members: int | None = None) -> dict[str, dict[str, float]]:
        """score → variable → value, over all processes; every process has to call it. NaN before any update.

        Scores of events are named after threshold and scale (brier_1, fss_1_50km); only variables that asked have them.

        Args:
            members: leave out what says nothing of so many (`Score.shown`).
        """
        result: dict[str, dict[str, float]] = {}
        for score, label, variable, value in self.lines():
            if members is None or score.shown(members) == score.name:
                result.setdefault(label, {})[variable] = value
        return result

    def lines(self) -> Iterator[tuple[Score, str, str, float]]:
        """Score, its label in a table, variable and value; a collective call like `compute`."""
        for metric in self:
            yield from metric.lines(self.names)
