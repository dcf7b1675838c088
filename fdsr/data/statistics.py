"""Train-block statistics as mergeable float64 sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn

from fdsr.data.interpolate import add_halo, upsample
from fdsr.data.values import ValueTransform, apply_forward
from fdsr.errors import FdsrError

Sums = NDArray[np.float64]

# statistic -> its dimensions in a pair store
STATISTICS: dict[str, list[str]] = {
    "high_mean": ["high_channel"],
    "high_std": ["high_channel"],
    "low_mean": ["low_channel"],
    "low_std": ["low_channel"],
    "residual_std": ["high_channel"],
    "power_field": ["high_channel", "wavenumber_lat", "wavenumber_lon"],
    "power_residual": ["high_channel", "wavenumber_lat", "wavenumber_lon"],
}


@dataclass
class Moments:
    """Count, sum, sum of squares and extremes per channel; `+` merges two of them."""

    count: Sums
    total: Sums
    square: Sums
    least: Sums
    most: Sums

    @classmethod
    def of(cls, x: NDArray) -> Moments:
        """Moments of x (C, H, W)."""
        x = np.asarray(x, dtype=np.float64)
        count = np.full(len(x), float(x[0].size))
        return cls(count, x.sum((1, 2)), (x * x).sum((1, 2)), x.min((1, 2)), x.max((1, 2)))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.square + other.square,
            np.minimum(self.least, other.least),
            np.maximum(self.most, other.most),
        )

    @property
    def mean(self) -> Sums:
        return self.total / self.count

    @property
    def std(self) -> Sums:
        return np.sqrt(np.maximum(self.square / self.count - self.mean**2, 0.0))


@dataclass
class PairSums:
    """All that the statistics of a train block need, summed over time steps; `+` merges two stretches of time.

    Sums are over *transformed* values in float64. `residual` is of fine minus interpolated coarse values, before any
    standardisation: both are linear in it, so that one pass over the data is enough.
    """

    steps: int
    high: Moments
    low: Moments
    constant: Sums  # (C,) mean over tiles of the constant coefficient, not squared
    power: Sums  # (C, K_y, K_x) cosine power of the field
    residual_square: Sums  # (C,) mean square residual
    residual_power: Sums  # (C, K_y, K_x)

    def __add__(self, other: PairSums) -> PairSums:
        return PairSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def to_arrays(self) -> dict[str, NDArray]:
        """Flat arrays, for a file; `from_arrays` undoes it."""
        out: dict[str, NDArray] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Moments):
                out |= {f"{f.name}.{g.name}": getattr(value, g.name) for g in fields(value)}
            else:
                out[f.name] = np.asarray(value)
        return out

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> PairSums:
        high, low = (Moments(*(arrays[f"{n}.{g.name}"] for g in fields(Moments))) for n in ("high", "low"))
        return cls(int(arrays["steps"]), high, low, *(arrays[f.name] for f in fields(cls)[3:]))


@dataclass(frozen=True)
class Measure:
    """How a step is measured: transforms, interpolation, and for each high channel the low one that it is based on."""

    high_transforms: list[ValueTransform]
    low_transforms: list[ValueTransform]
    base_index: list[int]  # −1: the channel has no coarse counterpart, and its residual is the field itself
    factor: tuple[int, int]
    interpolation: str
    periodic: bool

    def __call__(self, high: NDArray[np.float32], low: NDArray[np.float32]) -> PairSums:
        """Sums of one time step: high (C, H, W), low (D, h, w) in physical units."""
        fine = apply_forward(self.high_transforms, torch.from_numpy(high)).numpy().astype(np.float64)
        coarse = apply_forward(self.low_transforms, torch.from_numpy(low))
        base = upsample(add_halo(coarse[None], self.periodic), self.factor, self.interpolation)[0].numpy()
        tile = tile_size((fine.shape[1], fine.shape[2]))
        residual = np.zeros_like(fine)
        for i, j in enumerate(self.base_index):
            if j >= 0:
                residual[i] = fine[i] - base[j]
        return PairSums(
            steps=1,
            high=Moments.of(fine),
            low=Moments.of(coarse.numpy()),
            constant=constant_coefficient(fine, tile),
            power=cosine_power(fine, tile),
            residual_square=(residual**2).mean((1, 2)),
            residual_power=cosine_power(residual, tile),
        )

    def finish(self, sums: PairSums, names: Sequence[str], where: str) -> dict[str, Sums]:
        """The statistics of a pair store, by name. Raises FdsrError naming a channel that is constant."""
        for name, least, most in zip(names, sums.high.least, sums.high.most, strict=True):
            if not least < most:
                raise FdsrError(f"'{where}': variable '{name}' is constant over the train block; leave it out")
        mean, variance = sums.high.mean, sums.high.std**2
        square = sums.residual_square / sums.steps / variance
        power_field = sums.power / sums.steps
        # the mean is taken from the constant coefficient alone: the mean square of (coefficient − mean · side of the tile)
        shift = mean * np.sqrt(np.prod(power_field.shape[1:]))
        power_field[:, 0, 0] += shift**2 - 2 * shift * sums.constant / sums.steps
        power_field[:, 0, 0] = np.maximum(power_field[:, 0, 0], 0)
        power_field /= variance[:, None, None]
        power_residual = sums.residual_power / sums.steps / variance[:, None, None]
        for i, j in enumerate(self.base_index):
            if j < 0:
                square[i], power_residual[i] = 1.0, power_field[i]
            elif not square[i] > 0:
                raise FdsrError(
                    f"'{where}': variable '{names[i]}' is what interpolation makes of its coarse field; nothing is left to learn"
                )
        return {
            "high_mean": mean,
            "high_std": sums.high.std,
            "low_mean": sums.low.mean,
            "low_std": sums.low.std,
            "residual_std": np.sqrt(square),
            "power_field": power_field,
            "power_residual": power_residual / square[:, None, None],
        }


def tile_size(shape: tuple[int, int], largest: int = 48) -> tuple[int, int]:
    """Size of the tiles that power is measured on."""
    return min(largest, shape[0]), min(largest, shape[1])


def _corners(shape: tuple[int, int], tile: tuple[int, int]) -> list[tuple[int, int]]:
    """Corners of the tiles that cut a field; the last of a row or column is moved inwards, so every point is seen."""
    rows, columns = ([min(r, n - k) for r in range(0, n, k)] for n, k in zip(shape, tile, strict=True))
    return [(r, c) for r in rows for c in columns]


def cosine_power(x: NDArray, tile: tuple[int, int]) -> Sums:
    """Mean square orthonormal DCT-II coefficient over the tiles that cut x (C, H, W): (C, K_y, K_x).

    Coefficient (i, j) has axis wavenumbers i/(2 K_y), j/(2 K_x) cycles per point. The cosine basis assumes no
    periodicity, so a tile's edges do not leak into its small scales as they would in a Fourier basis. The last tile of a
    row or column is moved inwards, so every point is seen.
    """
    ky, kx = tile
    corners = _corners((x.shape[1], x.shape[2]), tile)
    power = np.zeros((x.shape[0], ky, kx))
    for r, c in corners:
        tile_values = np.asarray(x[:, r : r + ky, c : c + kx], dtype=np.float64)
        power += dctn(tile_values, type=2, norm="ortho", axes=(1, 2)) ** 2
    return power / len(corners)


def constant_coefficient(x: NDArray, tile: tuple[int, int]) -> Sums:
    """Mean over the same tiles of the coefficient (0, 0) itself, which is √(K_y K_x) times a tile's mean: (C,)."""
    ky, kx = tile
    corners = _corners((x.shape[1], x.shape[2]), tile)
    means = [np.asarray(x[:, r : r + ky, c : c + kx], dtype=np.float64).mean((1, 2)) for r, c in corners]
    return np.asarray(np.sqrt(ky * kx) * np.mean(means, axis=0))
