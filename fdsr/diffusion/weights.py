"""Weights of a spectral loss: a positive number for each coefficient, a function of its wavenumber alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from fdsr.diffusion.spectrum import Spectrum

# keeps Λ^{−1/2} finite where a channel has no power at all; the clip decides long before
_FLOOR = 1e-12


class SpectralWeight(ABC):
    """W for the coefficients of an (H, W) field; equal and hashable where its settings are (as a frozen dataclass is)."""

    @abstractmethod
    def __call__(self, spectrum: Spectrum, shape: tuple[int, int]) -> Tensor:
        """W, (H, W) or (C, H, W), of mean square 1."""


@dataclass(frozen=True)
class PowerLawWeight(SpectralWeight):
    """W ∝ k^exponent, with k raised to at least one cycle per domain (1 / max(H, W) cycles per point).

    Scaled to mean square 1, clipped to [w_min, w_max], and scaled to mean square 1 again: the ratio of two weights
    never exceeds w_max / w_min. Raises ValueError unless 0 < w_min <= 1 <= w_max.

    Args:
        exponent: p of k^p.
        w_min: least weight before the last scaling.
        w_max: largest weight before the last scaling.
    """

    exponent: float = 0.5
    w_min: float = 0.1
    w_max: float = 10.0

    def __post_init__(self) -> None:
        _check_range(self.w_min, self.w_max)

    def __call__(self, spectrum: Spectrum, shape: tuple[int, int]) -> Tensor:
        k = spectrum.transform.wavenumber(shape).clamp(min=1 / max(shape))
        return _bounded(k**self.exponent, self.w_min, self.w_max)


@dataclass(frozen=True)
class InverseAmplitudeWeight(SpectralWeight):
    """W ∝ Λ^{−1/2}, the inverse climatological amplitude of each coefficient, channel by channel.

    Scaled and clipped as `PowerLawWeight`. Raises ValueError unless 0 < w_min <= 1 <= w_max.

    Args:
        w_min: least weight before the last scaling.
        w_max: largest weight before the last scaling.
    """

    w_min: float = 0.1
    w_max: float = 10.0

    def __post_init__(self) -> None:
        _check_range(self.w_min, self.w_max)

    def __call__(self, spectrum: Spectrum, shape: tuple[int, int]) -> Tensor:
        return _bounded(spectrum.power(shape, _FLOOR) ** -0.5, self.w_min, self.w_max)


def _bounded(w: Tensor, w_min: float, w_max: float) -> Tensor:
    return _unit_mean_square(_unit_mean_square(w).clamp(w_min, w_max))


def _unit_mean_square(w: Tensor) -> Tensor:
    return w / w.square().mean((-2, -1), keepdim=True).sqrt()


def _check_range(w_min: float, w_max: float) -> None:
    # a zero weight would leave some scales untrained and the minimiser undetermined
    if not 0 < w_min <= 1 <= w_max:
        raise ValueError(f"weights need 0 < w_min <= 1 <= w_max, not {w_min}, {w_max}")
