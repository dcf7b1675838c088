"""One process of several that merge their features' sums; apart from the tests, so that it starts quickly."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.metrics.frechet import FrechetDistance
from fdsr.metrics.images.kid import KernelDistance
from fdsr.metrics.moments import FeatureMoments, GaussianStatistics


def sample(n: int, dimension: int, seed: int, scale: float = 1.0) -> Tensor:
    """Correlated features about a mean far from the origin, as networks give them: (n, dimension) float64."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimension, dimension, generator=rng, dtype=torch.float64) / dimension**0.5
    return (torch.randn(n, dimension, generator=rng, dtype=torch.float64) * scale) @ mix + 3


def statistics(features: Tensor) -> GaussianStatistics:
    moments = FeatureMoments(features.shape[1])
    moments.update(features)
    return moments.statistics()  # its own alone: `compute` would merge every process


def merged(rank: int, world: int) -> tuple[Tensor, Tensor]:
    """Fréchet and kernel distance of 301 features of which this process has seen its stride alone."""
    x, y = sample(301, 12, 0), sample(500, 12, 1)
    frechet, kid = FrechetDistance(statistics(y)), KernelDistance(y, subsets=5, subset_size=100)
    for part in torch.arange(rank, 301, world).split(40):
        frechet.update(x[part])
        kid.update(x[part], part)
    return frechet.compute(), kid.compute()


def process(folder: str) -> None:
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.save(merged(rank, world), f"{folder}/{world}-{rank}.pt")
    torch.distributed.destroy_process_group()
