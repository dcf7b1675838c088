"""The training scores against the metrics' CRPS, against Gaussian closed forms, and their (in)variance under rotation."""

from __future__ import annotations

import math

import pytest
import torch

from fdsr.diffusion import BlockCRPS, CoefficientCRPS, Cosine, Haar, RealFourier, Spectrum, Transform, fair_crps
from fdsr.metrics import CRPS


@pytest.mark.parametrize("members", [2, 3, 8])
def test_is_the_fair_crps_of_the_metrics(members: int) -> None:
    x, y = torch.randn(members, 3, 2, 5, 6, dtype=torch.float64), torch.randn(3, 2, 5, 6, dtype=torch.float64)
    metric = CRPS(torch.ones(5), 2)
    metric.update(x.transpose(0, 1), y)
    torch.testing.assert_close(fair_crps(x, y).mean((0, 2, 3)), metric.compute()["crps"], rtol=1e-12, atol=0)


def test_expectation_is_the_crps_of_the_distribution_and_least_at_the_truth() -> None:
    """Members N(0, s²), truth N(0, 1): E = √((s² + 1)·2/π) − s/√π, whose least value 1/√π is at s = 1."""
    n = 200_000
    y = torch.randn(n, dtype=torch.float64)
    for s in (0.5, 1.0, 1.6):
        found = float(fair_crps(s * torch.randn(2, n, dtype=torch.float64), y).mean())
        assert found == pytest.approx(math.sqrt(2 * (s**2 + 1) / math.pi) - s / math.sqrt(math.pi), abs=0.01)
    assert math.sqrt(4 / math.pi) - 1 / math.sqrt(math.pi) == pytest.approx(1 / math.sqrt(math.pi))


@pytest.mark.parametrize("transform", [RealFourier(), Cosine(), Haar()], ids=repr)
def test_a_square_is_invariant_under_rotation_and_this_score_is_not(transform: Transform) -> None:
    flat = Spectrum(transform, torch.ones(1, 4, 4))  # Λ = 1: the term is the bare score of coefficients
    x, y = torch.randn(3, 2, 1, 6, 8, dtype=torch.float64), torch.randn(2, 1, 6, 8, dtype=torch.float64)
    f = transform.forward
    torch.testing.assert_close((f(x) - f(y)).square().mean(), (x - y).square().mean(), rtol=1e-12, atol=0)
    assert abs(float(CoefficientCRPS()(x, y, flat) / fair_crps(x, y).mean()) - 1) > 0.01


def test_coefficients_see_a_spectrum_that_points_cannot_see(steep_power) -> None:
    """Members with the right marginal at every point but white in space: equal at points, worse in coefficients."""
    spectrum, shape = Spectrum(Cosine(), steep_power(1)), (200, 1, 16, 16)
    amplitude = spectrum.power((16, 16)).sqrt()

    def coloured(count: int) -> torch.Tensor:
        return Cosine().inverse(amplitude * torch.randn(count, *shape, dtype=torch.float64))

    y, right = coloured(1)[0], coloured(2)
    deviation = Cosine().inverse(torch.diag(amplitude.flatten()).reshape(-1, 16, 16)).square().sum(0).sqrt()
    white = deviation * torch.randn(2, *shape, dtype=torch.float64)
    points = [float(fair_crps(x, y).mean()) for x in (right, white)]
    terms = [float(CoefficientCRPS()(x, y, spectrum)) for x in (right, white)]
    assert points[1] == pytest.approx(points[0], rel=0.05) and terms[1] > 1.3 * terms[0]
    # Λ^{−1/2} brings every coefficient to unit variance: 1/√π for the right distribution, over the mean of these weights
    assert terms[0] * float((1 / amplitude).mean()) == pytest.approx(1 / math.sqrt(math.pi), rel=0.03)


def test_coefficients_weigh_alike_however_steep_the_spectrum(steep_power) -> None:
    """The score's slope along every coefficient has the mean of that at points, so that one λ serves every archive."""
    spectrum, f = Spectrum(Cosine(), steep_power(1)), Cosine()
    x, y = 9 + torch.rand(2, 5, 1, 16, 16, dtype=torch.float64), torch.zeros(5, 1, 16, 16, dtype=torch.float64)
    x = f.inverse(x.square()).requires_grad_()  # coefficients all larger than the truth's
    (slope,) = torch.autograd.grad(CoefficientCRPS()(x, y, spectrum), x)
    (plain,) = torch.autograd.grad(fair_crps(f.forward(x), f.forward(y)).mean(), x)
    assert float(f.forward(slope).sum()) == pytest.approx(float(f.forward(plain).sum()), rel=1e-9)


def test_block_means() -> None:
    x, y = torch.randn(2, 3, 2, 9, 8, dtype=torch.float64), torch.randn(3, 2, 9, 8, dtype=torch.float64)
    spectrum = Spectrum()

    def blocks(z: torch.Tensor) -> torch.Tensor:
        return z[..., :8, :].unflatten(-2, (2, 4)).unflatten(-1, (2, 4)).mean((-1, -3))

    expected = fair_crps(blocks(x), blocks(y)).mean()
    torch.testing.assert_close(BlockCRPS((4,))(x, y, spectrum), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(BlockCRPS((4, 16))(x, y, spectrum), expected, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="blocks of 16 points, and patches have 8"):
        BlockCRPS((16,))(x, y, spectrum)  # nothing as large as that


@pytest.mark.parametrize(
    "call", [lambda: fair_crps(torch.zeros(1, 3), torch.zeros(3)), lambda: BlockCRPS(()), lambda: BlockCRPS((1, 2))]
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
