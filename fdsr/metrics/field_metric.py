"""Metrics of area-weighted cells, seen a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.score_metric import ScoreMetric, Task
from fdsr.metrics.sum_metric import working_dtype

# elements of one float64 working block: small enough for the cache, so that memory does not grow with members or grid
BLOCK_ELEMENTS = 2**18


class FieldMetric(ScoreMetric):
    """A metric that is a function of area-weighted sums over cells; `compute()` gives one value a variable, (C,).

    A metric of a single variable gives a 0-d tensor, as torchmetrics squeezes what has one element.

    Args:
        weights: area of the cells, (H,) for rows of equal longitudes or (H, W), in any unit
            (`fdsr.grids.Grid.cell_areas`).
        n_variables: C.

    Subclasses name what they add up beside the area, a number a variable each, in `sums`, and implement `accumulate`, which
    sees one time and a block of rows.
    """

    sums: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weights: Tensor, n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(n_variables, **kwargs)
        w = torch.as_tensor(weights, dtype=torch.float64)
        if w.ndim not in (1, 2) or not bool((w >= 0).all()) or not bool(w.sum() > 0):
            raise FdsrError(f"area weights must be (H,) or (H, W), none negative, not all zero, got {tuple(w.shape)}")
        self.register_buffer("weights", w[:, None] if w.ndim == 1 else w, persistent=False)
        for name in ("area", *self.sums):
            self.add_sum(name, n_variables)

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        return cls(task.weights, len(task.names))

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add times. Shapes (B, M, C, H, W) and (B, C, H, W), physical units; B may be anything, also 0."""
        self._check(prediction, truth)
        with torch.autocast(prediction.device.type, enabled=False):
            for p, y, w in self._blocks(prediction, truth):
                self.add(area=area_of(w, y))
                self.accumulate(p, y, w)

    def accumulate(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        """Add one block without NaN in truth: members (M, C, h, W), truth (C, h, W), weights (h, 1), (h, W) or (C, h, W)."""
        raise NotImplementedError

    def _check(self, prediction: Tensor, truth: Tensor) -> None:
        super()._check(prediction, truth)
        self._check_grid(truth)

    def _check_grid(self, field: Tensor) -> None:
        height, width = self.weights.shape
        if field.shape[-2] != height or width not in (1, field.shape[-1]):
            raise FdsrError(f"fields of {tuple(field.shape[-2:])} cells, but weights of {(height, width)}")

    def _blocks(self, prediction: Tensor, truth: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """One time and a few rows at a time, in float64; masked cells are 0 in both and have weight 0."""
        dtype = working_dtype(prediction.device)
        n_times, members, variables, height, width = prediction.shape
        rows = max(1, BLOCK_ELEMENTS // max(1, members * variables * width))
        for b in range(n_times):
            for start in range(0, height, rows):
                block = slice(start, start + rows)
                yield masked(prediction[b, :, :, block].to(dtype), truth[b, :, block].to(dtype), self.weights[block])


class AreaMean(FieldMetric):
    """A `total` over the `area` of what it is of."""

    sums = ("total",)

    def compute(self) -> Tensor:
        """(C,)."""
        return self.total / self.area


class CellMean(AreaMean):
    """Area-weighted mean, over all cells and times, of a number that each cell has; subclasses give it by `cell`."""

    def cell(self, p: Tensor, y: Tensor) -> Tensor:
        """The number of each cell (C, h, W), from members (M, C, h, W) and truth (C, h, W), float64, physical units."""
        raise NotImplementedError

    def accumulate(self, p: Tensor, y: Tensor, w: Tensor) -> None:
        self.add(total=weighted_sum(self.cell(p, y), w))


def masked(p: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Members (M, C, h, W), truth (C, h, W) and weights, with the cells whose truth is NaN set to 0 in all three."""
    valid = ~y.isnan()
    if bool(valid.all()):
        return p, y, w
    return torch.where(valid, p, 0.0), torch.where(valid, y, 0.0), w * valid


def area_of(w: Tensor, y: Tensor) -> Tensor:
    """Area of the cells of y (C, h, W) under weights (h, 1), (h, W) or (C, h, W); a number or (C,)."""
    if w.ndim == 2:
        return w.sum() * (y.shape[-1] / w.shape[-1])
    return w.sum((-2, -1))


def weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Σ over cells of w · values: values (..., h, W), weights (h, 1), (h, W) or (..., h, W); gives (...)."""
    if weights.shape[-1] == 1:
        return (values.sum(-1) * weights[..., 0]).sum(-1)
    return (values * weights).sum((-2, -1))
