"""evaluate(): the metrics of a whole prediction given as xarray objects, one time in memory at a time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.metrics.suite import FieldMetrics

TIME = ("time", "valid_time")
MEMBER = ("member", "number", "realization", "ensemble")
ROWS = ("lat", "latitude", "y")
COLUMNS = ("lon", "longitude", "x")
LONG_NAMES = {
    "rmse": "root mean square error of the ensemble mean",
    "mae": "mean absolute error of the ensemble mean",
    "bias": "mean error of the ensemble mean",
    "crps": "fair continuous ranked probability score",
    "spread_skill": "spread-skill ratio",
    "lsd": "log-spectral distance",
    "melr": "mean absolute log ratio of spectra",
    "coarse_consistency": "root mean square difference of the coarsened members from the low-resolution input",
}
UNITS = {"lsd": "dB", "melr": "1", "spread_skill": "1"}


@dataclass(frozen=True)
class _Fields:
    """A dataset with its axes named time, member, row, column, and what they were called before."""

    what: str
    data: xr.Dataset
    projected: bool

    def coordinate(self, axis: str) -> np.ndarray:
        if axis not in self.data.coords:
            raise FdsrError(f"{self.what} has no {axis} coordinate")
        return np.asarray(self.data[axis].values)


def evaluate_datasets(prediction: xr.Dataset, truth: xr.Dataset, low: xr.Dataset | None = None) -> xr.Dataset:
    """Score a prediction against the truth, area-weighted and in the variables' own units.

    Args:
        prediction: one data variable a field with dimensions (member, time, lat, lon) in any order, `member` optional.
            Also understood: latitude and longitude, valid_time, and y and x with units m or km for a projected grid.
        truth: the same without member, for at least the prediction's times.
        low: the low-resolution input on its own grid, (time, lat, lon) or (time, lat_low, lon_low), for
            coarse_consistency.

    Returns:
        One data variable a metric (rmse, mae, bias, crps, spread_skill, lsd, melr, coarse_consistency) with dimension
        `variable`, over the variables in both; spectrum, spectrum_reference and spectrum_error (variable, band, ring)
        in unit² km² with coordinates wavenumber (band, ring) in cycles/km, scored (band, ring), band_latitude (band);
        rank_histogram (variable, rank). Without members crps is the mean absolute error, and says so in its long_name.
        coarse_consistency is NaN for a variable that `low` lacks, and absent without `low`.

    Raises:
        FdsrError: times, grids or variables do not match, or a value is missing (names the variable and the time).
    """
    fine, reference = _fields(prediction, "prediction"), _fields(truth, "truth")
    names = [str(name) for name in reference.data.data_vars if name in fine.data.data_vars]
    if not names:
        raise FdsrError(
            f"prediction and truth share no variable: {sorted(map(str, prediction.data_vars))} and "
            f"{sorted(map(str, truth.data_vars))}"
        )
    for name in names:
        _check_dims(reference, name, ("time", "row", "column"))
        _check_dims(fine, name, ("time", "member", "row", "column"))
    fine = _match_grid(fine, reference)
    times, steps = _match_times(fine, reference)
    rows, columns = reference.coordinate("row"), reference.coordinate("column")

    coarse, factor, coarse_steps = None, None, steps
    if low is not None:
        coarse, factor = _match_low(_fields(low, "low"), reference, names)
        _, coarse_steps = _match_times(fine, coarse)

    members = fine.data.sizes.get("member", 1)
    metrics = {
        name: FieldMetrics(
            rows,
            columns,
            [name],
            factor if coarse is not None and name in coarse.data else None,
            members=members,
            projected=reference.projected,
        )
        for name in names
    }
    for i, time in enumerate(times):
        x = _load(fine, names, i, time)
        y = _load(reference, names, steps[i], time)
        z = {} if coarse is None else _load(coarse, [n for n in names if n in coarse.data], coarse_steps[i], time)
        for name, metric in metrics.items():
            metric.update(x[name][None, :, None], y[name][None], z[name][None] if name in z else None)
    return _result(metrics, reference, members, len(times))


def _fields(data: xr.Dataset, what: str) -> _Fields:
    """The dataset with standard axis names, its fields only, and a time axis."""
    if not isinstance(data, xr.Dataset):
        raise FdsrError(f"{what} must be an xarray.Dataset with one data variable a field, got {type(data).__name__}")
    dims = [str(d) for d in data.dims]
    names: dict[Hashable, str] = {}
    for axis, aliases in {"time": TIME, "member": MEMBER, "row": ROWS, "column": COLUMNS}.items():
        # on the low-resolution side of a pair store the axes are lat_low and lon_low
        coarse = [f"{a}_low" for a in aliases] if what == "low" else []
        candidates = [a for a in (*coarse, *aliases) if a in dims]
        if candidates:
            names[candidates[0]] = axis
        elif axis in ("row", "column"):
            raise FdsrError(f"{what} has no {' or '.join(aliases)} dimension, only {', '.join(dims) or 'none'}")
    projected = any(str(old).split("_")[0] == "y" for old, new in names.items() if new == "row")
    fields = [v for v in data.data_vars if {"row", "column"} <= {names.get(d, d) for d in data[v].dims}]
    # names only: coordinates over other axes go, as do grid mappings
    data = data[fields].rename({old: new for old, new in names.items() if old != new})
    if "time" not in data.dims:
        data = data.expand_dims("time")
    if projected:
        data = data.assign_coords({axis: _kilometres(data, axis, what) for axis in ("row", "column")})
    return _Fields(what, data, projected)


def _kilometres(data: xr.Dataset, axis: str, what: str) -> tuple[str, np.ndarray]:
    if axis not in data.coords:
        raise FdsrError(f"{what} has no {axis} coordinate")
    units = str(data[axis].attrs.get("units", ""))
    scale = {"km": 1.0, "m": 1e-3, "metre": 1e-3, "meter": 1e-3, "metres": 1e-3, "meters": 1e-3}.get(units)
    if scale is None:
        raise FdsrError(f"{what}: the {axis} coordinate of a projected grid needs units m or km, got {units!r}")
    return axis, np.asarray(data[axis].values, dtype=np.float64) * scale


def _check_dims(fields: _Fields, name: str, allowed: Sequence[str]) -> None:
    extra = [str(d) for d in fields.data[name].dims if d not in allowed]
    if extra:
        raise FdsrError(
            f"{fields.what}: variable {name} has the dimension {extra[0]}, which cannot be scored; select one"
        )


def _nearest(wanted: np.ndarray, given: np.ndarray, circle: bool, tolerance: float) -> np.ndarray | None:
    """Index into `given` for each of `wanted`; None if one is farther than `tolerance` spacings of `wanted`."""
    if wanted.size != given.size:
        return None
    step = abs(wanted[-1] - wanted[0]) / (wanted.size - 1) if wanted.size > 1 else 1.0
    distance = np.abs(wanted[:, None].astype(np.float64) - given[None, :].astype(np.float64))
    if circle:
        distance = np.minimum(distance % 360.0, -distance % 360.0)
    index: np.ndarray = distance.argmin(1)
    if np.unique(index).size != index.size or not (distance.min(1) <= tolerance * step).all():
        return None
    return index


def _reorder(fields: _Fields, wanted: dict[str, np.ndarray], tolerance: float) -> _Fields | None:
    """The fields in the order of the `wanted` coordinates of row and column; None if they lie elsewhere."""
    data = fields.data
    for axis, values in wanted.items():
        circle = axis == "column" and not fields.projected
        index = _nearest(values, fields.coordinate(axis), circle, tolerance)
        if index is None:
            return None
        if (index != np.arange(index.size)).any():
            data = data.isel({axis: index})
    return _Fields(fields.what, data, fields.projected)


def _match_grid(fine: _Fields, reference: _Fields) -> _Fields:
    wanted = {axis: reference.coordinate(axis) for axis in ("row", "column")}
    matched = _reorder(fine, wanted, 1e-3) if fine.projected == reference.projected else None
    if matched is None:
        raise FdsrError(f"prediction and truth are on different grids: {_describe(fine)} and {_describe(reference)}")
    return matched


def _describe(fields: _Fields) -> str:
    parts = []
    for axis in ("row", "column"):
        values = fields.coordinate(axis)
        parts.append(f"{values.size} from {values[0]:g} to {values[-1]:g}")
    return " × ".join(parts)


def _match_times(fields: _Fields, other: _Fields) -> tuple[list[str], list[int]]:
    """The times of `fields` as text, and the position of each in `other`."""
    n = fields.data.sizes["time"]
    if "time" not in fields.data.coords or "time" not in other.data.coords:
        if n != other.data.sizes["time"]:
            raise FdsrError(
                f"{fields.what} has {n} times and {other.what} {other.data.sizes['time']}, without coordinates"
            )
        return [str(i) for i in range(n)], list(range(n))
    times, available = _times(fields), _times(other)
    position = {value: i for i, value in enumerate(available.tolist())}
    if len(position) < available.size or len(set(times.tolist())) < times.size:
        raise FdsrError(f"a time occurs twice in {fields.what} or {other.what}")
    missing = [str(t) for t, value in zip(times, times.tolist(), strict=True) if value not in position]
    if missing:
        raise FdsrError(f"{other.what} lacks {len(missing)} of {n} times of {fields.what}, the first {missing[0]}")
    return [str(t) for t in times], [position[value] for value in times.tolist()]


def _times(fields: _Fields) -> np.ndarray:
    times = fields.coordinate("time")
    # one resolution, so that equal instants are equal
    return times.astype("datetime64[ns]") if times.dtype.kind == "M" else times


def _match_low(low: _Fields, reference: _Fields, names: Sequence[str]) -> tuple[_Fields, tuple[int, int]]:
    """The low-resolution input in the order of the fine grid, and the factor between the two."""
    for name in names:
        if name in low.data:
            _check_dims(low, name, ("time", "row", "column"))
    factors, wanted = [], {}
    for axis in ("row", "column"):
        fine, n = reference.coordinate(axis), low.data.sizes[axis]
        if fine.size % n:
            raise FdsrError(f"{fine.size} {axis}s of truth are not a multiple of the {n} of low")
        factors.append(fine.size // n)
        wanted[axis] = fine.astype(np.float64).reshape(n, -1).mean(1)
    matched = _reorder(low, wanted, 0.5)
    if matched is None:
        raise FdsrError(f"low is not a coarser version of truth's grid: {_describe(low)} and {_describe(reference)}")
    return matched, (factors[0], factors[1])


def _load(fields: _Fields, names: Sequence[str], step: int, time: str) -> dict[str, torch.Tensor]:
    """One time of every variable: (M, H, W) with members, else (1, H, W)."""
    data = fields.data[list(names)].isel(time=step).load()
    loaded = {}
    for name in names:
        array = data[name]
        if "member" not in array.dims:
            array = array.expand_dims("member")
        values = np.asarray(array.transpose("member", "row", "column").values)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        missing = int(values.size - np.isfinite(values).sum())
        if missing:
            raise FdsrError(
                f"{fields.what}: {name} is NaN or infinite at time {time} in {missing} of {values.size} cells"
            )
        values = np.ascontiguousarray(values)
        loaded[name] = torch.from_numpy(values if values.flags.writeable else values.copy())
    return loaded


def _result(metrics: dict[str, FieldMetrics], reference: _Fields, members: int, n_times: int) -> xr.Dataset:
    names = list(metrics)
    scores = {name: metric.compute() for name, metric in metrics.items()}
    spectra = [metric.spectra() for metric in metrics.values()]
    first = spectra[0]
    result = xr.Dataset(
        coords={
            "variable": names,
            "units": ("variable", [str(reference.data[name].attrs.get("units", "")) for name in names]),
            "wavenumber": (("band", "ring"), first.wavenumber, {"units": "km-1", "long_name": "cycles per km"}),
            "scored": (("band", "ring"), first.scored, {"long_name": "whether the ring enters lsd and melr"}),
            "band_latitude": ("band", first.latitude, {"units": "degrees_north"}),
        },
        attrs={"members": members, "n_times": n_times},
    )
    for key, long_name in LONG_NAMES.items():
        if any(key in found for found in scores.values()):
            values = [found.get(key, {}).get(name, np.nan) for name, found in scores.items()]
            label = "mean absolute error (a single member)" if key == "crps" and members == 1 else long_name
            result[key] = ("variable", values, {"long_name": label, "units": UNITS.get(key, "as the variable")})
    for key, attribute in {"spectrum": "power", "spectrum_reference": "reference", "spectrum_error": "error"}.items():
        stacked = np.concatenate([getattr(s, attribute) for s in spectra])
        result[key] = (("variable", "band", "ring"), stacked, {"units": "variable's units squared times km2"})
    histograms = np.concatenate([metric.rank_histogram() for metric in metrics.values()])
    result["rank_histogram"] = (("variable", "rank"), histograms, {"long_name": "frequency of the rank of the truth"})
    return result
