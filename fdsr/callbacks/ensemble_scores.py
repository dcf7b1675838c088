"""Scores of ensembles while a model trains: as distributions, and in their spectra."""

from __future__ import annotations

from typing import ClassVar

import lightning as L
import torch

from fdsr.callbacks.evaluation import EvaluationCallback, Scores
from fdsr.callbacks.spec_metrics import spec_metrics
from fdsr.data.interpolate import HALO
from fdsr.metrics import FieldMetrics
from fdsr.metrics.registry import find_metrics
from fdsr.modules.downscaling import DownscalingModule, Ensemble


class ScoringCallback(EvaluationCallback):
    """An EvaluationCallback that logs the scores of metrics as `fdsr/{score}/{variable}`, in an ensemble those of a single
    forecast left out and the other way round.

    Args:
        every_n_steps, on_validation, times, members: see EvaluationCallback.
        metrics: which ones, names or paths of classes of your own; with a plus before a name, beside those of `default`.
    """

    default: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        every_n_steps: int | None = None,
        on_validation: bool = True,
        times: int | None = 2,
        members: int = 4,
        metrics: list[str] | str | None = None,
    ) -> None:
        super().__init__(every_n_steps, on_validation, times, members)
        self.chosen = find_metrics(metrics, self.default)
        self.metrics: FieldMetrics | None = None
        self._members = 0  # of the ensembles that came

    def begin(self, module: DownscalingModule) -> None:
        self.metrics = spec_metrics(module.fields.spec, self.chosen).to(module.device)
        self._members = 0

    def add(self, module: DownscalingModule, ensemble: Ensemble) -> None:
        assert self.metrics is not None
        self.metrics.update(ensemble["prediction"], ensemble["truth"], ensemble["low"][..., HALO:-HALO, HALO:-HALO])
        self._members = ensemble["prediction"].shape[1]

    def finish(self, trainer: L.Trainer, module: DownscalingModule, step: int) -> Scores:
        assert self.metrics is not None
        # a process without any times has seen no members
        seen = torch.tensor(float(self._members), device=module.device)
        members = trainer.strategy.reduce(seen, reduce_op="max")
        scores, self.metrics = self.metrics.compute(int(members)), None
        return scores


class SpectralErrorCallback(ScoringCallback):
    """How far the spectra of the members are from the truth's, as they train: lsd, lsd_fine (dB), melr, effective_resolution and
    resolved_scale (km), and on global grids zonal_lsd and zonal_melr. See ScoringCallback."""

    default = ("spectral", "zonal")


class EnsembleCallback(ScoringCallback):
    """Fair CRPS, spread–skill ratio, and error of the ensemble mean, as they train: crps, crps_biased, spread_skill, rmse, mae and
    bias; a deterministic method has none of the first three. See ScoringCallback."""

    default = ("rmse", "mae", "bias", "crps", "spread_skill")
