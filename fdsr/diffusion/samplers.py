"""Samplers: from a denoiser and a source of noise to samples of x_0, along times of the process."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.diffusion.process import GaussianDiffusion
from fdsr.diffusion.schedules import Schedule
from fdsr.diffusion.spacing import SpacingName, timesteps

Denoiser = Callable[[Tensor, Tensor], Tensor]
NoiseSource = Callable[[], Tensor]


class Sampler(ABC):
    """A reverse process; one of one's own says its `times` and how it goes along them.

    denoise(x_t, t) → x̂_0 = E[x_0 | x_t], with t an integer tensor (B,). noise() → a fresh draw (B, ...) with the
    covariance of the process, coloured already; the first call gives x_T. Gradients are the caller's affair: wrap in
    torch.no_grad().
    """

    @abstractmethod
    def times(self, schedule: Schedule) -> list[int]:
        """The times at which the denoiser is called, strictly decreasing in 1..T; ValueError for settings that do not fit T."""

    @abstractmethod
    def __call__(self, denoise: Denoiser, noise: NoiseSource, process: GaussianDiffusion) -> Tensor:
        """Samples of x_0 (B, ...)."""

    def evaluations(self, schedule: Schedule) -> int:
        """Network evaluations (NFE) that a sample costs: one a time, unless a sampler says otherwise."""
        return len(self.times(schedule))

    def intervals(self, process: GaussianDiffusion) -> list[tuple[int, int]]:
        """(t, s) of each step, from T down to 0."""
        times = self.times(process.schedule)
        return list(zip(times, [*times[1:], 0], strict=True))


@dataclass(frozen=True)
class SpacedSampler(Sampler):
    """One whose times are so many of 1..T.

    Args:
        steps: network evaluations; null: all T.
        spacing: how the steps lie in 1..T.
    """

    steps: int | None = None
    spacing: SpacingName = "logsnr"

    def times(self, schedule: Schedule) -> list[int]:
        return timesteps(schedule, schedule.T if self.steps is None else self.steps, self.spacing)


@dataclass(frozen=True)
class Ancestral(SpacedSampler):
    """Draws x_s from the posterior q(x_s | x_t, x̂_0), down to s = 0 (Ho et al. 2020, algorithm 2)."""

    def __call__(self, denoise: Denoiser, noise: NoiseSource, process: GaussianDiffusion) -> Tensor:
        x = noise()
        for t, s in self.intervals(process):
            t_batch = _batch(t, x)
            mean, var = process.posterior(denoise(x, t_batch), x, t_batch, _batch(s, x))
            x = mean + var.sqrt() * noise() if s > 0 else mean
        return x


@dataclass(frozen=True)
class DDIM(SpacedSampler):
    """DDIM (Song et al. 2020, eqs 12 and 16). Raises ValueError for eta outside [0, 1].

    Args:
        eta: 0: deterministic; 1: the ancestral posterior.
    """

    steps: int = 50
    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], not {self.eta}")

    def __call__(self, denoise: Denoiser, noise: NoiseSource, process: GaussianDiffusion) -> Tensor:
        a = process.schedule.alphas_cumprod.tolist()
        x = noise()
        for t, s in self.intervals(process):
            t_batch = _batch(t, x)
            x_0 = denoise(x, t_batch)
            eps = process.eps_from_x_0(x, t_batch, x_0)
            var = self.eta**2 * (1 - a[s]) / (1 - a[t]) * (1 - a[t] / a[s])
            x = math.sqrt(a[s]) * x_0 + math.sqrt(max(1 - a[s] - var, 0.0)) * eps
            if var > 0:
                x = x + math.sqrt(var) * noise()
        return x


@dataclass(frozen=True)
class DPMSolverPP(SpacedSampler):
    """DPM-Solver++(2M), data prediction (Lu et al. 2022, arXiv:2211.01095, algorithm 2), first order on the last step.

    x_s = σ_s/σ_t x_t + α_s (1 − e^{−h}) D, h = λ_s − λ_t, λ = ln(α/σ), α = √ᾱ, σ = √(1 − ᾱ);
    D = x̂_0(t) + h/(2 h') (x̂_0(t) − x̂_0(t')), with t' the step before t and h' = λ_t − λ_t'. At s = 0 x_0 = x̂_0(t).
    """

    steps: int = 12

    def __call__(self, denoise: Denoiser, noise: NoiseSource, process: GaussianDiffusion) -> Tensor:
        alpha = [math.sqrt(a) for a in process.schedule.alphas_cumprod.tolist()]
        sigma = [math.sqrt(1 - a) for a in process.schedule.alphas_cumprod.tolist()]
        x, x_0_before, h_before = noise(), None, 1.0
        for t, s in self.intervals(process):
            x_0 = denoise(x, _batch(t, x))
            if s == 0:
                break
            h = math.log(alpha[s] * sigma[t] / (sigma[s] * alpha[t]))
            slope = 0.0 if x_0_before is None else h / (2 * h_before) * (x_0 - x_0_before)
            x = sigma[s] / sigma[t] * x - alpha[s] * math.expm1(-h) * (x_0 + slope)
            x_0_before, h_before = x_0, h
        return x_0


@dataclass(frozen=True)
class Renoising(SpacedSampler):
    """x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s) ε, a fresh ε at every step: multistep consistency sampling (Song et al. 2023, algorithm 1).

    For consistency functions, whose x̂_0 is a sample; a denoiser's is a mean, and so would be what comes out.

    Args:
        spacing: how the steps lie in 1..T; quadratic puts the second of two at σ = .95.
    """

    steps: int = 2
    spacing: SpacingName = "quadratic"

    def __call__(self, denoise: Denoiser, noise: NoiseSource, process: GaussianDiffusion) -> Tensor:
        x = noise()
        for t, s in self.intervals(process):
            x_0 = denoise(x, _batch(t, x))
            if s > 0:
                x = process.q_sample(x_0, _batch(s, x), noise())
        return x_0


def _batch(t: int, x: Tensor) -> Tensor:
    return torch.full((x.shape[0],), t, dtype=torch.long, device=x.device)
