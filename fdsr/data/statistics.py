"""Train-block statistics as mergeable float64 sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn


@dataclass
class Moments:
    """Count, sum and sum of squares per channel; `+` merges two of them."""

    count: float
    total: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray) -> Moments:
        """Moments of x (C, H, W)."""
        x = np.asarray(x, dtype=np.float64)
        return cls(float(x[0].size), x.sum((1, 2)), (x * x).sum((1, 2)))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.square + other.square)

    @property
    def mean(self) -> NDArray[np.float64]:
        return self.total / self.count

    @property
    def std(self) -> NDArray[np.float64]:
        return np.sqrt(np.maximum(self.square / self.count - self.mean**2, 0.0))


def tile_size(shape: tuple[int, int], largest: int = 48) -> tuple[int, int]:
    """Size of the tiles that power is measured on."""
    return min(largest, shape[0]), min(largest, shape[1])


def cosine_power(x: NDArray, tile: tuple[int, int]) -> NDArray[np.float64]:
    """Mean square orthonormal DCT-II coefficient over the tiles that cut x (C, H, W): (C, K_y, K_x).

    Coefficient (i, j) has axis wavenumbers i/(2 K_y), j/(2 K_x) cycles per point. The cosine basis assumes no
    periodicity, so a tile's edges do not leak into its small scales as they would in a Fourier basis. The last tile of a
    row or column is moved inwards, so every point is seen.
    """
    (ky, kx), (h, w) = tile, x.shape[1:]
    rows = [min(r, h - ky) for r in range(0, h, ky)]
    columns = [min(c, w - kx) for c in range(0, w, kx)]
    power = np.zeros((x.shape[0], ky, kx))
    for r in rows:
        for c in columns:
            tile_values = np.asarray(x[:, r : r + ky, c : c + kx], dtype=np.float64)
            power += dctn(tile_values, type=2, norm="ortho", axes=(1, 2)) ** 2
    return power / (len(rows) * len(columns))
