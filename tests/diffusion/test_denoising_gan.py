"""Pairs of the denoising diffusion GAN against their closed forms, and the gradient penalty against known functions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fdsr.diffusion import GaussianDiffusion, Step, fake_pair, r1_penalty, real_pair, vp_schedule


def coefficients(T: int, t: int) -> torch.Tensor:
    """Rows: x_{t−1}, x_t of `real_pair`; columns: what they hold of x_0, ε and ε′ (the pair is linear in them)."""
    p, times = GaussianDiffusion(vp_schedule(T)), torch.full((3,), t)
    pair = real_pair(
        p,
        *(torch.eye(3, dtype=torch.float64)[:, [0]], Step(times, times - 1)),
        *torch.eye(3, dtype=torch.float64)[:, 1:, None].unbind(1),
    )
    return torch.stack([pair.before[:, 0], pair.after[:, 0]])


@pytest.mark.parametrize("T", range(1, 11))
def test_real_pair_has_the_joint_distribution_of_the_process(T: int) -> None:
    a = vp_schedule(T).alphas_cumprod.tolist()
    for t in range(1, T + 1):
        before, after = coefficients(T, t)
        # marginals of both, and a covariance given x_0 of √α_t (1 − ᾱ_{t−1})
        assert float(before[0]) == pytest.approx(math.sqrt(a[t - 1])) and float(before[2]) == 0
        assert float(before[1] ** 2) == pytest.approx(1 - a[t - 1], abs=1e-12)
        assert float(after[0]) == pytest.approx(math.sqrt(a[t]))
        assert float(after[1] ** 2 + after[2] ** 2) == pytest.approx(1 - a[t])
        covariance = float(before[1] * after[1] + before[2] * after[2])
        assert covariance == pytest.approx(math.sqrt(a[t] / a[t - 1]) * (1 - a[t - 1]), abs=1e-12)


@pytest.mark.parametrize("T", [1, 2, 4, 10])
def test_fake_pair_of_the_true_x_0_is_distributed_as_the_real_one(T: int) -> None:
    """q(x_{t−1} | x_t, x_0) q(x_t | x_0) = q(x_{t−1}, x_t | x_0): means, variances and covariance given x_0."""
    p = GaussianDiffusion(vp_schedule(T))
    for t in range(1, T + 1):
        time, one, zero = (
            torch.tensor([t]),
            torch.ones(1, 1, dtype=torch.float64),
            torch.zeros(1, 1, dtype=torch.float64),
        )
        # linear in x_0, in the noise of x_t and in the posterior's own
        columns = [
            fake_pair(p, x_0, p.q_sample(x_0, time, noise), Step(time, time - 1), own).before.item()
            for x_0, noise, own in ((one, zero, zero), (zero, one, zero), (zero, zero, one))
        ]
        before, after = coefficients(T, t)
        assert columns[0] == pytest.approx(float(before[0]))
        assert columns[1] ** 2 + columns[2] ** 2 == pytest.approx(float(before[1] ** 2), abs=1e-12)
        covariance = columns[1] * math.sqrt(1 - float(p.alpha_bar(time)))
        assert covariance == pytest.approx(float(before[1] * after[1]), abs=1e-12)


@pytest.mark.parametrize("T", [1, 4])
def test_at_the_first_step_both_are_x_0_itself(T: int) -> None:
    p, t = GaussianDiffusion(vp_schedule(T)), torch.ones(5, dtype=torch.long)
    x_0, x_t, noise = torch.randn(3, 5, 2, 4, 4)
    assert torch.equal(fake_pair(p, x_0, x_t, Step(t, t - 1), noise).before, x_0)
    assert torch.equal(real_pair(p, x_0, Step(t, t - 1), noise, noise).before, x_0)


def test_penalty_of_a_linear_and_of_a_quadratic_critic() -> None:
    x, a = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True), torch.randn(2, 3, dtype=torch.float64)
    assert float(r1_penalty((a * x).sum((1, 2)), x)) == pytest.approx(float(a.square().sum()))
    quadratic = r1_penalty(0.5 * (a * x.square()).sum((1, 2)), x)
    assert float(quadratic.detach()) == pytest.approx(float((a * x.detach()).square().sum((1, 2)).mean()))
    # once more differentiable, in x and in the critic's weights
    (gradient,) = torch.autograd.grad(quadratic, x)
    torch.testing.assert_close(gradient, 2 * a**2 * x / 6)
    critic = nn.Linear(4, 1, dtype=torch.float64)
    y = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    r1_penalty(critic(y)[:, 0], y).backward()
    torch.testing.assert_close(critic.weight.grad, 2 * critic.weight.detach())
