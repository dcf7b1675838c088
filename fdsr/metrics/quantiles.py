"""Errors of extreme quantiles, from histograms that add up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fdsr.metrics.field_metric import FieldMetric
from fdsr.metrics.histogram import BINS, coarsest, dyadic_grid, histogram_quantile, merge_histograms, occupied_range
from fdsr.scores import Score

LEVELS = (0.001, 0.01, 0.99, 0.999)


def quantile_name(level: float) -> str:
    """The metric's name for a quantile's level: q0_1_error for 0.001, q99_error for 0.99."""
    return f"q{f'{100 * level:g}'.replace('.', '_')}_error"


class QuantileErrors(FieldMetric):
    """Errors of the 0.1, 1, 99 and 99.9 % quantiles: of all members' values less of all true values, area-weighted.

    The distribution is that of the values at all cells and times together, so this is a score of the climate of the
    extremes, not of where they are. `compute()` gives {"q0_1_error", "q1_error", "q99_error", "q99_9_error"}, (C,) each,
    in the variable's unit. Resolution: quantiles are interpolated in bins at most 1/16384 of the range of the data wide
    (0.006 K over 100 K), and much nearer than that where the data are dense.
    """

    name = "quantiles"
    scores = tuple(
        Score(quantile_name(q), f"error of the {what}", what, direction="nearest 0")
        for q, what in ((q, f"{100 * q:g} % quantile") for q in LEVELS)
    )
    predicted: Tensor
    true: Tensor

    def __init__(self, weights: Tensor, n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(weights, n_variables, **kwargs)
        for name in ("predicted", "true"):
            empty = torch.zeros(n_variables, 2 + BINS, dtype=torch.float64)
            self.add_state(name, empty, dist_reduce_fx=merge_histograms)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        self._check(prediction, truth)
        self.true = self._add(self.true, truth[:, None], truth)
        self.predicted = self._add(self.predicted, prediction, truth)

    def _add(self, histogram: Tensor, values: Tensor, truth: Tensor) -> Tensor:
        """`histogram` (C, 2 + BINS) and the values (B, M, C, H, W) where truth is not NaN."""
        if values.numel() == 0:
            return histogram
        hidden = (truth.isnan() | (self.weights == 0))[:, None]
        any_hidden = bool(hidden.any())
        extremes = []
        for fill, reduce in ((torch.inf, torch.amin), (-torch.inf, torch.amax)):
            seen = values.masked_fill(hidden, fill) if any_hidden else values
            extremes.append(reduce(seen, (0, 1, 3, 4)).to(histogram.dtype))
        low, high = extremes
        empty, broken = low > high, ~(torch.isfinite(low) & torch.isfinite(high))
        low, high = (torch.where(empty | broken, 0.0, x) for x in (low, high))
        before = occupied_range(histogram)
        low = torch.fmin(low, before[0])
        high = torch.fmax(high, before[1])
        exponent, first = dyadic_grid(low, high)
        exponent = torch.maximum(exponent, coarsest(histogram[None]))
        first = torch.floor(low * 2.0**-exponent)
        new = torch.zeros_like(histogram)
        new[:, 0], new[:, 1] = exponent, first
        for b in range(values.shape[0]):
            for m in range(values.shape[1]):
                for p, y, w in self._blocks(values[b : b + 1, m : m + 1], truth[b : b + 1]):
                    index = (p[0] * 2.0 ** -exponent[:, None, None]).floor_().sub_(first[:, None, None])
                    weight = w.expand(y.shape).flatten(1).contiguous()
                    index = index.nan_to_num_(0.0, 0.0, 0.0).clamp_(0, BINS - 1).long().flatten(1)
                    for c in range(self.n_variables):
                        new[c, 2:] += torch.bincount(index[c], weight[c], minlength=BINS)
        new = torch.where(empty[:, None], 0.0, new)
        new = torch.where((broken & ~empty)[:, None], torch.nan, new)
        return merge_histograms(torch.stack([histogram, new]))

    def compute(self) -> dict[str, Tensor]:
        """name → (C,), in the variable's unit."""
        of = histogram_quantile
        return {quantile_name(level): of(self.predicted, level) - of(self.true, level) for level in LEVELS}
