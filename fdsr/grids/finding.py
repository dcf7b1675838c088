"""Which coordinates of a dataset are its axes: as its user says, by CF attributes, by usual names."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from fdsr.errors import FdsrError
from fdsr.grids.names import LATITUDE, LONGITUDE, TIME, Axis

_PLACES = (LATITUDE, LONGITUDE)
# usual names of a dimension that is a list of cells
_CELLS = ("ncells", "cells", "cell", "ncol", "nodes", "values", "rgrid", "reduced_points")


def find_axis(ds: xr.Dataset, rule: Axis, given: Mapping[str, str]) -> str | None:
    """The one-dimensional coordinate, or the bare dimension, that `rule` describes; `given` says which by its option.

    Any one-dimensional coordinate of dates is a time axis. A time that is valid comes before one that begins a forecast.
    """
    import cf_xarray  # noqa: F401  it registers the accessor

    if (name := given.get(rule.option)) is not None and (name in ds.variables or name in ds.dims):
        return name
    by_attributes = [n for n, c in ds.coords.items() if c.attrs.get("standard_name") in rule.standard_names]
    known = [*by_attributes, *ds.cf.coordinates.get(rule.role, []), *ds.cf.axes.get(rule.role, [])]
    lines = [
        n for n, c in ds.coords.items() if c.ndim == 1 and c.attrs.get("standard_name") != "forecast_reference_time"
    ]
    # stable: of each kind a dimension's own coordinate first
    found = sorted((str(n) for n in known if n in lines), key=lambda n: n not in ds.dims)
    usual = (str(n) for n in (*ds.dims, *lines) if str(n).lower() in rule.usual)
    found += sorted(usual, key=lambda n: rule.usual.index(n.lower()))
    if rule is TIME:
        dated = [str(n) for n in lines if is_dated(ds[n])]
        # a dimension that has no values, or counts, has them in another coordinate: WRF's XTIME along Time
        undated = [n for n in found if n not in dated]
        found = (
            [n for n in found if n in dated]
            or [n for n in dated if not undated or ds[n].dims == (undated[0],)]
            or undated
        )
        found.sort(key=lambda n: n != "valid_time")
    return found[0] if found else None


def is_dated(values: xr.DataArray) -> bool:
    """Whether values are dates, of any calendar."""
    if values.dtype.kind == "M":
        return True
    return values.dtype == object and values.size > 0 and hasattr(values.values.flat[0], "calendar")


def with_places(ds: xr.Dataset) -> xr.Dataset:
    """`ds` with its latitudes and longitudes, of whatever shape, among the coordinates."""
    return ds.set_coords([n for n, v in ds.data_vars.items() if v.ndim and any(_is(n, v, rule) for rule in _PLACES)])


def places_of(ds: xr.Dataset, dimensions: int) -> list[str]:
    """What latitude and longitude with so many dimensions are called, as far as there are such."""
    found = [[str(n) for n, v in ds.coords.items() if v.ndim == dimensions and _is(n, v, rule)] for rule in _PLACES]
    return [names[0] for names in found if names]


def _is(name: object, variable: xr.DataArray, rule: Axis) -> bool:
    return variable.attrs.get("standard_name") in rule.standard_names or str(name).lower() in (
        *rule.usual,
        *rule.of_cells,
    )


def require_rows_and_columns(ds: xr.Dataset, names: Mapping[str, str], where: str) -> None:
    """Raise FdsrError unless row and column are among `names` and have values; says what kind of grid it is instead."""
    kinds = {str(v.attrs.get("GRIB_gridType", "")) for v in ds.data_vars.values()}
    lists = [str(d) for d in ds.dims if str(d).lower() in _CELLS]
    flat, plane = places_of(ds, 1), places_of(ds, 2) or places_of(ds, 3)
    one_list = len(flat) == 2 and ds[flat[0]].dims == ds[flat[1]].dims
    if "sh" in kinds:
        raise FdsrError(f"'{where}' holds spectral coefficients, no grid; make one of them first (cdo sp2gpl)")
    if any(kind.startswith("reduced") for kind in kinds) or {"rgrid", "reduced_points"} & set(lists):
        raise FdsrError(
            f"'{where}' has a reduced Gaussian grid, whose rows differ in length; make it regular first (cdo setgridtype,regular)"
        )
    found = set(names) >= {"row", "column"}
    if one_list or (lists and not found):
        cells = str(ds[flat[0]].dims[0]) if one_list else lists[0]
        raise FdsrError(
            f"'{where}' has an unstructured grid: its cells are one list ('{cells}'), as of ICON; remap it first, for instance "
            "cdo remapcon,r360x180"
        )
    if found:
        for axis in ("row", "column"):
            if names[axis] not in ds.variables:
                raise FdsrError(
                    f"'{where}' has a dimension '{names[axis]}' without values; give it a coordinate of that name, in degrees"
                )
        return
    if plane:
        raise FdsrError(
            f"'{where}' has a curvilinear grid ({' and '.join(plane)} two-dimensional) and no projection (y and x axes with a "
            "grid_mapping); regrid it to latitude and longitude first"
        )
    axes = " and ".join(rule.title for axis, rule in zip(("row", "column"), _PLACES, strict=True) if axis not in names)
    raise FdsrError(
        f"'{where}' has no {axes} axis among its dimensions {', '.join(map(str, ds.dims)) or '(none)'}; say which it is: "
        "--axes time=NAME,lat=NAME,lon=NAME"
    )
