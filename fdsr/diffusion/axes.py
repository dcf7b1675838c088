"""Orthonormal real transforms of the last axis: the parts of which the field transforms are made."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

# Up to this length a product with the dense matrix is faster than the fast algorithm with its many small operations,
# forward and backward, on processors as on GPUs; from about 128 points on it loses.
MATRIX_LENGTH = 96


class AxisTransform(ABC):
    """An orthonormal change of basis of vectors of any length n >= 1, along the last axis.

    Short vectors are multiplied by the matrix, long ones go through the fast algorithm; both are the same to rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients F x, (..., n) → (..., n)."""
        if x.shape[-1] > MATRIX_LENGTH:
            return self.fast_forward(x)
        return _matmul(x, _cached_matrix(self, x.shape[-1], x.dtype, x.device).mT)

    def inverse(self, c: Tensor) -> Tensor:
        """F⁻¹ c = Fᵀ c, (..., n) → (..., n)."""
        if c.shape[-1] > MATRIX_LENGTH:
            return self.fast_inverse(c)
        return _matmul(c, _cached_matrix(self, c.shape[-1], c.dtype, c.device))

    def matrix(self, n: int) -> Tensor:
        """F, float64 (n, n) on the CPU."""
        return self.fast_forward(torch.eye(n, dtype=torch.float64)).mT

    @abstractmethod
    def fast_forward(self, x: Tensor) -> Tensor:
        """`forward` in O(n log n) operations or fewer."""

    @abstractmethod
    def fast_inverse(self, c: Tensor) -> Tensor:
        """`inverse` in O(n log n) operations or fewer."""

    @abstractmethod
    def wavenumbers(self, n: int) -> Tensor:
        """Wavenumber of each coefficient in cycles per point, float64 (n,), >= 0."""

    def spread(self, n: int) -> Tensor | None:
        """Share of each wavenumber of `CosineAxis` in each basis vector's energy, float64 (n, n), rows summing to 1.

        None, as here, for a basis of waves, each of which has the one wavenumber that `wavenumbers` names.
        """
        return None


@dataclass(frozen=True)
class FourierAxis(AxisTransform):
    """Real Fourier basis in the order DC, cos 1, sin 1, cos 2, sin 2, … and for even n a last cos n/2 (Nyquist).

    Row i is S_i · cos(−2πkj/n) or S_i · sin(−2πkj/n), k = ⌈i/2⌉, with S_i = √(1/n) for DC and Nyquist, √(2/n)
    otherwise. A cosine of DC or Nyquist has mean square 1, every other 1/2: hence the two scales.
    """

    def fast_forward(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        flat = torch.view_as_real(torch.fft.rfft(x, norm="ortho")).flatten(-2)
        # sin 0 and, for even n, sin n/2 vanish identically: they are no coefficients
        return torch.cat([flat[..., :1], flat[..., 2 : n + 1]], -1) * _fourier_scale(n, x.dtype, x.device)

    def fast_inverse(self, c: Tensor) -> Tensor:
        n = c.shape[-1]
        c = c / _fourier_scale(n, c.dtype, c.device)
        zero = torch.zeros_like(c[..., :1])
        tail = [zero] if n % 2 == 0 else []
        flat = torch.cat([c[..., :1], zero, c[..., 1:], *tail], -1)
        return torch.fft.irfft(torch.view_as_complex(flat.unflatten(-1, (-1, 2))), n=n, norm="ortho")

    def wavenumbers(self, n: int) -> Tensor:
        return ((torch.arange(n) + 1) // 2).double() / n


@dataclass(frozen=True)
class CosineAxis(AxisTransform):
    """DCT-II: row i is S_i · cos(π i (j + ½)/n), S_0 = √(1/n), S_i = √(2/n). Even at both edges.

    The fast algorithm is the FFT of the vector followed by its mirror image, whose coefficient i is
    2 e^(iπ i/(2n)) Σ_j x_j cos(π i (j + ½)/n).
    """

    def fast_forward(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        mirrored = torch.fft.rfft(torch.cat([x, x.flip(-1)], -1))[..., :n]
        return (mirrored * _cosine_twiddle(n, x.dtype, x.device).conj()).real

    def fast_inverse(self, c: Tensor) -> Tensor:
        n = c.shape[-1]
        mirrored = torch.cat([c / _cosine_twiddle(n, c.dtype, c.device).conj(), torch.zeros_like(c[..., :1])], -1)
        return torch.fft.irfft(mirrored, n=2 * n)[..., :n]

    def wavenumbers(self, n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float64) / (2 * n)


@dataclass(frozen=True)
class CircleAxis(AxisTransform):
    """`FourierAxis` for vectors of `points` elements, which go once round a circle; `CosineAxis` for parts of it.

    So a whole circle of longitudes is taken as periodic, and a patch of it, whose ends do not meet, is not.
    """

    points: int

    def _basis(self, n: int) -> AxisTransform:
        return FourierAxis() if n == self.points else CosineAxis()

    def fast_forward(self, x: Tensor) -> Tensor:
        return self._basis(x.shape[-1]).fast_forward(x)

    def fast_inverse(self, c: Tensor) -> Tensor:
        return self._basis(c.shape[-1]).fast_inverse(c)

    def wavenumbers(self, n: int) -> Tensor:
        return self._basis(n).wavenumbers(n)


@dataclass(frozen=True)
class HaarAxis(AxisTransform):
    """Haar wavelet for any n: neighbours a, b become (a + b)/√2 and (a − b)/√2; the sums go on to the next level.

    A last element without a neighbour passes unchanged to the next level. Order: the final sum, then the differences
    from the coarsest level to the finest. A difference of level l = 1, 2, … (1 finest) covers the octave
    [2^−(l+1), 2^−l] cycles per point; its wavenumber is the geometric centre 2^−(l+½). The final sum has wavenumber 0
    (it is the constant vector only where n is a power of two).
    """

    def fast_forward(self, x: Tensor) -> Tensor:
        details: list[Tensor] = []
        while x.shape[-1] > 1:
            paired = x.shape[-1] // 2 * 2
            a, b = x[..., 0:paired:2], x[..., 1:paired:2]
            details.insert(0, (a - b) / math.sqrt(2))
            x = torch.cat([(a + b) / math.sqrt(2), x[..., paired:]], -1)
        return torch.cat([x, *details], -1)

    def fast_inverse(self, c: Tensor) -> Tensor:
        x, rest = c[..., :1], c[..., 1:]
        for length in reversed(_haar_lengths(c.shape[-1])):
            half = length // 2
            sums, details, rest = x[..., :half], rest[..., :half], rest[..., half:]
            pairs = torch.stack([sums + details, sums - details], -1).flatten(-2) / math.sqrt(2)
            x = torch.cat([pairs, x[..., half:]], -1)
        return x

    def wavenumbers(self, n: int) -> Tensor:
        octaves = [
            torch.full((length // 2,), 2.0 ** -(level + 0.5), dtype=torch.float64)
            for level, length in enumerate(_haar_lengths(n), start=1)
        ]
        return torch.cat([torch.zeros(1, dtype=torch.float64), *reversed(octaves)])

    def spread(self, n: int) -> Tensor:
        # a step has a long spectral tail: under a steep spectrum most of a fine coefficient's power is of larger scales
        return CosineAxis().fast_forward(self.matrix(n)).square()


def _haar_lengths(n: int) -> list[int]:
    """Length of the vector that each level of the Haar wavelet halves, finest level first."""
    lengths = []
    while n > 1:
        lengths.append(n)
        n = (n + 1) // 2
    return lengths


def _matmul(x: Tensor, matrix: Tensor) -> Tensor:
    # autocast would quietly round an orthonormal transform to bfloat16
    with torch.autocast(x.device.type, enabled=False):
        return x @ matrix


# A tensor made under inference_mode (Lightning validates before it trains) can never take part in a backward pass, so
# what is cached is made outside it.
@lru_cache(maxsize=64)
def _cached_matrix(axis: AxisTransform, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return axis.matrix(n).to(device, dtype)


@lru_cache(maxsize=64)
def _fourier_scale(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """S of FourierAxis over the 1/√n that the orthonormal FFT already has, (n,)."""
    with torch.inference_mode(False):
        scale = torch.full((n,), math.sqrt(2), dtype=torch.float64)
        scale[0] = 1
        if n % 2 == 0:
            scale[-1] = 1
        return scale.to(device, dtype)


@lru_cache(maxsize=64)
def _cosine_twiddle(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """½ S_i e^(iπ i/(2n)) of CosineAxis, complex (n,)."""
    with torch.inference_mode(False):
        scale = torch.full((n,), math.sqrt(2 / n) / 2, dtype=torch.float64)
        scale[0] = math.sqrt(1 / n) / 2
        twiddle = torch.polar(scale, torch.arange(n, dtype=torch.float64) * (math.pi / (2 * n)))
        return twiddle.to(device, torch.complex128 if dtype == torch.float64 else torch.complex64)
