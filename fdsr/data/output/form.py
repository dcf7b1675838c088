"""The form of a prediction: its variables, dimensions and coordinates, and how fields are laid into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fdsr.data.field_spec import FieldSpec
from fdsr.data.making.sources.channels import variables_of
from fdsr.data.serving.coarse import Asked, CoarseDataset
from fdsr.grids.axes import axis_names
from fdsr.grids.cells import block_means, positions
from fdsr.grids.cf import coordinates, mapped
from fdsr.grids.finding import with_places
from fdsr.grids.grib import with_grib_axes
from fdsr.grids.names import MEMBER
from fdsr.units import SAME, Conversion, conversion

AXES = ("time", "member", "row", "column")


@dataclass(frozen=True)
class Form:
    """How fields (H, W) of the fine grid stand in what is handed over.

    Args:
        order: of AXES; without `time` there is a single one.
        names: of these dimensions.
        sizes: of these, in their order there.
        rows, columns: of the fine grid, in the order that they have there.
        coords: coordinates as xarray takes them.
        variables: channel → variable.
        attributes: channel → attributes of its variable.
        units: channel → what turns the model's values into those that are handed over.
    """

    order: tuple[str, ...]
    names: Mapping[str, str]
    sizes: tuple[int, ...]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    coords: Mapping[str, Any]
    variables: Mapping[str, str]
    attributes: Mapping[str, Mapping[str, Any]]
    units: Mapping[str, Conversion] = field(default_factory=dict)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions, in order."""
        return tuple(self.names[axis] for axis in self.order)

    @property
    def chunks(self) -> tuple[int, ...]:
        """One map a chunk."""
        return tuple(
            size if axis in ("row", "column") else 1 for axis, size in zip(self.order, self.sizes, strict=True)
        )

    def place(self, out: Any, channel: str, time: int, first: int, fields: NDArray) -> None:
        """Lay fields (m, H, W) of a channel, members from `first` on of a time, into the array `out` of its variable."""
        fields = self.units.get(channel, SAME)(fields)[:, self.rows[:, None], self.columns]
        moved = [("member", "row", "column").index(axis) for axis in self.order if axis != "time"]
        where = {"time": time, "member": slice(first, first + len(fields))}
        out[tuple(where.get(axis, slice(None)) for axis in self.order)] = fields.transpose(moved)


def standard_form(spec: FieldSpec, times: NDArray, numbers: Sequence[Any], members: int) -> Form:
    """(time, member, row, column) in the names of pair stores, north first. `numbers`: members of the coarse fields."""
    names = dict(zip(AXES, ("time", "member", *spec.grid.names), strict=True))
    places = {"coordinates": "latitude longitude"} if spec.grid.projected else {}
    return Form(
        AXES, names, (len(times), members * len(numbers), *spec.shape), np.arange(spec.shape[0]), np.arange(spec.shape[1]),
        coords={
            "time": ("time", times, {"standard_name": "time", "axis": "T"}),
            **_member_coordinates("member", numbers, members),
            **coordinates(spec.grid),
        },
        variables={name: name for name in spec.high_channels},
        attributes={n: spec.attributes.get(n, {}) | mapped(spec.grid) | places for n in spec.high_channels},
    )  # fmt: skip


def _member_coordinates(name: str, numbers: Sequence[Any], members: int) -> dict[str, Any]:
    """Members, and of an ensemble of coarse fields which of these each is of."""
    of_low = np.repeat(np.asarray(numbers), members)
    out: dict[str, Any] = {
        name: (name, np.arange(of_low.size), {"standard_name": "realization", "axis": "E"}),
    }
    return out | ({"low_member": (name, of_low)} if len(numbers) > 1 else {})


