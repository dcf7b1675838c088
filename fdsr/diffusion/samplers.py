"""Samplers: pure functions from a denoiser and a source of noise to samples of x_0.

denoise(x_t, t) → x̂_0 = E[x_0 | x_t], with t an integer tensor (B,). noise() → a fresh draw (B, ...) with the
covariance of the process, coloured already; the first call gives x_T. `spacing` names how the steps lie in 1..T, see
`timesteps`. Gradients are the caller's affair: wrap in torch.no_grad(). Each raises ValueError for steps outside
1..T.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fdsr.diffusion.process import GaussianDiffusion
from fdsr.diffusion.spacing import timesteps

Denoiser = Callable[[Tensor, Tensor], Tensor]
NoiseSource = Callable[[], Tensor]


def ancestral(
    denoise: Denoiser,
    noise: NoiseSource,
    process: GaussianDiffusion,
    steps: int | None = None,
    spacing: str = "uniform",
) -> Tensor:
    """Draws x_s from the posterior q(x_s | x_t, x̂_0), down to s = 0 (Ho et al. 2020, algorithm 2); None: T steps."""
    x = noise()
    for t, s in _intervals(process, process.T if steps is None else steps, spacing):
        t_batch = _batch(t, x)
        mean, var = process.posterior(denoise(x, t_batch), x, t_batch, _batch(s, x))
        x = mean + var.sqrt() * noise() if s > 0 else mean
    return x


def ddim(
    denoise: Denoiser,
    noise: NoiseSource,
    process: GaussianDiffusion,
    steps: int,
    eta: float = 0.0,
    spacing: str = "uniform",
) -> Tensor:
    """DDIM (Song et al. 2020, DDIM, eqs 12 and 16): deterministic at eta = 0, the ancestral posterior at eta = 1."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], not {eta}")
    a = process.schedule.alphas_cumprod.tolist()
    x = noise()
    for t, s in _intervals(process, steps, spacing):
        t_batch = _batch(t, x)
        x_0 = denoise(x, t_batch)
        eps = process.eps_from_x_0(x, t_batch, x_0)
        var = eta**2 * (1 - a[s]) / (1 - a[t]) * (1 - a[t] / a[s])
        x = math.sqrt(a[s]) * x_0 + math.sqrt(max(1 - a[s] - var, 0.0)) * eps
        if var > 0:
            x = x + math.sqrt(var) * noise()
    return x


def dpmsolverpp(
    denoise: Denoiser, noise: NoiseSource, process: GaussianDiffusion, steps: int, spacing: str = "uniform"
) -> Tensor:
    """DPM-Solver++(2M), data prediction (Lu et al. 2022, arXiv:2211.01095, algorithm 2), first order on the last step.

    x_s = σ_s/σ_t x_t + α_s (1 − e^{−h}) D, h = λ_s − λ_t, λ = ln(α/σ), α = √ᾱ, σ = √(1 − ᾱ);
    D = x̂_0(t) + h/(2 h') (x̂_0(t) − x̂_0(t')), with t' the step before t and h' = λ_t − λ_t'. At s = 0 x_0 = x̂_0(t).
    """
    alpha = [math.sqrt(a) for a in process.schedule.alphas_cumprod.tolist()]
    sigma = [math.sqrt(1 - a) for a in process.schedule.alphas_cumprod.tolist()]
    x, x_0_before, h_before = noise(), None, 1.0
    for t, s in _intervals(process, steps, spacing):
        x_0 = denoise(x, _batch(t, x))
        if s == 0:
            return x_0
        h = math.log(alpha[s] * sigma[t] / (sigma[s] * alpha[t]))
        slope = 0.0 if x_0_before is None else h / (2 * h_before) * (x_0 - x_0_before)
        x = sigma[s] / sigma[t] * x - alpha[s] * math.expm1(-h) * (x_0 + slope)
        x_0_before, h_before = x_0, h
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {"ancestral": ancestral, "ddim": ddim, "dpmsolver++": dpmsolverpp}


def _intervals(process: GaussianDiffusion, steps: int, spacing: str) -> list[tuple[int, int]]:
    """(t, s) of each step, from T down to 0."""
    times = timesteps(process.T, steps, spacing, schedule=process.schedule)
    return list(zip(times, [*times[1:], 0], strict=True))


def _batch(t: int, x: Tensor) -> Tensor:
    return torch.full((x.shape[0],), t, dtype=torch.long, device=x.device)
