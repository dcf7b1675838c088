"""All metrics of fields on one grid, updated together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from fdsr.errors import FdsrError
from fdsr.metrics.consistency import CoarseConsistency
from fdsr.metrics.ensemble import CRPS, RankHistogram, SpreadSkill
from fdsr.metrics.field_metric import SumMetric, mean_of_members
from fdsr.metrics.grid import Grid
from fdsr.metrics.log_spectral import Spectra, SpectralScores
from fdsr.metrics.pointwise import MAE, RMSE, Bias
from fdsr.metrics.precipitation import EventScores, ExceedanceScores
from fdsr.metrics.quantiles import QuantileErrors
from fdsr.metrics.weather_frechet import WeatherFrechet

# what compute() of the spectral metrics gives besides scores
_SPECTRA = ("power", "reference", "error", "mean")
# a zonal spectrum is scored under names of its own
_ZONAL = {"lsd": "zonal_lsd", "melr": "zonal_melr"}


class FieldMetrics(nn.Module):
    """Every score of named variables on one grid: rmse, mae, bias, crps, crps_biased, spread_skill, lsd, lsd_fine,
    melr, effective_resolution, resolved_scale, q0_1_error, q1_error, q99_error, q99_9_error; coarse_consistency with a `factor`;
    zonal_lsd and zonal_melr where the longitudes close the circle; wet_fraction, wet_fraction_truth, brier and fss of the
    variables that have `thresholds`; weather_frechet and weather_frechet_patches if asked for.

    A module may hold it: its sums follow the module's device, keep float64, are added over processes when computed, and
    are not part of the state dict.

    Args:
        latitude, longitude: (H,) and (W,) in degrees; y and x in km when `projected`.
        names: the C variables, in the order of the tensors' channels.
        factor: rows and columns of fine cells in a coarse one (or one number for both); None: no coarse consistency.
        low_names: variables of the low-resolution input, in order, if they are not `names`; a variable without a
            low-resolution counterpart has coarse consistency NaN.
        members: M, to keep rank histograms as well; None: none are kept.
        projected: whether the grid is a projected one; the area of a cell is then dy · dx.
        seed: of the draws that break ties in ranks.
        thresholds: variable → thresholds in its unit, for the variables that want scores of events (precipitation).
        scales: km, of the fractions skill score; None: 3, 9 and 27 rows.
        weather_frechet: whether to keep the Fréchet distance of patches, a small network's work for each of them.
    """

    def __init__(
        self,
        latitude: ArrayLike,
        longitude: ArrayLike,
        names: Sequence[str],
        factor: int | tuple[int, int] | None = None,
        *,
        low_names: Sequence[str] | None = None,
        members: int | None = None,
        projected: bool = False,
        seed: int = 0,
        thresholds: Mapping[str, Sequence[float]] | None = None,
        scales: Sequence[float] | None = None,
        weather_frechet: bool = False,
    ) -> None:
        super().__init__()
        grid = Grid(np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64), projected)
        self.names = tuple(names)
        low = self.names if low_names is None else tuple(low_names)
        self.pairs = [(i, low.index(name)) for i, name in enumerate(self.names) if name in low]
        n, weights = len(self.names), grid.weights()
        metrics: dict[str, SumMetric] = {
            "rmse": RMSE(weights, n),
            "mae": MAE(weights, n),
            "bias": Bias(weights, n),
            "crps": CRPS(weights, n),
            "spread_skill": SpreadSkill(weights, n),
            "spectral": SpectralScores(grid.bands(), n),
            "quantiles": QuantileErrors(weights, n),
        }
        if zonal := grid.zonal_bands():
            metrics["zonal"] = SpectralScores(zonal, n)
        if factor is not None and self.pairs:
            metrics["coarse_consistency"] = CoarseConsistency(weights, factor, len(self.pairs))
        if members is not None:
            metrics["rank_histogram"] = RankHistogram(weights, members, n, seed)
        if weather_frechet:
            metrics["weather_frechet"] = WeatherFrechet(n)
        asked = {name: values for name, values in (thresholds or {}).items() if name in self.names and len(values)}
        self.events = {name: f"events_{self.names.index(name)}" for name in self.names if name in asked}
        for name, key in self.events.items():
            metrics[key] = ExceedanceScores(
                weights, asked[name], scales, grid.dy, grid.dx, grid.columns.size, grid.periodic
            )
        self.metrics = nn.ModuleDict(cast("dict[str, nn.Module]", metrics))

    def _metric(self, name: str) -> Any:
        return self.metrics[name]

    @torch.no_grad()
    def update(self, prediction: Tensor, truth: Tensor, low: Tensor | None = None) -> None:
        """Add times: (B, M, C, H, W), (B, C, H, W) and, with a factor, (B, C_low, h, w); physical units."""
        if prediction.ndim != 5:
            raise FdsrError(f"a prediction is (time, member, variable, lat, lon), got {tuple(prediction.shape)}")
        mean = mean_of_members(prediction, truth)
        channels = {key: self.names.index(name) for name, key in self.events.items()}
        for name in self.metrics:
            if name in ("rmse", "mae", "bias"):
                self._metric(name).update(mean, truth)
            elif name == "coarse_consistency":
                if low is not None:
                    high_index, low_index = ([pair[i] for pair in self.pairs] for i in (0, 1))
                    hidden = _take(truth, 1, high_index).isnan()
                    self._metric(name).update(_take(prediction, 2, high_index), _take(low, 1, low_index), hidden)
            elif name in channels:
                one = slice(channels[name], channels[name] + 1)
                self._metric(name).update(prediction[:, :, one], truth[:, one])
            else:
                self._metric(name).update(prediction, truth)

    def forward(self, prediction: Tensor, truth: Tensor, low: Tensor | None = None) -> None:
        """Same as `update`."""
        self.update(prediction, truth, low)

    def compute(self) -> dict[str, dict[str, float]]:
        """metric → variable → value, over all processes; every process has to call it. NaN before any update.

        Scores of events are named after threshold and scale (brier_1, fss_1_50km); only variables that asked have them.
        """
        result = self.scores()
        for name, scores in self.event_scores().items():
            for label, value in scores.labelled():
                result.setdefault(label, {})[name] = value
        return result

    def scores(self) -> dict[str, dict[str, float]]:
        """`compute` without the scores of events, which `event_scores` gives as arrays. A collective call too."""
        result: dict[str, dict[str, float]] = {}
        for name in self.metrics:
            if name == "rank_histogram" or name in self.events.values():
                continue
            value = self._compute(name)
            for key, tensor in value.items() if isinstance(value, dict) else [(name, value)]:
                if key in _SPECTRA or (name == "zonal" and key not in _ZONAL):
                    continue
                label = _ZONAL[key] if name == "zonal" else key
                variables = [self.names[i] for i, _ in self.pairs] if key == "coarse_consistency" else self.names
                found = dict(zip(variables, tensor.cpu().double().reshape(-1).tolist(), strict=True))
                result[label] = {variable: found.get(variable, float("nan")) for variable in self.names}
        return result

    def event_scores(self) -> dict[str, EventScores]:
        """variable → its scores at thresholds; a collective call like `compute`."""
        found = {}
        for name, key in self.events.items():
            metric = self._metric(key)
            found[name] = EventScores(
                metric.thresholds,
                metric.scales,
                # torchmetrics squeezes what has one element
                **{k: v.cpu().double().numpy().reshape(metric.shape_of(k)) for k, v in self._compute(key).items()},
            )
        return found

    def zonal_spectra(self) -> Spectra | None:
        """Zonal spectra by variable, band and mode; None unless the longitudes close the circle. Collective like `compute`."""
        return self._spectra("zonal") if "zonal" in self.metrics else None

    def spectra(self) -> Spectra:
        """Spectra of members, truth and error by variable, band and ring; a collective call like `compute`."""
        return self._spectra("spectral")

    def _spectra(self, name: str) -> Spectra:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return cast(Spectra, self._metric(name).spectra())

    def rank_histogram(self) -> np.ndarray:
        """Frequencies (C, M + 1); needs `members`. A collective call like `compute`."""
        if "rank_histogram" not in self.metrics:
            raise FdsrError("rank histograms were not kept: give the number of members to FieldMetrics")
        frequencies: np.ndarray = self._compute("rank_histogram").cpu().double().numpy()
        return frequencies.reshape(len(self.names), -1)

    def _compute(self, name: str) -> Any:
        with warnings.catch_warnings():
            # torchmetrics warns of a metric never updated; its NaN says so here
            warnings.simplefilter("ignore", UserWarning)
            return self._metric(name).compute()

    def reset(self) -> None:
        """Forget everything."""
        for name in self.metrics:
            self._metric(name).reset()

    def merge_state(self, other: FieldMetrics) -> None:
        """Add what `other`, built alike, has seen."""
        if self.names != other.names or set(self.metrics) != set(other.metrics):
            raise FdsrError("only metrics of the same variables and kinds can be merged")
        for name in self.metrics:
            self._metric(name).merge_state(other._metric(name))


def _take(x: Tensor, dim: int, index: list[int]) -> Tensor:
    """x itself when `index` is all of `dim` in order, a copy of the chosen entries otherwise."""
    if index == list(range(x.shape[dim])):
        return x
    return x.index_select(dim, torch.tensor(index, device=x.device))
