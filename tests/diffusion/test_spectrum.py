"""Power of the data: one function of wavenumber, read off for any size of field and any transform."""

import pytest
import torch

from fdsr.diffusion import Cosine, RealFourier, Spectrum


def test_stored_grid_is_reproduced_and_has_mean_one(steep_power) -> None:
    power = steep_power(2, 12, 8)
    spectrum = Spectrum(Cosine(), power * 37.0).power((12, 8), floor=1e-9)
    torch.testing.assert_close(spectrum, power / power.mean((1, 2), keepdim=True), rtol=1e-6, atol=0)
    torch.testing.assert_close(spectrum.mean((1, 2)), torch.ones(2, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(Spectrum(Cosine(), power * 37.0).stored(1e-9), spectrum, rtol=1e-12, atol=0)


def test_floor_and_empty_coefficients(steep_power) -> None:
    power = steep_power(1, 16, 16)
    power[0, 12:, 12:] = 0
    spectrum = Spectrum(Cosine(), power).power((16, 16), floor=0.01)
    assert float(spectrum.min()) == pytest.approx(0.01, rel=0.2)  # of the mean before flooring
    assert float(spectrum.mean()) == pytest.approx(1.0)


def test_patch_and_whole_field_see_the_same_process(steep_power) -> None:
    """Λ is one function of wavenumber: equal where wavenumbers are, and the variance at a point nearly so."""
    spectrum = Spectrum(Cosine(), steep_power(1, 32, 32))
    patch, field = spectrum.power((32, 32)), spectrum.power((64, 128))
    torch.testing.assert_close(field[:, ::2, ::4], patch, rtol=1e-12, atol=0)
    for shape in ((32, 32), (48, 48), (64, 128), (33, 100)):
        assert float(spectrum.power(shape).mean()) == pytest.approx(1.0, abs=0.2)
    # the other basis of the same process; periodic wavenumbers come in pairs
    fourier = Spectrum(RealFourier(), steep_power(1, 32, 32)).power((64, 128))
    torch.testing.assert_close(fourier[:, ::2, ::2][:, :, :1], field[:, ::2, :1], rtol=1e-9, atol=0)
    assert float(fourier.mean()) == pytest.approx(1.0, abs=0.2)


def test_interpolation_is_exact_for_log_linear_power() -> None:
    ky, kx = torch.arange(8)[:, None] / 16.0, torch.arange(8)[None, :] / 16.0
    power = torch.exp(-3 * ky - 5 * kx)[None].double()
    spectrum = Spectrum(RealFourier(), power).power((7, 9), floor=1e-9)
    y, x = RealFourier().axis_wavenumbers((7, 9))
    last = 7 / 16  # constant beyond the last stored wavenumber
    expected = torch.exp(-3 * y.clamp(max=last)[:, None] - 5 * x.clamp(max=last)[None, :]) / power.mean()
    torch.testing.assert_close(spectrum[0], expected, rtol=1e-6, atol=0)


def test_what_is_not_known() -> None:
    spectrum = Spectrum()
    assert spectrum.transform == RealFourier() and not spectrum.known and Spectrum(power=torch.ones(1, 2, 2)).known
    for ask in (spectrum.stored, lambda: spectrum.power((4, 4))):
        with pytest.raises(ValueError, match="no climatological spectrum"):
            ask()


@pytest.mark.parametrize(
    "power", [torch.ones(4, 4), -torch.ones(1, 4, 4), torch.zeros(1, 4, 4), torch.full((1, 4, 4), torch.nan)]
)
def test_bad_power_is_refused(power: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="power must"):
        Spectrum(Cosine(), power)


def test_a_bad_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="floor"):
        Spectrum(Cosine(), torch.ones(1, 4, 4)).stored(0.0)
