"""Channels: a variable of the source, at a level where it has levels, under a name of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.names import LEAD, MEMBER
from fdsr.units import conversion

_USUAL = ("time", "row", "column")


@dataclass(frozen=True)
class Channel:
    """One field of the pair store: `variable` at `level` (in the source's unit, or hPa where that is Pa)."""

    name: str
    variable: str
    level: float | None = None
    otherwise: str = ""  # what the variable may be called where there is none of that name


def parse_channels(texts: Sequence[str]) -> list[Channel]:
    """Channels of VARIABLE, VARIABLE@LEVEL[/LEVEL…] and NAME=VARIABLE[@LEVEL]. Raises FdsrError if a name comes twice."""
    channels = [channel for text in texts for channel in _parse(str(text))]
    names = [c.name for c in channels]
    for name in names:
        if names.count(name) > 1:
            raise FdsrError(f"channel '{name}' is asked for twice; give one of them another name (NAME=VARIABLE@LEVEL)")
    return channels


def _parse(text: str) -> list[Channel]:
    name, _, rest = text.rpartition("=")
    variable, at, levels = rest.partition("@")
    if not at:
        return [Channel(name or variable, variable)]
    try:
        values = [float(v) for v in levels.split("/")]
    except ValueError as error:
        raise FdsrError(f"variable '{text}' has no level that is a number; write for instance z@500") from error
    if name and len(values) > 1:
        raise FdsrError(f"variable '{text}' gives one name to several levels; name each level, or none")
    return [Channel(name or f"{variable}{value:g}", variable, value) for value in values]


def require_variables(ds: xr.Dataset, variables: Sequence[str], where: str) -> None:
    """Raise FdsrError naming the first variable that `ds` lacks."""
    for name in variables:
        if name not in ds.data_vars:
            present = [str(v) for v in ds.data_vars]
            alike = next((v for v in present if v.lower() == name.lower()), "")
            mend = f"; write {name}={alike}" if alike else ""
            raise FdsrError(f"'{where}' has no variable '{name}'; it has {', '.join(present) or 'none'}{mend}")


def variables_of(ds: xr.Dataset, channel: Channel) -> list[str]:
    """The variable of `ds` that a channel is of: its own, or `z` of `z500`; none where it has neither."""
    of_level = _of_level(channel)
    names = (channel.variable, of_level[0] if of_level else "", channel.otherwise)
    return [name for name in names if name in ds.data_vars][:1]


def _of_level(channel: Channel) -> tuple[str, float] | None:
    """(z, 500) of z500."""
    split = re.fullmatch(r"(.*?[^\d.])(\d+(?:\.\d+)?)", channel.variable)
    return (split[1], float(split[2])) if split and channel.level is None else None


def resolve(ds: xr.Dataset, channel: Channel, where: str) -> tuple[str, str | None, int | None]:
    """(variable, level axis, index on it) of a channel of `ds`; the axis is None for a variable without levels.

    `z500` means level 500 of `z` where no variable is called z500. Raises FdsrError naming the variable or level that
    the source lacks, or a dimension that is none of time, level, row, column.
    """
    variable, level = channel.variable, channel.level
    of_level = _of_level(channel)
    if variable not in ds.data_vars and of_level and of_level[0] in ds.data_vars:
        variable, level = of_level
    elif variable not in ds.data_vars and channel.otherwise in ds.data_vars:
        variable, level = channel.otherwise, None
    require_variables(ds, [variable], where)
    array = ds[variable]
    if array.dtype.kind not in "biuf":
        raise FdsrError(f"'{where}': variable '{variable}' holds no numbers, but {array.dtype}; leave it out")
    others = [str(d) for d in array.dims if d not in _USUAL]
    several = [d for d in others if array.sizes[d] > 1]
    if not set(array.dims) >= {"row", "column"}:
        raise FdsrError(f"'{where}': variable '{variable}' has dimensions {array.dims}; row and column are needed")
    if len(several) > 1 or (several and not _may_be_levels(ds, several[0])):
        # the axis that is not of levels
        axis = next((d for d in several if not _may_be_levels(ds, d)), several[0])
        along = ds[axis].values
        values = (along / np.timedelta64(1, "h") if along.dtype.kind == "m" else along).tolist()
        raise FdsrError(
            f"'{where}': variable '{variable}' has {len(values)} values of '{axis}', {values[0]} … {values[-1]}; say which: "
            f"--select {axis}={values[0]}"
        )
    long = [d for d in others if array.sizes[d] > 1] or [
        d for d in others if level is not None and d in ds.coords and _may_be_levels(ds, d)
    ]
    if not long:
        if level is not None and not _scalar_level(array, level):
            raise FdsrError(
                f"'{where}': variable '{variable}' does not stand at {level:g}, and has no levels; ask for '{variable}' alone"
            )
        return variable, None, None
    axis = long[0]
    if level is None:
        raise FdsrError(
            f"'{where}': variable '{variable}' has {array.sizes[axis]} values of '{axis}'; say which, {variable}@LEVEL, or "
            f"--select {axis}=VALUE for all variables"
        )
    return variable, axis, _level_index(array, axis, level, where)


def _may_be_levels(ds: xr.Dataset, axis: str) -> bool:
    """Whether an axis counts neither members nor leads, and not in words."""
    return axis.lower() not in (*MEMBER.usual, *LEAD.usual) and ds[axis].dtype.kind in "iuf"


def _in_hectopascals(levels: xr.DataArray) -> np.ndarray:
    """Levels as they are, of whatever coordinate, but pressures in hPa."""
    values, unit = np.asarray(levels.values, dtype=np.float64), str(levels.attrs.get("units", ""))
    if unit in ("", "1", "m", "hPa", "millibars"):  # the usual ones, without the registry of units
        return values
    line = conversion(unit, "hPa")
    return values if line is None else np.asarray(line(values))


def _level_index(array: xr.DataArray, axis: str, level: float, where: str) -> int:
    if axis not in array.coords:
        raise FdsrError(f"'{where}': axis '{axis}' of '{array.name}' has no values; levels cannot be found on it")
    present = _in_hectopascals(array[axis])
    # as people say them; or in Pa, as they are written, where no such pressure in hPa is on Earth
    for values in (present, array[axis].values) if level > 1100 else (present,):
        matches = np.flatnonzero(np.isclose(values, level, rtol=1e-5))
        if matches.size == 1:
            return int(matches[0])
        if matches.size > 1:
            raise FdsrError(
                f"'{where}': variable '{array.name}' has level {level:g} {matches.size} times; leave all but one out"
            )
    listed = ", ".join(f"{v:g}" for v in present)
    raise FdsrError(f"'{where}': variable '{array.name}' has no level {level:g}; it has {listed}")


def _scalar_level(array: xr.DataArray, level: float) -> bool:
    """Whether a scalar coordinate says that the variable stands at `level`, as where a file holds one level."""
    numeric = [c for c in array.coords.values() if c.size == 1 and np.issubdtype(c.dtype, np.number)]
    return any(np.isclose(_in_hectopascals(c), level, rtol=1e-5).all() for c in numeric)
