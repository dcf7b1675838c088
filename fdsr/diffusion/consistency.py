"""Consistency training as Geng et al. 2024 make it easy (ECT, arXiv:2406.14548): pairs of levels, and the loss between them.

A consistency function f(x_t, t) = x̂_0 is the same along a path of the probability flow, and f(x_0, 0) = x_0 (Song et al. 2023). It
begins as a denoiser, for which the lower level is 0, and is trained while the two levels move together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.diffusion.denoising_gan import Step
from fdsr.diffusion.process import GaussianDiffusion
from fdsr.diffusion.samplers import Denoiser


@dataclass(frozen=True)
class LevelPairs:
    """Which two levels are compared; levels are noise over signal, σ = √((1 − ᾱ)/ᾱ).

    σ_t is log-normal, and σ_s = σ_t max(0, 1 − n(σ_t)/q^(a + 1)) with n(σ) = 1 + k sigmoid(−b σ), at stage a = 0, 1, … (§3.3).
    Levels are those of a process's table, s < t; the finer its table, the nearer they come.

    Args:
        mean: of ln σ_t.
        deviation: of ln σ_t.
        shrink: q, by which the gap shrinks from one stage to the next.
        k: how much wider the gap is at small levels.
        b: where it becomes so.
    """

    mean: float = -1.1
    deviation: float = 2.0
    shrink: float = 2.0
    k: float = 8.0
    b: float = 1.0

    def draw(self, process: GaussianDiffusion, count: int, stage: int, rng: torch.Generator) -> Step:
        """Times (count,) of both levels, on the device of `rng`, which is the process's."""
        return self._pairs(process, torch.randn(count, generator=rng, device=rng.device), stage)

    def grid(self, process: GaussianDiffusion, count: int, stage: int) -> Step:
        """Times (count,) of both levels, σ_t at evenly spaced quantiles."""
        quantiles = (torch.arange(count, device=process.alphas_cumprod.device) + 0.5) / count
        return self._pairs(process, torch.special.ndtri(quantiles), stage)

    def _pairs(self, process: GaussianDiffusion, normal: Tensor, stage: int) -> Step:
        table = levels(process)
        sigma = (self.mean + self.deviation * normal).exp().to(table.dtype)
        t = torch.searchsorted(table, sigma).clamp(1, process.T)
        sigma = table[t]
        gap = (1 + self.k * torch.sigmoid(-self.b * sigma)) / self.shrink ** (stage + 1)
        s = torch.searchsorted(table, sigma * (1 - gap).clamp(min=0), right=True) - 1
        return Step(t, torch.minimum(s, t - 1))


def levels(process: GaussianDiffusion) -> Tensor:
    """σ_0 = 0 … σ_T of a process, float64 (T + 1,), increasing."""
    a = process.alphas_cumprod
    return ((1 - a) / a).sqrt()


def consistency_loss(
    denoise: Denoiser,
    x_0: Tensor,
    clean: Tensor,
    step: Step,
    noise: Tensor,
    process: GaussianDiffusion,
    huber: float = 1e-3,
) -> Tensor:
    """Mean of d(f(x_t, t), f(x_s, s))/(σ_t − σ_s), the same `noise` in both and no gradient through the second.

    `clean` is f(x_0, 0): x_0, cut to where it counts as `denoise` cuts what it returns.
    d = √(mean Δ² + c²) − c over the elements of a sample (B, ...), c = `huber`: the pseudo-Huber norm of Song & Dhariwal 2023.
    """
    estimate = denoise(process.q_sample(x_0, step.t, noise), step.t)
    with torch.no_grad():
        later = step.s.clamp(min=1)
        target = denoise(process.q_sample(x_0, later, noise), later)
        target = torch.where(step.s.reshape(-1, *[1] * (x_0.ndim - 1)) == 0, clean, target)
    table = levels(process)
    distance = ((estimate - target).square().flatten(1).mean(1) + huber**2).sqrt() - huber
    return (distance / (table[step.t] - table[step.s]).to(distance.dtype)).mean()