def form_of_input(ds: xr.Dataset, found: CoarseDataset, asked: Asked, members: int) -> Form:
    """The names, order and orientation, turn of longitude and units of `ds`, which `found` reads: as it was, but finer."""
    ds = with_grib_axes(with_places(asked.view.of(ds, found.where)))
    spec, names = found.spec, axis_names(ds, asked.view.axes)
    inputs = {n: (variables_of(ds, asked.channel(n)) or [n])[0] for n in spec.low_channels}
    first = ds[next(iter(inputs.values()))]
    dims = {axis: str(ds[name].dims[0]) if name in ds.variables else name for axis, name in names.items()}
    if dims.get("time") not in first.dims or ds.sizes[dims["time"]] != found.times.size:
        dims.pop("time", None)
    of_place = {dims["row"]: "row", dims["column"]: "column"} | ({dims["time"]: "time"} if "time" in dims else {})
    order = [of_place[str(d)] for d in first.dims if str(d) in of_place]
    if "time" not in order and found.times.size > 1:
        order.insert(0, "time")
        dims["time"] = "time"
    order.insert(order.index("time") + 1 if "time" in order else 0, "member")
    dims["member"] = "member"
    rows, columns = (_axis(ds, names[axis], axis, found) for axis in ("row", "column"))
    attributes, units, variables = {}, {}, {}
    levelled = [n for n in inputs.values() if list(inputs.values()).count(n) > 1]
    for name in spec.high_channels:
        own = spec.attributes.get(name, {})
        known = inputs.get(name)
        given: dict[str, Any] = dict(ds[known].attrs) if known else {}
        variables[name] = known if known and known not in levelled and _is_plain(ds[known], dims) else name
        line = (
            conversion(str(own.get("units")), str(given.get("units")))
            if given.get("units") and own.get("units")
            else None
        )
        units[name] = line or SAME
        kept = given if line is not None else {k: v for k, v in given.items() if k != "units"}
        attributes[name] = dict(own) | kept
    coords: dict[str, Any] = {
        dims["row"]: (dims["row"], rows[1], dict(ds[names["row"]].attrs)),
        dims["column"]: (dims["column"], columns[1], dict(ds[names["column"]].attrs)),
        **_member_coordinates("member", found.numbers, members),
        **_carried(ds, dims, found),
    }
    sizes = {
        "time": found.times.size,
        "member": members * len(found.numbers),
        "row": rows[0].size,
        "column": columns[0].size,
    }
    if spec.grid.projected:
        coords |= _projected(ds, spec, dims, rows[0], columns[0])
        attributes = {
            n: {k: v for k, v in a.items() if k != "coordinates"} | mapped(spec.grid) for n, a in attributes.items()
        }
    return Form(
        tuple(order), dims, tuple(sizes[axis] for axis in order), rows[0], columns[0], coords, variables, attributes, units
    )  # fmt: skip


def _is_plain(array: xr.DataArray, dims: Mapping[str, str]) -> bool:
    """Whether a variable is of no level among others, so that its name says all."""
    return all(str(d) in dims.values() or array.sizes[d] == 1 or str(d).lower() in MEMBER.usual for d in array.dims)


def _axis(ds: xr.Dataset, name: str, axis: str, found: CoarseDataset) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(fine rows or columns in the order of the input's axis `name`, their coordinates as it counts them)."""
    grid, at = found.spec.grid, 0 if axis == "row" else 1
    factor = found.spec.factor[at]
    given = ds[name].values.astype(np.float64)
    coarse, fine = (g.rows if at == 0 else g.columns for g in (found.low_grid, grid))
    circle = axis == "column" and grid.spherical and not grid.projected
    where = positions(given, coarse, circle, 1e-3)
    assert where is not None  # the coarse grid was taken from these
    falls = given.size > 1 and bool(np.median(np.diff(given)) < 0)
    blocks = np.argsort(where, kind="stable")
    inner = np.arange(factor)[:: -1 if falls != (fine.size > 1 and fine[-1] < fine[0]) else 1]
    index = (blocks[:, None] * factor + inner).ravel()
    # whole turns of longitude between the input's count and ours; the unit of a projection's axes
    ours = block_means(fine, factor)
    turns = np.round((given[where] - ours) / 360.0) if circle else np.zeros(ours.size)
    scale = 1.0 if circle or not ours.any() else _ratio(given[where], ours)
    values = fine * scale + np.repeat(360.0 * turns, factor)
    return index, values[index]


def _ratio(given: NDArray[np.float64], ours: NDArray[np.float64]) -> float:
    i = int(np.abs(ours).argmax())
    return float(f"{given[i] / ours[i]:.9g}")


def _carried(ds: xr.Dataset, dims: Mapping[str, str], found: CoarseDataset) -> dict[str, Any]:
    """Coordinates of the input along its times, and scalar ones."""
    kept = {
        str(n): c.variable for n, c in ds.coords.items()
        if c.ndim == 0 or (c.dims == (dims.get("time"),) and ds.sizes.get(str(dims.get("time"))) == found.times.size)
    }  # fmt: skip
    kept = {n: v for n, v in kept.items() if "grid_mapping_name" not in v.attrs}
    if "time" in dims and dims["time"] not in kept:
        kept[dims["time"]] = xr.Variable(dims["time"], found.times)
    for variable in kept.values():
        variable.encoding = {k: v for k, v in variable.encoding.items() if k in ("units", "calendar")}
    return kept


def _projected(
    ds: xr.Dataset, spec: FieldSpec, dims: Mapping[str, str], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> dict[str, Any]:
    """The mapping, and the true places of every point."""
    out = {n: v for n, v in coordinates(spec.grid).items() if n not in spec.grid.names}
    axes = (dims["row"], dims["column"])
    return {n: (axes, v[1][np.ix_(rows, columns)], v[2]) if np.ndim(v[1]) == 2 else v for n, v in out.items()}
