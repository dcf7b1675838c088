"""Scores of weather ensembles: cell by cell, as distributions, and in their spectra.

`evaluate` takes xarray objects; `FieldMetrics` takes tensors and updates every metric of a grid at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fdsr.metrics.amount_spectra import AmountSpectra
from fdsr.metrics.boxes import Band, ZonalBand, spectral_bands, zonal_bands
from fdsr.metrics.climate import CorrelationErrors, FieldMaximum
from fdsr.metrics.consistency import CoarseConsistency
from fdsr.metrics.energy import EnergyScore
from fdsr.metrics.ensemble import CRPS, RankHistogram, SpreadSkill
from fdsr.metrics.field_metric import CellMean, FieldMetric, weighted_sum
from fdsr.metrics.frechet import FrechetDistance
from fdsr.metrics.images.kid import KernelDistance
from fdsr.metrics.log_spectral import SpectralScores, ZonalScores
from fdsr.metrics.missing import require_scorable
from fdsr.metrics.pointwise import MAE, RMSE, Bias
from fdsr.metrics.precipitation import ExceedanceScores
from fdsr.metrics.quantiles import QuantileErrors
from fdsr.metrics.score_metric import Sample, ScoreMetric, Task
from fdsr.metrics.spectra import energy_spectrum, rapsd
from fdsr.metrics.suite import FieldMetrics
from fdsr.metrics.weather_frechet import WeatherFrechet
from fdsr.scores import Score, read_thresholds

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "CRPS", "MAE", "RMSE", "AmountSpectra", "Band", "Bias", "CellMean", "CoarseConsistency", "CorrelationErrors", "EnergyScore",
    "ExceedanceScores", "FieldMaximum", "FieldMetric", "FieldMetrics", "FrechetDistance", "KernelDistance",
    "QuantileErrors", "RankHistogram", "Sample", "Score", "ScoreMetric", "SpectralScores", "SpreadSkill", "Task",
    "WeatherFrechet", "ZonalBand", "ZonalScores", "energy_spectrum", "evaluate", "rapsd", "read_thresholds",
    "require_scorable", "spectral_bands", "weighted_sum", "zonal_bands",
]  # fmt: skip


def evaluate(
    prediction: xr.Dataset | xr.DataArray,
    truth: xr.Dataset | xr.DataArray,
    low: xr.Dataset | xr.DataArray | None = None,
    **options: Any,
) -> xr.Dataset:
    """Every metric of `prediction` against `truth`, one data variable a metric with dimension `variable`, and spectra.

    Options: mask, thresholds, scales, seed, metrics; all of it in `fdsr.metrics.evaluation.evaluate_datasets`.
    """
    # here, so that the metrics do not need xarray
    from fdsr.metrics.evaluation import evaluate_datasets

    return evaluate_datasets(prediction, truth, low, **options)
