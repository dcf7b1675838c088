"""Weights of a spectral loss: a positive number for each coefficient, a function of its wavenumber alone."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from fdsr.diffusion.power import interpolate_power, normalise_power
from fdsr.diffusion.transforms import Transform


class SpectralWeight(Hashable, Protocol):
    """Anything hashable that gives W for the coefficients of `transform` on an (H, W) field: (H, W) or (C, H, W)."""

    def __call__(self, transform: Transform, shape: tuple[int, int]) -> Tensor: ...


@dataclass(frozen=True)
class PowerLawWeight:
    """W ∝ k^exponent, with k raised to at least one cycle per domain (1 / max(H, W) cycles per point).

    Scaled to mean square 1, clipped to [w_min, w_max], and scaled to mean square 1 again: the ratio of two weights
    never exceeds w_max / w_min. Raises ValueError unless 0 < w_min <= 1 <= w_max.
    """

    exponent: float
    w_min: float = 0.1
    w_max: float = 10.0

    def __post_init__(self) -> None:
        _check_range(self.w_min, self.w_max)

    def __call__(self, transform: Transform, shape: tuple[int, int]) -> Tensor:
        k = transform.wavenumber(shape).clamp(min=1 / max(shape))
        return _bounded(k**self.exponent, self.w_min, self.w_max)


@dataclass(frozen=True, eq=False)
class InverseAmplitudeWeight:
    """W ∝ Λ^{−1/2}, the inverse climatological amplitude of each coefficient, channel by channel.

    power: (C, Ky, Kx) on the grid of `ColouredNoise`, interpolated as there. Scaled and clipped as `PowerLawWeight`.
    Raises ValueError for bad power (see `normalise_power`) or unless 0 < w_min <= 1 <= w_max.
    """

    power: Tensor
    w_min: float = 0.1
    w_max: float = 10.0

    def __post_init__(self) -> None:
        _check_range(self.w_min, self.w_max)
        normalise_power(self.power, _FLOOR)

    def __call__(self, transform: Transform, shape: tuple[int, int]) -> Tensor:
        power = interpolate_power(normalise_power(self.power.cpu(), _FLOOR), transform, shape)
        return _bounded(power**-0.5, self.w_min, self.w_max)


# keeps Λ^{−1/2} finite where a channel has no power at all; the clip decides long before
_FLOOR = 1e-12


@lru_cache(maxsize=32)
def cached_weight(
    weight: SpectralWeight, transform: Transform, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """weight(transform, shape) as a tensor of that dtype on that device, computed once."""
    with torch.inference_mode(False), torch.no_grad():  # see the note on caches in axes.py
        return weight(transform, shape).to(device, dtype)


def _bounded(w: Tensor, w_min: float, w_max: float) -> Tensor:
    return _unit_mean_square(_unit_mean_square(w).clamp(w_min, w_max))


def _unit_mean_square(w: Tensor) -> Tensor:
    return w / w.square().mean((-2, -1), keepdim=True).sqrt()


def _check_range(w_min: float, w_max: float) -> None:
    # a zero weight would leave some scales untrained and the minimiser undetermined
    if not 0 < w_min <= 1 <= w_max:
        raise ValueError(f"weights need 0 < w_min <= 1 <= w_max, not {w_min}, {w_max}")
