"""Scores of ensembles while a model trains: as distributions, and in their spectra."""

from __future__ import annotations

from typing import Any, ClassVar

import lightning as L
import torch

from fdsr.callbacks.evaluation import EvaluationCallback, Scores
from fdsr.callbacks.spec_metrics import spec_metrics
from fdsr.data.interpolate import HALO
from fdsr.metrics import FieldMetrics
from fdsr.metrics.registry import find_metrics
from fdsr.modules.downscaling import DownscalingModule, Ensemble


class ScoringCallback(EvaluationCallback):
    """An EvaluationCallback that logs the scores of metrics as `fdsr/{score}/{variable}`.

    Of a deterministic method it leaves out those that take an ensemble.

    Args:
        metrics: which ones, names or paths of classes of your own; with a plus before a name, beside the default ones.
    """

    default: ClassVar[tuple[str, ...]]

    def __init__(self, *args: Any, metrics: list[str] | str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.chosen = find_metrics(metrics, self.default)
        self.metrics: FieldMetrics | None = None
        self._members = 0  # of the ensembles that came

    def begin(self, module: DownscalingModule) -> None:
        self.metrics = spec_metrics(module.fields.spec, self.chosen).to(module.device)
        self._members = 0

    def add(self, module: DownscalingModule, ensemble: Ensemble) -> None:
        assert self.metrics is not None
        low = ensemble["low"][..., HALO:-HALO, HALO:-HALO]
        self.metrics.update(ensemble["prediction"], ensemble["truth"], low, ensemble["time"])
        self._members = ensemble["prediction"].shape[1]

    def finish(self, trainer: L.Trainer, module: DownscalingModule, step: int) -> Scores:
        assert self.metrics is not None
        # a process without any times has seen no members
        seen = torch.tensor(float(self._members), device=module.device)
        members = trainer.strategy.reduce(seen, reduce_op="max")
        scores, self.metrics = self.metrics.compute(int(members)), None
        return scores


class SpectralErrorCallback(ScoringCallback):
    """How far the spectra of the members are from the truth's, as they train.

    By default lsd, lsd_fine, melr, effective_resolution and resolved_scale, and on global grids zonal_lsd and zonal_melr.
    """

    default = ("spectral", "zonal")


class EnsembleCallback(ScoringCallback):
    """Fair CRPS, spread–skill ratio, and error of the ensemble mean, as they train.

    By default crps, crps_biased, spread_skill, rmse, mae and bias; a deterministic method has none of the first three.
    """

    default = ("rmse", "mae", "bias", "crps", "spread_skill")
