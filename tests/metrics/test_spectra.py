import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsr.errors import FdsrError
from fdsr.metrics import energy_spectrum, rapsd
from fdsr.metrics.spectra import NW, half_power_density, make_rings, remove_plane, ring_mean, taper

from .fields import crops, synthesise

sizes = st.integers(8, 33)


def power_density(x: torch.Tensor, spacing: tuple[float, float], periodic: bool = False) -> torch.Tensor:
    """The whole plane of `half_power_density`, (..., h, w), in the order of `torch.fft.fftfreq`."""
    half = half_power_density(x, spacing, periodic)
    # P(−k) = P(k) for a real field: columns k_x < 0 from their mirrors
    mirrored = half[..., 1 : (x.shape[-1] + 1) // 2].flip(-1)
    return torch.cat([half, mirrored[..., (-torch.arange(x.shape[-2])) % x.shape[-2], :]], dim=-1)


@settings(deadline=None, max_examples=40)
@given(height=sizes, width=sizes, dy=st.floats(0.1, 100), dx=st.floats(0.1, 100), seed=st.integers(0, 999))
def test_parseval(height: int, width: int, dy: float, dx: float, seed: int) -> None:
    x = torch.randn(2, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 30 + 1e5
    w = torch.from_numpy(taper(height, width))
    power = power_density(x, (dy, dx)).sum((-2, -1)) / (height * dy * width * dx)
    expected = (w * remove_plane(x)).square().sum((-2, -1)) / w.square().sum()
    torch.testing.assert_close(power, expected, rtol=1e-10, atol=0)


@settings(deadline=None, max_examples=20)
@given(height=sizes, width=sizes)
def test_density_is_the_squared_transform_of_the_tapered_field(height: int, width: int) -> None:
    x = torch.randn(height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(height * width))
    w = torch.from_numpy(taper(height, width))
    full = torch.fft.fft2(w * remove_plane(x)).abs().square() * (3.0 * 2.0) / w.square().sum()
    torch.testing.assert_close(power_density(x, (3.0, 2.0)), full, rtol=1e-10, atol=1e-14)


@settings(deadline=None, max_examples=20)
@given(height=sizes, width=sizes, a=st.floats(-1e3, 1e3), b=st.floats(-9, 9), c=st.floats(-9, 9))
def test_plane_is_removed(height: int, width: int, a: float, b: float, c: float) -> None:
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    noise = torch.randn(height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    plane = a + b * y.double() + c * x.double()
    torch.testing.assert_close(remove_plane(noise + plane), remove_plane(noise), rtol=1e-9, atol=1e-9)
    assert remove_plane(plane).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((32, 48), (2.0, 1.5)), ((16, 16), (1.0, 1.0)), ((31, 45), (1.0, 1.0)), ((15, 40), (111.0, 42.0))],
)
def test_ring_mean_is_the_mean_over_the_full_plane(shape: tuple[int, int], spacing: tuple[float, float]) -> None:
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    rings = make_rings(shape, spacing)
    full = power_density(x, spacing).numpy()
    k = np.hypot(np.fft.fftfreq(shape[0], spacing[0])[:, None], np.fft.fftfreq(shape[1], spacing[1])[None, :])
    length = min(shape[0] * spacing[0], shape[1] * spacing[1])
    cut = 0.5 / max(spacing)
    assert rings.wavenumber[-1] <= cut * (1 + 1e-8) < rings.wavenumber[-1] + 1 / length
    np.testing.assert_array_equal(rings.scored, rings.wavenumber >= NW / length * (1 - 1e-8))
    mean = ring_mean(half_power_density(x, spacing), rings).numpy()
    for j, value in enumerate(mean, start=1):
        ring = (k * length >= j - 0.5 - 1e-8) & (k * length < j + 0.5 - 1e-8) & (k <= cut * (1 + 1e-8))
        assert value == pytest.approx(full[ring].mean(), rel=1e-10)


def test_white_noise_has_density_variance_times_cell() -> None:
    x = 3.0 * torch.randn(200, 40, 56, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    _, density = rapsd(x, (2.0, 5.0))
    scored = make_rings((40, 56), (2.0, 5.0)).scored
    np.testing.assert_allclose(density.mean(0).numpy()[scored], 9.0 * 10.0, rtol=0.05)


def test_energy_spectrum_integrates_to_the_variance() -> None:
    x = torch.randn(100, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    k, density = rapsd(x, (1.0, 1.0))
    # white noise inside the circle |k| ≤ ½ of the square of unit area: π/4 of the variance
    assert (energy_spectrum(k, density.mean(0)).sum() * (k[1] - k[0])).item() == pytest.approx(np.pi / 4, rel=0.03)


@pytest.mark.parametrize("slope", [-5 / 3, -3.0, -5.0])
def test_slope_is_recovered_on_crops_that_are_not_periodic(slope: float) -> None:
    x = crops(slope)
    rings = make_rings((128, 192), (1.0, 1.0))

    def fitted(density: torch.Tensor) -> float:
        energy = energy_spectrum(rings.wavenumber, density.mean(0)).numpy()[rings.scored]
        return float(np.polyfit(np.log(rings.wavenumber[rings.scored]), np.log(energy), 1)[0])

    assert fitted(rapsd(x, (1.0, 1.0))[1]) == pytest.approx(slope, abs=0.1)
    # the reason for plane and taper: without them the jump across the edges hides anything steeper than −2
    raw = fitted(ring_mean(torch.fft.rfft2(x).abs().square(), rings))
    assert raw > -2.0


def test_parseval_of_periodic_fields() -> None:
    for shape, spacing in (((16, 16), (1.0, 1.0)), ((15, 32), (2.0, 3.5)), ((9, 21), (111.0, 40.0))):
        x = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 280.0
        power = power_density(x, spacing, periodic=True).sum((-2, -1))
        area = shape[0] * spacing[0] * shape[1] * spacing[1]
        torch.testing.assert_close(power / area, x.var((-2, -1), correction=0), rtol=1e-10, atol=0)


@pytest.mark.parametrize("n", [16, 33, 64])
def test_rapsd_of_periodic_squares_by_hand(n: int) -> None:
    # mean of |FFT|²/N over the modes whose distance from the origin rounds to j, as pysteps defines it
    x = np.random.default_rng(n).standard_normal((n, n))
    power = np.abs(np.fft.fft2(x)) ** 2 / x.size
    distance = np.hypot(*np.meshgrid(np.fft.fftfreq(n, 1 / n), np.fft.fftfreq(n, 1 / n), indexing="ij"))
    expected = [power[(distance >= j - 0.5) & (distance < j + 0.5)].mean() for j in range(1, n // 2)]
    k, density = rapsd(torch.from_numpy(x), (1.0, 1.0), periodic=True)
    np.testing.assert_allclose(k[: n // 2 - 1], np.arange(1, n // 2) / n, rtol=1e-12)
    # the last ring ends at the cut
    np.testing.assert_allclose(density.numpy()[: n // 2 - 1], expected, rtol=1e-10)


@pytest.mark.parametrize("n", [16, 33, 64])
def test_rapsd_of_periodic_squares_against_pysteps(n: int) -> None:
    spectral = pytest.importorskip("pysteps.utils.spectral")
    x = synthesise(n, -3.0, seed=n)
    expected, frequency = spectral.rapsd(x, fft_method=np.fft, return_freq=True, d=2.0)
    k, density = rapsd(torch.from_numpy(x), (2.0, 2.0), periodic=True)
    rings = slice(0, n // 2 - 1)
    np.testing.assert_allclose(k[rings], frequency[1 : n // 2], rtol=1e-12)
    # per cell of 4 km²; pysteps keeps the mean, which has no ring here
    np.testing.assert_allclose(density.numpy()[rings], 4.0 * expected[1 : n // 2], rtol=1e-10)


def test_a_field_too_small_for_the_taper_is_refused() -> None:
    with pytest.raises(FdsrError, match="at least 8 points"):
        power_density(torch.zeros(7, 20), (1.0, 1.0))
