"""Whether the fine field, made coarse again, is the coarse field it was made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.base import FieldMetric, weighted_sum


class CoarseConsistency(FieldMetric):
    """√⟨(coarsen(x_m) − low)²⟩, the mean over members, times and coarse cells weighted by area.

    coarsen: area-weighted mean over blocks of `factor` cells; the same weights then weigh the coarse cells.

    Args:
        weights: area of the fine cells, (H,) or (H, W).
        factor: rows and columns of a block, or one number for both.
        n_variables: C.
    """

    higher_is_better = False
    total: Tensor
    share: Tensor
    coarse_weights: Tensor

    def __init__(self, weights: Tensor, factor: int | tuple[int, int], n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(weights, n_variables, **kwargs)
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
        self.add_sum("total", n_variables)

    def coarsen(self, field: Tensor) -> Tensor:
        """Area-weighted block means of fields (..., H, W): (..., H / factor, W / factor)."""
        (fy, fx), (height, width) = self.factor, field.shape[-2:]
        if width % fx:
            raise FdsrError(f"{height} × {width} cells are not a multiple of the factor {fy} × {fx}")
        weighted = field.to(self.share.dtype) * self.share
        return weighted.reshape(*field.shape[:-2], height // fy, fy, width // fx, fx).sum((-3, -1))

    def update(self, prediction: Tensor, low: Tensor) -> None:
        """Add times: members (B, M, C, H, W) and the low-resolution input (B, C, h, w), physical units."""
        self._check_grid(prediction)
        (fy, fx), (n_times, members, variables, height, width) = self.factor, prediction.shape
        expected = (n_times, variables, height // fy, width // fx)
        if tuple(low.shape) != expected or variables != self.n_variables:
            raise FdsrError(
                f"low-resolution input of shape {tuple(low.shape)}, but prediction {tuple(prediction.shape)} and "
                f"factor {fy} × {fx} need {(n_times, self.n_variables, *expected[2:])}"
            )
        with torch.autocast(prediction.device.type, enabled=False):
            for b in range(n_times):
                y = low[b].to(self.share.dtype)
                for m in range(members):
                    error = self.coarsen(prediction[b, m]) - y
                    self.total = self.total + weighted_sum(error.square(), self.coarse_weights)
        cells = self.coarse_weights.sum() * (low.shape[-1] / self.coarse_weights.shape[-1])
        self.area = self.area + cells * n_times * members

    def compute(self) -> Tensor:
        """(C,), in the variable's unit."""
        return torch.sqrt(self.total / self.area)
