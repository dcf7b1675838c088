"""The values of metrics as one xarray dataset, the same for `evaluate` and for a test run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from fdsr.metrics.score_metric import Variable
from fdsr.metrics.suite import FieldMetrics


def scores_dataset(parts: Sequence[FieldMetrics], units: Mapping[str, str], members: int, n_times: int) -> xr.Dataset:
    """Everything that metrics of one grid have seen; see `fdsr.metrics.evaluate` for its variables.

    Args:
        parts: metrics of disjoint variables on one grid.
        units: variable → unit.
        members, n_times: what they have seen, for the attributes.

    A collective call, like `FieldMetrics.compute`.
    """
    names = [name for part in parts for name in part.names]
    arrays = [{k: v for metric in part for k, v in metric.arrays().items()} for part in parts]
    coordinates = [{k: v for metric in part for k, v in metric.coordinates().items()} for part in parts]
    result = xr.Dataset(
        {name: _joined(name, arrays, parts) for found in arrays for name in found},
        coords={name: _joined(name, coordinates, parts) for found in coordinates for name in found}
        | {"variable": names, "units": ("variable", [units.get(name, "") for name in names])},
        attrs={"members": members, "n_times": n_times},
    )
    scores = {score.name: score for part in parts for metric in part for score in metric.scores}
    for name, score in scores.items():
        if (shown := score.shown(members)) in scores and shown != name:
            result[name].attrs["long_name"] = f"{scores[shown].long_name} (a single member)"
    return result


def _joined(name: str, found: Sequence[Mapping[str, Variable]], parts: Sequence[FieldMetrics]) -> Variable:
    """One variable of several along `variable`, NaN where a part lacks it or has fewer thresholds. Others are alike in all parts."""
    dims, _, attributes = first = next(variables[name] for variables in found if name in variables)
    if "variable" not in dims:
        return first
    there = [variables[name][1].shape[1:] for variables in found if name in variables]
    shape = tuple(max(sizes) for sizes in zip(*there, strict=True))
    whole = np.full((sum(len(part.names) for part in parts), *shape), np.nan)
    start = 0
    for variables, part in zip(found, parts, strict=True):
        if name in variables:
            own = variables[name][1]
            whole[(slice(start, start + len(own)), *(slice(n) for n in own.shape[1:]))] = own
        start += len(part.names)
    return dims, whole, attributes
