"""What a Gaussian likelihood learns, and how it weighs what is hard to predict."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from fdsr.diffusion import GaussianLikelihood, SquaredError


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_zero_output_is_the_standard_normal() -> None:
    gaussian, zero = GaussianLikelihood(), torch.zeros(1, 4, 3, 3)
    assert not bool(gaussian.mean(zero).any()) and bool((gaussian.deviation(zero) == 1).all())
    assert gaussian.mean(zero).shape == (1, 2, 3, 3) and SquaredError().deviation(zero) is None


def test_without_beta_it_is_the_log_likelihood() -> None:
    gaussian, output, x = GaussianLikelihood(beta=0.0), some(2, 6, 4, 5), some(2, 3, 4, 5, seed=1)
    expected = -Normal(gaussian.mean(output), gaussian.deviation(output)).log_prob(x) - 0.5 * torch.log(
        torch.tensor(2 * torch.pi, dtype=torch.float64)
    )
    torch.testing.assert_close(gaussian.loss(output, x), expected)


@pytest.mark.parametrize(("beta", "power"), [(0.0, -2.0), (0.5, -1.0), (1.0, 0.0)])
def test_beta_says_how_the_means_gradient_depends_on_the_deviation(beta: float, power: float) -> None:
    """(μ − x) σ^(2β − 2): with β = 1 that of half a squared error."""
    gaussian, output, x = GaussianLikelihood(beta), some(1, 2, 6, 6).requires_grad_(), some(1, 1, 6, 6, seed=1)
    (gradient,) = torch.autograd.grad(gaussian.loss(output, x).sum(), output)
    expected = (gaussian.mean(output) - x) * gaussian.deviation(output) ** power
    torch.testing.assert_close(gradient[:, :1], expected)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_recovers_mean_and_deviation(beta: float) -> None:
    """An output for each of ten places, from 20000 draws of each: every β has the same minimum."""
    mean, deviation = torch.linspace(-1, 1, 10).double(), torch.logspace(-0.7, 0.7, 10).double()
    x = (mean + deviation * some(20000, 10)).reshape(-1, 1, 1, 10)
    gaussian, output = GaussianLikelihood(beta), torch.zeros(1, 2, 1, 10, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([output], lr=0.1)
    for step in range(800):
        optimiser.param_groups[0]["lr"] = 0.1 * 0.993**step
        optimiser.zero_grad()
        gaussian.loss(output, x).mean().backward()
        optimiser.step()
    found = gaussian.mean(output).detach().flatten()
    assert bool(((found - mean).abs() < 0.05 * deviation).all())
    torch.testing.assert_close(gaussian.deviation(output).detach().flatten(), deviation, rtol=0.03, atol=0)


@pytest.mark.parametrize("beta", [-0.1, 1.1])
def test_wrong_beta(beta: float) -> None:
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\]"):
        GaussianLikelihood(beta)
