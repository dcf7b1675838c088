"""Interpolation of coarse fields to the fine grid, and the halo it needs at the edges."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fdsr.data.choices import Interpolation, require_choice

HALO = 2  # coarse cells on each side: what a bicubic kernel reads beyond its own cell


def add_halo(low: Tensor, periodic: bool) -> Tensor:
    """Extend whole coarse fields (..., h, w) by `HALO` cells: rows repeat the edge, columns wrap if `periodic`."""
    columns = torch.arange(-HALO, low.shape[-1] + HALO)
    columns = columns % low.shape[-1] if periodic else columns.clamp(0, low.shape[-1] - 1)
    rows = torch.arange(-HALO, low.shape[-2] + HALO).clamp(0, low.shape[-2] - 1)
    return low[..., rows, :][..., columns]


def upsample(low: Tensor, factor: tuple[int, int], method: str) -> Tensor:
    """Interpolate coarse fields with their halo (B, C, h + 2·HALO, w + 2·HALO) to (B, C, h·f_y, w·f_x).

    Cell-centred: a coarse value stands at the middle of its f_y × f_x block.
    """
    require_choice(method, Interpolation, "interpolation")
    fine = functional.interpolate(low, scale_factor=(float(factor[0]), float(factor[1])), mode=method)
    return fine[..., HALO * factor[0] : -HALO * factor[0], HALO * factor[1] : -HALO * factor[1]]


def upsample_gaps(low: Tensor, factor: tuple[int, int], method: str) -> Tensor:
    """`upsample` of coarse fields that hold missing values (NaN): NaN in the cells that are missing, and nowhere else.

    With weights w_k of the kernel, Σ_k w_k x_k takes the value of the fine point's own cell for every x_k that is missing, as
    at the edge of a grid the last cell is repeated. It reads no farther than the kernel: a patch has the values of the field.
    """
    present = ~low.isnan()
    core = low[..., HALO:-HALO, HALO:-HALO]
    nearest = core.repeat_interleave(factor[0], -2).repeat_interleave(factor[1], -1)
    fine = upsample(torch.where(present, low, 0.0), factor, method)
    return fine + (1 - upsample(present.to(low.dtype), factor, method)) * nearest
