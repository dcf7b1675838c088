"""Train-block statistics as mergeable float64 sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from fdsr.data.values import ValueTransform, apply_forward
from fdsr.data.windows import Window
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
    """Count, sum, sum of squares and extremes per channel, of values that are present; `+` merges two of them."""

    count: Sums
    total: Sums
    square: Sums
    least: Sums
    most: Sums

    @classmethod
    def of(cls, x: NDArray) -> Moments:
        """Moments of x (C, H, W), without its missing values (NaN)."""
        x = np.asarray(x, dtype=np.float64)
        present = ~np.isnan(x)
        count = present.sum((1, 2)).astype(np.float64)
        if present.all():
            return cls(count, x.sum((1, 2)), (x * x).sum((1, 2)), x.min((1, 2)), x.max((1, 2)))
        known = np.where(present, x, 0.0)
        least, most = (np.where(present, x, outside) for outside in (np.inf, -np.inf))
        return cls(count, known.sum((1, 2)), (known * known).sum((1, 2)), least.min((1, 2)), most.max((1, 2)))

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
class PowerSums:
    """Cosine power of fields with gaps, whose mean is not known yet; `+` merges two of them.

    With coefficients F over a tile, x a field and m its mask (1 where a value is present, 0 elsewhere), these are means over
    tiles of F(mx)², F(mx) F(m) and F(m)², each (C, K_y, K_x). The power of m(x − μ) follows for any μ; divided by the share
    of points present, the mean over tiles and coefficients of F(m)², its mean is the mean square of x − μ over those points.
    """

    square: Sums
    cross: Sums
    window: Sums

    @classmethod
    def of(cls, x: NDArray, tile: tuple[int, int]) -> PowerSums:
        """Of fields x (C, H, W), NaN where a value is missing."""
        corners = _corners((x.shape[1], x.shape[2]), tile)
        square, cross, window = (np.zeros((len(x), *tile)) for _ in range(3))
        for r, c in corners:
            values = np.asarray(x[:, r : r + tile[0], c : c + tile[1]], dtype=np.float64)
            present = ~np.isnan(values)
            of_mask = np.zeros_like(values)
            if present.all():  # the transform of a constant
                of_mask[:, 0, 0] = np.sqrt(tile[0] * tile[1])
            else:
                of_mask = _cosines(present)
                values = np.where(present, values, 0.0)
            of_field = _cosines(values)
            square, cross, window = square + of_field**2, cross + of_field * of_mask, window + of_mask**2
        return cls(square / len(corners), cross / len(corners), window / len(corners))

    def __add__(self, other: PowerSums) -> PowerSums:
        return PowerSums(self.square + other.square, self.cross + other.cross, self.window + other.window)

    def power(self, mean: Sums) -> Sums:
        """Mean square coefficient (C, K_y, K_x) of the fields less `mean` (C,), per present point."""
        mean = mean[:, None, None]
        total = np.maximum(self.square + mean * (mean * self.window - 2 * self.cross), 0.0)
        return np.asarray(total / self.window.mean((1, 2), keepdims=True))


@dataclass
class PairSums:
    """All that the statistics of a train block need, summed over time steps; `+` merges two stretches of time.

    Sums are over *transformed* values that are present, in float64. `residual` is of fine minus interpolated coarse values,
    before any standardisation: both are linear in it, so that one pass over the data is enough.
    """

    high: Moments
    low: Moments
    power: PowerSums  # of the field
    residual: Moments
    residual_power: PowerSums
    present: NDArray[np.bool_]  # (C, H, W) points of the grid that any step has; (C, 1, 1) where nothing may be missing

    def __add__(self, other: PairSums) -> PairSums:
        return PairSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def to_arrays(self) -> dict[str, NDArray]:
        """Flat arrays, for a file; `from_arrays` undoes it."""
        out: dict[str, NDArray] = {"present": self.present}
        for name, kind in _PARTS.items():
            out |= {f"{name}.{f.name}": getattr(getattr(self, name), f.name) for f in fields(kind)}
        return out

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> PairSums:
        parts = {n: kind(*(arrays[f"{n}.{f.name}"] for f in fields(kind))) for n, kind in _PARTS.items()}
        return cls(**parts, present=arrays["present"])  # type: ignore[arg-type]


_PARTS: dict[str, type[Moments] | type[PowerSums]] = {
    "high": Moments, "low": Moments, "power": PowerSums, "residual": Moments, "residual_power": PowerSums,
}  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """How a step is measured: where, transforms, interpolation, and for each high channel the low one that it is based on."""

    high_transforms: list[ValueTransform]
    low_transforms: list[ValueTransform]
    base_index: list[int]  # −1: the channel has no coarse counterpart, and its residual is the field itself
    factor: tuple[int, int]
    interpolation: str
    periodic: bool
    masked: bool = False  # whether values may be missing
    window: Window | None = None  # what is measured of the grid; None: all of it
    independent: bool = False  # whether coarse fields are of an archive of their own, which leaves nothing certain

    def values(self, high: NDArray[np.float32], low: NDArray[np.float32]) -> tuple[Sums, Sums, Sums]:
        """(fine (C, H, W), coarse (D, h, w), residual (C, H, W)), all transformed, of the window of a time step in physical units.

        The residual is fine minus interpolated coarse values; 0 where a channel has no coarse counterpart. NaN where a value is
        missing, and in coarse cells that are dry: there nothing is to be learnt, and deviations are of where it rains.
        """
        import torch  # what plans a store, or appends to one, measures nothing

        from fdsr.data.interpolate import add_halo, upsample, upsample_gaps

        fine, coarse = self.fine(high, low), self.coarse(low)
        if self.window is not None:
            low = self.window.coarse(self.factor).cut(low)
        means = apply_forward(self.low_transforms, torch.from_numpy(low))
        interpolate = upsample_gaps if self.masked else upsample
        base = interpolate(add_halo(means[None], self.periodic), self.factor, self.interpolation)[0].numpy()
        residual = np.zeros_like(fine)
        for i, j in enumerate(self.base_index):
            if j >= 0:
                residual[i] = fine[i] - base[j]
        return fine, coarse, residual

    def fine(self, high: NDArray[np.float32], low: NDArray[np.float32]) -> Sums:
        """The first of `values`."""
        import torch

        if self.window is not None:
            high, low = self.window.cut(high), self.window.coarse(self.factor).cut(low)
        fine = apply_forward(self.high_transforms, torch.from_numpy(high)).numpy().astype(np.float64)
        for x, transform, j in zip(fine, self.high_transforms, self.base_index, strict=True):
            if j >= 0:
                x[self._idle(transform, low[j]).repeat(self.factor[0], 0).repeat(self.factor[1], 1)] = np.nan
        return np.asarray(fine)

    def coarse(self, low: NDArray[np.float32]) -> Sums:
        """The second of `values`."""
        import torch

        if self.window is not None:
            low = self.window.coarse(self.factor).cut(low)
        means = apply_forward(self.low_transforms, torch.from_numpy(low)).numpy()
        for x, own, transform in zip(means, low, self.low_transforms, strict=True):
            x[self._idle(transform, own)] = np.nan
        return np.asarray(means)

    def _idle(self, transform: ValueTransform, low: NDArray) -> NDArray[np.bool_]:
        return np.zeros(low.shape, bool) if self.independent else transform.idle(low, self.factor)

    def __call__(self, high: NDArray[np.float32], low: NDArray[np.float32]) -> PairSums:
        """Sums of one time step: high (C, H, W), low (D, h, w) in physical units."""
        fine, coarse, residual = self.values(high, low)
        tile = tile_size((fine.shape[1], fine.shape[2]))
        return PairSums(
            high=Moments.of(fine),
            low=Moments.of(coarse),
            power=PowerSums.of(fine, tile),
            residual=Moments.of(residual),
            residual_power=PowerSums.of(residual, tile),
            present=~np.isnan(high) if self.masked else np.ones((len(fine), 1, 1), dtype=bool),
        )

    def finish(self, sums: PairSums, names: Sequence[str], low_names: Sequence[str], where: str) -> dict[str, Sums]:
        """The statistics of a pair store, by name. Raises FdsrError naming a channel that is constant."""
        for what, own, found in (("variable", names, sums.high), ("coarse variable", low_names, sums.low)):
            for name, least, most in zip(own, found.least, found.most, strict=True):
                if not least < most:
                    raise FdsrError(f"'{where}': {what} '{name}' is constant over the train block; leave it out")
        mean, variance = sums.high.mean, sums.high.std**2
        with np.errstate(invalid="ignore"):  # no residual at all: refused below
            square = sums.residual.square / sums.residual.count / variance
            power_residual = sums.residual_power.power(np.zeros_like(mean)) / variance[:, None, None]
        power_field = sums.power.power(mean) / variance[:, None, None]
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
    row or column is moved inwards, so every point is seen. Missing values (NaN) count as zero, and the power is that of
    the points present, see `PowerSums`.
    """
    return PowerSums.of(x, tile).power(np.zeros(len(x)))


def _cosines(x: NDArray) -> Sums:
    return np.asarray(dctn(np.asarray(x, dtype=np.float64), type=2, norm="ortho", axes=(1, 2)))
