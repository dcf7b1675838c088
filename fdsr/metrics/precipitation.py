"""Scores of rain and its like, which is mostly zero: wet fraction, Brier score and fractions skill score at thresholds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.metrics.field_metric import FieldMetric, masked, member_blocks, weighted_sum

# windows in rows, when no scales are asked for
DEFAULT_WINDOWS = (3, 9, 27)


def read_thresholds(value: object) -> tuple[float, ...]:
    """Thresholds as an attribute may hold them: a number, several, or text such as "0.1, 1" or "[0.1 1]". Raises FdsrError."""
    parts = (
        re.findall(r"[^\s,;()\[\]]+", value) if isinstance(value, str) else np.atleast_1d(np.asarray(value)).tolist()
    )
    try:
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError) as error:
        raise FdsrError(f"thresholds {value!r} are not numbers; write them like '0.1, 1'") from error


@dataclass(frozen=True)
class EventScores:
    """Scores at thresholds (T,) in the variable's unit and scales (S,) in km: all (T,), fss (T, S)."""

    thresholds: tuple[float, ...]
    scales: tuple[float, ...]
    wet_fraction: np.ndarray
    wet_fraction_truth: np.ndarray
    brier: np.ndarray
    fss: np.ndarray

    def labelled(self) -> Iterator[tuple[str, float]]:
        """Every score with a name of its own: wet_fraction_1, wet_fraction_truth_1, brier_1, fss_1_50km."""
        for i, threshold in enumerate(self.thresholds):
            for name in ("wet_fraction", "wet_fraction_truth", "brier"):
                yield f"{name}_{threshold:g}", float(getattr(self, name)[i])
            for j, scale in enumerate(self.scales):
                yield f"fss_{threshold:g}_{scale:.4g}km", float(self.fss[i, j])


