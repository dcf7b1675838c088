"""Denoising diffusion GAN (Xiao et al. 2022): pairs for the discriminator, and its gradient penalty."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fdsr.diffusion.process import GaussianDiffusion


class Pair(NamedTuple):
    """Two neighbouring states of a diffusion, (B, ...) each."""

    before: Tensor  # x_{t−1}
    after: Tensor  # x_t


def real_pair(process: GaussianDiffusion, x_0: Tensor, t: Tensor, noise: Tensor, step_noise: Tensor) -> Pair:
    """A draw from q(x_{t−1}, x_t | x_0): x_{t−1} from its marginal, and x_t as one further step from that x_{t−1}.

    x_{t−1} = √ᾱ_{t−1} x_0 + √(1 − ᾱ_{t−1}) ε and x_t = √α_t x_{t−1} + √β_t ε′, with ε (`noise`) and ε′ (`step_noise`)
    of the process's covariance already. At t = 1 the first of them is x_0 itself. t (B,) integer, in 1..T.
    """
    a_t, a_s = process.alpha_bar(t), process.alpha_bar(t - 1)
    before = _like(a_s.sqrt(), x_0) * x_0 + _like((1 - a_s).sqrt(), x_0) * noise
    step = a_t / a_s
    return Pair(before, _like(step.sqrt(), x_0) * before + _like((1 - step).sqrt(), x_0) * step_noise)


def fake_pair(process: GaussianDiffusion, x_0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Pair:
    """(x̂_{t−1}, x_t) with x̂_{t−1} from the exact posterior q(· | x_t, x̂_0), `x_0` being the generator's x̂_0."""
    mean, var = process.posterior(x_0, x_t, t)
    return Pair(mean + var.sqrt() * noise, x_t)


def r1_penalty(v: Tensor, x: Tensor) -> Tensor:
    """E‖∇_x V‖² over real pairs, a scalar to be multiplied by γ/2 (Mescheder et al. 2018, eq. 9).

    v: V (B,), computed from x (B, ...), which requires grad; samples may mix. Differentiable once more.
    """
    (gradient,) = torch.autograd.grad(v.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def _like(coefficient: Tensor, x: Tensor) -> Tensor:
    return coefficient.to(x.dtype).reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim))
