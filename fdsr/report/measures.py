"""What the columns of a metric table are called, and which of two values is the better one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Badness = Callable[[float], float]  # of a value: the least is best


def _low(value: float) -> float:
    return value


def _high(value: float) -> float:
    return -value


def _near_one(value: float) -> float:
    return abs(value - 1.0)


@dataclass(frozen=True)
class Measure:
    """heading: of its column. badness: None where no value is better than another. what: in words."""

    heading: str
    badness: Badness | None
    what: str


MEASURES: dict[str, Measure] = {
    "crps_relative": Measure("CRPS ratio", _low, "CRPS over the mean absolute error of the reference, mean over variables"),
    "crps": Measure("CRPS", _low, "fair continuous ranked probability score"),
    "crps_biased": Measure("CRPS, biased", _low, "CRPS of the empirical distribution, which favours large ensembles"),
    "mae": Measure("MAE of mean", _low, "mean absolute error of the ensemble mean"),
    "rmse": Measure("RMSE of mean", _low, "root mean square error of the ensemble mean"),
    "bias": Measure("bias", abs, "mean error of the ensemble mean; best nearest to 0"),
    "spread_skill": Measure("spread/skill", _near_one, "spread–skill ratio; best nearest to 1"),
    "lsd": Measure("LSD (dB)", _low, "log-spectral distance of the members"),
    "lsd_fine": Measure("fine LSD (dB)", _low, "log-spectral distance of the members over the upper half of the wavenumbers"),
    "melr": Measure("MELR", _low, "mean absolute log ratio of the spectra"),
    "zonal_lsd": Measure("zonal LSD (dB)", _low, "log-spectral distance of zonal spectra"),
    "zonal_melr": Measure("zonal MELR", _low, "mean absolute log ratio of zonal spectra"),
    "weather_frechet": Measure("weather_frechet", _low, "Fréchet distance of features of patches between members and truth"),
    "effective_resolution": Measure("eff. resolution (km)", _low, "wavelength down to which the power is right to a factor of two"),
    "resolved_scale": Measure("resolved scale (km)", _low, "wavelength down to which the error has at most half of the truth's power"),
    "coarse_consistency": Measure("coarse RMSE", _low, "RMSE between the coarsened members and the coarse input"),
    "q0_1_error": Measure("0.1 % quantile", abs, "error of the 0.1 % quantile; best nearest to 0"),
    "q1_error": Measure("1 % quantile", abs, "error of the 1 % quantile; best nearest to 0"),
    "q99_error": Measure("99 % quantile", abs, "error of the 99 % quantile; best nearest to 0"),
    "q99_9_error": Measure("99.9 % quantile", abs, "error of the 99.9 % quantile; best nearest to 0"),
    "brier": Measure("Brier", _low, "Brier score of reaching the threshold"),
    "fss": Measure("FSS", _high, "fractions skill score of reaching the threshold"),
    "seconds": Measure("s a member", _low, "seconds that one member of one field took, where it was measured"),
}  # fmt: skip


def measure_of(metric: str) -> Measure:
    """Scores of events carry threshold and scale in their names (`fss_1_50km`); an unknown metric has no best value."""
    if metric in MEASURES:
        return MEASURES[metric]
    head, _, rest = re.sub(r"_([\d.])", r" \1", metric, count=1).partition(" ")
    if head in MEASURES:
        known = MEASURES[head]
        return Measure(f"{known.heading} {rest.replace('_', ', ')}", known.badness, known.what)
    return Measure(metric.replace("_", " "), None, metric)
