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
        return (_stratified(count, rng) * schedule.T).long().clamp(max=schedule.T - 1) + 1


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


@dataclass(frozen=True)
class LogitNormalTimes(TimeSampling):
    """Logit-normal (Esser et al. 2024, §3.1): ln(σ/α) ~ N(mean, std²), α = √ᾱ_t, σ = √(1 − ᾱ_t), stratified over the batch.

    There t is the share of noise on a straight path from data to noise, logit(t) = ln(σ/α); so it is the noise level that is
    drawn, and a schedule only says which of 1..T comes nearest. Raises ValueError unless std > 0.

    Args:
        mean: above 0 noisier times, below 0 cleaner ones.
        std: how far about it.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"the standard deviation of logit-normal times is {self.std}; it must be positive")

    def probabilities(self, schedule: Schedule) -> Tensor:
        """p_t of t = 1..T, float64 (T,)."""
        level = -0.5 * torch.logit(schedule.alphas_cumprod[1:])
        middles = (0.5 * (level[1:] + level[:-1]) - self.mean) / self.std
        below = torch.cat([middles.new_zeros(1), torch.special.ndtr(middles), middles.new_ones(1)])
        return below.diff()

    def draw(self, count: int, schedule: Schedule, rng: torch.Generator) -> Tensor:
        below = self.probabilities(schedule).cumsum(0)[:-1].to(rng.device, torch.float32)
        return 1 + torch.bucketize(_stratified(count, rng), below, right=True)


def _stratified(count: int, rng: torch.Generator) -> Tensor:
    """One number in each of `count` equal parts of [0, 1), up to a common shift round it."""
    return (torch.rand(1, generator=rng, device=rng.device) + torch.arange(count, device=rng.device) / count) % 1.0
