"""Gaussian noise of the diffusion, white or with the colour of the data: ε = f⁻¹(C^½ η), η ~ N(0, I)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from fdsr.diffusion.spectrum import FLOOR, Spectrum


class Noise(ABC):
    """A zero-mean Gaussian, independent in the coefficients of a spectrum's basis.

    A noise of one's own implements `variance`, and is equal and hashable where its settings are (as a frozen dataclass is).
    """

    @abstractmethod
    def variance(self, spectrum: Spectrum, shape: tuple[int, int]) -> Tensor:
        """Variance C_k of the coefficients of an (H, W) field: float64 (C, H, W), or (1, 1, 1) where all are equal."""

    def colour(self, eta: Tensor, spectrum: Spectrum) -> Tensor:
        """White η (B, C, H, W) ~ N(0, I) → noise, the same shape. Linear. Half precision gives float32."""
        return spectrum.transform.inverse(self._amplitude(eta, spectrum) * eta)

    def whiten(self, noise: Tensor, spectrum: Spectrum) -> Tensor:
        """The inverse of `colour`: whiten(colour(η)) = η. Linear."""
        return spectrum.transform.forward(noise) / self._amplitude(noise, spectrum)

    def _amplitude(self, x: Tensor, spectrum: Spectrum) -> Tensor:
        """C_k^½ for fields x (..., C, H, W). Raises ValueError where Λ has another number of channels."""
        shape = (x.shape[-2], x.shape[-1])
        amplitude = spectrum.remember((self, shape), x, lambda: self.variance(spectrum, shape).sqrt())
        if x.ndim < 3 or amplitude.shape[0] not in (1, x.shape[-3]):
            raise ValueError(f"noise of {amplitude.shape[0]} channels does not fit a field {tuple(x.shape)}")
        return amplitude


@dataclass(frozen=True)
class WhiteNoise(Noise):
    """C = I: the noise of DDPM (Ho et al. 2020)."""

    def variance(self, spectrum: Spectrum, shape: tuple[int, int]) -> Tensor:
        return torch.ones(1, 1, 1, dtype=torch.float64)

    def colour(self, eta: Tensor, spectrum: Spectrum) -> Tensor:
        return eta

    def whiten(self, noise: Tensor, spectrum: Spectrum) -> Tensor:
        return noise


@dataclass(frozen=True)
class ColouredNoise(Noise):
    """C = fᵀ Λ^p f / ⟨Λ^p⟩ with Λ the power spectrum of the data: with p = 1 every scale loses its signal at the same rate.

    Λ^p is scaled to mean 1 on the grid that Λ is stored on, so that the noise keeps its variance, and a schedule its
    meaning, for every p. Raises ValueError for p outside [0, 1], or a floor outside (0, 1].

    Args:
        exponent: p, from 0 (white noise) to 1 (the target's climatological spectrum).
        floor: Λ is at least this fraction of its mean.
    """

    exponent: float = 1.0
    floor: float = FLOOR

    def __post_init__(self) -> None:
        if not 0 <= self.exponent <= 1 or not 0 < self.floor <= 1:
            raise ValueError(
                f"coloured noise needs an exponent in [0, 1] and a floor in (0, 1], not {self.exponent} and {self.floor}"
            )

    def variance(self, spectrum: Spectrum, shape: tuple[int, int]) -> Tensor:
        mean = (spectrum.stored(self.floor) ** self.exponent).mean((1, 2), keepdim=True)
        return spectrum.power(shape, self.floor) ** self.exponent / mean
