"""Synthetic fields for the tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from fdsr.grids import Grid
from fdsr.metrics import SpectralScores


def synthesise(n: int, slope: float, seed: int) -> np.ndarray:
    """A periodic Gaussian field (n, n) with unit spacing whose energy spectrum E(k) has the given slope."""
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
    k[0, 0] = np.inf
    noise = np.fft.rfft2(np.random.default_rng(seed).standard_normal((n, n)))
    return np.fft.irfft2(noise * k ** ((slope - 1) / 2), s=(n, n))


def crops(slope: float, n: int = 16) -> Tensor:
    """Crops (n, 128, 192), not periodic, of larger periodic fields."""
    return torch.from_numpy(np.stack([synthesise(384, slope, seed)[20:148, 30:222] for seed in range(n)]))


def grid(height: int = 24, width: int = 36) -> Grid:
    """A regional grid at 0.5°, descending latitudes from 60° N."""
    return Grid(60.0 - 0.5 * np.arange(height), 0.5 * np.arange(width))


def plane(shape: tuple[int, int], spacing: tuple[float, float]) -> Grid:
    """A projected grid of shape (H, W) and spacing (dy, dx) in km."""
    return Grid(spacing[0] * np.arange(shape[0]), spacing[1] * np.arange(shape[1]), "km")


def weights(height: int = 24) -> Tensor:
    return torch.from_numpy(grid(height).row_areas)


def sample(
    seed: int = 0, times: int = 3, members: int = 5, variables: int = 2, height: int = 24, width: int = 36
) -> tuple[Tensor, Tensor]:
    """White noise: prediction (B, M, C, H, W) and truth (B, C, H, W), float32."""
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randn(times, members, variables, height, width, generator=generator) + 280.0
    return prediction, torch.randn(times, variables, height, width, generator=generator) + 280.0


def spectra(metric: SpectralScores) -> SimpleNamespace:
    """power, reference, error and mean by variable, band and ring; wavenumber and scored by band and ring."""
    coordinates = {name: values for name, (_, values, _) in metric.coordinates().items()}
    return SimpleNamespace(**metric.values(), **coordinates)
