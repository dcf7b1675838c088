import copy

import pytest
import torch

from fdsr.diffusion import ColouredNoise, Cosine, Haar, Product, RealFourier, WhiteNoise
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
    noise = ColouredNoise(transform, steep_power(2), exponent)
    a = matrix_of(noise.colour, 2, 5, 6)
    f = matrix_of(transform.forward, 2, 5, 6)
    # the power is given with mean 1 on its own grid, to which Λ^p is scaled as well
    stored = normalise_power(noise.power, noise.floor) ** exponent
    variance = noise.spectrum((5, 6)) ** exponent / stored.mean((1, 2), keepdim=True)
    variance = torch.diag(variance.flatten())
    torch.testing.assert_close(a @ a.mT, f.mT @ variance @ f, rtol=0, atol=1e-12)
    if exponent == 0:
        torch.testing.assert_close(a @ a.mT, torch.eye(60, dtype=torch.float64), rtol=0, atol=1e-12)


def test_sample_covariance(steep_power) -> None:
    noise = ColouredNoise(Cosine(), steep_power(1, 4, 5))
    draws = noise.colour(torch.randn(40_000, 1, 4, 5, dtype=torch.float64)).flatten(1)
    a = matrix_of(noise.colour, 1, 4, 5)
    # standard error of a covariance entry <= √2 max(C)/√n ≈ 0.02
    torch.testing.assert_close(draws.mT.cov(), a @ a.mT, rtol=0, atol=0.1)
    assert float((draws.mT.cov() - torch.eye(20)).abs().max()) > 0.5  # and it is far from white


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_whiten_undoes_colour_and_both_are_linear(transform, steep_power) -> None:
    noise = ColouredNoise(transform, steep_power(3))
    eta, other = torch.randn(2, 2, 3, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(noise.whiten(noise.colour(eta)), eta, rtol=0, atol=1e-11)
    torch.testing.assert_close(noise.colour(noise.whiten(eta)), eta, rtol=0, atol=1e-11)
    both = noise.colour(2 * eta - other)
    torch.testing.assert_close(both, 2 * noise.colour(eta) - noise.colour(other), rtol=0, atol=1e-12)


def test_stored_grid_is_reproduced_and_has_mean_one(steep_power) -> None:
    power = steep_power(2, 12, 8)
    spectrum = ColouredNoise(Cosine(), power * 37.0, floor=1e-9).spectrum((12, 8))
    torch.testing.assert_close(spectrum, power / power.mean((1, 2), keepdim=True), rtol=1e-6, atol=0)
    torch.testing.assert_close(spectrum.mean((1, 2)), torch.ones(2, dtype=torch.float64), rtol=1e-12, atol=0)


def test_floor_and_empty_coefficients(steep_power) -> None:
    power = steep_power(1, 16, 16)
    power[0, 12:, 12:] = 0
    spectrum = ColouredNoise(Cosine(), power, floor=0.01).spectrum((16, 16))
    assert float(spectrum.min()) == pytest.approx(0.01, rel=0.2)  # of the mean before flooring
    assert float(spectrum.mean()) == pytest.approx(1.0)


def test_patch_and_whole_field_see_the_same_process(steep_power) -> None:
    """Λ is one function of wavenumber: equal where wavenumbers are, and the variance at a point nearly so."""
    noise = ColouredNoise(Cosine(), steep_power(1, 32, 32))
    patch, field = noise.spectrum((32, 32)), noise.spectrum((64, 128))
    torch.testing.assert_close(field[:, ::2, ::4], patch, rtol=1e-12, atol=0)
    for shape in ((32, 32), (48, 48), (64, 128), (33, 100)):
        assert float(noise.spectrum(shape).mean()) == pytest.approx(1.0, abs=0.2)
    # the other basis of the same process; periodic wavenumbers come in pairs
    fourier = ColouredNoise(RealFourier(), steep_power(1, 32, 32)).spectrum((64, 128))
    torch.testing.assert_close(fourier[:, ::2, ::2][:, :, :1], field[:, ::2, :1], rtol=1e-9, atol=0)
    assert float(fourier.mean()) == pytest.approx(1.0, abs=0.2)


def test_interpolation_is_exact_for_log_linear_power() -> None:
    ky, kx = torch.arange(8)[:, None] / 16.0, torch.arange(8)[None, :] / 16.0
    power = torch.exp(-3 * ky - 5 * kx)[None].double()
    spectrum = ColouredNoise(RealFourier(), power, floor=1e-9).spectrum((7, 9))
    y, x = RealFourier().axis_wavenumbers((7, 9))
    last = 7 / 16  # constant beyond the last stored wavenumber
    expected = torch.exp(-3 * y.clamp(max=last)[:, None] - 5 * x.clamp(max=last)[None, :]) / power.mean()
    torch.testing.assert_close(spectrum[0], expected, rtol=1e-6, atol=0)


def test_scale_dtype_device_and_cache(steep_power) -> None:
    noise = ColouredNoise(Cosine(), steep_power(2), exponent=0.5)
    assert WhiteNoise().scale((4, 4)).tolist() == [1.0]
    assert noise.scale((4, 6)).shape == (2, 4, 6) and noise.scale((4, 6)).dtype == torch.float32
    assert noise.scale((4, 6)) is noise.scale((4, 6), torch.device("cpu"))
    # at p = ½ amplitudes are Λ^¼ up to one factor a channel
    ratio = noise.scale((4, 6)).double() ** 4 / noise.spectrum((4, 6))
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-5, atol=0)
    assert noise.colour(torch.randn(1, 2, 4, 6).bfloat16()).dtype == torch.float32
    white = torch.randn(2, 3, 4, 4)
    assert WhiteNoise().colour(white) is white and WhiteNoise().whiten(white) is white


def test_survives_casting_and_reloading(steep_power) -> None:
    noise = ColouredNoise(Cosine(), steep_power(1))
    before = noise.scale((8, 8)).clone()
    assert copy.deepcopy(noise).bfloat16().power.dtype == torch.float32
    torch.testing.assert_close(noise.bfloat16().scale((8, 8)), before, rtol=0, atol=0)
    other = ColouredNoise(Cosine(), torch.ones(1, 16, 16))
    assert bool((other.scale((8, 8)) == 1).all())
    other.load_state_dict(noise.state_dict())
    torch.testing.assert_close(other.scale((8, 8)), before)


def test_gradient_after_inference_mode(steep_power) -> None:
    noise = ColouredNoise(Cosine(), steep_power(1))
    with torch.inference_mode():
        noise.colour(torch.randn(1, 1, 8, 8))
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    noise.whiten(x).square().sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize(
    "call",
    [
        lambda: ColouredNoise(Cosine(), torch.ones(4, 4)),
        lambda: ColouredNoise(Cosine(), -torch.ones(1, 4, 4)),
        lambda: ColouredNoise(Cosine(), torch.zeros(1, 4, 4)),
        lambda: ColouredNoise(Cosine(), torch.full((1, 4, 4), torch.nan)),
        lambda: ColouredNoise(Cosine(), torch.ones(1, 4, 4), exponent=1.5),
        lambda: ColouredNoise(Cosine(), torch.ones(1, 4, 4), floor=0.0),
        lambda: ColouredNoise(Cosine(), torch.ones(2, 4, 4)).colour(torch.zeros(1, 3, 4, 4)),
    ],
)
def test_wrong_arguments_are_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
