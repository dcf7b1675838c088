"""A model as a step of another's pipeline: tensors with coordinates in and out, as earth2studio's diagnostic models have them.

The interface is that of earth2studio 0.19, `earth2studio.models.dx.base.DiagnosticModel`; dimensions are named and ordered as
those of its CorrDiff.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from fdsr.errors import FdsrError
from fdsr.grids import Grid
from fdsr.modules.model import Model

Coords = OrderedDict[str, NDArray]
_FIELD = ("variable", "lat", "lon")


class CoordinateError(FdsrError, ValueError):
    """Coordinates that a diagnostic model does not take: a ValueError, as the interface has it."""


class Diagnostic:
    """(…, variable, lat, lon) to (…, sample, variable, lat, lon), each with its coordinates; of earth2studio nothing is imported.

    Dimensions before `variable` are gone through one by one; members depend on the time that `time` and `lead_time` say, where
    there are such.

    Args:
        model: what downscales; on latitudes and longitudes.
        members: samples of each field; a deterministic model has one.
        seed: root of all noise.
        names: channel → what it is called in `variable`, where that differs ({"u10": "u10m"}).
        units: channel → the unit that fields come in, and go out in, where that is not the model's: tensors do not tell it, and
            earth2studio's are those of its lexicon (K, m s-1, Pa, m2 s-2).
        lat, lon: of the coarse fields; default: of the training's.
        options: further arguments of `Model.downscale`: static, steps, tile, conserve.
    """

    def __init__(
        self,
        model: Model,
        members: int = 8,
        seed: int = 0,
        names: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        lat: NDArray | None = None,
        lon: NDArray | None = None,
        **options: Any,
    ) -> None:
        self.model, self.seed, self.names, self.options = model, seed, names or {}, options
        self.members = model.ensemble_size(members)
        self.units = {name: about.get("units", "") for name, about in model.module.home.attributes.items()} | dict(
            units or {}
        )
        self.home = model.module.home
        if self.home.grid.projected:
            raise FdsrError("the model is of a projected grid; a diagnostic model has latitudes and longitudes")
        low = self.home.low_grid
        self.lat, self.lon = (
            np.asarray(v) for v in (low.rows if lat is None else lat, low.columns if lon is None else lon)
        )

    def _called(self, channels: list[str]) -> NDArray:
        return np.array([self.names.get(name, name) for name in channels])

    def input_coords(self) -> Coords:
        """Coordinates of what it takes; the first dimension stands for any others."""
        fixed = (self._called(self.home.low_channels), self.lat, self.lon)
        return OrderedDict(batch=np.empty(0), **dict(zip(_FIELD, fixed, strict=True)))

    def output_coords(self, input_coords: Mapping[str, NDArray]) -> Coords:
        """Coordinates of what it makes of fields with `input_coords`. Raises CoordinateError unless they end as `input_coords()`."""
        if tuple(input_coords)[-3:] != _FIELD:
            raise CoordinateError(
                f"the last dimensions are {', '.join(tuple(input_coords)[-3:])}; they must be {', '.join(_FIELD)}"
            )
        wanted = self.input_coords()
        for name in _FIELD:
            have = np.asarray(input_coords[name])
            same = have.shape == wanted[name].shape and (
                (have == wanted[name]).all() if name == "variable" else np.allclose(have, wanted[name], atol=1e-4)
            )
            if not same:
                raise CoordinateError(f"coordinate '{name}' is {_short(have)}; the model takes {_short(wanted[name])}")
        fine = Grid(self.lat, self.lon).fine(self.home.factor, self.home.low_grid.steps)
        if np.abs(fine.rows).max() > 90 + 1e-6:
            raise FdsrError("rows on a pole have no room for fine ones on both sides; leave them out of lat")
        before = OrderedDict((k, np.asarray(v)) for k, v in input_coords.items() if k not in _FIELD)
        after = {"sample": np.arange(self.members), "variable": self._called(self.home.high_channels)}
        return OrderedDict(**before, **after, lat=fine.rows, lon=fine.columns)

    def __call__(self, x: Tensor, coords: Mapping[str, NDArray]) -> tuple[Tensor, Coords]:
        """Samples of fields x (…, variable, lat, lon), on its device, and their coordinates."""
        out = self.output_coords(coords)
        sizes = tuple(np.size(v) for v in coords.values())  # 0: any number
        if len(sizes) != x.ndim or any(have and have != n for have, n in zip(sizes, x.shape, strict=True)):
            raise CoordinateError(f"the tensor is of {tuple(x.shape)}, its coordinates of {sizes}")
        before = list(coords)[:-3]
        values, samples = x.detach().float().cpu().numpy(), []
        for index in product(*(range(n) for n in x.shape[:-3])):
            fields = {n: (("lat", "lon"), values[index][i]) for i, n in enumerate(self.home.low_channels)}
            ds = xr.Dataset(fields, {"lat": self.lat, "lon": self.lon})
            ds = ds.assign({n: ds[n].assign_attrs(units=self.units[str(n)]) for n in ds})
            at = {
                name: np.asarray(coords[name])[i]
                for name, i in zip(before, index, strict=True)
                if name in ("time", "lead_time")
            }
            if "time" in at:
                ds = ds.assign_coords(
                    time=np.datetime64(at["time"] + at.get("lead_time", np.timedelta64(0, "h")), "ns")
                )
            found = self.model.downscale(ds, self.members, self.seed, **self.options)
            samples.append(torch.from_numpy(np.stack([found[n].values for n in self.home.high_channels], axis=1)))
        shape = (*x.shape[:-3], *samples[0].shape)
        return torch.stack(samples).reshape(shape).to(x.device), out

    def to(self, device: torch.device | str) -> Diagnostic:
        """Compute on another device."""
        self.model.module.to(torch.device(device))
        return self


def _short(values: NDArray) -> str:
    return f"{values[0]} … {values[-1]} ({values.size})" if values.size > 4 else ", ".join(map(str, values))
