"""Scores of the ensemble mean, cell by cell: RMSE, MAE and bias."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.metrics.field_metric import CellMean
from fdsr.metrics.score_metric import Sample
from fdsr.scores import Score


class MeanError(CellMean):
    """Area-weighted mean of a function of x̄ − y, x̄ the ensemble mean, pooled over times and cells; in the variable's unit."""

    def take(self, sample: Sample) -> None:
        self.update(sample.mean, sample.truth)

    def cell(self, p: Tensor, y: Tensor) -> Tensor:
        return self.of_error(p.mean(0) - y)

    def of_error(self, error: Tensor) -> Tensor:
        """The function."""
        raise NotImplementedError


class RMSE(MeanError):
    """√⟨(x̄ − y)²⟩: the root of the pooled mean square, never a mean of roots."""

    scores = (Score("rmse", "root mean square error of the ensemble mean", "RMSE of mean"),)

    def of_error(self, error: Tensor) -> Tensor:
        return error.square()

    def compute(self) -> Tensor:
        return torch.sqrt(super().compute())


class MAE(MeanError):
    """⟨|x̄ − y|⟩."""

    scores = (Score("mae", "mean absolute error of the ensemble mean", "MAE of mean"),)

    def of_error(self, error: Tensor) -> Tensor:
        return error.abs()


class Bias(MeanError):
    """⟨x̄ − y⟩; zero is best."""

    scores = (Score("bias", "mean error of the ensemble mean", direction="nearest 0"),)

    def of_error(self, error: Tensor) -> Tensor:
        return error
