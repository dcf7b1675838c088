"""Coarse fields alone, to predict from: of a pair store, or of any source of the model's kind, wherever it lies."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fdsr.data.choices import Missing
from fdsr.data.field_spec import FieldSpec
from fdsr.data.making.periods import chosen_times, times_of
from fdsr.data.making.reading import ChannelReader
from fdsr.data.making.sources import Channel, Source, View, name_of, open_source
from fdsr.data.making.sources.channels import variables_of
from fdsr.data.making.static import static_fields
from fdsr.data.place import Place, at, fine_grid, of_pairs, require_spacing
from fdsr.data.serving.conditions import Conditions
from fdsr.data.serving.datasets import WeatherBatch, WholeFields
from fdsr.data.serving.store import PairStore
from fdsr.data.values import apply_forward
from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.grids.axes import crop_region, grid_of
from fdsr.grids.cells import is_even
from fdsr.grids.grid import UNEVEN
from fdsr.grids.names import MEMBER
from fdsr.units import conversions

log = logging.getLogger(__name__)

# deviations of single values over the place of the training by which a field's mean is never off
FAR = 6.0


@dataclass(frozen=True)
class Asked:
    """What a user says of coarse fields and of the place that they are of.

    Args:
        channels: where fields, and static ones, stand under other names than the model's.
        view: what axes are called, and what is selected of further ones.
        static: a source of static fields, on the fine grid or another; or a pair store of the place.
        region: LAT_MIN, LAT_MAX, LON_MIN, LON_MAX to take of the source.
        any_spacing: take fields that are spaced otherwise than those of the training.
        missing: whether missing values are an error or filled, where the model knows none.
        storage_options: what fsspec needs to reach the sources.
    """

    channels: Sequence[Channel] = ()
    view: View = field(default_factory=View)
    static: Source | None = None
    region: tuple[float, float, float, float] | None = None
    any_spacing: bool = False
    missing: Missing = "error"
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    def channel(self, name: str) -> Channel:
        """Where the field that a model calls so stands."""
        known = next((c for c in self.channels if c.name == name), None)
        return Channel(name, name) if known is None else replace(known, otherwise=name)


class CoarseDataset(WholeFields):
    """Whole coarse fields alone, of a pair store or of any gridded source that is spaced as the coarse fields of `home` are.

    A source is read as `fdsr prepare` reads it: its axes by `asked.view`, a channel under the variable and level that
    `asked.channels` has for its name, else under its own name (`z500` is level 500 of `z` where no variable has that name), in the
    model's units. Where it is an ensemble, the fields are those of each member; a source without times has one. `numbers` says
    what its members are called; `spec` is the kind of `home` at the source's place, `attributes` what is said of the source.
    """

    def __init__(self, source: Source, home: FieldSpec, asked: Asked | None = None) -> None:
        self.numbers: list[Any] = [0]
        self.store: PairStore | None = None
        self._looked_at = False
        asked, self.where = asked or Asked(), name_of(source)
        if isinstance(source, str) and _is_pair_store(source):
            if asked.region is not None:
                raise FdsrError(
                    f"'{source}' is a pair store, of which no part is taken; leave --region out, or give the coarse fields it was made of"
                )
            self.store = PairStore(source, time_channels=home.time_channels)
            self.spec = of_pairs(home, self.store.spec, source, asked.any_spacing)
            self.times, self.attributes = self.store.times, dict(self.store.group.attrs)
            self.low_grid, self.conditions = self.store.spec.low_grid, Conditions(self.spec, self.times)
            return
        wanted = [asked.channel(name) for name in home.low_channels]
        ds = crop_region(open_source(source, asked.storage_options, wanted, asked.view), asked.region)
        try:
            asked.view.require_met()
        except FdsrError as unmet:  # what the training's source needed this one need not
            log.warning("%s", unmet)
        ds = ds if "time" in ds.dims else ds.expand_dims("time")
        low = grid_of(ds)
        require_even(low, self.where)
        require_spacing(home, low, self.where, asked.any_spacing)
        rows = _clear_of_poles(home, low, self.where)
        ds, self.low_grid = ds.isel(row=rows), low.part(rows)
        self.spec = at(home, _place(home, fine_grid(home, self.low_grid), self.where, asked), self.where)
        if not ds.sizes["time"]:
            raise FdsrError(f"'{self.where}' has a time axis without times; there is nothing to predict from")
        steps = chosen_times(ds, self.where)
        self.times, self.attributes = times_of(ds), dict(ds.attrs)
        self.conditions = Conditions(self.spec, self.times)
        single = [ds]
        if axis := next((str(d) for d in ds.dims if _is_of_members(ds, str(d)) and ds.sizes[d] > 1), None):
            self.numbers = ds[axis].values.tolist()
            single = [ds.isel({axis: i}, drop=True) for i in range(len(self.numbers))]
        missing: Missing = "mask" if home.masked else "fill" if asked.missing == "fill" else "error"
        periodic = self.spec.periodic
        self.readers = [ChannelReader(part, wanted, steps, self.where, missing, periodic) for part in single]
        for reader in self.readers:
            reader.convert({name: about.get("units") for name, about in home.attributes.items()}, "the model")

    @property
    def members(self) -> int:  # type: ignore[override]
        """Members of the source at each time."""
        return len(self.numbers)

    def __getitems__(self, items: Sequence[int]) -> WeatherBatch:
        times = [i // self.members for i in items]
        if self.store is not None:
            low = torch.empty(len(items), *self.store.low.shape[1:])
            self.store.read_fields(times, None, low.numpy())
        else:
            fields = [self.readers[i % self.members].read(t, t + 1)[0] for i, t in zip(items, times, strict=True)]
            low = torch.from_numpy(np.concatenate(fields))
            if not self._looked_at:
                self._looked_at = True
                _say_if_far(self.spec, low, self.where)
        batch = self._batch(low, self.times, times)
        return batch | {"index": torch.tensor(list(items), dtype=torch.int64)}


def _say_if_far(spec: FieldSpec, low: Tensor, where: str) -> None:
    """Warn where fields (n, D, h, w) are on average where no weather of the training's sort is: they are in other units than they say."""
    mean = apply_forward(spec.low_transforms, low).double().nanmean((0, 2, 3))
    for name, far in zip(spec.low_channels, ((mean - spec.low_mean) / spec.low_std).tolist(), strict=True):
        if abs(far) > FAR:
            log.warning(
                "'%s': %s is on average %.0f deviations from its mean in the training; are its units right?",
                where,
                name,
                far,
            )


