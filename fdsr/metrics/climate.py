"""What users of climate data ask of generated fields besides skill: their largest values, and how variables go together."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from fdsr.metrics.field_metric import AreaMean, FieldMetric, weighted_sum
from fdsr.metrics.score_metric import Task
from fdsr.scores import Score


class FieldMaximum(AreaMean):
    """⟨max x_m⟩ − ⟨max y⟩: the largest value of a whole field, averaged over members and times, less that of the truth.

    The largest value is what smoothing loses first, and what a quantile of all values pooled does not show. Cells whose truth is
    missing count in neither; a time that has none does not count.
    """

    scores = (Score("field_max_error", "error of the largest value of a field", direction="nearest 0"),)
    on_demand = True

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        self._check(prediction, truth)
        hidden = truth.isnan()
        largest = prediction.masked_fill(hidden[:, None], -torch.inf).amax((-2, -1)).to(self.total.dtype).mean(1)
        error = largest - truth.masked_fill(hidden, -torch.inf).amax((-2, -1))
        there = ~hidden.all(-1).all(-1)
        self.add(total=torch.where(there, error, 0.0).sum(0), area=there.sum(0))  # an area of times


class CorrelationErrors(FieldMetric):
    """Root mean square error, over the other variables, of a variable's correlations with them.

    Each correlation is that of all members' values, or of all true values, pooled over cells, weighted by area, and times: whether
    what was drawn for one variable goes with what was drawn for another. Cells where any variable's truth is missing count in none.
    """

    scores = (
        Score("correlation_error", "error of the correlations with the other variables", unit="1", summary="mean"),
    )
    on_demand = True

    def __init__(self, weights: Tensor, n_variables: int = 2, **kwargs: Any) -> None:
        super().__init__(weights, n_variables, **kwargs)
        # of the members, on average, and of the truth: Σ w v vᵀ over cells, v = (1, x)
        self.add_sum("moments", 2, n_variables + 1, n_variables + 1)

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        """None of a single variable."""
        return cls(task.weights, len(task.names)) if len(task.names) > 1 else None

    def accumulate(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        together = w.expand(y.shape).amin(0)
        new = [torch.stack([_moments(member, together) for member in p]).mean(0), _moments(y, together)]
        self.add(moments=torch.stack(new))

    def compute(self) -> Tensor:
        """(C,), dimensionless; NaN where a variable does not vary."""
        predicted, true = map(_correlations, self.moments)
        return ((predicted - true).square().sum(-1) / (self.n_variables - 1)).sqrt()


def _moments(x: Tensor, w: Tensor) -> Tensor:
    """Σ w v vᵀ over cells, v = (1, x): x (C, h, W), w (h, W); gives (C + 1, C + 1)."""
    v = torch.cat([torch.ones_like(x[:1]), x])
    return weighted_sum(v[:, None] * v[None], w)


def _correlations(moments: Tensor) -> Tensor:
    mean = moments[1:, 0] / moments[0, 0]
    covariance = moments[1:, 1:] / moments[0, 0] - mean[:, None] * mean[None]
    deviation = covariance.diagonal().sqrt()
    return covariance / (deviation[:, None] * deviation[None])
