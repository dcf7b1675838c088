"""Coloured noise: equal signal-to-noise ratio at all scales, the exact minimiser of every norm, exact samples."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn, idctn
from torch import Tensor

from fdsr.diffusion import (
    DDIM,
    PARAMETRISATIONS,
    Ancestral,
    ColouredNoise,
    Cosine,
    Denoising,
    DPMSolverPP,
    GaussianDiffusion,
    Globe,
    Haar,
    InverseAmplitudeWeight,
    PowerLawWeight,
    Product,
    RealFourier,
    Sampler,
    SimpleLoss,
    SpectralWeightedLoss,
    Spectrum,
    Transform,
    WhitenedLoss,
    vp_schedule,
)

TRANSFORMS = [RealFourier(), Cosine(), Haar(), Product(lat=Cosine(), lon=RealFourier()), Globe(6)]


def snr(noise: ColouredNoise, spectrum: Spectrum, shape: tuple[int, int], t: int, T: int = 100) -> Tensor:
    """Signal-to-noise ratio of each coefficient at t, for data with the spectrum Λ itself."""
    a = GaussianDiffusion(vp_schedule(T), noise, spectrum).alpha_bar(torch.tensor(t))
    return a * spectrum.power(shape, noise.floor) / ((1 - a) * noise.variance(spectrum, shape))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("t", [1, 30, 100])
def test_all_scales_lose_their_signal_together_at_p_1(transform: Transform, t: int, steep_power) -> None:
    ratio = snr(ColouredNoise(exponent=1.0), Spectrum(transform, steep_power(2)), (5, 6), t)
    flat = GaussianDiffusion(vp_schedule(100)).snr(torch.tensor(t))
    torch.testing.assert_close(ratio, flat.expand_as(ratio), rtol=1e-6, atol=0)


@given(p=st.floats(0, 1))
@settings(max_examples=20)
def test_signal_goes_as_the_power_1_minus_p_of_the_spectrum(p: float) -> None:
    k = torch.hypot(torch.arange(8.0)[:, None], torch.arange(9.0)[None, :]).double()
    spectrum, noise = Spectrum(Cosine(), (1 + k)[None] ** -3), ColouredNoise(exponent=p, floor=1e-9)
    ratio = snr(noise, spectrum, (8, 9), 30) / spectrum.power((8, 9), 1e-9) ** (1 - p)
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-6, atol=0)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_white_noise_is_p_0(transform: Transform, steep_power) -> None:
    eta = torch.randn(3, 2, 5, 6, dtype=torch.float64)
    process = GaussianDiffusion(vp_schedule(9), ColouredNoise(exponent=0.0), Spectrum(transform, steep_power(2)))
    # coloured by f⁻¹, so equal in covariance; the very same draw is f⁻¹(η)
    torch.testing.assert_close(process.colour(eta), transform.inverse(eta), rtol=0, atol=1e-12)
    x_0, t = torch.randn(3, 2, 5, 6, dtype=torch.float64), torch.tensor([1, 4, 9])
    args = (lambda x, s: 0.3 * x, x_0, t)
    coloured = [
        loss(Denoising(*args, process, PARAMETRISATIONS["v"], lambda: eta)) for loss in (SimpleLoss(), WhitenedLoss())
    ]
    white = SimpleLoss()(
        Denoising(*args, GaussianDiffusion(vp_schedule(9)), PARAMETRISATIONS["v"], lambda: transform.inverse(eta))
    )
    for loss in coloured:
        torch.testing.assert_close(loss, white, rtol=1e-12, atol=0)


@pytest.mark.parametrize("transform", [Cosine(), Haar()], ids=repr)
@pytest.mark.parametrize("exponent", [1.0, 0.0])
def test_measured_signal_to_noise_in_rings(transform: Transform, exponent: float, steep_power) -> None:
    """Fields drawn with numpy, their power measured with scipy, noise drawn with it: what x_t holds of each in rings of
    the cosine basis, whatever the noise's own basis."""
    n, rng = 400, np.random.default_rng(0)
    amplitude = np.sqrt(steep_power(1)[0].numpy())
    fields = idctn(amplitude * rng.standard_normal((n, 16, 16)), axes=(1, 2), norm="ortho")
    measured = (dctn(fields, axes=(1, 2), norm="ortho") ** 2).mean(0, keepdims=True)
    x_0 = torch.from_numpy(fields)[:, None] / np.sqrt(measured.mean())
    spectrum = Spectrum(transform, torch.from_numpy(measured))
    process = GaussianDiffusion(vp_schedule(100), ColouredNoise(exponent, floor=1e-9), spectrum)
    t = torch.full((n,), 30)
    zero = torch.zeros_like(x_0)
    drawn = process.q_sample(zero, t, process.colour(torch.randn(n, 1, 16, 16, dtype=torch.float64)))
    signal = process.q_sample(x_0, t, zero)
    # each basis vector of f on its own: a ring of cosine waves is not a set of Haar's vectors
    power = [transform.forward(x).square().mean((0, 1)) for x in (signal, drawn)]
    k = transform.wavenumber((16, 16))
    edges = torch.quantile(k, torch.linspace(0, 1, 7).double())
    ratio = torch.stack(
        [power[0][(k >= lo) & (k <= hi)].sum() / power[1][(k >= lo) & (k <= hi)].sum() for lo, hi in pairwise(edges)]
    )
    flat = float(process.snr(torch.tensor(30)))
    if exponent == 1.0:
        assert float((ratio / flat - 1).abs().max()) < 0.12  # sampling error of 400 fields
    else:
        assert float(ratio[0] / ratio[-1]) > 20  # white noise drowns the fine scales first


