"""Coarse fields alone, to predict from: of a pair store, or of any source that holds the model's coarse grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from fdsr.data.field_spec import FieldSpec
from fdsr.data.making.periods import chosen_times
from fdsr.data.making.reading import ChannelReader
from fdsr.data.making.sources import Channel, View, open_source
from fdsr.data.serving.conditions import Conditions
from fdsr.data.serving.datasets import WeatherBatch, WholeFields
from fdsr.data.serving.store import PairStore
from fdsr.grids.axes import on_grid
from fdsr.grids.names import MEMBER


class CoarseDataset(WholeFields):
    """Whole coarse fields alone, of a pair store or of any gridded source that has the coarse grid of `spec`, or more.

    A source is read as `fdsr prepare` reads it: its axes by `view`, a channel under the variable and level that `channels` has
    for its name, else under its own name (`z500` is level 500 of `z` where no variable has that name), in the model's units.
    The model's rows and columns are cut out of it, on whichever turn of longitude. Where it is an ensemble, the fields are
    those of each member; a source without times has one. `numbers` says what its members are called.
    """

    def __init__(
        self,
        path: str,
        spec: FieldSpec,
        channels: Sequence[Channel] = (),
        view: View | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = spec
        self.numbers: list[Any] = [0]
        self.store: PairStore | None = None
        if _is_pair_store(path):
            self.store = PairStore(path, time_channels=spec.time_channels)
            spec.require_same(self.store.spec, path)
            self.times = self.store.times
            self.conditions = Conditions(spec, self.times)
            return
        known = {c.name: replace(c, otherwise=c.name) for c in channels}
        wanted = [known.get(name, Channel(name, name)) for name in spec.low_channels]
        ds = on_grid(open_source(path, storage_options, wanted, view), spec.low_grid, path)
        ds = ds if "time" in ds.dims else ds.expand_dims("time")
        steps = chosen_times(ds, path)
        self.times = ds["time"].values
        self.conditions = Conditions(spec, self.times)
        single = [ds]
        if axis := next((str(d) for d in ds.dims if _is_of_members(ds, str(d)) and ds.sizes[d] > 1), None):
            self.numbers = ds[axis].values.tolist()
            single = [ds.isel({axis: i}, drop=True) for i in range(len(self.numbers))]
        missing = "mask" if spec.masked else "error"
        self.readers = [ChannelReader(part, wanted, steps, path, missing, spec.periodic) for part in single]
        for reader in self.readers:
            reader.convert({name: about.get("units") for name, about in spec.attributes.items()}, "the model")

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
        batch = self._batch(low, self.times, times)
        return batch | {"index": torch.tensor(list(items), dtype=torch.int64)}


def _is_of_members(ds: xr.Dataset, axis: str) -> bool:
    standard_name = ds[axis].attrs.get("standard_name") if axis in ds.coords else None
    return axis.lower() in MEMBER.usual or standard_name in MEMBER.standard_names


def _is_pair_store(path: str) -> bool:
    return (Path(path).expanduser() / "high").exists() and (Path(path).expanduser() / "low").exists()
