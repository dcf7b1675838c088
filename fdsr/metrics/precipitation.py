"""Scores of rain and its like, which is mostly zero: wet fraction, Brier score and fractions skill score at thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy.ndimage import minimum_filter1d
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.metrics.field_metric import FieldMetric, masked, weighted_sum
from fdsr.metrics.score_metric import Task, Variable
from fdsr.scores import Score

# windows in rows, when no scales are asked for
DEFAULT_WINDOWS = (3, 9, 27)


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
        self.half_rows = _half_window(scale / dy)
        half = np.array([_half_window(scale / d) if d > 0 else width for d in dx])
        if periodic:
            # no window goes round more than once
            half = np.minimum(half, (width - 1) // 2)
        column = np.arange(width)[None, :]
        self.pad = int(half.max()) if periodic else 0
        left, right = column - half[:, None] + self.pad, column + half[:, None] + 1 + self.pad
        # the window of a centre reaches over rows with other widths: all of them have to fit
        fits = (left >= 0) & (right <= width + 2 * self.pad)
        inside = minimum_filter1d(fits.astype(np.uint8), 2 * self.half_rows + 1, axis=0, mode="constant")
        self.inside = torch.from_numpy(inside > 0)
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
    """Scores of the event x ≥ threshold, from the fraction p of the members in which it happens; of variables that have thresholds.

    For each threshold: wet_fraction, the area-weighted frequency of the event among the members, wet_fraction_truth, and
    frequency_bias, the first over the second;
    brier = ⟨(p − o)²⟩, o the event in the truth (Brier 1950); and for each scale fss = 1 − ⟨(P − O)²⟩ / ⟨P² + O²⟩ with P and
    O the means of p and o over a window (Roberts & Lean 2008, doi:10.1175/2007MWR2123.1; of an ensemble's probabilities:
    Schwartz et al. 2010, doi:10.1175/2009WAF2222267.1), pooled over times and over the windows that lie on the grid
    entirely. Masked cells are left out of the windows' means and are no centres. fss is NaN where the event happens nowhere, or no
    window fits.

    In tables every threshold, and every scale, has a name of its own: wet_fraction_1, brier_1, fss_1_50km.

    Args:
        grid: of the fields.
        thresholds: of each variable, in its unit, > 0 for rain; none where it has no events.
        scales: km, side of the windows; None: 3, 9 and 27 rows.
    """

    name = "events"
    dims = ("event", "window")
    scores = (
        Score("wet_fraction", "frequency of values at or above the threshold among the members", unit="1", direction="none"),
        Score("wet_fraction_truth", "frequency of values at or above the threshold in the truth", unit="1", direction="none"),
        Score("frequency_bias", "frequency of the event among the members over that in the truth", unit="1", direction="nearest 1"),
        Score("brier", "Brier score of reaching the threshold", "Brier", "1"),
        Score("fss", "fractions skill score of reaching the threshold", "FSS", "1", direction="higher"),
    )  # fmt: skip

    def __init__(
        self, grid: Grid, thresholds: Sequence[Sequence[float]], scales: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(torch.from_numpy(grid.cell_areas), len(thresholds), **kwargs)
        self.thresholds = tuple(tuple(float(t) for t in own) for own in thresholds)
        self.scales = tuple(map(float, [n * grid.dy for n in DEFAULT_WINDOWS] if scales is None else scales))
        if not any(self.thresholds) or not all(math.isfinite(t) for own in self.thresholds for t in own):
            raise FdsrError(f"thresholds must be finite numbers and at least one, got {[*map(list, self.thresholds)]}")
        if not all(s > 0 and math.isfinite(s) for s in self.scales):
            raise FdsrError(f"scales must be positive numbers of km, got {list(self.scales)}")
        around = (grid.dy, grid.dx, grid.columns.size, grid.periodic)
        self.windows = tuple(Neighbourhood(scale, *around) for scale in self.scales)
        shape = (len(self.thresholds), max(map(len, self.thresholds)))
        for name in ("prediction_area", "truth_area", "brier"):
            self.add_sum(name, *shape)
        for name in ("difference", "sum_of_squares"):
            self.add_sum(name, *shape, len(self.scales))

    @classmethod
    def for_task(cls, task: Task) -> Self | None:
        """None where no variable has thresholds."""
        thresholds = [task.thresholds.get(name, ()) for name in task.names]
        return cls(task.grid, thresholds, task.scales) if any(len(own) for own in thresholds) else None

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        self._check(prediction, truth)
        for c, thresholds in enumerate(self.thresholds):
            if not thresholds:
                continue
            p, y = prediction[:, :, c : c + 1], truth[:, c : c + 1]
            count = torch.zeros((len(thresholds), *y.shape), dtype=torch.int32, device=y.device)
            for member in p.unbind(1):
                for i, threshold in enumerate(thresholds):
                    count[i] += member >= threshold
            probability = count.to(self.area.dtype) / p.shape[1]
            probability = torch.where(p.isnan().any(1), torch.nan, probability)  # a missing value is no dry one
            for b in range(y.shape[0]):
                self._add(c, probability[:, b], y[b])

    def _add(self, c: int, p: Tensor, y: Tensor) -> None:
        """Add one time of variable c: probabilities (T, 1, H, W) and truth (1, H, W)."""
        p, y_filled, weights = masked(p, y.to(p.dtype), self.weights)
        valid = (~y.isnan()).to(p.dtype)
        w = (weights * valid)[0]
        event = torch.stack([(y_filled[0] >= t).to(p.dtype) * valid[0] for t in self.thresholds[c]])
        p = p[:, 0]
        own = slice(len(event))
        self._add_to("area", w.sum(), c)
        self._add_to("prediction_area", weighted_sum(p, w), c, own)
        self._add_to("truth_area", weighted_sum(event, w), c, own)
        self._add_to("brier", weighted_sum((p - event).square(), w), c, own)
        for i, window in enumerate(self.windows):
            cells = window.sum(valid[0])
            centre = w * window.inside.to(w.device)
            fractions = [torch.where(centre > 0, window.sum(x) / cells, 0.0) for x in (p, event)]
            squares = weighted_sum(fractions[0].square() + fractions[1].square(), centre)
            self._add_to("difference", weighted_sum((fractions[0] - fractions[1]).square(), centre), c, own, i)
            self._add_to("sum_of_squares", squares, c, own, i)

    def _add_to(self, name: str, value: Tensor, *place: int | slice) -> None:
        state = getattr(self, name).clone()
        state[place] += value
        setattr(self, name, state)

    def shape_of(self, name: str) -> tuple[int, ...]:
        return tuple(self.difference.shape) if name == "fss" else tuple(self.brier.shape)

    def compute(self) -> dict[str, Tensor]:
        """wet_fraction, wet_fraction_truth, frequency_bias and brier, (C, T); fss (C, T, S). NaN where a variable has fewer thresholds."""
        area = self.area[:, None]
        asked = torch.zeros_like(self.brier, dtype=torch.bool)
        for c, thresholds in enumerate(self.thresholds):
            asked[c, : len(thresholds)] = True
        # cumulative sums round: what is below that is no event
        happens = self.sum_of_squares > 1e-20 * area[..., None]
        fss = 1.0 - self.difference / self.sum_of_squares
        sums = {"wet_fraction": self.prediction_area, "wet_fraction_truth": self.truth_area, "brier": self.brier}
        found = {name: torch.where(asked, value / area, torch.nan) for name, value in sums.items()}
        found["frequency_bias"] = torch.where(self.truth_area > 0, self.prediction_area / self.truth_area, torch.nan)
        return found | {"fss": torch.where(happens | self.sum_of_squares.isnan(), fss, torch.nan)}

    def lines(self, names: Sequence[str]) -> Iterator[tuple[Score, str, str, float]]:
        values = self.values()
        for c, name in enumerate(names):
            for t, threshold in enumerate(self.thresholds[c]):
                for score in self.scores:
                    value, label = values[score.name][c, t], f"{score.name}_{threshold:g}"
                    if value.ndim == 0:
                        yield score, label, name, float(value)
                    else:
                        for scale, at_scale in zip(self.scales, value.tolist(), strict=True):
                            yield score, f"{label}_{scale:.4g}km", name, at_scale

    def coordinates(self) -> dict[str, Variable]:
        thresholds = np.full(self.brier.shape, np.nan)
        scales = np.full((self.n_variables, len(self.scales)), np.nan)
        for c, own in enumerate(self.thresholds):
            thresholds[c, : len(own)] = own
            scales[c] = self.scales if own else np.nan
        return {
            "threshold": (("variable", "event"), thresholds, {"units": "as the variable"}),
            "scale": (("variable", "window"), scales, {"units": "km"}),
        }
