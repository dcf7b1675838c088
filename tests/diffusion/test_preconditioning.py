"""Preconditioning against the exact denoiser of a Gaussian, and its identities."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fdsr.diffusion import (
    PARAMETRISATIONS,
    ColouredNoise,
    Cosine,
    DPMSolverPP,
    GaussianDiffusion,
    Globe,
    Haar,
    Noise,
    NoPreconditioning,
    Preconditioning,
    RealFourier,
    ScalarPreconditioning,
    SpectralPreconditioning,
    Spectrum,
    Transform,
    WhiteNoise,
    vp_schedule,
)

TRANSFORMS = [RealFourier(), Cosine(), Haar(), Globe(6)]
NOISES = [WhiteNoise(), ColouredNoise(0.5), ColouredNoise(1.0)]


def silent(x_t: Tensor, t: Tensor) -> Tensor:
    """A network whose head is zero."""
    return torch.zeros_like(x_t)


def estimate(
    precondition: Preconditioning, process: GaussianDiffusion, name: str, x_t: Tensor, t: Tensor, network=silent
) -> Tensor:
    parametrisation = PARAMETRISATIONS[name]
    output = precondition.wrap(network, process, parametrisation)(x_t, t)
    return parametrisation.to_x_0(process, output, x_t, t)


@pytest.mark.parametrize("name", list(PARAMETRISATIONS))
@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_a_silent_network_is_the_exact_denoiser_of_the_prior(
    transform: Transform, noise: Noise, name: str, steep_power
) -> None:
    """E[x_0 | x_t] by dense covariance matrices, S (S + N)⁻¹ with S = √ᾱ fᵀ Λ f and so on."""
    shape = (5, 6)
    spectrum = Spectrum(transform, steep_power(2))
    process = GaussianDiffusion(vp_schedule(100), noise, spectrum)
    x_t, t = torch.randn(3, 2, *shape, dtype=torch.float64), torch.tensor([3, 40, 97])
    found = estimate(SpectralPreconditioning(), process, name, x_t, t)
    f = transform.forward(torch.eye(30, dtype=torch.float64).reshape(30, 1, *shape)).reshape(30, 30).mT
    for i in range(3):
        a = float(process.alpha_bar(t[i]))
        for c in range(2):
            power, variance = (
                spectrum.power(shape)[c].flatten(),
                noise.variance(spectrum, shape).expand(2, *shape)[c].flatten(),
            )
            prior, covariance = f.mT @ torch.diag(power) @ f, f.mT @ torch.diag(variance) @ f
            gain = a**0.5 * prior @ torch.linalg.inv(a * prior + (1 - a) * covariance)
            expected = (gain @ x_t[i, c].flatten()).reshape(shape)
            torch.testing.assert_close(found[i, c], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("noise", [WhiteNoise(), ColouredNoise(1.0)], ids=repr)
def test_samples_of_a_silent_network_have_the_prior_s_spectrum(noise: Noise, steep_power) -> None:
    """Twelve steps: the sampler is linear in its draw, and diagonal in the coefficients, so one unit draw gives the variance."""
    spectrum = Spectrum(Cosine(), steep_power(1))
    process, shape = GaussianDiffusion(vp_schedule(1000), noise, spectrum), (16, 16)
    unit = spectrum.transform.inverse(noise.variance(spectrum, shape).sqrt().expand(1, 1, *shape))

    def decibels(spacing: str) -> float:
        denoise = lambda x, t: estimate(SpectralPreconditioning(), process, "v", x, t)  # noqa: E731
        out = spectrum.transform.forward(DPMSolverPP(12, spacing)(denoise, lambda: unit, process)).square()
        return float((10 * torch.log10(out / spectrum.power(shape))).abs().max())

    # at p = 1 all coefficients are alike; of white noise the weak ones, far below it, need small steps where they appear
    assert decibels("logsnr") < 0.35
    if isinstance(noise, WhiteNoise):
        assert decibels("uniform") > 5


@pytest.mark.parametrize("name", list(PARAMETRISATIONS))
def test_identities(name: str, steep_power) -> None:
    x_t, t = torch.randn(4, 2, 8, 9, dtype=torch.float64), torch.tensor([1, 30, 70, 100])
    network = lambda x, s: torch.sin(3 * x)  # noqa: E731
    flat = GaussianDiffusion(vp_schedule(100), WhiteNoise(), Spectrum(RealFourier(), torch.ones(2, 4, 4)))
    coloured = GaussianDiffusion(vp_schedule(100), ColouredNoise(1.0), Spectrum(Cosine(), steep_power(2)))
    for process in (flat, coloured):
        scalar = estimate(ScalarPreconditioning(), process, name, x_t, t, network)
        torch.testing.assert_close(
            estimate(SpectralPreconditioning(), process, name, x_t, t, network), scalar, rtol=0, atol=1e-6
        )
    # v is preconditioned so by definition
    plain = estimate(NoPreconditioning(), flat, "v", x_t, t, network)
    torch.testing.assert_close(estimate(ScalarPreconditioning(), flat, name, x_t, t, network), plain, rtol=0, atol=1e-6)


def test_needs_a_known_spectrum() -> None:
    process = GaussianDiffusion(vp_schedule(10))
    with pytest.raises(ValueError, match="no climatological spectrum"):
        estimate(SpectralPreconditioning(), process, "v", torch.randn(1, 1, 4, 4), torch.tensor([3]))
