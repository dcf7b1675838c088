"""Denoising diffusion GAN (Xiao et al. 2022): pairs for the discriminator, and its gradient penalty."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fdsr.diffusion.process import GaussianDiffusion, like


class Pair(NamedTuple):
    """Two states of a diffusion, (B, ...) each."""

    before: Tensor  # x_s
    after: Tensor  # x_t


class Step(NamedTuple):
    """The times of such a pair, (B,) integer each, s < t; s = t − 1 where a process has as many steps as are taken."""

    t: Tensor
    s: Tensor


def real_pair(process: GaussianDiffusion, x_0: Tensor, step: Step, noise: Tensor, step_noise: Tensor) -> Pair:
    """A draw from q(x_s, x_t | x_0): x_s from its marginal, and x_t as one further step from that x_s.

    x_s = √ᾱ_s x_0 + √(1 − ᾱ_s) ε and x_t = √α x_s + √(1 − α) ε′ with α = ᾱ_t/ᾱ_s, and ε (`noise`) and ε′ (`step_noise`)
    of the process's covariance already. At s = 0 the first of them is x_0 itself.
    """
    a_t, a_s = process.alpha_bar(step.t), process.alpha_bar(step.s)
    before = like(a_s.sqrt(), x_0) * x_0 + like((1 - a_s).sqrt(), x_0) * noise
    alpha = a_t / a_s
    return Pair(before, like(alpha.sqrt(), x_0) * before + like((1 - alpha).sqrt(), x_0) * step_noise)


def fake_pair(process: GaussianDiffusion, x_0: Tensor, x_t: Tensor, step: Step, noise: Tensor) -> Pair:
    """(x̂_s, x_t) with x̂_s from the exact posterior q(· | x_t, x̂_0), `x_0` being the generator's x̂_0."""
    mean, var = process.posterior(x_0, x_t, *step)
    return Pair(mean + var.sqrt() * noise, x_t)


def r1_penalty(v: Tensor, x: Tensor) -> Tensor:
    """E‖∇_x V‖² over real pairs, a scalar to be multiplied by γ/2 (Mescheder et al. 2018, eq. 9).

    v: V (B,), computed from x (B, ...), which requires grad; samples may mix. Differentiable once more.
    """
    (gradient,) = torch.autograd.grad(v.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
