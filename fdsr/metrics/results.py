"""The values of metrics as one xarray dataset, the same for `evaluate` and for a test run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from fdsr.metrics.log_spectral import Spectra
from fdsr.metrics.precipitation import EventScores
from fdsr.metrics.suite import FieldMetrics

LONG_NAMES = {
    "rmse": "root mean square error of the ensemble mean",
    "mae": "mean absolute error of the ensemble mean",
    "bias": "mean error of the ensemble mean",
    "crps": "fair continuous ranked probability score",
    "crps_biased": "continuous ranked probability score of the empirical distribution",
    "spread_skill": "spread-skill ratio",
    "lsd": "log-spectral distance",
    "lsd_fine": "log-spectral distance over the upper half of the wavenumbers",
    "melr": "mean absolute log ratio of spectra",
    "effective_resolution": "wavelength down to which the power of the members is right to a factor of two",
    "resolved_scale": "wavelength down to which the error of the ensemble mean has at most half of the truth's power",
    "zonal_lsd": "log-spectral distance of zonal spectra",
    "zonal_melr": "mean absolute log ratio of zonal spectra",
    "q0_1_error": "error of the 0.1 % quantile",
    "q1_error": "error of the 1 % quantile",
    "q99_error": "error of the 99 % quantile",
    "q99_9_error": "error of the 99.9 % quantile",
    "coarse_consistency": "root mean square difference of the coarsened members from the low-resolution input",
    "weather_frechet": "Fréchet distance of features of patches between members and truth",
    "weather_frechet_patches": "patches of the truth that weather_frechet rests on",
}
EVENT_NAMES = {
    "wet_fraction": "frequency of values at or above the threshold among the members",
    "wet_fraction_truth": "frequency of values at or above the threshold in the truth",
    "brier": "Brier score of reaching the threshold",
    "fss": "fractions skill score of reaching the threshold",
}
UNITS = {
    "lsd": "dB", "lsd_fine": "dB", "zonal_lsd": "dB", "melr": "1", "zonal_melr": "1", "spread_skill": "1", "effective_resolution": "km",
    "resolved_scale": "km", "weather_frechet": "1", "weather_frechet_patches": "1",
}  # fmt: skip
SINGLE = "mean absolute error (a single member)"
SPECTRA = {
    "": ("power", "members, averaged over them"),
    "_reference": ("reference", "truth"),
    "_error": ("error", "error of the ensemble mean"),
    "_mean": ("mean", "ensemble mean, which is not the spectrum of the model"),
}


def scores_dataset(parts: Sequence[FieldMetrics], units: Mapping[str, str], members: int, n_times: int) -> xr.Dataset:
    """Everything that metrics of one grid have seen; see `fdsr.metrics.evaluate` for its variables.

    Args:
        parts: metrics of disjoint variables on one grid.
        units: variable → unit.
        members, n_times: what they have seen, for the attributes.

    A collective call, like `FieldMetrics.compute`.
    """
    names = [name for part in parts for name in part.names]
    found = [part.scores() for part in parts]
    values = {
        label: [v for part, f in zip(parts, found, strict=True)
                for v in f.get(label, dict.fromkeys(part.names, np.nan)).values()]
        for label in LONG_NAMES if any(label in f for f in found)
    }  # fmt: skip
    result = xr.Dataset(
        coords={"variable": names, "units": ("variable", [units.get(name, "") for name in names])},
        attrs={"members": members, "n_times": n_times},
    )
    for label, value in values.items():
        long_name = SINGLE if label.startswith("crps") and members == 1 else LONG_NAMES[label]
        result[label] = ("variable", value, {"long_name": long_name, "units": UNITS.get(label, "as the variable")})
    _add_spectra(result, [part.spectra() for part in parts], "spectrum", "band", "ring", "km2")
    zonal = [spectra for part in parts if (spectra := part.zonal_spectra()) is not None]
    if zonal:
        _add_spectra(result, zonal, "zonal_spectrum", "zonal_band", "zonal_mode", "km")
    if all("rank_histogram" in part.metrics for part in parts):
        histogram = np.concatenate([part.rank_histogram() for part in parts])
        result["rank_histogram"] = (
            ("variable", "rank"),
            histogram,
            {"long_name": "frequency of the rank of the truth"},
        )
    events = {name: scores for part in parts for name, scores in part.event_scores().items()}
    if events:
        _add_events(result, events, names)
    return result


def _add_spectra(
    result: xr.Dataset, spectra: Sequence[Spectra], name: str, band: str, ring: str, per_wavenumber: str
) -> None:
    prefix = name.removesuffix("spectrum")
    first = spectra[0]
    result.coords[f"{prefix}wavenumber"] = (
        (band, ring),
        first.wavenumber,
        {"units": "km-1", "long_name": "cycles per km"},
    )
    result.coords[f"{prefix}scored"] = (
        (band, ring),
        first.scored,
        {"long_name": f"whether the ring enters {prefix}lsd and {prefix}melr"},
    )
    result.coords[f"{band}_latitude"] = (band, first.latitude, {"units": "degrees_north"})
    for suffix, (attribute, what) in SPECTRA.items():
        stacked = np.concatenate([getattr(s, attribute) for s in spectra])
        attributes = {
            "long_name": f"power density of {what}",
            "units": f"variable's units squared times {per_wavenumber}",
        }
        result[name + suffix] = (("variable", band, ring), stacked, attributes)


def _add_events(result: xr.Dataset, events: Mapping[str, EventScores], names: Sequence[str]) -> None:
    """Scores at thresholds, NaN for the variables that have none or fewer."""
    rows = max(len(e.thresholds) for e in events.values())
    columns = max(len(e.scales) for e in events.values())

    def stack(attribute: str, *shape: int) -> np.ndarray:
        out = np.full((len(names), *shape), np.nan)
        for name, scores in events.items():
            value = np.asarray(getattr(scores, attribute), dtype=np.float64)
            out[names.index(name)][tuple(slice(n) for n in value.shape)] = value
        return out

    result.coords["threshold"] = (("variable", "event"), stack("thresholds", rows), {"units": "as the variable"})
    result.coords["scale"] = (("variable", "window"), stack("scales", columns), {"units": "km"})
    for name, long_name in EVENT_NAMES.items():
        dims, shape = ("variable", "event"), (rows,)
        if name == "fss":
            dims, shape = (*dims, "window"), (*shape, columns)  # type: ignore[assignment]
        result[name] = (dims, stack(name, *shape), {"long_name": long_name, "units": "1"})
