"""How far the spectra of the members are from the spectrum of the truth: LSD and MELR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fdsr.metrics.base import SumMetric
from fdsr.metrics.boxes import Band
from fdsr.metrics.spectra import Rings, half_power_density, make_rings, ring_mean

# power below this share of the mean square of the truth is rounding, not signal
ROUNDING = 1e-24
# points transformed at once
CHUNK_POINTS = 2**20


@dataclass(frozen=True)
class Spectra:
    """Spectra by variable, band and ring; rings a band does not have are NaN.

    wavenumber (bands, rings) in cycles/km; scored (bands, rings), whether the ring enters LSD and MELR; latitude and
    area (bands,); power, reference, error (variables, bands, rings) in unit² km²: of the members (mean over members),
    of the truth, and of the error of the ensemble mean, which is resolved where error is at most half of reference.
    """

    wavenumber: np.ndarray
    scored: np.ndarray
    latitude: np.ndarray
    area: np.ndarray
    power: np.ndarray
    reference: np.ndarray
    error: np.ndarray


class SpectralScores(SumMetric):
    """LSD and MELR of the member-averaged power P against the power P_ref of the truth, over the scored rings.

    LSD = √⟨(10 log10 P/P_ref)²⟩ in dB; MELR = ⟨|ln P − ln P_ref|⟩. P and P_ref are averaged over times, boxes and
    members first (the spectrum of the members, never of the ensemble mean); rings of one band weigh the same; the
    bands' mean squares (LSD) or means (MELR) are weighted by the area of the bands. Where both are zero up to rounding,
    as for constant fields, they agree: 0 dB. NaN where no band has a scored ring.

    Args:
        bands: boxes of the grid (`fdsr.metrics.boxes`).
        n_variables: C.
    """

    higher_is_better = False
    power: Tensor
    reference: Tensor
    error: Tensor
    mean_square: Tensor
    n_fields: Tensor
    n_times: Tensor

    def __init__(self, bands: Sequence[Band], n_variables: int = 1, **kwargs: Any) -> None:
        super().__init__(n_variables, **kwargs)
        self.bands = tuple(bands)
        self.rings: tuple[Rings, ...] = tuple(make_rings(band.shape, band.spacing) for band in self.bands)
        shape = (n_variables, len(self.bands), max((rings.n for rings in self.rings), default=0))
        for name in ("power", "reference", "error"):
            self.add_sum(name, *shape)
        self.add_sum("mean_square", n_variables, len(self.bands))
        self.add_sum("n_fields")
        self.add_sum("n_times")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add times: (B, M, C, H, W) and (B, C, H, W), physical units."""
        self._check(prediction, truth)
        n_times, members = prediction.shape[:2]
        sums = {name: torch.zeros_like(getattr(self, name)) for name in ("power", "reference", "error", "mean_square")}
        with torch.autocast(prediction.device.type, enabled=False):
            for i, (band, rings) in enumerate(zip(self.bands, self.rings, strict=True)):
                p, y = band.cut(prediction), band.cut(truth).to(self.power.dtype)
                error = p.mean(1, dtype=self.power.dtype) - y
                sums["power"][:, i, : rings.n] = self._power(p.flatten(0, 1), rings)
                sums["reference"][:, i, : rings.n] = self._power(y, rings)
                sums["error"][:, i, : rings.n] = self._power(error, rings)
                sums["mean_square"][:, i] = y.square().mean((-3, -2, -1)).sum(0)
        for name, value in sums.items():
            setattr(self, name, getattr(self, name) + value)
        self.n_fields = self.n_fields + n_times * members
        self.n_times = self.n_times + n_times

    def _power(self, boxes: Tensor, rings: Rings) -> Tensor:
        """Σ over the first axis of the box-averaged ring means of boxes (N, C, n_boxes, h, w): (C, n_rings)."""
        n_boxes, height, width = boxes.shape[-3:]
        total = self.power.new_zeros(self.n_variables, height, width // 2 + 1)
        step = max(1, CHUNK_POINTS // (self.n_variables * n_boxes * height * width))
        for start in range(0, boxes.shape[0], step):
            total += half_power_density(boxes[start : start + step], rings.spacing).sum((0, 2))
        return ring_mean(total, rings) / n_boxes

    def compute(self) -> dict[str, Tensor]:
        """lsd in dB and melr (C,); power, reference and error (C, bands, rings) in unit² km²."""
        power = self.power / self.n_fields
        reference, error = self.reference / self.n_times, self.error / self.n_times
        lsd = torch.full_like(self.mean_square, torch.nan)
        melr = torch.full_like(self.mean_square, torch.nan)
        for i, (band, rings) in enumerate(zip(self.bands, self.rings, strict=True)):
            scored = torch.from_numpy(np.flatnonzero(rings.scored)).to(power.device)
            floor = ROUNDING * band.spacing[0] * band.spacing[1] * self.mean_square[:, i, None] / self.n_times
            ratio = log_ratio(power[:, i][:, scored], reference[:, i][:, scored], floor)
            lsd[:, i] = (ratio * (10.0 / math.log(10.0))).square().mean(1)
            melr[:, i] = ratio.abs().mean(1)
        used = [i for i, rings in enumerate(self.rings) if rings.scored.any()]
        area = lsd.new_tensor([self.bands[i].area for i in used])
        return {
            "lsd": torch.sqrt((lsd[:, used] * area).sum(1) / area.sum()),
            "melr": (melr[:, used] * area).sum(1) / area.sum(),
            "power": power,
            "reference": reference,
            "error": error,
        }

    def spectra(self) -> Spectra:
        """The spectra as numpy arrays, of all processes together."""
        shape = tuple(self.power.shape)
        values = self.compute()
        n_rings = shape[-1]

        def pad(values: np.ndarray, fill: float | bool) -> np.ndarray:
            return np.pad(values, (0, n_rings - values.size), constant_values=fill)

        missing = np.array([pad(np.zeros(r.n, dtype=bool), True) for r in self.rings]).reshape(shape[1:])

        def get(name: str) -> np.ndarray:
            return np.where(missing, np.nan, values[name].cpu().double().numpy().reshape(shape))

        return Spectra(
            wavenumber=np.array([pad(r.wavenumber, np.nan) for r in self.rings]).reshape(shape[1:]),
            scored=np.array([pad(r.scored, False) for r in self.rings], dtype=bool).reshape(shape[1:]),
            latitude=np.array([band.latitude for band in self.bands]),
            area=np.array([band.area for band in self.bands]),
            power=get("power"),
            reference=get("reference"),
            error=get("error"),
        )


def log_ratio(power: Tensor, reference: Tensor, floor: Tensor) -> Tensor:
    """ln(power / reference), both raised to at least `floor`; 0 where both are zero."""
    power, reference = torch.maximum(power, floor), torch.maximum(reference, floor)
    return torch.where((power == 0) & (reference == 0), 0.0, torch.log(power) - torch.log(reference))
