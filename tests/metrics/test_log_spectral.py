import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from fdsr.metrics import SpectralScores, latlon_bands, projected_bands

from .fields import crops, sample

BANDS = latlon_bands(np.arange(48) * 0.5 + 20.0, np.arange(72) * 0.5)


def fields(seed: int = 0, members: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return sample(seed, members=members, height=48, width=72)


@settings(deadline=None, max_examples=15)
@given(factor=st.floats(0.01, 100.0))
def test_scaling_a_field_gives_the_closed_form(factor: float) -> None:
    _, y = fields()
    metric = SpectralScores(BANDS, 2)
    metric.update(y.double()[:, None] * factor, y.double())
    result = metric.compute()
    np.testing.assert_allclose(result["lsd"], abs(20 * np.log10(factor)), rtol=1e-9, atol=1e-9)
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
    spectra = metric.spectra()
    shape = (2, len(BANDS), spectra.wavenumber.shape[1])
    assert spectra.power.shape == spectra.reference.shape == spectra.error.shape == shape
    # error of the mean of 8: 1 + 1/8 of the truth's power
    ratio = (spectra.error / spectra.reference)[:, spectra.scored]
    assert ratio.mean() == pytest.approx(9 / 8, abs=0.1)


@pytest.mark.parametrize("slope", [-5 / 3, -3.0, -5.0])
def test_cubic_interpolation_is_not_called_perfect(slope: float) -> None:
    truth = crops(slope)[:, None]
    coarse = interpolate(truth, scale_factor=1 / 8, mode="area")
    blurred = interpolate(coarse, scale_factor=8, mode="bicubic", align_corners=False)
    metric = SpectralScores(projected_bands((128, 192), (1.0, 1.0)))
    metric.update(blurred[:, None], truth)
    assert metric.compute()["lsd"].item() > 10.0


def test_degenerate_fields() -> None:
    constant = torch.full((1, 2, 48, 72), 280.0)
    same, none = SpectralScores(BANDS, 2), SpectralScores([], 2)
    same.update(constant[:, None] + 1.0, constant)
    assert same.compute()["lsd"].tolist() == [0.0, 0.0]  # neither has any variance
    none.update(constant[:, None], constant)
    assert none.compute()["lsd"].isnan().all()
    assert none.spectra().power.shape == (2, 0, 0)
    dry = SpectralScores(BANDS, 2)
    dry.update(fields()[0][:1], torch.zeros_like(constant))
    assert dry.compute()["lsd"].isposinf().all()
