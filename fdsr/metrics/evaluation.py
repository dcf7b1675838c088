"""evaluate(): the metrics of a whole prediction given as xarray objects, one variable of one time in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from fdsr.errors import FdsrError
from fdsr.metrics.alignment import Fields, check_dims, match_grid, match_low, match_times, match_units, read_fields
from fdsr.metrics.missing import require_scorable
from fdsr.metrics.registry import MetricNames
from fdsr.metrics.results import scores_dataset
from fdsr.metrics.score_metric import Task
from fdsr.metrics.suite import FieldMetrics
from fdsr.scores import read_thresholds

Data = xr.Dataset | xr.DataArray


def evaluate_datasets(
    prediction: Data,
    truth: Data,
    low: Data | None = None,
    *,
    mask: xr.DataArray | None = None,
    thresholds: Mapping[str, Sequence[float]] | None = None,
    scales: Sequence[float] | None = None,
    seed: int = 0,
    metrics: MetricNames | None = None,
) -> xr.Dataset:
    """Score a prediction against the truth, area-weighted and in the units of the truth, to which the others are converted.

    Lazy data, chunked or not, from any store, are read one variable of one time at a time, with all its members: the
    CRPS compares every two of them. Everything else runs in blocks beside that.

    Args:
        prediction: one data variable a field with dimensions (member, time, lat, lon) in any order, `member` optional.
            Also understood: latitude and longitude, valid_time, and y and x with units m or km for a projected grid. A
            DataArray is one field, or several along a dimension `variable` or `channel`.
        truth: the same without member, for at least the prediction's times. Cells where it is NaN are not scored.
        low: the low-resolution input on its own grid, (time, lat, lon) or (time, lat_low, lon_low), for
            coarse_consistency. Coarse cells where it is NaN are not scored.
        mask: True where a cell counts, (lat, lon) on the truth's grid, with a time axis if it changes.
        thresholds: variable → thresholds in its unit, for the scores of events (rain); by default what the attribute
            `thresholds` of the truth's variable says ("0.1, 1"), and none without it.
        scales: km, windows of the fractions skill score; by default 3, 9 and 27 rows of the grid.
        seed: of the draws that break ties in ranks.
        metrics: which ones: names, or paths of classes of your own, or the classes; all that are not on demand by default,
            and `+weather_frechet` beside these. See `fdsr.metrics.registry.find_metrics`.

    Returns:
        One data variable a score with dimension `variable`, over the variables in both, as its metric declares it (the table
        of the README has the names). coarse_consistency only with `low`, NaN for a variable it lacks; zonal_lsd and zonal_melr
        where the longitudes close the circle.
        spectrum (of the members), spectrum_reference, spectrum_error and spectrum_mean (of the ensemble mean), (variable,
        band, ring) in unit² km², with wavenumber (band, ring) in cycles/km, scored (band, ring), band_latitude (band);
        zonal_spectrum… (variable, zonal_band, zonal_mode) in unit² km likewise. rank_histogram (variable, rank).
        With thresholds: wet_fraction, wet_fraction_truth, frequency_bias, brier (variable, event), fss (variable, event, window),
        with threshold (variable, event) and scale (variable, window) in km; log1p_spectrum… of ln(1 + x/θ) likewise.
        Without members crps is the mean absolute error, and says so in its long_name, and spread_skill is NaN. A grid
        too small for spectra has NaN in their scores, a variable without a cell that counts in all of them.

    Raises:
        FdsrError: times, grids, units or variables do not match; a predicted value is missing where the truth is not, or a true
            one infinite (names variable, time, member and place).
    """
    named = [d.name for d in (truth, prediction) if isinstance(d, xr.DataArray) and d.name is not None]
    label = str(named[0]) if named else "field"
    fine, reference = read_fields(prediction, "prediction", label), read_fields(truth, "truth", label)
    names = [str(name) for name in reference.data.data_vars if name in fine.data.data_vars]
    if not names:
        raise FdsrError(
            f"prediction and truth share no variable: {sorted(map(str, fine.data.data_vars))} and "
            f"{sorted(map(str, reference.data.data_vars))}"
        )
    for name in names:
        check_dims(reference, name, ("time", "row", "column"))
        check_dims(fine, name, ("time", "member", "row", "column"))
    fine = match_units(match_grid(fine, reference), reference, names)
    times, steps = match_times(fine, reference)
    grid = reference.grid

    coarse, factor, coarse_steps = None, None, steps
    if low is not None:
        coarse, factor = match_low(read_fields(low, "low", label), reference, names)
        coarse = match_units(coarse, reference, names)
        _, coarse_steps = match_times(fine, coarse)
    counts = None if mask is None else _mask(mask, fine, reference)
    asked = _thresholds(thresholds, reference, names)

    members = fine.data.sizes.get("member", 1)
    tasks = [
        Task(
            grid, [name], factor if coarse is not None and name in coarse.data else None,
            members=members, seed=seed, thresholds=asked, scales=scales,
        )
        for name in names
    ]  # fmt: skip
    scored = {name: FieldMetrics(task, metrics) for name, task in zip(names, tasks, strict=True)}
    clock = _seconds(fine)
    # silent where nobody watches
    for i, time in enumerate(tqdm(times, "evaluate", unit="time", disable=None)):
        for name, metric in scored.items():
            y = _load(reference, name, steps[i])
            if counts is not None:
                y = torch.where(counts(i), y, torch.nan)
            x = _load(fine, name, i)
            require_scorable(x, y[0], name, time, grid)
            z = _load(coarse, name, coarse_steps[i])[None] if coarse is not None and name in coarse.data else None
            if z is not None and bool(z.isinf().any()):
                raise FdsrError(f"low: {name} is infinite at time {time}")
            metric.update(x[None, :, None], y[None], z, clock[i : i + 1])
    units = {name: str(reference.data[name].attrs.get("units", "")) for name in names}
    return scores_dataset(list(scored.values()), units, members, len(times))


def _seconds(fields: Fields) -> Tensor:
    """Of every time (T,), since 1970 where they are dates; positions where there are none."""
    if "time" not in fields.data.coords:
        return torch.arange(fields.data.sizes["time"], dtype=torch.float64)
    times = fields.coordinate("time")
    times = times.astype("datetime64[us]").astype(np.int64) / 1e6 if times.dtype.kind == "M" else times
    return torch.from_numpy(np.array(times, dtype=np.float64))


def _mask(mask: xr.DataArray, fine: Fields, reference: Fields) -> Callable[[int], Tensor]:
    """Which cells count, on the truth's grid: (H, W) at time i of the prediction."""
    if not isinstance(mask, xr.DataArray) or mask.dtype.kind != "b":
        found = f"of type {mask.dtype}" if isinstance(mask, xr.DataArray) else type(mask).__name__
        raise FdsrError(f"mask must be an xarray.DataArray of booleans, True where a cell counts, got one {found}")
    fields = read_fields(mask, "mask", "mask")
    check_dims(fields, "mask", ("time", "row", "column"))
    fields = match_grid(fields, reference)
    moving = any(str(d) in ("time", "valid_time") for d in mask.dims)
    steps = match_times(fine, fields)[1] if moving else None
    return lambda i: _load(fields, "mask", 0 if steps is None else steps[i])[0] > 0


def _thresholds(
    given: Mapping[str, Sequence[float]] | None, reference: Fields, names: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """Thresholds by variable: as given, else as the truth's attributes say."""
    if given is None:
        asking = {name: reference.data[name].attrs.get("thresholds") for name in names}
        return {name: read_thresholds(value) for name, value in asking.items() if value is not None}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise FdsrError(f"thresholds name {unknown[0]}, which is not scored; there is {', '.join(names)}")
    return {name: read_thresholds(value) for name, value in given.items()}


def _load(fields: Fields, name: str, step: int) -> Tensor:
    """One time of a variable: (M, H, W) with members, else (1, H, W)."""
    array = fields.data[name].isel(time=step)
    if "member" not in array.dims:
        array = array.expand_dims("member")
    values = np.asarray(array.transpose("member", "row", "column").values)
    if name in fields.conversions:
        values = fields.conversions[name](values)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    # in native byte order and without negative strides, as torch wants them
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    return torch.from_numpy(values if values.flags.writeable else values.copy())
