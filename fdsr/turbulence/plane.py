"""A doubly periodic square of side 2π: Fourier coefficients, and products without aliasing."""

from __future__ import annotations

import torch
from torch import Tensor

from fdsr.errors import FdsrError


class SpectralPlane:
    """Real fields of n × n points and their Fourier coefficients with |k_x|, |k_y| < n/2.

    Coefficients are those of the series Σ c_k e^{ik·x}, of shape (..., n, n/2 + 1) in the order of `torch.fft.rfft2`; they do
    not depend on the number of points, and those of the Nyquist lines are zero. Products are formed on 3n/2 × 3n/2 points,
    where those of two fields have no alias among the coefficients kept (Orszag 1971).

    Args:
        n: points along each axis, even, at least 8.
        dtype: float32 or float64; device: where the constants live.

    Raises FdsrError for an odd or small n.
    """

    def __init__(self, n: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        if n % 2 or n < 8:
            raise FdsrError(f"a plane of {n} points a side has no spectrum; give an even number of at least 8")
        self.n, self.fine = n, 3 * n // 2 + (3 * n // 2) % 2
        self.dtype, self.device = dtype, torch.device(device)
        ky, kx = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64), torch.arange(n // 2 + 1, dtype=torch.float64)
        kept = (ky.abs()[:, None] < n / 2) & (kx[None, :] < n / 2)
        both = torch.where((kx == 0) | (kx == n // 2), 1.0, 2.0)
        self.ky, self.kx, self.k, self.kept, self.multiplicity = (
            x.to(self.device, self.dtype)
            for x in (ky[:, None], kx[None, :], torch.hypot(ky[:, None], kx[None, :]), kept, both)
        )

    @property
    def largest(self) -> int:
        """The largest wavenumber kept along an axis."""
        return self.n // 2 - 1

    def analyse(self, field: Tensor) -> Tensor:
        """Coefficients kept (..., n, n/2 + 1) of a field (..., m, m) on m ≥ n points a side."""
        along_x = torch.fft.rfft(field, norm="forward")[..., : self.n // 2 + 1]  # before the columns: fewer of them
        both = torch.fft.fft(along_x, dim=-2, norm="forward")
        half = self.n // 2
        return torch.cat([both[..., :half, :], both[..., -half:, :]], dim=-2) * self.kept

    def synthesise(self, coefficients: Tensor, points: int | None = None) -> Tensor:
        """The field (..., m, m) of coefficients (..., n, n/2 + 1), on `points` = m ≥ n points a side (default n)."""
        m, half = points or self.n, self.n // 2
        if m > self.n:
            gap = coefficients.new_zeros(*coefficients.shape[:-2], m - self.n, half + 1)
            coefficients = torch.cat([coefficients[..., :half, :], gap, coefficients[..., half:, :]], dim=-2)
        return torch.fft.irfft(torch.fft.ifft(coefficients, dim=-2, norm="forward"), n=m, norm="forward")

    def mean_product(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean over the plane of the product of two real fields given by their coefficients: (...,)."""
        return ((a * b.conj()).real * self.multiplicity).sum((-2, -1))
