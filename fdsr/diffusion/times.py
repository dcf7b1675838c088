"""Which diffusion times a training draws, and how often."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.diffusion.schedules import Schedule


class Times:
    """t in 1..T, drawn with probability p_t ∝ ᾱ_{t−1}^power; power 0: all alike.

    ᾱ_{t−1} is the share of signal in x_{t−1}, what a step of a denoising diffusion GAN is to tell apart: a power above 0
    draws the steps between two states that are nearly noise less often. A loss averaged over such draws estimates Σ p_t
    L_t without bias: they are not weighted back to equal shares. Networks that know t have the same minimum for every p,
    as long as no p_t is 0.

    Raises ValueError for a negative power.

    >>> from fdsr.diffusion import vp_schedule
    >>> Times(vp_schedule(T=4), power=0.25).probabilities.round(decimals=2)
    tensor([0.3800, 0.3300, 0.2000, 0.0900], dtype=torch.float64)
    """

    def __init__(self, schedule: Schedule, power: float = 0.0) -> None:
        if not power >= 0:
            raise ValueError(f"the power of the times' probabilities is {power}; it must not be negative")
        self.T, self.power = schedule.T, power
        weights = schedule.alphas_cumprod[:-1] ** power
        self.probabilities = weights / weights.sum()

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """t (count,), int64, on the device of `rng`."""
        if self.power == 0:
            return torch.randint(1, self.T + 1, (count,), generator=rng, device=rng.device)
        p = self.probabilities.to(rng.device, torch.float32)
        return 1 + torch.multinomial(p, count, replacement=True, generator=rng)