def test_haar_power_is_that_of_its_vectors(steep_power) -> None:
    """Λ of a basis without definite wavenumbers is the variance of its coefficients, by the dense covariance matrix."""
    power = steep_power(1, 6, 8)
    found = Spectrum(Haar(), power).power((6, 8), floor=1e-9)
    h, c = (torch.kron(f.lat_axis.matrix(6), f.lon_axis.matrix(8)) for f in (Haar(), Cosine()))
    covariance = c.mT @ torch.diag((power / power.mean()).flatten()) @ c
    expected = torch.diagonal(h @ covariance @ h.mT).reshape(1, 6, 8)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert float(found.mean()) == pytest.approx(1.0)  # a rotation keeps the variance
    # and it is not what the octaves' centres would say: steps have long tails
    assert not torch.allclose(found[0, 3:, 4:], power[0, 3:, 4:] / power.mean(), rtol=0.5)


# -- the minimiser -----------------------------------------------------------------------------------------------------


def population(n: int) -> tuple[Tensor, Tensor]:
    """(x, η), 4n samples of n coefficients each whose second moments are *exactly* those of independent N(0, 1)."""
    q, _ = torch.linalg.qr(torch.randn(4 * n, 2 * n, dtype=torch.float64))
    return (q * (4 * n) ** 0.5).split(n, dim=1)  # type: ignore[return-value]


QUADRATIC = [
    SimpleLoss(),
    WhitenedLoss(),
    SpectralWeightedLoss(PowerLawWeight(1.5)),
    SpectralWeightedLoss(InverseAmplitudeWeight()),
]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_unrestricted_minimiser_is_the_conditional_mean(transform: Transform, exponent: float, steep_power) -> None:
    """Gaussian x_0 with a spectrum of its own: E[ε | x_t] = √(1−ᾱ) Λ^p / (ᾱ P + (1−ᾱ) Λ^p) · x_t in coefficients.

    Over all linear maps A, starting from any, the loss of each norm on exact second moments is least at that gain.
    """
    shape, t = (3, 4), 4
    data_power = torch.linspace(3.0, 0.2, 12, dtype=torch.float64)
    noise, spectrum = ColouredNoise(exponent), Spectrum(transform, steep_power(1))
    process = GaussianDiffusion(vp_schedule(9), noise, spectrum)
    x, eta = population(12)
    x_0 = transform.inverse((x * data_power.sqrt()).reshape(-1, 1, *shape))
    times = torch.full((len(x_0),), t)
    a = process.alpha_bar(torch.tensor(t))
    variance = noise.variance(spectrum, shape).flatten()
    gain = (1 - a).sqrt() * variance / (a * data_power + (1 - a) * variance)

    for loss in QUADRATIC:

        def value(matrix: Tensor, loss=loss) -> Tensor:
            def predict(x_t: Tensor, s: Tensor) -> Tensor:
                c = transform.forward(x_t).flatten(1) @ matrix.mT
                return transform.inverse(c.reshape(-1, 1, *shape))

            etas = eta.reshape(-1, 1, *shape)
            return loss(Denoising(predict, x_0, times, process, PARAMETRISATIONS["eps"], lambda: etas))

        best = torch.diag(gain).requires_grad_()
        (gradient,) = torch.autograd.grad(value(best), best)
        away = (best.detach() + 0.1 * torch.randn(12, 12, dtype=torch.float64)).requires_grad_()
        (elsewhere,) = torch.autograd.grad(value(away), away)
        assert float(gradient.abs().max()) < 1e-9 * float(elsewhere.abs().max())
        assert float(value(best).detach()) < float(value(away).detach())  # and a quadratic form has no other


# -- samples -----------------------------------------------------------------------------------------------------------

# sampler, T, draws of noise, tolerance on each coefficient's variance: the error of so many steps
SAMPLING = [
    (Ancestral(), 200, 200, 0.14),
    (DDIM(200, "quadratic"), 1000, 1, 0.03),
    (DPMSolverPP(40, "logsnr"), 1000, 1, 0.01),
]


@pytest.mark.parametrize(("sampler", "T", "draws", "tolerance"), SAMPLING, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("transform", [Haar(), Globe(5)], ids=repr)
def test_samples_have_the_covariance_of_the_data(
    sampler: Sampler, T: int, draws: int, tolerance: float, transform: Transform, steep_power
) -> None:
    """With the exact denoiser of N(0, fᵀ P f) a sampler is linear in its draws: unit draws give its exact covariance."""
    shape = (1, 4, 5)
    f_power = torch.linspace(2.5, 0.2, 20, dtype=torch.float64).reshape(shape)
    noise, spectrum = ColouredNoise(exponent=1.0), Spectrum(transform, steep_power(1))
    process = GaussianDiffusion(vp_schedule(T), noise, spectrum)
    variance = noise.variance(spectrum, (4, 5))

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        a = process.alpha_bar(t).reshape(-1, 1, 1, 1)
        return transform.inverse(a.sqrt() * f_power / (a * f_power + (1 - a) * variance) * transform.forward(x_t))

    calls = 0

    def unit_draws() -> Tensor:
        nonlocal calls
        eta = torch.zeros(draws, *shape, dtype=torch.float64)
        eta[calls] = 1.0  # in all coefficients at once: the map is diagonal in them
        calls += 1
        return process.colour(eta)

    out = transform.forward(sampler(denoise, unit_draws, process)).square().sum(0)
    assert calls == draws
    assert float((out / f_power - 1).abs().max()) < tolerance
