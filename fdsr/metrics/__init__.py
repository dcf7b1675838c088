"""Scores of weather ensembles: cell by cell, as distributions, and in their spectra.

`evaluate` takes xarray objects; `FieldMetrics` takes tensors and updates every metric of a grid at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fdsr.metrics.boxes import Band, latlon_bands, projected_bands
from fdsr.metrics.consistency import CoarseConsistency
from fdsr.metrics.ensemble import FairCRPS, RankHistogram, SpreadSkill
from fdsr.metrics.log_spectral import Spectra, SpectralScores
from fdsr.metrics.pointwise import MAE, RMSE, Bias
from fdsr.metrics.spectra import energy_spectrum, power_density, rapsd
from fdsr.metrics.suite import FieldMetrics

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "MAE",
    "RMSE",
    "Band",
    "Bias",
    "CoarseConsistency",
    "FairCRPS",
    "FieldMetrics",
    "RankHistogram",
    "Spectra",
    "SpectralScores",
    "SpreadSkill",
    "energy_spectrum",
    "evaluate",
    "latlon_bands",
    "power_density",
    "projected_bands",
    "rapsd",
]


def evaluate(prediction: xr.Dataset, truth: xr.Dataset, low: xr.Dataset | None = None) -> xr.Dataset:
    """Every metric of `prediction` against `truth`; see `fdsr.metrics.evaluation.evaluate_datasets`."""
    # here, so that the metrics do not need xarray
    from fdsr.metrics.evaluation import evaluate_datasets

    return evaluate_datasets(prediction, truth, low)
