"""All metrics of fields on one grid, updated together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from fdsr.errors import FdsrError
from fdsr.geometry import latitude_weights
from fdsr.metrics.base import SumMetric, working_dtype
from fdsr.metrics.boxes import latlon_bands, projected_bands
from fdsr.metrics.consistency import CoarseConsistency
from fdsr.metrics.ensemble import FairCRPS, RankHistogram, SpreadSkill
from fdsr.metrics.log_spectral import Spectra, SpectralScores
from fdsr.metrics.pointwise import MAE, RMSE, Bias


class FieldMetrics(nn.Module):
    """rmse, mae, bias, crps, spread_skill, lsd, melr (and coarse_consistency) of named variables on one grid.

    A module may hold it: its sums follow the module's device, keep float64, are added over processes when computed, and
    are not part of the state dict.

    Args:
        latitude, longitude: (H,) and (W,) in degrees; y and x in km when `projected`.
        names: the C variables, in the order of the tensors' channels.
        factor: rows and columns of fine cells in a coarse one (or one number for both); None: no coarse consistency.
        low_names: variables of the low-resolution input, in order, if they are not `names`; a variable without a
            low-resolution counterpart has coarse consistency NaN.
        members: M, to keep rank histograms as well; None: none are kept.
        projected: whether the grid is a projected one, with cells of equal area.
        seed: of the draws that break ties in ranks.
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
    ) -> None:
        super().__init__()
        lat, lon = np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64)
        self.names = tuple(names)
        low = self.names if low_names is None else tuple(low_names)
        self.pairs = [(i, low.index(name)) for i, name in enumerate(self.names) if name in low]
        n = len(self.names)
        weights = torch.ones(lat.size) if projected else torch.from_numpy(latitude_weights(lat))
        bands = projected_bands((lat.size, lon.size), (_step(lat), _step(lon))) if projected else latlon_bands(lat, lon)
        metrics: dict[str, SumMetric] = {
            "rmse": RMSE(weights, n),
            "mae": MAE(weights, n),
            "bias": Bias(weights, n),
            "crps": FairCRPS(weights, n),
            "spread_skill": SpreadSkill(weights, n),
            "spectral": SpectralScores(bands, n),
        }
        if factor is not None and self.pairs:
            metrics["coarse_consistency"] = CoarseConsistency(weights, factor, len(self.pairs))
        if members is not None:
            metrics["rank_histogram"] = RankHistogram(weights, members, n, seed)
        self.metrics = nn.ModuleDict(cast("dict[str, nn.Module]", metrics))

    def _metric(self, name: str) -> Any:
        return self.metrics[name]

    @torch.no_grad()
    def update(self, prediction: Tensor, truth: Tensor, low: Tensor | None = None) -> None:
        """Add times: (B, M, C, H, W), (B, C, H, W) and, with a factor, (B, C_low, h, w); physical units."""
        if prediction.ndim != 5:
            raise FdsrError(f"a prediction is (time, member, variable, lat, lon), got {tuple(prediction.shape)}")
        mean = prediction.mean(1, keepdim=True, dtype=working_dtype(prediction.device))
        for name in self.metrics:
            if name in ("rmse", "mae", "bias"):
                self._metric(name).update(mean, truth)
            elif name == "coarse_consistency":
                if low is not None:
                    high_index, low_index = ([pair[i] for pair in self.pairs] for i in (0, 1))
                    self._metric(name).update(_take(prediction, 2, high_index), _take(low, 1, low_index))
            else:
                self._metric(name).update(prediction, truth)

    def forward(self, prediction: Tensor, truth: Tensor, low: Tensor | None = None) -> None:
        """Same as `update`."""
        self.update(prediction, truth, low)

    def compute(self) -> dict[str, dict[str, float]]:
        """metric → variable → value, over all processes; every process has to call it. NaN before any update."""
        result: dict[str, dict[str, float]] = {}
        for name in self.metrics:
            if name == "rank_histogram":
                continue
            value = self._compute(name)
            for key, tensor in value.items() if isinstance(value, dict) else [(name, value)]:
                if key in ("power", "reference", "error"):
                    continue
                variables = [self.names[i] for i, _ in self.pairs] if key == "coarse_consistency" else self.names
                found = dict(zip(variables, tensor.cpu().double().reshape(-1).tolist(), strict=True))
                result[key] = {variable: found.get(variable, float("nan")) for variable in self.names}
        return result

    def spectra(self) -> Spectra:
        """Spectra of members, truth and error by variable, band and ring; a collective call like `compute`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return cast(Spectra, self._metric("spectral").spectra())

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


def _step(coordinate: np.ndarray) -> float:
    return float(abs(coordinate[-1] - coordinate[0]) / (coordinate.size - 1)) if coordinate.size > 1 else 1.0
