"""Several files of one source made one dataset: on one grid, in one unit, along one axis of time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.axes import grid_of
from fdsr.units import conversions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A file, or some messages of one, and what messages call it."""

    label: str
    data: xr.Dataset

    @property
    def name(self) -> str:
        return Path(self.label).name

    @property
    def file(self) -> str:
        """The file, whichever messages of it."""
        return self.label.partition(" (")[0]


def joined(parts: Sequence[Part], where: str) -> xr.Dataset:
    """Normalised parts as one dataset: each variable is joined along time, and all have the times that all of them hold.

    Rows, columns and levels of the first part are those of all, where they differ by no more than rounding; a variable is in
    the unit of the first part that has it; one without time is that of the first part that has it. Raises FdsrError naming
    the part that lies on another grid, or two that hold the same time.
    """
    if len(parts) == 1:
        return parts[0].data
    parts = [Part(part.label, _on_axes_of(part, parts[0])) for part in parts]
    parts = _in_units_of_first(parts)
    holders: dict[tuple[int, ...], list[str]] = {}  # the parts that hold a variable, and the variables that these hold
    for name in dict.fromkeys(str(n) for part in parts for n in part.data.data_vars):
        holding = tuple(i for i, part in enumerate(parts) if name in part.data)
        moving = tuple(i for i in holding if "time" in parts[i].data[name].dims)
        holders.setdefault(moving or holding[:1], []).append(name)
    groups = [_along_time([parts[i] for i in holding], names) for holding, names in holders.items()]
    return xr.merge(_at_common_times(groups, where), join="exact", compat="override", combine_attrs="override")


def _on_axes_of(part: Part, first: Part) -> xr.Dataset:
    """A part on the coordinates of the first one but for time. Raises FdsrError where they are others."""
    if part is first:
        return part.data
    mine, its = grid_of(part.data), grid_of(first.data)
    if not mine.lies_on(its, 1e-3):
        different = "; ".join(mine.differences(its)) or "other places"
        raise FdsrError(f"'{part.label}' and '{first.name}' lie on different grids: {different}; take files of one")
    levels = [
        str(d) for d in part.data.dims
        if d != "time" and d in part.data.coords and d in first.data.dims and _close(part.data[d], first.data[d])
    ]  # fmt: skip
    planes = [n for n in ("latitude", "longitude") if n in first.data.coords and n in part.data.coords]
    return part.data.assign_coords({n: first.data[n] for n in (*levels, *planes)})


def _close(a: xr.DataArray, b: xr.DataArray) -> bool:
    if a.dtype.kind not in "fiu" or a.shape != b.shape:
        return False
    # rows and columns have been found to agree
    return a.name in ("row", "column") or bool(np.allclose(a, b, rtol=1e-5))


def _in_units_of_first(parts: Sequence[Part]) -> list[Part]:
    """The parts' variables in the unit of the part that has them first; lazily."""
    first: dict[str, tuple[str | None, str]] = {}  # of every variable: its unit, and the first part that has it
    out = []
    for part in parts:
        own = {str(name): variable.attrs.get("units") for name, variable in part.data.data_vars.items()}
        ds = part.data.chunk({})
        for other in dict.fromkeys(first[name][1] for name in own if name in first):
            wanted = {name: unit for name, (unit, where) in first.items() if where == other}
            for name, line in conversions(own, wanted, f"'{part.name}'", f"'{other}'").items():
                ds[name] = line(ds[name]).assign_attrs(ds[name].attrs | {"units": wanted[name]})
        for name, unit in own.items():
            first.setdefault(name, (unit, part.name))
        out.append(Part(part.label, ds))
    return out


def _along_time(parts: Sequence[Part], names: list[str]) -> xr.Dataset:
    """Some variables of the parts that hold them, one part's times after or between the others'."""
    if len(parts) == 1:
        return parts[0].data[names]
    for name in names:
        shapes = {part.name: part.data[name].isel(time=0).dims for part in parts}
        (first, dims), *others = shapes.items()
        if different := next((other for other, d in others if set(d) != set(dims)), None):
            raise FdsrError(f"'{name}' has the axes {dims} in '{first}' and others in '{different}'; {_SPLIT}")
    begin = parts[0]
    for part in parts[1:]:
        if part.data.time.dtype.kind != begin.data.time.dtype.kind:
            raise FdsrError(f"'{begin.name}' and '{part.name}' do not both have dates; leave one of them out")
        for axis in (str(d) for n in names for d in part.data[n].dims if d not in ("time", "row", "column")):
            if not part.data[axis].equals(begin.data[axis]):
                raise FdsrError(
                    f"'{names[0]}' has other values of '{axis}' in '{begin.name}' than in '{part.name}'; {_SPLIT}"
                )
    ds = xr.concat(
        [part.data[names] for part in parts], "time", data_vars="minimal", coords="minimal", compat="override", join="exact",
        combine_attrs="override",
    )  # fmt: skip
    if "time" not in ds.coords:
        return ds
    order = np.argsort(ds.time.values, kind="stable")
    times = ds.time.values[order]
    if (twice := np.flatnonzero(times[1:] == times[:-1])).size:
        owner = np.repeat(np.arange(len(parts)), [part.data.sizes["time"] for part in parts])[order]
        one, two = (parts[owner[twice[0] + i]].name for i in (0, 1))
        raise FdsrError(f"'{names[0]}' at {times[twice[0]]} is in '{one}' and in '{two}'; {_SPLIT}")
    return ds if (order == np.arange(order.size)).all() else ds.isel(time=order)


_SPLIT = "leave one of them out, or give each a file of its own (of GRIB: grib_copy -w typeOfLevel=…,stepType=… IN OUT)"


def _at_common_times(groups: Sequence[xr.Dataset], where: str) -> list[xr.Dataset]:
    """The groups at the times that all of them hold; what that leaves out is said.

    What is given for one time alone, beside others that have many, has none: orography among forecasts.
    """
    longest = max(ds.sizes.get("time", 1) for ds in groups)
    groups = [ds.isel(time=0, drop=True) if ds.sizes.get("time") == 1 < longest else ds for ds in groups]
    axes = [ds.time.values for ds in groups if "time" in ds.coords]
    if not axes or all(np.array_equal(axis, axes[0]) for axis in axes):
        return list(groups)
    common = reduce(np.intersect1d, axes)
    if common.size == 0:
        raise FdsrError(f"'{where}': its variables have no time in common; prepare them from sources of their own")
    sizes = ", ".join(f"{len(ds.time)} of {'/'.join(map(str, ds.data_vars))}" for ds in groups if "time" in ds.coords)
    log.warning("'%s': %d times are in all variables and are taken (%s)", where, common.size, sizes)
    return [
        ds.isel(time=np.flatnonzero(np.isin(ds.time.values, common))) if "time" in ds.coords else ds for ds in groups
    ]
