"""Whether the fine field, made coarse again, is the coarse field it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.field_metric import FieldMetric


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
        self._check_columns(field)
        (fy, fx), (height, width) = self.factor, field.shape[-2:]
        weighted = field.to(self.share.dtype) * self.share
        return weighted.reshape(*field.shape[:-2], height // fy, fy, width // fx, fx).sum((-3, -1))

    def update(self, prediction: Tensor | Iterable[Tensor], low: Tensor, masked: Tensor | None = None) -> None:
        """Add times: members (B, M, C, H, W) and the low-resolution input (B, C, h, w), physical units.

        The prediction may also be an iterable of members (B, C, H, W). `masked` (B, C, H, W) marks fine cells that do not
        count; a coarse cell that holds one, or whose `low` is NaN, is left out.
        """
        hidden = low.isnan()
        if masked is not None and bool(masked.any()):
            self._check_columns(masked)
            (fy, fx), (height, width) = self.factor, masked.shape[-2:]
            blocks = masked.reshape(*masked.shape[:-2], height // fy, fy, width // fx, fx)
            hidden = hidden | blocks.any(-1).any(-2)
        weights = self.coarse_weights * ~hidden if bool(hidden.any()) else self.coarse_weights.expand(low.shape)
        low = low.to(self.share.dtype).masked_fill(hidden, 0.0)
        with torch.autocast(low.device.type, enabled=False):
            for block in self._blocks_of(prediction, low):
                for m in range(block.shape[1]):
                    error = (self.coarsen(block[:, m]) - low).masked_fill(hidden, 0.0)
                    self.total = self.total + (error.square() * weights).sum((0, 2, 3))
                    self.area = self.area + weights.sum((0, 2, 3))

    def _blocks_of(self, prediction: Tensor | Iterable[Tensor], low: Tensor) -> Iterator[Tensor]:
        """Blocks (B, m, C, H, W) of members whose shape fits that of low."""
        (fy, fx), (n_times, variables, rows, columns) = self.factor, low.shape
        expected = (n_times, self.n_variables, rows * fy, columns * fx)
        blocks = [prediction] if isinstance(prediction, Tensor) else (member[:, None] for member in prediction)
        for block in blocks:
            self._check_grid(block)
            if (block.shape[0], *block.shape[2:]) != expected or variables != self.n_variables:
                raise FdsrError(
                    f"low-resolution input of shape {tuple(low.shape)}, but prediction {tuple(block.shape)} and "
                    f"factor {fy} × {fx} need "
                    f"{(block.shape[0], self.n_variables, block.shape[-2] // fy, block.shape[-1] // fx)}"
                )
            yield block

    def _check_columns(self, field: Tensor) -> None:
        """Rows were checked at construction."""
        (fy, fx), (height, width) = self.factor, field.shape[-2:]
        if width % fx:
            raise FdsrError(f"{height} × {width} cells are not a multiple of the factor {fy} × {fx}")

    def compute(self) -> Tensor:
        """(C,), in the variable's unit."""
        return torch.sqrt(self.total / self.area)
