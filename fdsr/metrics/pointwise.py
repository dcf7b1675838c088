"""Scores of the ensemble mean, cell by cell: RMSE, MAE and bias."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fdsr.metrics.field_metric import FieldMetric, weighted_sum
from fdsr.metrics.score_metric import Sample
from fdsr.scores import Score


class MeanError(FieldMetric):
    """Area-weighted mean of a function of x̄ − y, x̄ the ensemble mean, pooled over times and cells."""

    total: Tensor

    def __init__(self, weights: Tensor, n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(weights, n_variables, **kwargs)
        self.add_sum("total", n_variables)

    def take(self, sample: Sample) -> None:
        self.update(sample.mean, sample.truth)

    def _accumulate(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        self.total = self.total + weighted_sum(self._score(p.mean(0) - y), w)

    def _score(self, error: Tensor) -> Tensor:
        raise NotImplementedError

    def compute(self) -> Tensor:
        """(C,), in the variable's unit."""
        return self.total / self.area


class RMSE(MeanError):
    """√⟨(x̄ − y)²⟩: the root of the pooled mean square, never a mean of roots."""

    scores = (Score("rmse", "root mean square error of the ensemble mean", "RMSE of mean"),)

    def _score(self, error: Tensor) -> Tensor:
        return error.square()

    def compute(self) -> Tensor:
        """(C,), in the variable's unit."""
        return torch.sqrt(self.total / self.area)


class MAE(MeanError):
    """⟨|x̄ − y|⟩."""

    scores = (Score("mae", "mean absolute error of the ensemble mean", "MAE of mean"),)

    def _score(self, error: Tensor) -> Tensor:
        return error.abs()


class Bias(MeanError):
    """⟨x̄ − y⟩; zero is best."""

    scores = (Score("bias", "mean error of the ensemble mean", "bias", direction="nearest 0"),)

    def _score(self, error: Tensor) -> Tensor:
        return error
