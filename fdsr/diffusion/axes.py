"""Orthonormal real transforms of the last axis: the parts of which the field transforms are made."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


class AxisTransform(ABC):
    """An orthonormal change of basis of vectors of any length n >= 1, along the last axis."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Coefficients F x, (..., n) → (..., n)."""

    @abstractmethod
    def inverse(self, c: Tensor) -> Tensor:
        """F⁻¹ c = Fᵀ c, (..., n) → (..., n)."""

    @abstractmethod
    def wavenumbers(self, n: int) -> Tensor:
        """Wavenumber of each coefficient in cycles per point, float64 (n,), >= 0."""


@dataclass(frozen=True)
class FourierAxis(AxisTransform):
    """Real Fourier basis in the order DC, cos 1, sin 1, cos 2, sin 2, … and for even n a last cos n/2 (Nyquist).

    Row i is S_i · cos(−2πkj/n) or S_i · sin(−2πkj/n), k = ⌈i/2⌉, with S_i = √(1/n) for DC and Nyquist, √(2/n)
    otherwise. A cosine of DC or Nyquist has mean square 1, every other 1/2: hence the two scales.
    """

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        flat = torch.view_as_real(torch.fft.rfft(x, norm="ortho")).flatten(-2)
        # sin 0 and, for even n, sin n/2 vanish identically: they are no coefficients
        return torch.cat([flat[..., :1], flat[..., 2 : n + 1]], -1) * _fourier_scale(n, x.dtype, x.device)

    def inverse(self, c: Tensor) -> Tensor:
        n = c.shape[-1]
        c = c / _fourier_scale(n, c.dtype, c.device)
        zero = torch.zeros_like(c[..., :1])
        tail = [zero] if n % 2 == 0 else []
        flat = torch.cat([c[..., :1], zero, c[..., 1:], *tail], -1)
        return torch.fft.irfft(torch.view_as_complex(flat.unflatten(-1, (-1, 2))), n=n, norm="ortho")

    def wavenumbers(self, n: int) -> Tensor:
        return ((torch.arange(n) + 1) // 2).double() / n


class _MatrixAxis(AxisTransform):
    """A transform given by its matrix, cached for each length, dtype and device."""

    @abstractmethod
    def matrix(self, n: int) -> Tensor:
        """F, float64 (n, n) on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return _matmul(x, _cached_matrix(self, x.shape[-1], x.dtype, x.device).mT)

    def inverse(self, c: Tensor) -> Tensor:
        return _matmul(c, _cached_matrix(self, c.shape[-1], c.dtype, c.device))


@dataclass(frozen=True)
class CosineAxis(_MatrixAxis):
    """DCT-II: row i is S_i · cos(π i (j + ½)/n), S_0 = √(1/n), S_i = √(2/n). Even at both edges."""

    def matrix(self, n: int) -> Tensor:
        i = torch.arange(n, dtype=torch.float64)
        rows = torch.cos(math.pi / n * i[:, None] * (i[None, :] + 0.5)) * math.sqrt(2 / n)
        rows[0] = math.sqrt(1 / n)
        return rows

    def wavenumbers(self, n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float64) / (2 * n)


@dataclass(frozen=True)
class HaarAxis(_MatrixAxis):
    """Haar wavelet for any n: neighbours a, b become (a + b)/√2 and (a − b)/√2; the sums go on to the next level.

    A last element without a neighbour passes unchanged to the next level. Order: the final sum, then the differences
    from the coarsest level to the finest. A difference of level l = 1, 2, … (1 finest) covers the octave
    [2^−(l+1), 2^−l] cycles per point; its wavenumber is the geometric centre 2^−(l+½). The final sum has wavenumber 0
    (it is the constant vector only where n is a power of two).
    """

    def matrix(self, n: int) -> Tensor:
        approximation = torch.eye(n, dtype=torch.float64)
        details: list[Tensor] = []
        while len(approximation) > 1:
            paired = len(approximation) // 2 * 2
            a, b = approximation[0:paired:2], approximation[1:paired:2]
            details.insert(0, (a - b) / math.sqrt(2))
            approximation = torch.cat([(a + b) / math.sqrt(2), approximation[paired:]])
        return torch.cat([approximation, *details])

    def wavenumbers(self, n: int) -> Tensor:
        octaves: list[Tensor] = []
        length, level = n, 1
        while length > 1:
            octaves.insert(0, torch.full((length // 2,), 2.0 ** -(level + 0.5), dtype=torch.float64))
            length, level = (length + 1) // 2, level + 1
        return torch.cat([torch.zeros(1, dtype=torch.float64), *octaves])


def _matmul(x: Tensor, matrix: Tensor) -> Tensor:
    # autocast would quietly round an orthonormal transform to bfloat16
    with torch.autocast(x.device.type, enabled=False):
        return x @ matrix


# A tensor made under inference_mode (Lightning validates before it trains) can never take part in a backward pass, so
# what is cached is made outside it.
@lru_cache(maxsize=64)
def _cached_matrix(axis: _MatrixAxis, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
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
