import pytest
import torch

from fdsr.diffusion import (
    ColouredNoise,
    Cosine,
    GaussianDiffusion,
    Haar,
    Product,
    RealFourier,
    Spectrum,
    WhiteNoise,
    vp_schedule,
)
from fdsr.diffusion.power import normalise_power

TRANSFORMS = [RealFourier(), Cosine(), Haar(), Product(lat=Cosine(), lon=RealFourier())]


def matrix_of(linear, channels: int, height: int, width: int) -> torch.Tensor:
    """The dense matrix of a linear map of (C, H, W) fields, columns = images of the unit vectors."""
    n = channels * height * width
    basis = torch.eye(n, dtype=torch.float64).reshape(n, channels, height, width)
    return linear(basis).reshape(n, n).mT


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_covariance_is_ft_lambda_f(transform, exponent: float, steep_power) -> None:
    noise, spectrum = ColouredNoise(exponent), Spectrum(transform, steep_power(2))
    a = matrix_of(lambda eta: noise.colour(eta, spectrum), 2, 5, 6)
    f = matrix_of(transform.forward, 2, 5, 6)
    # the power is given with mean 1 on its own grid, to which Λ^p is scaled as well
    stored = normalise_power(steep_power(2), noise.floor) ** exponent
    variance = spectrum.power((5, 6)) ** exponent / stored.mean((1, 2), keepdim=True)
    torch.testing.assert_close(noise.variance(spectrum, (5, 6)), variance, rtol=1e-12, atol=0)
    variance = torch.diag(variance.flatten())
    torch.testing.assert_close(a @ a.mT, f.mT @ variance @ f, rtol=0, atol=1e-12)
    if exponent == 0:
        torch.testing.assert_close(a @ a.mT, torch.eye(60, dtype=torch.float64), rtol=0, atol=1e-12)


def test_sample_covariance(steep_power) -> None:
    process = GaussianDiffusion(vp_schedule(4), ColouredNoise(), Spectrum(Cosine(), steep_power(1, 4, 5)))
    draws = process.colour(torch.randn(40_000, 1, 4, 5, dtype=torch.float64)).flatten(1)
    a = matrix_of(process.colour, 1, 4, 5)
    # standard error of a covariance entry <= √2 max(C)/√n ≈ 0.02
    torch.testing.assert_close(draws.mT.cov(), a @ a.mT, rtol=0, atol=0.1)
    assert float((draws.mT.cov() - torch.eye(20)).abs().max()) > 0.5  # and it is far from white


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_whiten_undoes_colour_and_both_are_linear(transform, steep_power) -> None:
    process = GaussianDiffusion(vp_schedule(4), ColouredNoise(), Spectrum(transform, steep_power(3)))
    colour, whiten = process.colour, process.whiten
    eta, other = torch.randn(2, 2, 3, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(whiten(colour(eta)), eta, rtol=0, atol=1e-11)
    torch.testing.assert_close(colour(whiten(eta)), eta, rtol=0, atol=1e-11)
    torch.testing.assert_close(colour(2 * eta - other), 2 * colour(eta) - colour(other), rtol=0, atol=1e-12)


def test_amplitudes_dtype_device_and_memory(steep_power) -> None:
    noise, spectrum = ColouredNoise(exponent=0.5), Spectrum(Cosine(), steep_power(2))
    made: list[tuple] = []

    class Counted(ColouredNoise):
        def variance(self, spectrum: Spectrum, shape: tuple[int, int]) -> torch.Tensor:
            made.append(shape)
            return super().variance(spectrum, shape)

    # at p = ½ amplitudes are Λ^¼ up to one factor a channel
    eta = torch.ones(1, 2, 4, 6)
    ratio = noise.variance(spectrum, (4, 6)) ** 2 / spectrum.power((4, 6))
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-12, atol=0)
    assert noise.colour(eta.bfloat16(), spectrum).dtype == noise.colour(eta, spectrum).dtype == torch.float32
    assert noise.colour(eta.double(), spectrum).dtype == torch.float64
    # computed once for a size, a precision and equal settings, whichever object asks
    for _ in range(2):
        Counted(0.5).colour(eta, spectrum)
    assert made == [(4, 6)]
    Counted(0.5).colour(eta.double(), spectrum)
    Counted(0.6).colour(eta, spectrum)
    assert made == 3 * [(4, 6)]
    white = torch.randn(2, 3, 4, 4)
    assert WhiteNoise().colour(white, spectrum) is white and WhiteNoise().whiten(white, spectrum) is white
    assert WhiteNoise().variance(spectrum, (4, 4)).tolist() == [[[1.0]]]


def test_settings_are_values(steep_power) -> None:
    """Noises hold no tensors: equal ones are equal, and a process cast to half precision colours as before."""
    assert ColouredNoise(0.5) == ColouredNoise(0.5) != ColouredNoise(0.6) and hash(WhiteNoise()) == hash(WhiteNoise())
    process = GaussianDiffusion(vp_schedule(4), ColouredNoise(), Spectrum(Cosine(), steep_power(1)))
    eta = torch.randn(1, 1, 8, 8)
    before = process.colour(eta)
    assert torch.equal(process.bfloat16().colour(eta), before) and not process.state_dict()


def test_gradient_after_inference_mode(steep_power) -> None:
    process = GaussianDiffusion(vp_schedule(4), ColouredNoise(), Spectrum(Cosine(), steep_power(1)))
    with torch.inference_mode():
        process.colour(torch.randn(1, 1, 8, 8))
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    process.whiten(x).square().sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize(
    "call",
    [
        lambda: ColouredNoise(exponent=1.5),
        lambda: ColouredNoise(exponent=-0.1),
        lambda: ColouredNoise(floor=0.0),
        lambda: ColouredNoise().colour(torch.zeros(1, 1, 4, 4), Spectrum(Cosine())),
        lambda: ColouredNoise().colour(torch.zeros(1, 3, 4, 4), Spectrum(Cosine(), torch.ones(2, 4, 4))),
        lambda: ColouredNoise().colour(torch.zeros(4, 4), Spectrum(Cosine(), torch.ones(1, 4, 4))),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