def require_even(grid: Grid, where: str) -> None:
    """Raise FdsrError unless both axes are evenly spaced; Gaussian rows count as even."""
    for axis, name in zip((grid.rows, grid.columns), grid.names, strict=True):
        if not is_even(axis, UNEVEN):
            raise FdsrError(f"'{where}' has an unevenly spaced axis '{name}'; regrid it to even spacing first")


def _clear_of_poles(home: FieldSpec, low: Grid, where: str) -> slice:
    """The rows all of whose fine cells have their middles on the globe; says which others there are."""
    if not low.spherical or home.low_grid.positions(low) is not None:
        return slice(None)
    beyond = (
        np.abs(low.fine((home.factor[0], 1), home.low_grid.steps).rows).reshape(-1, home.factor[0]).max(1) > 90 + 1e-6
    )
    if beyond.any():
        log.warning(
            "'%s': rows %s lie on a pole, where there is no room for fine ones on both sides; they are left out", where,
            ", ".join(f"{row:g}" for row in low.rows[beyond]),
        )  # fmt: skip
    inner = np.flatnonzero(~beyond)
    return slice(int(inner[0]), int(inner[-1]) + 1)


def _place(home: FieldSpec, grid: Grid, where: str, asked: Asked) -> Place:
    """The place of the fine `grid`, with static fields as far as they are given."""
    if asked.static is None:
        return Place(grid, {})
    given = name_of(asked.static)
    if isinstance(asked.static, str) and _is_pair_store(asked.static):
        other = PairStore(asked.static).spec
        found = other.grid.positions(grid)
        if found is None:
            raise FdsrError(
                f"pair store '{given}' does not hold the place of '{where}', {grid.extent}; it has {other.grid.extent}"
            )
        cut = np.ix_(*found)
        static = {n: plane.numpy()[cut] for n, plane in zip(other.static_channels, other.static, strict=True)}
        present = torch.ones(len(other.high_channels), *other.shape).bool() if other.present is None else other.present
        return Place(grid, static, present[:, found[0]][:, :, found[1]])
    channels = [asked.channel(name) for name in home.static_channels]
    ds = open_source(asked.static, asked.storage_options, channels, asked.view)
    texts = {c.name: f"{c.name}={(variables_of(ds, c) or [c.variable])[0]}" for c in channels}
    levels = {c.name: f"@{c.level:g}" for c in channels if c.level is not None}
    asked_for = [text + levels.get(name, "") for name, text in texts.items()]
    fields, about = static_fields(ds, asked_for, grid, given, "mask" if home.masked else "error")
    have, want = ({n: a.get("units") for n, a in attributes.items()} for attributes in (about, home.attributes))
    for name, line in conversions(have, want, f"'{given}'", "the model").items():
        fields[name] = line(fields[name].astype(np.float64)).astype(np.float32)
    return Place(grid, fields)


def _is_of_members(ds: xr.Dataset, axis: str) -> bool:
    standard_name = ds[axis].attrs.get("standard_name") if axis in ds.coords else None
    return axis.lower() in MEMBER.usual or standard_name in MEMBER.standard_names


def _is_pair_store(path: str) -> bool:
    return (Path(path).expanduser() / "high").exists() and (Path(path).expanduser() / "low").exists()
