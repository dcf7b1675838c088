import numpy as np
import pytest
import torch

from fdsr.grids import Grid
from fdsr.metrics import FieldMetrics, SpectralScores, Task, zonal_bands

from .fields import spectra

LAT, LON = np.linspace(85.0, -85.0, 35), 5.0 * np.arange(72)  # 5° cells
GLOBE = Grid(LAT, LON)


def fields(members: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 35, 72)
    p = torch.randn(2, members, *shape[:1], *shape[1:], generator=generator, dtype=torch.float64) + 280.0
    return p, torch.randn(2, *shape, generator=generator, dtype=torch.float64) + 280.0


def test_bands_cover_the_circles_below_75_degrees() -> None:
    bands = zonal_bands(GLOBE)
    rows = [r for band in bands for r in range(band.start, band.stop)]
    assert rows == list(range(rows[0], rows[-1] + 1))
    assert all((band.stop - band.start) * 5.0 <= 15.0 and abs(band.latitude) <= 75.0 for band in bands)
    middle = min(bands, key=lambda band: abs(band.latitude))
    assert middle.dx == pytest.approx(6371.0 * np.deg2rad(5.0) * np.cos(np.deg2rad(middle.latitude)))
    assert zonal_bands(Grid(LAT, LON[:-1])) == []  # the circle is open
    assert len(zonal_bands(Grid([45.0], LON))) == 1


def test_parseval_row_by_row() -> None:
    p, y = fields()
    bands = zonal_bands(GLOBE)
    metric = SpectralScores(bands, 2)
    metric.update(p, y)
    found = spectra(metric)
    for i, band in enumerate(bands):
        step = 1 / (72 * band.dx)
        np.testing.assert_allclose(found.wavenumber[i], np.arange(1, 37) * step, rtol=1e-12)
        rows = slice(band.start, band.stop)
        for power, x in ((found.power, p), (found.reference, y[:, None])):
            variance = x[..., rows, :].var(-1, correction=0).mean((0, 1, 3))
            np.testing.assert_allclose(power[:, i].sum(-1) * step, variance, rtol=1e-10)
        np.testing.assert_allclose(
            found.mean[:, i].sum(-1) * step, p.mean(1)[..., rows, :].var(-1, correction=0).mean((0, 2)), rtol=1e-10
        )


def test_a_wave_has_all_its_power_at_its_wavenumber() -> None:
    # amplitude 3 at m = 5: variance 4.5, in one mode
    y = (3.0 * torch.cos(torch.deg2rad(5.0 * torch.from_numpy(LON)) + 0.3)).expand(1, 1, 35, 72) + 280.0
    metric = SpectralScores(zonal_bands(GLOBE))
    metric.update(2.0 * y[:, None] - 280.0, y)
    found = spectra(metric)
    step = found.wavenumber[:, 0]
    np.testing.assert_allclose(found.reference[0, :, 4] * step, 4.5, rtol=1e-10)
    assert np.delete(found.reference[0] * step[:, None], 4, axis=1).max() < 1e-20
    np.testing.assert_allclose(found.power[0, :, 4] * step, 18.0, rtol=1e-10)


def test_only_circles_have_zonal_scores() -> None:
    p, y = fields()
    around, part = FieldMetrics(Task(GLOBE, ["a", "b"])), FieldMetrics(Task(Grid(LAT, LON[:60]), ["a", "b"]))
    around.update(2.0 * y[:, None] - 280.0, y)
    part.update(p[..., :60], y[..., :60])
    scores = around.compute()
    assert scores["zonal_lsd"]["a"] == pytest.approx(20 * np.log10(2.0), rel=1e-9)
    assert scores["zonal_melr"]["b"] == pytest.approx(2 * np.log(2.0), rel=1e-9)
    assert "zonal_lsd" not in part.compute() and "zonal" not in part.metrics
    assert "zonal_spectrum_mean" in around["zonal"].arrays()


def test_a_row_with_a_masked_cell_is_left_out() -> None:
    p, y = fields()
    y[:, 0, 17, 3] = torch.nan
    bands = zonal_bands(GLOBE)
    i = next(i for i, band in enumerate(bands) if band.start <= 17 < band.stop)
    masked, plain = SpectralScores(bands, 2), SpectralScores(bands, 2)
    masked.update(p, y)
    plain.update(p, y.nan_to_num(0.0))
    a, b = spectra(masked), spectra(plain)
    rows = [r for r in range(bands[i].start, bands[i].stop) if r != 17]
    step = a.wavenumber[i, 0]
    np.testing.assert_allclose(a.power[0, i].sum() * step, p[:, :, 0, rows].var(-1, correction=0).mean(), rtol=1e-10)
    np.testing.assert_allclose(a.reference[0, i].sum() * step, y[:, 0, rows].var(-1, correction=0).mean(), rtol=1e-10)
    np.testing.assert_allclose(np.delete(a.power, i, axis=1), np.delete(b.power, i, axis=1), rtol=1e-12)
    np.testing.assert_allclose(a.power[1], b.power[1], rtol=1e-12)
