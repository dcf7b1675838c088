"""Mean and covariance of features, as sums that add up over batches and processes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.sum_metric import SumMetric, working_dtype


class GaussianStatistics(NamedTuple):
    """What the Fréchet distance knows of a sample of features, float64."""

    n: Tensor  # () number of features
    mean: Tensor  # (D,)
    covariance: Tensor  # (D, D), divided by n − 1

    @classmethod
    def of_sums(cls, n: Tensor, total: Tensor, outer: Tensor) -> GaussianStatistics:
        """From count, sum (D,) and sum of outer products (D, D)."""
        mean = total / n
        return cls(n, mean, (outer - n * torch.outer(mean, mean)) / (n - 1))


class FeatureMoments(SumMetric):
    """Count, sum and sum of outer products of features (B, D); `compute` gives their GaussianStatistics.

    Sums are taken about `centre` (D,), a guess of the mean, so that nothing cancels when the covariance is formed.
    """

    def __init__(self, dimension: int, centre: Tensor | None = None) -> None:
        super().__init__(dimension)
        if centre is not None and centre.shape != (dimension,):
            raise FdsrError(f"a centre of shape {tuple(centre.shape)} for features of {dimension} dimensions")
        start = torch.zeros(dimension, dtype=torch.float64) if centre is None else centre.double()
        self.register_buffer("centre", start, persistent=False)
        self.add_sum("count")
        self.add_sum("total", dimension)
        self.add_sum("outer", dimension, dimension)

    def update(self, features: Tensor, indices: Tensor | None = None) -> None:
        """Add features (B, D); B may be anything, also 0. Of what images they are makes no difference."""
        if features.ndim != 2 or features.shape[1] != self.n_variables:
            raise FdsrError(f"features must be (B, {self.n_variables}), got {tuple(features.shape)}")
        with torch.autocast(features.device.type, enabled=False):
            x = features.to(working_dtype(features.device)) - self.centre
            self.add(count=len(x), total=x.sum(0), outer=x.T @ x)

    def statistics(self) -> GaussianStatistics:
        """Of the sums in place: this process's own, or everybody's within `compute`. Raises FdsrError below two features."""
        if self.count < 2:
            raise FdsrError(f"a covariance needs at least two samples, got {int(self.count)}")
        found = GaussianStatistics.of_sums(self.count, self.total, self.outer)
        return found._replace(mean=found.mean + self.centre)

    def compute(self) -> GaussianStatistics:
        return self.statistics()
