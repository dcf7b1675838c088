"""How generated fields go on in time: the correlation of each time with the next."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from fdsr.metrics.score_metric import Sample, ScoreMetric, Task
from fdsr.metrics.sum_metric import working_dtype
from fdsr.scores import Score

PLACES = 16  # rows, and columns, of the cells that are looked at: as many as there are if fewer


class LagCorrelationError(ScoreMetric):
    """Lag-1 autocorrelation of the members, their mean, less that of the truth.

    r = Σ a_t a_{t+1} / √(Σ a_t² Σ a_{t+1}²), sums over pairs of times that follow each other, the least step between any two, and over
    cells, weighted by area; a is the departure from a cell's own mean over all times. Members that are drawn anew at every time lose
    what they add to the coarse field from one time to the next: the error says how much.

    Its state is the values of up to 16 × 16 evenly spread cells at every time, so that any order and any division of times over
    processes give the same. Cells whose truth is ever missing do not count. NaN where no time is known, or fewer than two pairs.
    """

    scores = (
        Score("lag1_error", "error of the autocorrelation from one time to the next", unit="1", direction="nearest 0"),
    )
    on_demand = True
    series: list[Tensor]

    def __init__(self, weights: Tensor, shape: tuple[int, int], n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(n_variables, dist_sync_fn=gather_rows, **kwargs)
        rows, columns = (torch.linspace(0, n - 1, min(n, PLACES)).round().long() for n in shape)
        area = weights[:, None] if weights.ndim == 1 else weights
        self.register_buffer("weights", area.expand(shape)[rows][:, columns].flatten(), persistent=False)
        self.cells = (rows[:, None], columns[None])
        # (1, 1 + (M + 1) C K) a time: seconds, truth, members
        self.add_state("series", [], dist_reduce_fx="cat")

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        return cls(task.weights, task.grid.shape, len(task.names))

    def take(self, sample: Sample) -> None:
        if sample.time is not None:
            self.update(sample.prediction, sample.truth, sample.time)

    def update(self, prediction: Tensor, truth: Tensor, time: Tensor) -> None:
        """Add times (B,) in any unit, with the fields (B, M, C, H, W) and (B, C, H, W)."""
        self._check(prediction, truth)
        dtype = working_dtype(truth.device)
        both = torch.cat([truth[:, None], prediction], dim=1)[(..., *self.cells)].to(dtype)
        self.series.append(torch.cat([time.to(both)[:, None], both.flatten(1)], dim=1))

    def compute(self) -> Tensor:
        """(C,), dimensionless."""
        # a tensor once those of all processes are together
        rows = self.series if isinstance(self.series, list) else [self.series]
        nothing = torch.full((self.n_variables,), math.nan, dtype=torch.float64)
        series = torch.cat(rows) if rows else self.weights.new_zeros(0, 0)
        if not len(series):
            return nothing
        series = series[series[:, 0].argsort()]
        steps = series[1:, 0] - series[:-1, 0]
        on = steps > 0
        follows = on & (steps <= steps[on].min()) if bool(on.any()) else on
        if int(follows.sum()) < 2:
            return nothing
        x = series[:, 1:].unflatten(1, (-1, self.n_variables, self.weights.numel()))  # (T, M + 1, C, K)
        weights = torch.where(x[:, 0].isnan().any(0), 0.0, self.weights)  # (C, K)
        x = torch.where(weights > 0, x, 0.0)
        departure = x - x.mean(0)
        now, then = departure[:-1][follows], departure[1:][follows]

        def total(product: Tensor) -> Tensor:
            return (product.sum(0) * weights).sum(-1)

        r = total(now * then) / (total(now**2) * total(then**2)).sqrt()
        return r[1:].mean(0) - r[0]


def gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Rows (n, width) of all processes, some of which may have none, for which torchmetrics sends (0,) of another kind."""
    own = torch.tensor(rows.shape[1] if rows.ndim == 2 else 0, device=rows.device)
    width = int(max(gather_all_tensors(own, group)))
    if rows.ndim != 2:
        rows = rows.new_zeros(0, width, dtype=working_dtype(rows.device))
    return gather_all_tensors(rows, group)
