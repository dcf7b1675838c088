"""Whether the fine field, made coarse again, is the coarse field it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.field_metric import AreaMean
from fdsr.metrics.score_metric import Sample, Task
from fdsr.scores import Score


class CoarseConsistency(AreaMean):
    """√⟨(coarsen(x_m) − low)²⟩, the mean over members, times and coarse cells weighted by area.

    coarsen: area-weighted mean over blocks of `factor` cells; the same weights then weigh the coarse cells.

    Args:
        factor: rows and columns of a block, or one number for both.
        low_index: for each of them its channel in the coarse input, None where it has none; default: the same channel.
    """

    scores = (
        Score("coarse_consistency", "root mean square difference of the coarsened members from the low-resolution input",
              "coarse RMSE"),
    )  # fmt: skip

    def __init__(
        self,
        weights: Tensor,
        factor: int | tuple[int, int],
        n_variables: int = 1,
        low_index: Sequence[int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(weights, n_variables, **kwargs)
        self.low_index = tuple(range(n_variables) if low_index is None else low_index)
        self.factor = (factor, factor) if isinstance(factor, int) else (int(factor[0]), int(factor[1]))
        fy, fx = self.factor
        height, width = self.weights.shape
        if height % fy or (width > 1 and width % fx):
            raise FdsrError(f"{height} × {width} cells are not a multiple of the factor {fy} × {fx}")
        # rows of equal cells need no column weights
        block_x = fx if width > 1 else 1
        coarse = self.weights.reshape(height // fy, fy, width // block_x, block_x).sum((1, 3))
        if not bool((coarse > 0).all()):
            raise FdsrError("a coarse cell has no area")
        share = self.weights / coarse.repeat_interleave(fy, 0).repeat_interleave(block_x, 1)
        self.register_buffer("share", share / (fx if width == 1 else 1), persistent=False)
        self.register_buffer("coarse_weights", coarse, persistent=False)

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        """None without a coarse input, or where it has none of the variables."""
        low = list(task.names if task.low_names is None else task.low_names)
        index = [low.index(name) if name in low else None for name in task.names]
        if task.factor is None or all(i is None for i in index):
            return None
        return cls(task.weights, task.factor, len(index), index)

    def take(self, sample: Sample) -> None:
        if sample.low is None:
            return
        low = sample.low
        if self.low_index != tuple(range(low.shape[1])):
            missing = torch.full_like(low[:, :1], torch.nan)
            low = torch.cat([missing if i is None else low[:, i : i + 1] for i in self.low_index], 1)
        self.update(sample.prediction, low, sample.truth.isnan())

    def coarsen(self, field: Tensor) -> Tensor:
        """Area-weighted block means of fields (..., H, W): (..., H / factor, W / factor)."""
        return self._in_cells(field.to(self.share.dtype) * self.share).sum((-3, -1))

    def update(self, prediction: Tensor, low: Tensor, masked: Tensor | None = None) -> None:
        """Add times: members (B, M, C, H, W) and the low-resolution input (B, C, h, w), physical units.

        `masked` (B, C, H, W) marks fine cells that do not count; a coarse cell that holds one, or whose `low` is NaN, is left
        out.
        """
        self._check_low(prediction, low)
        hidden = low.isnan()
        if masked is not None and bool(masked.any()):
            hidden = hidden | self._in_cells(masked).any(-1).any(-2)
        weights = self.coarse_weights * ~hidden if bool(hidden.any()) else self.coarse_weights.expand(low.shape)
        low = low.to(self.share.dtype).masked_fill(hidden, 0.0)
        with torch.autocast(low.device.type, enabled=False):
            for member in prediction.unbind(1):
                error = (self.coarsen(member) - low).masked_fill(hidden, 0.0)
                self.add(total=(error.square() * weights).sum((0, 2, 3)), area=weights.sum((0, 2, 3)))

    def _check_low(self, prediction: Tensor, low: Tensor) -> None:
        """FdsrError where the shape of the coarse input does not fit that of the members."""
        self._check_grid(prediction)
        expected = (len(prediction), self.n_variables, *self._in_cells(prediction).shape[-4::2])
        if low.shape != expected or prediction.shape[2] != self.n_variables:
            raise FdsrError(
                f"low-resolution input of shape {tuple(low.shape)}, but prediction {tuple(prediction.shape)} and "
                f"factor {self.factor} need {expected}"
            )

    def _in_cells(self, field: Tensor) -> Tensor:
        """Fields (..., H, W) by coarse cells: (..., H / f_y, f_y, W / f_x, f_x). Rows were checked at construction."""
        (fy, fx), (height, width) = self.factor, field.shape[-2:]
        if width % fx:
            raise FdsrError(f"{height} × {width} cells are not a multiple of the factor {fy} × {fx}")
        return field.reshape(*field.shape[:-2], height // fy, fy, width // fx, fx)

    def compute(self) -> Tensor:
        """(C,), in the variable's unit."""
        return torch.sqrt(super().compute())
