"""Which diffusion times a training draws, and how often."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.diffusion.schedules import Schedule


class TimeSampling(ABC):
    """A distribution of t over 1..T.

    A loss averaged over its draws estimates Σ p_t L_t without bias: draws are not weighted back to equal shares. Networks that
    know t have the same minimum for every p, as long as no p_t is 0.
    """

    @abstractmethod
    def draw(self, count: int, schedule: Schedule, rng: torch.Generator) -> Tensor:
        """t (count,), int64, on the device of `rng`."""


@dataclass(frozen=True)
class StratifiedTimes(TimeSampling):
    """Uniform, stratified over the batch (Kingma et al. 2021): every batch sees the whole range, which steadies the loss."""

    def draw(self, count: int, schedule: Schedule, rng: torch.Generator) -> Tensor:
        u = (torch.rand(1, generator=rng, device=rng.device) + torch.arange(count, device=rng.device) / count) % 1.0
        return (u * schedule.T).long().clamp(max=schedule.T - 1) + 1


@dataclass(frozen=True)
class SignalTimes(TimeSampling):
    """Each sample by itself, with probability p_t ∝ ᾱ_{t−1}^power.

    ᾱ_{t−1} is the share of signal in x_{t−1}, what a step of a denoising diffusion GAN is to tell apart: a power above 0
    draws the steps between two states that are nearly noise less often. Raises ValueError for a negative power.

    >>> from fdsr.diffusion import vp_schedule
    >>> SignalTimes(power=0.25).probabilities(vp_schedule(T=4)).round(decimals=2)
    tensor([0.3800, 0.3300, 0.2000, 0.0900], dtype=torch.float64)

    Args:
        power: 0 for all t alike.
    """

    power: float = 0.0

    def __post_init__(self) -> None:
        if not self.power >= 0:
            raise ValueError(f"the power of the times' probabilities is {self.power}; it must not be negative")

    def probabilities(self, schedule: Schedule) -> Tensor:
        """p_t of t = 1..T, float64 (T,)."""
        weights = schedule.alphas_cumprod[:-1] ** self.power
        return weights / weights.sum()

    def draw(self, count: int, schedule: Schedule, rng: torch.Generator) -> Tensor:
        if self.power == 0:
            return torch.randint(1, schedule.T + 1, (count,), generator=rng, device=rng.device)
        p = self.probabilities(schedule).to(rng.device, torch.float32)
        return 1 + torch.multinomial(p, count, replacement=True, generator=rng)