class Neighbourhood:
    """Means over windows of about `scale` × `scale` km centred on every cell of a grid (H, W).

    The window has the odd number of cells nearest to scale/dy rows and, row by row, scale/dx columns; it wraps around a
    closed circle of longitudes. `inside` (H, W) marks the centres whose whole window lies on the grid.

    Args:
        scale: km.
        dy: row spacing in km.
        dx: column spacing in km of each row, (H,).
        width: W.
        periodic: whether column 0 follows column W − 1.
    """

    def __init__(self, scale: float, dy: float, dx: np.ndarray, width: int, periodic: bool = False) -> None:
        height = dx.size
        self.half_rows = _half_window(scale / dy)
        half = np.array([_half_window(scale / d) if d > 0 else width for d in dx])
        if periodic:
            # no window goes round more than once
            half = np.minimum(half, (width - 1) // 2)
        column, row = np.arange(width)[None, :], np.arange(height)[:, None]
        self.pad = int(half.max()) if periodic else 0
        left, right = column - half[:, None] + self.pad, column + half[:, None] + 1 + self.pad
        # the window of a centre reaches over rows with other widths: all of them have to fit
        fits = (left >= 0) & (right <= width + 2 * self.pad)
        whole = (row >= self.half_rows) & (row < height - self.half_rows)
        inside = np.zeros((height, width), dtype=bool)
        for i in range(self.half_rows, height - self.half_rows):
            inside[i] = fits[i - self.half_rows : i + self.half_rows + 1].all(0) & whole[i]
        self.inside = torch.from_numpy(inside)
        self.left = torch.from_numpy(np.clip(left, 0, width + 2 * self.pad))
        self.right = torch.from_numpy(np.clip(right, 0, width + 2 * self.pad))

    def sum(self, field: Tensor) -> Tensor:
        """Σ over the window of fields (..., H, W): same shape; windows are cut at the edges of the grid."""
        height = field.shape[-2]
        if self.pad:
            field = torch.cat([field[..., -self.pad :], field, field[..., : self.pad]], -1)
        columns = torch.nn.functional.pad(field.cumsum(-1), (1, 0))
        left, right = (i.to(field.device).expand(*field.shape[:-2], *i.shape) for i in (self.left, self.right))
        rows = columns.gather(-1, right) - columns.gather(-1, left)
        total = torch.nn.functional.pad(rows.cumsum(-2), (0, 0, 1, 0))
        start = (torch.arange(height) - self.half_rows).clamp(min=0).to(field.device)
        stop = (torch.arange(height) + self.half_rows + 1).clamp(max=height).to(field.device)
        return total.index_select(-2, stop) - total.index_select(-2, start)


def _half_window(cells: float) -> int:
    """h of the odd window 2h + 1 nearest to a number of cells."""
    return max(0, math.floor((cells - 1.0) / 2.0 + 0.5))


class ExceedanceScores(FieldMetric):
    """Scores of the event x ≥ threshold of one variable, from the fraction p of the members in which it happens.

    For each threshold: wet_fraction, the area-weighted frequency of the event among the members, and wet_fraction_truth;
    brier = ⟨(p − o)²⟩, o the event in the truth (Brier 1950); and for each scale fss = 1 − ⟨(P − O)²⟩ / ⟨P² + O²⟩ with P and
    O the means of p and o over a window (Roberts & Lean 2008, doi:10.1175/2007MWR2123.1; of an ensemble's probabilities:
    Schwartz et al. 2010, doi:10.1175/2009WAF2222267.1), pooled over times and over the windows that lie on the grid
    entirely. Masked cells are left out of the windows' means and are no centres. fss is NaN where the event happens nowhere, or no
    window fits.

    Args:
        weights: area of the cells, (H,) or (H, W).
        thresholds: in the variable's unit, each > 0 for rain.
        scales: km, side of the windows; None: 3, 9 and 27 rows.
        dy, dx: km; dx of each row (H,).
        width: W.
        periodic: whether the columns close the circle.
    """

    prediction_area: Tensor
    truth_area: Tensor
    brier: Tensor
    difference: Tensor
    sum_of_squares: Tensor

    def __init__(
        self,
        weights: Tensor,
        thresholds: Sequence[float],
        scales: Sequence[float] | None,
        dy: float,
        dx: np.ndarray,
        width: int,
        periodic: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(weights, 1, **kwargs)
        self.thresholds = tuple(float(t) for t in thresholds)
        self.scales = tuple(float(s) for s in scales) if scales is not None else tuple(n * dy for n in DEFAULT_WINDOWS)
        if not self.thresholds or not all(math.isfinite(t) for t in self.thresholds):
            raise FdsrError(f"thresholds must be finite numbers and at least one, got {list(self.thresholds)}")
        if not all(s > 0 and math.isfinite(s) for s in self.scales):
            raise FdsrError(f"scales must be positive numbers of km, got {list(self.scales)}")
        self.windows = tuple(Neighbourhood(s, dy, np.asarray(dx), width, periodic) for s in self.scales)
        for name in ("prediction_area", "truth_area", "brier"):
            self.add_sum(name, len(self.thresholds))
        for name in ("difference", "sum_of_squares"):
            self.add_sum(name, len(self.thresholds), len(self.scales))

    def update(self, prediction: Tensor | Iterable[Tensor], truth: Tensor) -> None:
        """Add times: (B, M, 1, H, W) and (B, 1, H, W), physical units; or an iterable of members (B, 1, H, W)."""
        if isinstance(prediction, Tensor):
            self._check(prediction, truth)
        self._check_grid(truth)
        shape = (len(self.thresholds), *truth.shape)
        count, broken = (
            torch.zeros(shape, dtype=torch.int32, device=truth.device),
            torch.zeros_like(truth, dtype=torch.bool),
        )
        members = 0
        for block in member_blocks(prediction, truth):
            members += block.shape[1]
            for m in range(block.shape[1]):
                broken |= block[:, m].isnan()
                for i, threshold in enumerate(self.thresholds):
                    count[i] += block[:, m] >= threshold
        probability = count.to(self.area.dtype) / members
        probability = torch.where(broken, torch.nan, probability)  # a missing value is no dry one
        for b in range(truth.shape[0]):
            self._add(probability[:, b], truth[b])

    def _add(self, p: Tensor, y: Tensor) -> None:
        """Add one time: probabilities (T, 1, H, W) and truth (1, H, W)."""
        p, y_filled, weights = masked(p, y.to(p.dtype), self.weights)
        valid = (~y.isnan()).to(p.dtype)
        w = (weights * valid)[0]
        event = torch.stack([(y_filled[0] >= t).to(p.dtype) * valid[0] for t in self.thresholds])
        p = p[:, 0]
        self.area = self.area + w.sum()
        self.prediction_area = self.prediction_area + weighted_sum(p, w)
        self.truth_area = self.truth_area + weighted_sum(event, w)
        self.brier = self.brier + weighted_sum((p - event).square(), w)
        for i, window in enumerate(self.windows):
            cells = window.sum(valid[0])
            centre = w * window.inside.to(w.device)
            fractions = [torch.where(centre > 0, window.sum(x) / cells, 0.0) for x in (p, event)]
            difference = weighted_sum((fractions[0] - fractions[1]).square(), centre)
            squares = weighted_sum(fractions[0].square() + fractions[1].square(), centre)
            one = torch.zeros_like(self.difference)
            one[:, i] = difference
            two = torch.zeros_like(self.sum_of_squares)
            two[:, i] = squares
            self.difference, self.sum_of_squares = self.difference + one, self.sum_of_squares + two

    def shape_of(self, score: str) -> tuple[int, ...]:
        """Shape of what `compute()` gives under that name."""
        shape = (len(self.thresholds), len(self.scales))
        return shape if score == "fss" else shape[:1]

    def compute(self) -> dict[str, Tensor]:
        """wet_fraction, wet_fraction_truth and brier, (T,); fss (T, S)."""
        # cumulative sums round: what is below that is no event
        happens = self.sum_of_squares > 1e-20 * self.area
        fss = 1.0 - self.difference / self.sum_of_squares
        return {
            "wet_fraction": self.prediction_area / self.area,
            "wet_fraction_truth": self.truth_area / self.area,
            "brier": self.brier / self.area,
            "fss": torch.where(happens | self.sum_of_squares.isnan(), fss, torch.nan),
        }
