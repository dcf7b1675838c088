import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from fdsr.grids import Grid
from fdsr.metrics import SpectralScores, rapsd, spectral_bands

from .fields import crops, plane, sample, spectra

BANDS = spectral_bands(Grid(np.arange(48) * 0.5 + 20.0, np.arange(72) * 0.5))


def fields(seed: int = 0, members: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return sample(seed, members=members, height=48, width=72)


@settings(deadline=None, max_examples=15)
@given(factor=st.floats(0.01, 100.0))
def test_scaling_a_field_gives_the_closed_form(factor: float) -> None:
    _, y = fields()
    metric = SpectralScores(BANDS, 2)
    metric.update(y.double()[:, None] * factor, y.double())
    result = metric.compute()
    for name in ("lsd", "lsd_fine"):
        np.testing.assert_allclose(result[name], abs(20 * np.log10(factor)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(result["melr"], abs(2 * np.log(factor)), rtol=1e-9, atol=1e-9)


def test_bands_are_pooled_by_area() -> None:
    # factors 2 and 4 in two bands: mean square of the decibels by area, not a mean of the distances
    assert len(BANDS) == 2
    _, y = fields()
    p = y.double() * torch.cat([torch.full((24, 1), 2.0), torch.full((24, 1), 4.0)])
    metric = SpectralScores(BANDS, 2)
    metric.update(p[:, None], y)
    area = np.array([band.area for band in BANDS])
    decibels = 20 * np.log10([2.0, 4.0])
    result = metric.compute()
    np.testing.assert_allclose(result["lsd"], np.sqrt(np.average(decibels**2, weights=area)), rtol=1e-9)
    np.testing.assert_allclose(result["melr"], np.average(2 * np.log([2.0, 4.0]), weights=area), rtol=1e-9)


def test_members_not_their_mean_make_the_spectrum() -> None:
    p, y = fields(members=8)
    metric = SpectralScores(BANDS, 2)
    metric.update(p, y)
    # independent white noise: members have the truth's spectrum, their mean an eighth of it (9 dB)
    assert (metric.compute()["lsd"] < 1.0).all()
    blurred = SpectralScores(BANDS, 2)
    blurred.update(p.mean(1, keepdim=True), y)
    assert (blurred.compute()["lsd"] > 8.0).all()
    found = spectra(metric)
    shape = (2, len(BANDS), found.wavenumber.shape[1])
    assert found.power.shape == found.reference.shape == found.error.shape == shape
    # error of the mean of 8: 1 + 1/8 of the truth's power
    ratio = (found.error / found.reference)[:, found.scored]
    assert ratio.mean() == pytest.approx(9 / 8, abs=0.1)


@pytest.mark.parametrize("slope", [-5 / 3, -3.0, -5.0])
def test_cubic_interpolation_is_not_called_perfect(slope: float) -> None:
    truth = crops(slope)[:, None]
    coarse = interpolate(truth, scale_factor=1 / 8, mode="area")
    blurred = interpolate(coarse, scale_factor=8, mode="bicubic", align_corners=False)
    metric = SpectralScores(spectral_bands(plane((128, 192), (1.0, 1.0))))
    metric.update(blurred[:, None], truth)
    assert metric.compute()["lsd"].item() > 10.0


def test_degenerate_fields() -> None:
    constant = torch.full((1, 2, 48, 72), 280.0)
    same, none = SpectralScores(BANDS, 2), SpectralScores([], 2)
    same.update(constant[:, None] + 1.0, constant)
    assert same.compute()["lsd"].tolist() == [0.0, 0.0]  # neither has any variance
    assert same.compute()["effective_resolution"].isfinite().all()  # they agree down to the grid
    none.update(constant[:, None], constant)
    assert none.compute()["lsd"].isnan().all()
    assert spectra(none).power.shape == (2, 0, 0)
    dry = SpectralScores(BANDS, 2)
    dry.update(fields()[0][:1], torch.zeros_like(constant))
    assert dry.compute()["lsd"].isposinf().all()


def lowpassed(y: torch.Tensor, wavenumber: float, factor: float) -> torch.Tensor:
    """y with every Fourier coefficient beyond `wavenumber` cycles per point times `factor`."""
    k = np.hypot(np.fft.fftfreq(y.shape[-2])[:, None], np.fft.rfftfreq(y.shape[-1])[None, :])
    gain = torch.from_numpy(np.where(k > wavenumber, factor, 1.0))
    return torch.fft.irfft2(torch.fft.rfft2(y) * gain, s=y.shape[-2:])


@pytest.mark.parametrize(("edge", "gain"), [(0.12, 0.5), (0.12, 3.0), (0.4, 0.5)])
def test_the_fine_distance_sees_the_upper_half_of_the_wavenumbers(edge: float, gain: float) -> None:
    y = torch.randn(20, 1, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metric = SpectralScores(spectral_bands(plane((64, 96), (2.0, 2.0))))
    metric.update(lowpassed(y, edge, gain)[:, None], y)
    result, rings = metric.compute(), metric.rings[0]
    decibels = (10 * torch.log10(result["power"] / result["reference"]))[0, 0].numpy()
    upper = rings.scored & (rings.wavenumber > 0.125)  # of 0.25 cycles per km, two cells
    np.testing.assert_allclose(result["lsd_fine"], np.sqrt(np.mean(decibels[upper] ** 2)), rtol=0.05)
    if edge < 0.2:  # all of the upper half is changed, as much of the lower is not
        np.testing.assert_allclose(result["lsd_fine"], abs(20 * np.log10(gain)), rtol=0.01)
    assert bool((result["lsd_fine"] > result["lsd"]).all())


@pytest.mark.parametrize(("factor", "resolved"), [(0.5, False), (0.8, True), (1.3, True), (1.6, False)])
def test_effective_resolution_ends_where_the_power_is_wrong_by_two(factor: float, resolved: bool) -> None:
    # white noise, its scales below 8 points damped or raised to factor²
    y = torch.randn(20, 1, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metric = SpectralScores(spectral_bands(plane((64, 96), (2.0, 2.0))))
    metric.update(lowpassed(y, 1 / 8, factor)[:, None], y)
    found = metric.compute()["effective_resolution"].item()
    # 16 km where the power breaks; the taper blurs the edge by a few rings; else the cut at two cells
    assert found == pytest.approx(4.0, rel=1e-9) if resolved else 13.0 < found < 22.0


def test_resolved_scale_is_where_the_error_has_half_the_power() -> None:
    y = torch.randn(20, 1, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for gain, resolved in ((0.5, True), (0.2, False)):
        # error power (1 − gain)² beyond the edge: ¼ and 0.64 of the truth's
        metric = SpectralScores(spectral_bands(plane((64, 96), (2.0, 2.0))))
        metric.update(lowpassed(y, 1 / 8, gain)[:, None], y)
        found = metric.compute()["resolved_scale"].item()
        assert found == pytest.approx(4.0, rel=1e-9) if resolved else 13.0 < found < 22.0


def test_resolution_over_bands_is_the_mean_wavenumber_by_area() -> None:
    _, y = fields()
    y = y.double()
    p = y.clone()
    p[..., 24:, :] *= 2.0  # the power of the second band is wrong at every wavenumber
    metric = SpectralScores(BANDS, 2)
    metric.update(p[:, None], y)
    area = np.array([band.area for band in BANDS])
    rings = metric.rings[0]
    expected = area.sum() / (area[0] * rings.wavenumber[rings.scored].max())
    np.testing.assert_allclose(metric.compute()["effective_resolution"], expected, rtol=1e-9)
    wrong = SpectralScores(BANDS, 2)
    wrong.update(2.0 * y[:, None], y)
    assert wrong.compute()["effective_resolution"].isposinf().all()


def test_boxes_with_masked_cells_are_left_out() -> None:
    p, y = fields()
    hidden, whole = y.clone(), SpectralScores(BANDS, 2)
    hidden[0, 0, 30, 5] = torch.nan  # one time, one variable, one box of the second band
    masked = SpectralScores(BANDS, 2)
    masked.update(p, hidden)
    whole.update(p, y)
    a, b = spectra(masked), spectra(whole)
    np.testing.assert_allclose(a.power[:, 0], b.power[:, 0], rtol=1e-12)
    np.testing.assert_allclose(a.power[1], b.power[1], rtol=1e-12)
    # by hand: the mean over the boxes that are left
    band, boxes = BANDS[1], BANDS[1].cut(y)[:, 0].double()
    density = torch.stack([rapsd(boxes[t, n], band.spacing)[1]
                           for t in range(3) for n in range(band.n_boxes) if (t, n) != (0, 0)])  # fmt: skip
    np.testing.assert_allclose(a.reference[0, 1, : density.shape[1]], density.mean(0), rtol=1e-10)
    # a band no box of which is seen does not count; none at all is NaN
    gone, none = y.clone(), torch.full_like(y, torch.nan)
    gone[..., 24:, :] = torch.nan
    alone, partly, nothing = SpectralScores(BANDS[:1], 2), SpectralScores(BANDS, 2), SpectralScores(BANDS, 2)
    alone.update(p, y)
    partly.update(p, gone)
    nothing.update(p, none)
    for score in ("lsd", "melr"):
        torch.testing.assert_close(partly.compute()[score], alone.compute()[score], rtol=1e-12, atol=0)
        assert nothing.compute()[score].isnan().all()


def test_the_spectrum_of_the_mean_is_that_of_a_forecast_of_it() -> None:
    p, y = fields(members=4)
    whole, mean = SpectralScores(BANDS, 2), SpectralScores(BANDS, 2)
    whole.update(p, y)
    mean.update(p.double().mean(1, keepdim=True), y)
    torch.testing.assert_close(whole.compute()["mean"], mean.compute()["power"], rtol=1e-10, atol=0)
