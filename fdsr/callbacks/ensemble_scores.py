"""Scores of ensembles while a model trains: as distributions, and in their spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence

import lightning as L

from fdsr.callbacks.evaluation import EvaluationCallback, Scores
from fdsr.callbacks.spec_metrics import spec_axes
from fdsr.data.field_spec import FieldSpec
from fdsr.metrics import FieldMetrics
from fdsr.modules.downscaling import DownscalingModule, Ensemble


class ScoringCallback(EvaluationCallback):
    """An EvaluationCallback that logs some metrics of FieldMetrics, its class's `names` of them."""

    names: tuple[str, ...] = ()

    def __init__(
        self,
        every_n_steps: int | None = None,
        on_validation: bool = True,
        times: int | None = 2,
        members: int = 4,
    ) -> None:
        super().__init__(every_n_steps, on_validation, times, members)
        self.metrics: FieldMetrics | None = None

    def begin(self, module: DownscalingModule) -> None:
        self.metrics = field_metrics(module.fields.spec, self.names).to(module.device)

    def add(self, module: DownscalingModule, ensemble: Ensemble) -> None:
        assert self.metrics is not None
        self.metrics.update(ensemble["prediction"], ensemble["truth"])

    def finish(self, trainer: L.Trainer, module: DownscalingModule, step: int) -> Scores:
        assert self.metrics is not None
        scores, self.metrics = self.metrics.compute(), None
        return scores


class SpectralErrorCallback(ScoringCallback):
    """How far the spectra of the members are from the truth's, as they train.

    Logs `fdsr/{metric}/{variable}` for lsd and lsd_fine (dB), melr, effective_resolution and resolved_scale (km), and on global grids
    zonal_lsd and zonal_melr. See EvaluationCallback for when and on what.
    """

    names = ("spectral", "zonal")


class EnsembleCallback(ScoringCallback):
    """Fair CRPS, spread–skill ratio, and error of the ensemble mean, as they train.

    Logs `fdsr/{metric}/{variable}` for crps, crps_biased, spread_skill, rmse, mae and bias; a deterministic method has none
    of the first three. See EvaluationCallback for when and on what.
    """

    names = ("rmse", "mae", "bias", "crps", "spread_skill")

    def finish(self, trainer: L.Trainer, module: DownscalingModule, step: int) -> Scores:
        scores = super().finish(trainer, module, step)
        # without spread the CRPS is the mean absolute error, which is listed as such
        if all(math.isnan(value) for value in scores["spread_skill"].values()):
            for name in ("crps", "crps_biased", "spread_skill"):
                scores.pop(name, None)
        return scores


def field_metrics(spec: FieldSpec, names: Sequence[str]) -> FieldMetrics:
    """The metrics `names` of FieldMetrics on the grid of `spec`."""
    rows, columns, projected = spec_axes(spec)
    metrics = FieldMetrics(rows, columns, spec.high_channels, projected=projected)
    for name in set(metrics.metrics) - set(names):
        del metrics.metrics[name]
    return metrics
