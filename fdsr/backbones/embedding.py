"""Embedding of diffusion time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(positions: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """cos and sin of `positions` (N,) at dim/2 frequencies, geometric from 1 to 1/max_period: (N, dim), float32.

    Source: Vaswani et al. 2017, §3.5; Ho et al. 2020, appendix B.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=positions.device) / max(half - 1, 1))
    angles = positions.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """Sinusoids of time and a two-layer perceptron: t (B,), a number or None → (B, dim).

    `scale` multiplies t first; the sinusoids tell times apart best where scale · t spans hundreds. None, for a network
    used without time, is t = 0, so that every parameter still takes part.
    """

    def __init__(self, width: int, dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.width = 2 * (width // 2)
        self.scale = scale
        self.hidden = nn.Linear(self.width, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, t: Tensor | float | None, batch: int) -> Tensor:
        weight = self.hidden.weight
        time = torch.as_tensor(0.0 if t is None else t, device=weight.device).float().expand(batch)
        return self.out(F.silu(self.hidden(sinusoids(self.scale * time, self.width).to(weight.dtype))))
