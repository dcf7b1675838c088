"""With each divergence a tiny GAN learns a mixture of two Gaussians on a line: Wasserstein-1 distance below 0.1."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from fdsr.diffusion import DIVERGENCES, r1_penalty

NAMES, GAMMA = list(DIVERGENCES), 0.3
STEPS, BATCH, LATENT, WIDTH, DEVIATION = 1200, 256, 2, 32, 0.5


class Perceptrons(nn.Module):
    """Several perceptrons of equal size side by side, with nothing in common: (M, B, in) → (M, B, out)."""

    def __init__(self, models: int, sizes: tuple[int, ...], rng: torch.Generator) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            torch.randn(models, i, o, generator=rng) * math.sqrt(2 / i) for i, o in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(models, 1, o) for o in sizes[1:])

    def forward(self, x: Tensor) -> Tensor:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, silu(x) if i else x, weight)
        return x


def mixture(models: int, count: int, rng: torch.Generator) -> Tensor:
    side = torch.randint(2, (models, count, 1), generator=rng) * 2.0 - 1
    return side + DEVIATION * torch.randn(models, count, 1, generator=rng)


def wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """W_1 of samples of equal size, per model: mean distance of sorted values."""
    return (a[..., 0].sort(1).values - b[..., 0].sort(1).values).abs().mean(1)


def distances() -> dict[str, float]:
    """All seven trained at once, each on its own loss: alternating updates, R1, an average of the generator's weights.

    The critics learn eight times as fast: the share of each mode moves slowly, and only a critic near its optimum holds it.
    """
    names, models, rng = NAMES, len(NAMES), torch.Generator().manual_seed(0)
    generators = Perceptrons(models, (LATENT, WIDTH, WIDTH, 1), rng)
    critics = Perceptrons(models, (1, WIDTH, WIDTH, 1), rng)
    with torch.no_grad():
        critics.weights[-1].mul_(0.3)
    average = [p.detach().clone() for p in generators.parameters()]
    optimisers = [torch.optim.Adam(n.parameters(), lr, (0.5, 0.9)) for n, lr in ((generators, 1e-3), (critics, 8e-3))]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS) for o in optimisers]

    def latent(count: int) -> Tensor:
        return torch.randn(models, count, LATENT, generator=rng)

    def update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    for _ in range(STEPS):
        real = mixture(models, BATCH, rng).requires_grad_()
        with torch.no_grad():
            fake = generators(latent(BATCH))
        v_real, v_fake = critics(real)[..., 0], critics(fake)[..., 0]
        loss = torch.stack([DIVERGENCES[n].critic_loss(v_real[i], v_fake[i]) for i, n in enumerate(names)]).sum()
        # the penalty takes the mean over its first axis, here the models, of sums over the rest, here the batch
        penalty = r1_penalty(v_real, real) * models / BATCH
        update(optimisers[1], loss + 0.5 * GAMMA * penalty)
        v_fake = critics(generators(latent(BATCH)))[..., 0]
        update(
            optimisers[0], torch.stack([DIVERGENCES[n].generator_loss(v_fake[i]) for i, n in enumerate(names)]).sum()
        )
        for schedule in schedules:
            schedule.step()
        torch._foreach_lerp_(average, [p.data for p in generators.parameters()], 0.01)

    with torch.no_grad():
        for parameter, value in zip(generators.parameters(), average, strict=True):
            parameter.copy_(value)
        found = wasserstein(generators(latent(20_000)), mixture(models, 20_000, rng))
    return dict(zip(names, found.tolist(), strict=True))


@pytest.mark.slow
def test_tiny_gans_learn_the_mixture() -> None:
    found = distances()
    assert max(found.values()) < 0.1, {k: round(v, 3) for k, v in found.items()}
