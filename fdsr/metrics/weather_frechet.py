"""Fréchet distance between members and truth in the features of a small network of patches.

Scores of spectra see how much there is of each scale in the mean, this distance how patches of fields differ in it, and weakly
whether phases make fronts and filaments. Its features come from synthetic turbulence, so it says how a field is built, not whether
the weather in it is likely. It is never
called FID and compares only with itself.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from fdsr.metrics.frechet import frechet_distance
from fdsr.metrics.images.features import shipped_weights, weights_hash
from fdsr.metrics.moments import GaussianStatistics
from fdsr.metrics.patch_network import FEATURES, PATCH, PatchNetwork
from fdsr.metrics.score_metric import ScoreMetric
from fdsr.scores import Score

FEW = 20 * FEATURES  # below so many patches of the truth the covariance is badly known and the distance biased upwards
_BATCH = 256


def load_patch_network() -> tuple[PatchNetwork, str]:
    """The network that fdsr ships, fixed, and a hash of its weights."""
    state = shipped_weights("weather_patches")
    network = PatchNetwork()
    network.load_state_dict(state)
    return network.requires_grad_(False).eval(), weights_hash(state)


def patches_of(fields: Tensor, size: int = PATCH) -> Tensor:
    """Patches (..., P, size, size) that tile fields (..., H, W) from the first row and column; what is left over is not used."""
    rows, columns = fields.shape[-2] // size, fields.shape[-1] // size
    cut = fields[..., : rows * size, : columns * size].unflatten(-2, (rows, size)).unflatten(-1, (columns, size))
    return cut.transpose(-3, -2).flatten(-4, -3)


class WeatherFrechet(ScoreMetric):
    """d² between Gaussians fitted to the features of members' and of true patches of 32 × 32 cells, per variable.

    A true patch is taken in units of its own standard deviation about its own mean, and the members' patches of that time and
    place by the same two numbers, so that amplitude counts but climate and unit do not. Patches that are constant in the truth, or hold a
    missing value, are left out. All members are pooled: M times as many patches as of the truth.

    Biased upwards by about 1/n: `compute` gives the number of true patches beside the distance, and warns where it is below 20
    times the number of features. Fields below 32 × 32 have no patches: NaN.

    Args:
        n_variables: C.
    """

    scores = (
        Score("weather_frechet", "Fréchet distance of features of patches between members and truth", "weather_frechet",
              "1", summary="mean"),
        Score("weather_frechet_patches", "patches of the truth that weather_frechet rests on", unit="1", direction="none"),
    )  # fmt: skip
    on_demand = True

    def __init__(self, n_variables: int = 1) -> None:
        super().__init__(n_variables)
        network, self.fingerprint = load_patch_network()
        self._network = [network]  # in a list: its weights are no part of any state dict, nor cast with the sums
        for name in ("truth", "members"):
            self.add_sum(f"{name}_count", n_variables)
            self.add_sum(f"{name}_total", n_variables, FEATURES)
            self.add_sum(f"{name}_outer", n_variables, FEATURES, FEATURES)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add times (B, M, C, H, W) and (B, C, H, W)."""
        self._check(prediction, truth)
        if min(truth.shape[-2:]) < PATCH:
            return
        for c in range(self.n_variables):
            for p, y in zip(prediction[:, :, c], truth[:, c], strict=True):
                true, made = patches_of(y.float()), patches_of(p.float())
                mean, deviation = true.mean((-2, -1), keepdim=True), true.std((-2, -1), keepdim=True)
                used = (deviation > 1e-6 * mean.abs() + 1e-30).flatten() & true.isfinite().all(-1).all(-1)
                true, made = ((x - mean) / deviation for x in (true, made))
                self._add("truth", c, true[used])
                self._add("members", c, made[:, used].flatten(0, 1))

    def _add(self, name: str, variable: int, patches: Tensor) -> None:
        network = self._network[0] = self._network[0].to(patches.device)
        chosen = torch.zeros(self.n_variables, dtype=torch.float64, device=patches.device)
        chosen[variable] = 1.0
        for batch in patches.split(_BATCH):
            with torch.no_grad(), torch.autocast(patches.device.type, enabled=False):
                x = network.embed(batch).to(getattr(self, f"{name}_total").dtype)
            pick = chosen.to(x.dtype)
            for sums, value in (("count", x.new_tensor(len(x))), ("total", x.sum(0)), ("outer", x.T @ x)):
                state = getattr(self, f"{name}_{sums}")
                setattr(self, f"{name}_{sums}", state + pick.reshape(-1, *[1] * value.ndim) * value)

    def compute(self) -> dict[str, Tensor]:
        """weather_frechet (C,), NaN for a variable with fewer than two patches; weather_frechet_patches (C,), the true ones."""
        seen = self.truth_count[self.truth_count > 0]
        if len(seen) and float(seen.min()) < FEW:
            warnings.warn(
                f"weather_frechet rests on {int(seen.min())} patches of the truth, fewer than {FEW} (20 a feature): it is biased "
                "upwards and compares only with values of as many patches",
                RuntimeWarning,
                stacklevel=2,
            )
        distances = torch.stack([self._distance(c) for c in range(self.n_variables)])
        return {"weather_frechet": distances, "weather_frechet_patches": self.truth_count}

    def _distance(self, variable: int) -> Tensor:
        if self.truth_count[variable] < 2 or self.members_count[variable] < 2:
            return self.truth_total.new_tensor(float("nan"))
        return frechet_distance(self._statistics("members", variable), self._statistics("truth", variable))

    def _statistics(self, name: str, variable: int) -> GaussianStatistics:
        sums = (getattr(self, f"{name}_{of}")[variable] for of in ("count", "total", "outer"))
        return GaussianStatistics.of_sums(*sums)
