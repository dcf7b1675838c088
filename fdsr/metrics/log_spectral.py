"""How far the spectra of the members are from the spectrum of the truth: LSD, MELR and effective resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from fdsr.metrics.boxes import Band, ZonalBand, spectral_bands, zonal_bands
from fdsr.metrics.score_metric import ScoreMetric, Task, Variable, sum_of_members
from fdsr.metrics.spectra import Rings, half_power_density, ring_mean
from fdsr.scores import Score

# power below this share of the mean square of the truth is rounding, not signal
ROUNDING = 1e-24
# points transformed at once: what the cache holds
CHUNK_POINTS = 2**17
# of a dataset's spectra: suffix → what compute calls it, and in words
_SPECTRA = {
    "": ("power", "members, averaged over them"),
    "_reference": ("reference", "truth"),
    "_error": ("error", "error of the ensemble mean"),
    "_mean": ("mean", "ensemble mean, which is not the spectrum of the model"),
}
# a wavenumber is resolved where the power is right to this factor, and where the mean's error is below its inverse
RESOLVED = 2.0


class SpectralScores(ScoreMetric):
    """LSD, MELR and effective resolution of the member-averaged power P against the power P_ref of the truth.

    Over the scored rings: LSD = √⟨(10 log10 P/P_ref)²⟩ in dB; MELR = ⟨|ln P − ln P_ref|⟩. P and P_ref are averaged over
    times, boxes and members first (the spectrum of the members, never of the ensemble mean); rings of one band weigh the
    same; the bands' mean squares (LSD) or means (MELR) are weighted by the area of the bands. Where both are zero up to
    rounding, as for constant fields, they agree: 0 dB.

    effective_resolution is 1/k* in km, k* the largest scored k with ½ ≤ P/P_ref ≤ 2 for all scored k′ ≤ k; resolved_scale
    likewise with P_error/P_ref ≤ ½, P_error of the error of the ensemble mean. k* is averaged over the bands by area, 0
    where already the first ring fails: infinity when it fails in every band.

    A box with a masked cell (truth NaN) is left out at that time; a band counts with the share of its boxes seen. NaN
    where no band has a scored ring or a box without masked cells.

    Args:
        bands: boxes, or zonal bands, of the grid (`fdsr.metrics.boxes`).
        n_variables: C.
    """

    name = "spectral"
    scores: ClassVar[tuple[Score, ...]] = (
        Score("lsd", "log-spectral distance", "LSD", "dB", summary="mean", headline=True),
        Score("lsd_fine", "log-spectral distance over the upper half of the wavenumbers", "fine LSD", "dB", summary="mean"),
        Score("melr", "mean absolute log ratio of spectra", "MELR", "1", summary="mean"),
        Score("effective_resolution", "wavelength down to which the power of the members is right to a factor of two",
              "eff. resolution", "km"),
        Score("resolved_scale", "wavelength down to which the error of the ensemble mean has at most half of the truth's power",
              "resolved scale", "km"),
    )  # fmt: skip
    dims = ("band", "ring")
    prefix: ClassVar[str] = ""  # of the names of all that it gives
    power_unit: ClassVar[str] = "variable's units squared times km2"

    def __init__(self, bands: Sequence[Band | ZonalBand], n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(n_variables, **kwargs)
        self.bands = tuple(bands)
        self.rings: tuple[Rings, ...] = tuple(band.rings() for band in self.bands)
        shape = (n_variables, len(self.bands), max((rings.n for rings in self.rings), default=0))
        for name in ("power", "reference", "error", "mean"):
            self.add_sum(name, *shape)
        # boxes without masked cells, of all members and of the truth
        for name in ("mean_square", "n_fields", "n_truths"):
            self.add_sum(name, n_variables, len(self.bands))
        self.add_sum("n_times")

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        return cls(spectral_bands(task.grid), len(task.names))

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add times: (B, M, C, H, W) and (B, C, H, W), physical units."""
        self._check(prediction, truth)
        dtype, members = self.power.dtype, prediction.shape[1]
        names = ("power", "reference", "error", "mean", "mean_square", "n_fields", "n_truths")
        sums = {name: torch.zeros_like(getattr(self, name)) for name in names}
        valid = [~band.cut(truth).isnan().any(-1).any(-1) for band in self.bands]
        with torch.autocast(truth.device.type, enabled=False):
            mean = sum_of_members(prediction) / members
            for i, (band, rings) in enumerate(zip(self.bands, self.rings, strict=True)):
                boxes, keep = band.cut(prediction).flatten(0, 1), valid[i].repeat_interleave(members, 0)
                sums["power"][:, i, : rings.n] = self._power(boxes, keep, rings)
                x, y = band.cut(mean), band.cut(truth).to(dtype)
                for name, field in (("reference", y), ("error", x - y), ("mean", x)):
                    sums[name][:, i, : rings.n] = self._power(field, valid[i], rings)
                square = torch.where(valid[i], y.square().mean((-2, -1)), 0.0)
                sums["mean_square"][:, i] = square.sum((0, 2))
                sums["n_truths"][:, i] = valid[i].sum((0, 2))
        sums["n_fields"] = sums["n_truths"] * members
        self.add(**sums, n_times=truth.shape[0])

    def _power(self, boxes: Tensor, valid: Tensor, rings: Rings) -> Tensor:
        """Σ over valid boxes of the ring means of boxes (N, C, n_boxes, h, w), valid (N, C, n_boxes): (C, n_rings)."""
        n_boxes, height, width = boxes.shape[-3:]
        if not bool(valid.all()):
            boxes = torch.where(valid[..., None, None], boxes, 0.0)  # an empty box has no power
        total = self.power.new_zeros(self.n_variables, height, width // 2 + 1)
        step = max(1, CHUNK_POINTS // (self.n_variables * n_boxes * height * width))
        for start in range(0, boxes.shape[0], step):
            total += half_power_density(boxes[start : start + step], rings.spacing, rings.periodic).sum((0, 2))
        return ring_mean(total, rings)

    def compute(self) -> dict[str, Tensor]:
        """lsd and lsd_fine in dB, melr, effective_resolution and resolved_scale in km, (C,); power, reference, error and mean (C, bands,
        rings) in unit² km² (zonal: unit² km)."""
        power = self.power / self.n_fields[..., None]
        reference, error, mean = (x / self.n_truths[..., None] for x in (self.reference, self.error, self.mean))
        mean_square = self.mean_square / self.n_truths
        by_band = {score.name: torch.full_like(mean_square, torch.nan) for score in SpectralScores.scores}
        for i, rings in enumerate(self.rings):
            scored = torch.from_numpy(np.flatnonzero(rings.scored)).to(power.device)
            wavenumber = torch.from_numpy(rings.wavenumber[rings.scored]).to(power.device, power.dtype)
            floor = ROUNDING * rings.spacing[0] * rings.spacing[1] * mean_square[:, i, None]
            reference_i = reference[:, i][:, scored]
            ratio = log_ratio(power[:, i][:, scored], reference_i, floor)
            error_ratio = log_ratio(error[:, i][:, scored], reference_i, floor)
            # an error that is rounding is no error, also where the truth has no power
            error_ratio = torch.where(error[:, i][:, scored] <= floor, -torch.inf, error_ratio)
            decibels = ratio * (10.0 / math.log(10.0))
            by_band["lsd"][:, i] = decibels.square().mean(1)
            if len(wavenumber):
                by_band["lsd_fine"][:, i] = decibels[:, wavenumber > wavenumber.max() / 2].square().mean(1)
            by_band["melr"][:, i] = ratio.abs().mean(1)
            by_band["effective_resolution"][:, i] = _largest_resolved(ratio.abs(), math.log(RESOLVED), wavenumber)
            by_band["resolved_scale"][:, i] = _largest_resolved(error_ratio, -math.log(RESOLVED), wavenumber)
        pooled = {name: self._over_bands(values) for name, values in by_band.items()}
        for name in ("lsd", "lsd_fine"):
            pooled[name] = torch.sqrt(pooled[name])
        for name in ("effective_resolution", "resolved_scale"):
            pooled[name] = 1.0 / pooled[name]
        return pooled | {"power": power, "reference": reference, "error": error, "mean": mean}

    def shape_of(self, name: str) -> tuple[int, ...]:
        return tuple(self.power.shape) if name in ("power", "reference", "error", "mean") else (self.n_variables,)

    def values(self) -> dict[str, np.ndarray]:
        """Scores by name, and spectra, in which rings that a band does not have are NaN."""
        absent = np.isnan(self._by_ring(lambda rings: rings.wavenumber, np.nan))
        found = super().values().items()
        scores = {f"{self.prefix}{name}": value for name, value in found if value.ndim == 1}
        return scores | {name: np.where(absent, np.nan, value) for name, value in found if value.ndim > 1}

    def _over_bands(self, values: Tensor) -> Tensor:
        """Mean of (C, bands) over the bands with scored rings, by the area of their boxes seen: (C,)."""
        used = [i for i, rings in enumerate(self.rings) if rings.scored.any()]
        area = values.new_tensor([self.bands[i].area for i in used])
        boxes = values.new_tensor([self.bands[i].n_boxes for i in used])
        weight = area * (self.n_truths[:, used] / (boxes * self.n_times))
        return torch.where(weight > 0, values[:, used] * weight, 0.0).sum(1) / weight.sum(1)

    def _by_ring(self, of: Callable[[Rings], np.ndarray], absent: float) -> np.ndarray:
        """(bands, rings) of what the rings of each band have, `absent` where it has fewer."""
        shape = self.power.shape[1:]
        rows = [np.pad(of(rings), (0, shape[1] - rings.n), constant_values=absent) for rings in self.rings]
        return np.array(rows).reshape(shape)

    def arrays(self) -> dict[str, Variable]:
        values, found, dims = self.values(), super().arrays(), ("variable", *self.dims)
        for suffix, (name, what) in _SPECTRA.items():
            about = {"long_name": f"power density of {what}", "units": self.power_unit}
            found[f"{self.prefix}spectrum{suffix}"] = (dims, values[name], about)
        return found

    def coordinates(self) -> dict[str, Variable]:
        wavenumber = self._by_ring(lambda rings: rings.wavenumber, np.nan)
        scored = self._by_ring(lambda rings: rings.scored, False).astype(bool)
        latitude = np.array([band.latitude for band in self.bands])
        entered = f"whether the ring enters {self.prefix}lsd and {self.prefix}melr"
        return {
            f"{self.prefix}wavenumber": (self.dims, wavenumber, {"units": "km-1", "long_name": "cycles per km"}),
            f"{self.prefix}scored": (self.dims, scored, {"long_name": entered}),
            f"{self.dims[0]}_latitude": (self.dims[:1], latitude, {"units": "degrees_north"}),
        }


class ZonalScores(SpectralScores):
    """The same of the spectra of whole rows, where the longitudes close the circle; its bands are zonal ones."""

    name = "zonal"
    scores = (
        Score("zonal_lsd", "log-spectral distance of zonal spectra", "zonal LSD", "dB", summary="mean"),
        Score("zonal_melr", "mean absolute log ratio of zonal spectra", "zonal MELR", "1"),
    )
    prefix = "zonal_"
    dims = ("zonal_band", "zonal_mode")
    power_unit = "variable's units squared times km"

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        bands = zonal_bands(task.grid)
        return cls(bands, len(task.names)) if bands else None


def _largest_resolved(log_ratio: Tensor, bound: float, wavenumber: Tensor) -> Tensor:
    """The wavenumber (rings,) of the last ring before log_ratio (C, rings) exceeds `bound`: (C,), 0 if the first does."""
    run = (log_ratio <= bound + 1e-9).cumprod(1).sum(1)
    largest = torch.cat([wavenumber.new_zeros(1), wavenumber])[run]
    return torch.where(log_ratio.isnan().any(1), torch.nan, largest)


def log_ratio(power: Tensor, reference: Tensor, floor: Tensor) -> Tensor:
    """ln(power / reference), both raised to at least `floor`; 0 where both are zero."""
    power, reference = torch.maximum(power, floor), torch.maximum(reference, floor)
    return torch.where((power == 0) & (reference == 0), 0.0, torch.log(power) - torch.log(reference))
