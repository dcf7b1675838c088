"""Embeddings of diffusion time and of a latent vector."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdsr.backbones.padding import zero_init


def sinusoids(positions: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """cos and sin of `positions` (N,) at dim/2 frequencies, geometric from 1 to 1/max_period: (N, dim), float32.

    Source: Vaswani et al. 2017, §3.5; Ho et al. 2020, appendix B.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=positions.device) / max(half - 1, 1))
    angles = positions.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


Time = Tensor | float | None  # (B,), one for all, or none


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

    def forward(self, t: Time, batch: int) -> Tensor:
        weight = self.hidden.weight
        time = torch.as_tensor(0.0 if t is None else t, device=weight.device).float().expand(batch)
        return self.out(F.silu(self.hidden(sinusoids(self.scale * time, self.width).to(weight.dtype))))


class LatentMapping(nn.Module):
    """Mapping network: z (B, latent_dim) ~ N(0, I) → (B, dim).

    z is brought to mean square 1 (Karras et al. 2018, PixelNorm), then passes `layers` dense layers with SiLU between
    them, initialised so that z arrives with a variance near that of the embedding of time (Xiao et al. 2022, DDGAN).
    """

    def __init__(self, latent_dim: int, dim: int, layers: int = 3) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError("a latent mapping needs at least 1 layer")
        self.layers = nn.ModuleList(nn.Linear(dim if i else latent_dim, dim) for i in range(layers))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def silence(self) -> None:
        """Begin without effect: 0 for every z, until the last layer is trained."""
        zero_init(self.layers[-1])

    def forward(self, z: Tensor) -> Tensor:
        h = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for i, layer in enumerate(self.layers):
            h = layer(F.silu(h) if i else h)
        return h


def joint_embedding(
    time: TimeEmbedding | None, latent: LatentMapping | None, t: Time, z: Tensor | None, batch: int
) -> Tensor | None:
    """SiLU of the sum of the embeddings of t and of z (B, dim), of which a network may have either, both or none.

    Raises ValueError for a t or z that the network was not built for, or a z that it misses.
    """
    if time is None and t is not None:
        raise ValueError("this network was built with time_embedding=False and takes no t")
    if (latent is None) != (z is None):
        raise ValueError("a network built with latent_dim needs z, and one without takes none")
    parts = [time(t, batch)] if time is not None else []
    if latent is not None and z is not None:
        parts.append(latent(z))
    return F.silu(sum(parts[1:], parts[0])) if parts else None
