"""Points that count in no loss: the surroundings of patches, and those without a truth, which are 0 in every x_0 that a network sees.

`present` (B, C, H, W) is true where a batch has a value; None stands for everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.diffusion import GaussianDiffusion
from fdsr.diffusion.losses.loss import Predictor
from fdsr.diffusion.parametrisation import Parametrisation


@dataclass(frozen=True, eq=False)
class Inner:
    """Cuts fields (n·B, C, H, W) to rows (B, h) and columns (B, w), another rectangle in each sample."""

    rows: Tensor
    columns: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        copies = x.shape[0] // self.rows.shape[0]
        rows = self.rows.repeat(copies, 1)[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
        x = x.gather(2, rows)
        columns = self.columns.repeat(copies, 1)[:, None, None, :].expand(-1, x.shape[1], x.shape[2], -1)
        return x.gather(3, columns)


def cut(counted: Callable[[Tensor], Tensor], present: Tensor | None) -> Tensor | None:
    """`present` of what is counted."""
    return None if present is None else counted(present)


def neutral(x_0: Tensor, present: Tensor | None) -> Tensor:
    """x_0 with 0 in its gaps; no gradient flows from there."""
    return x_0 if present is None else torch.where(present, x_0, 0.0)


def mean_present(values: Tensor, present: Tensor | None) -> Tensor:
    """Mean of `values` (B, C, H, W) over the points present; 0 where there are none."""
    return values.mean() if present is None else neutral(values, present).sum() / present.sum().clamp(min=1)


def points_over_present(present: Tensor | None) -> Tensor | float:
    """All points over those present: what turns a mean over all, with no error in the gaps, into one over the present."""
    return 1.0 if present is None else present.numel() / present.sum().clamp(min=1)


def neutral_output(
    predict: Predictor, present: Tensor | None, process: GaussianDiffusion, parametrisation: Parametrisation
) -> Predictor:
    """`predict`, whose output in the gaps is replaced by the one that says x̂_0 = 0.

    There x_0 is 0 as well: a loss sees no error in the gaps, whatever its norm and parametrisation, and the network gets no
    gradient from them. Batches of several noisy copies are understood as in DDPMModule.predictor.
    """
    if present is None:
        return predict

    def held(x_t: Tensor, t: Tensor) -> Tensor:
        known = present.repeat(x_t.shape[0] // present.shape[0], 1, 1, 1)
        zero = torch.zeros_like(x_t)
        noise = process.eps_from_x_0(x_t, t, zero)
        output = predict(x_t, t)
        return torch.where(known, output, parametrisation.target(process, zero, noise, t).to(output.dtype))

    return held
