"""Spectra of the logarithm of amounts: those of rain itself are of its few heaviest points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from fdsr.metrics.boxes import Band, ZonalBand, spectral_bands
from fdsr.metrics.log_spectral import SpectralScores
from fdsr.metrics.score_metric import Task
from fdsr.scores import Score


class AmountSpectra(SpectralScores):
    """The same of ln(1 + x/θ), θ the least of a variable's thresholds above 0; of variables that have such.

    Where it rains lightly, and where it does not, counts as much as how heavy the heaviest rain is.

    Args:
        bands: as of SpectralScores.
        thresholds: θ of each variable in its unit, NaN where it has none.
    """

    name = "amount_spectra"
    scores = (
        Score("log1p_lsd", "log-spectral distance of ln(1 + x/θ), θ the least threshold", "log1p LSD", "dB"),
        Score("log1p_lsd_fine", "the same over the upper half of the wavenumbers", "fine log1p LSD", "dB"),
        Score("log1p_melr", "mean absolute log ratio of spectra of ln(1 + x/θ)", "log1p MELR", "1"),
    )
    prefix = "log1p_"
    dims = ("log1p_band", "log1p_ring")
    power_unit = "km2"
    least: Tensor

    def __init__(self, bands: Sequence[Band | ZonalBand], thresholds: Sequence[float], **kwargs: Any) -> None:
        super().__init__(bands, len(thresholds), **kwargs)
        self.register_buffer("least", torch.tensor(thresholds, dtype=torch.float64)[:, None, None], persistent=False)

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        """None where no variable has a threshold above 0."""
        least = [min((t for t in task.thresholds.get(n, ()) if t > 0), default=torch.nan) for n in task.names]
        return cls(spectral_bands(task.grid), least) if any(t > 0 for t in least) else None

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add times: (B, M, C, H, W) and (B, C, H, W), physical units."""
        super().update(*((x.to(self.least) / self.least).clamp(min=0).log1p() for x in (prediction, truth)))

    def lines(self, names: Sequence[str]) -> Iterator[tuple[Score, str, str, float]]:
        asked = {name for name, least in zip(names, self.least.flatten().tolist(), strict=True) if least > 0}
        return (line for line in super().lines(names) if line[2] in asked)
