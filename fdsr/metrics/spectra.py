"""Power spectra of fields in physical units.

A field on a finite box is not periodic, and the jump across its edges leaks a k⁻² floor over any steeper spectrum. So
the best-fit plane is removed and the rest is tapered by a DPSS window of time–bandwidth NW = 3 on each axis (Slepian
1978; Thomson 1982) before the Fourier transform. A field that is periodic (`periodic=True`: a circle of longitudes, an
idealised turbulence run) needs neither: its mean is removed, nothing else. Units: spacing in km, wavenumber in cycles/km,
density in unit² km².
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.signal.windows import dpss
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.sum_metric import working_dtype

# time–bandwidth product of the taper: it spreads power over ±NW/L, so rings below that are not scored
NW = 3.0
# DPSS needs 2 NW < n; shorter axes have no spectrum
MIN_POINTS = 8


@lru_cache(maxsize=64)
def taper(height: int, width: int) -> np.ndarray:
    """The window w (height, width): the product of two DPSS tapers with NW = 3. Raises FdsrError below 8 points."""
    if min(height, width) < MIN_POINTS:
        raise FdsrError(f"a spectrum needs at least {MIN_POINTS} points on each axis, got {height} × {width}")
    return dpss(height, NW)[:, None] * dpss(width, NW)[None, :]


@lru_cache(maxsize=64)
def _plane_basis(height: int, width: int) -> np.ndarray:
    y = np.linspace(-1.0, 1.0, height)[:, None] + np.zeros(width)
    x = np.linspace(-1.0, 1.0, width)[None, :] + np.zeros((height, 1))
    basis = np.stack([np.ones((height, width)), y, x]).reshape(3, -1)
    # on a centred regular grid the three are orthogonal already
    return basis / np.linalg.norm(basis, axis=1, keepdims=True)


def _constant(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device, like.dtype)


def remove_plane(x: Tensor) -> Tensor:
    """x (..., h, w) without its least-squares plane a + b y + c x."""
    height, width = x.shape[-2:]
    basis = _constant(_plane_basis(height, width), x)
    flat = x.reshape(-1, height * width)
    return torch.addmm(flat, flat @ basis.T, basis, alpha=-1.0).reshape(x.shape)


def half_power_density(x: Tensor, spacing: tuple[float, float], periodic: bool = False) -> Tensor:
    """Two-dimensional power density P(k_y, k_x) = |FFT(w·x′)|² dx dy / Σw² of fields (..., h, w), in unit² km².

    x′ is x without its best-fit plane, w the DPSS taper, spacing = (dy, dx) in km; for a field periodic in both axes x′
    is x without its mean and w is 1. The half k_x ≥ 0, (..., h, w//2 + 1), in the order of `torch.fft.rfft2`; the other half
    mirrors it, see `half_plane_counts`. Parseval: Σ P Δk_x Δk_y over both = Σ (w x′)² / Σ w², Δk = 1/(n d).
    """
    height, width = x.shape[-2:]
    x = x.to(working_dtype(x.device))
    if periodic:
        energy = float(height * width)
        coefficients = torch.fft.rfft2(x - x.mean((-2, -1), keepdim=True))
    else:
        energy = float((taper(height, width) ** 2).sum())
        coefficients = torch.fft.rfft2(remove_plane(x) * _constant(taper(height, width), x))
    scale = spacing[0] * spacing[1] / energy
    return (coefficients.real.square() + coefficients.imag.square()) * scale


def half_plane_counts(width: int) -> Tensor:
    """How many modes of the full plane each column of the half plane stands for: 1 or 2, (w//2 + 1,)."""
    counts = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64)
    counts[0] = 1.0
    if width % 2 == 0:
        counts[-1] = 1.0
    return counts


@dataclass(frozen=True)
class Rings:
    """Rings of wavenumber on the half plane of a box (h, w) with spacing (dy, dx) km.

    Ring j = 1, 2, … holds the modes with (j − ½)/L ≤ |k| < (j + ½)/L and |k| ≤ 1/(2 max(dx, dy)), L the shorter side;
    its wavenumber is j/L. `scored` marks those at or above NW/L, the others are blurred by the taper; on a `periodic`
    field nothing is blurred and all are scored. `make_zonal_rings` has its own rings.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]
    wavenumber: np.ndarray
    scored: np.ndarray
    index: Tensor
    counts: Tensor
    periodic: bool = False

    @property
    def n(self) -> int:
        """Number of rings."""
        return int(self.wavenumber.size)


def make_rings(shape: tuple[int, int], spacing: tuple[float, float], periodic: bool = False) -> Rings:
    """The rings of a box of `shape` (h, w) and spacing (dy, dx) in km."""
    (height, width), (dy, dx) = shape, spacing
    length = min(height * dy, width * dx)
    cut = 0.5 / max(dy, dx)
    ky = np.fft.fftfreq(height, dy)[:, None]
    kx = np.fft.rfftfreq(width, dx)[None, :]
    k = np.hypot(ky, kx)
    # the small number keeps modes that lie on an edge or on the cut up to rounding on one side of it
    ring = np.floor(k * length + 0.5 + 1e-9).astype(np.int64)
    n = int(np.floor(cut * length + 1e-9))
    inside = (ring >= 1) & (ring <= n) & (k <= cut * (1 + 1e-9))
    index = np.where(inside, ring - 1, n)  # n: the bin of what is left out
    modes = half_plane_counts(width).numpy()[None, :] * np.ones((height, 1))
    counts = np.bincount(index.ravel(), weights=(modes * inside).ravel(), minlength=n + 1)[:n]
    number = np.arange(1, n + 1)
    return Rings(
        shape=shape,
        spacing=spacing,
        wavenumber=number / length,
        scored=(number >= (1.0 if periodic else NW) - 1e-9) & (counts > 0),
        index=torch.from_numpy(index.ravel()),
        counts=torch.from_numpy(counts),
        periodic=periodic,
    )


def make_zonal_rings(width: int, dx: float) -> Rings:
    """The modes m = 1 … width // 2 of a closed circle of `width` points dx km apart, each a ring of k = m/(width dx).

    The mean over such a ring is the one-sided density of a row in unit² km: Σ P Δk over m is the row's variance.
    """
    n = width // 2
    return Rings(
        shape=(1, width),
        spacing=(1.0, dx),
        wavenumber=np.arange(1, n + 1) / (width * dx),
        scored=np.ones(n, dtype=bool),
        index=torch.tensor([n, *range(n)]),
        # the sum over ±m, not its mean
        counts=torch.ones(n, dtype=torch.float64),
        periodic=True,
    )


def ring_mean(density: Tensor, rings: Rings) -> Tensor:
    """Mean of a half-plane density (..., h, w//2 + 1) over all modes of each ring: (..., n_rings)."""
    height, width = rings.shape
    modes = half_plane_counts(width).to(density.device, density.dtype)
    flat = (density * modes).reshape(-1, height * (width // 2 + 1))
    sums = flat.new_zeros(flat.shape[0], rings.n + 1)
    sums.index_add_(1, rings.index.to(density.device), flat)
    mean = sums[:, : rings.n] / rings.counts.to(density.device, density.dtype)
    return mean.reshape(*density.shape[:-2], rings.n)


def rapsd(x: Tensor, spacing: tuple[float, float], periodic: bool = False) -> tuple[np.ndarray, Tensor]:
    """Radially averaged power spectral density of fields (..., h, w): wavenumbers (n,) and density (..., n).

    Wavenumbers in cycles/km, density in unit² km²; the first rings, below NW/L, are blurred by the taper, unless the
    field is `periodic` in both axes.
    """
    rings = make_rings((x.shape[-2], x.shape[-1]), spacing, periodic)
    return rings.wavenumber, ring_mean(half_power_density(x, spacing, periodic), rings)


def energy_spectrum(wavenumber: np.ndarray, density: Tensor) -> Tensor:
    """E(k) = 2πk · RAPSD in unit² km: its integral over k is the variance; the familiar −5/3 and −3 are slopes of E."""
    return density * torch.as_tensor(2 * np.pi * wavenumber).to(density.device, density.dtype)
