"""Gaussian noise of the diffusion, white or with the colour of the data: ε = f⁻¹(Λ^{p/2} η), η ~ N(0, I)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fdsr.diffusion.power import interpolate_power, normalise_power
from fdsr.diffusion.transforms import Transform


class FixedPrecision(nn.Module):
    """A module whose own buffers follow its device but never its dtype: `.bfloat16()` must not round a table."""

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> FixedPrecision:
        exact = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = self._buffers[name]
            if buffer is not None and moved is not None and moved.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(moved.device)
        return self


class Noise(FixedPrecision, ABC):
    """A zero-mean Gaussian with covariance C, drawn by colouring white noise."""

    @abstractmethod
    def colour(self, eta: Tensor) -> Tensor:
        """White η (B, C, H, W) ~ N(0, I) → noise of covariance C, the same shape. Linear."""

    @abstractmethod
    def whiten(self, noise: Tensor) -> Tensor:
        """The inverse of `colour`: whiten(colour(η)) = η. Linear."""

    @abstractmethod
    def scale(self, shape: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        """Amplitude Λ^{p/2} of the coefficients of an (H, W) field, float32: (C, H, W), or (1,) where it is 1."""


class WhiteNoise(Noise):
    """C = I: the noise of DDPM (Ho et al. 2020)."""

    def colour(self, eta: Tensor) -> Tensor:
        return eta

    def whiten(self, noise: Tensor) -> Tensor:
        return noise

    def scale(self, shape: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        return torch.ones(1, device=device)


class ColouredNoise(Noise):
    """C = fᵀ Λ^p f / ⟨Λ^p⟩ with Λ the power spectrum of the data: with p = 1 every scale loses its signal at the same rate.

    transform: f.
    power: (C, Ky, Kx), mean square orthonormal coefficient of the normalised target at the wavenumbers
        k_y = i/(2 Ky), k_x = j/(2 Kx) cycles per point: what a DCT-II of tiles of Ky × Kx points gives.
    exponent: p in [0, 1]; 0 is white noise.
    floor: Λ is at least this fraction of its mean.

    Λ is a density in wavenumber. A coefficient of an orthonormal transform of a stationary field has the mean square
    S(k), whatever the size of the field; so a field of any (H, W), and any transform, reads its Λ off the same
    function, by log-bilinear interpolation, and a patch and a whole field see the same process. For this reason Λ is
    scaled to mean 1 on the *stored* grid only. Rescaling it for each size would give one wavenumber a different noise
    level in each size, and a network trained on patches would be wrong on whole fields. The mean over another grid (the
    variance of the noise at a point, p = 1) is therefore only near 1: the less of the power lies in the lowest stored
    wavenumbers, the nearer. Λ^p is scaled to mean 1 on the stored grid likewise, so that the noise keeps its variance,
    and a schedule its meaning, for every p.

    Half precision is computed and returned in float32. Raises ValueError for bad power (see `normalise_power`) or p,
    and when a field has another number of channels than power.
    """

    power: Tensor

    def __init__(self, transform: Transform, power: Tensor, exponent: float = 1.0, floor: float = 1e-4) -> None:
        super().__init__()
        if not 0 <= exponent <= 1:
            raise ValueError(f"exponent must lie in [0, 1], not {exponent}")
        normalise_power(power, floor)  # refuse bad power now, not at the first batch
        self.transform = transform
        self.exponent = exponent
        self.floor = floor
        self.register_buffer("power", power.detach().float().clone())
        self._amplitudes: dict[tuple[tuple[int, int], torch.device, torch.dtype], Tensor] = {}

    def colour(self, eta: Tensor) -> Tensor:
        return self.transform.inverse(self._amplitude(eta) * eta)

    def whiten(self, noise: Tensor) -> Tensor:
        return self.transform.forward(noise) / self._amplitude(noise)

    def scale(self, shape: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        return self._scale((shape[0], shape[1]), torch.device(device), torch.float32)

    def spectrum(self, shape: tuple[int, int]) -> Tensor:
        """Λ (before the exponent) at each coefficient of an (H, W) field, float64 (C, H, W) on the CPU."""
        return interpolate_power(normalise_power(self.power.cpu(), self.floor), self.transform, shape)

    def _amplitude(self, x: Tensor) -> Tensor:
        if x.ndim < 3 or x.shape[-3] != self.power.shape[0]:
            raise ValueError(f"noise of {self.power.shape[0]} channels does not fit a field {tuple(x.shape)}")
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return self._scale((x.shape[-2], x.shape[-1]), x.device, dtype)

    def _scale(self, shape: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Tensor:
        key = (shape, device, dtype)
        if key not in self._amplitudes:
            with torch.inference_mode(False), torch.no_grad():  # see the note on caches in axes.py
                stored = normalise_power(self.power.cpu(), self.floor) ** self.exponent
                variance = self.spectrum(shape) ** self.exponent / stored.mean((1, 2), keepdim=True)
                self._amplitudes[key] = variance.sqrt().to(device, dtype)
        return self._amplitudes[key]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        self._amplitudes.clear()  # they belong to the power about to be replaced
        super()._load_from_state_dict(state_dict, prefix, *args)
