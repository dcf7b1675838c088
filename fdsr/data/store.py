"""Reading a pair store: its specification, its splits and its time steps."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray
from torch import Tensor

from fdsr.data.arrays import array_of
from fdsr.data.prepare import STORE_VERSION
from fdsr.data.spec import FieldSpec
from fdsr.data.values import ValueTransform
from fdsr.errors import FdsrError


class PairStore:
    """One pair store, opened for reading.

    `spec` is what a model needs of it, `times` (n,) are datetimes, `splits` map a name to (first, one past last). `read`
    decodes one time step and keeps the `cached_steps` last ones, so that several patches of a step cost one decoding.
    """

    def __init__(self, path: str | Path, cached_steps: int = 64) -> None:
        self.path = str(path)
        try:
            self.group = zarr.open_group(self.path, mode="r")
        except (FileNotFoundError, zarr.errors.GroupNotFoundError) as error:
            raise FdsrError(
                f"pair store '{path}' does not exist; make it with 'fdsr prepare' or give data.source"
            ) from error
        version = self.group.attrs.get("version")
        if version != STORE_VERSION:
            raise FdsrError(
                f"'{path}' is not a finished pair store of version {STORE_VERSION} (found {version}); prepare it anew"
            )
        with xr.open_zarr(self.path, chunks=None, consolidated=False) as ds:
            self.times: NDArray = ds.time.values
            self.spec = _read_spec(ds, dict(self.group.attrs))
        self.splits: dict[str, tuple[int, int]] = {k: (v[0], v[1]) for k, v in self.group.attrs["splits"].items()}  # type: ignore
        self._high, self._low = array_of(self.group, "high"), array_of(self.group, "low")
        self._cached = lru_cache(maxsize=cached_steps)(self._decode)

    def read(self, i: int) -> tuple[Tensor, Tensor]:
        """(high (C, H, W), low (D, h, w)) of time step i in physical units, float32. Shared: don't write into them."""
        return self._cached(i)

    def _decode(self, i: int) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.asarray(self._high[i])), torch.from_numpy(np.asarray(self._low[i]))


def _read_spec(ds: xr.Dataset, attributes: dict) -> FieldSpec:
    config = attributes["config"]
    transforms = {k: ValueTransform(**v) for k, v in config["transforms"].items()}
    high, low = [str(v) for v in ds.high_channel.values], [str(v) for v in ds.low_channel.values]

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(ds[name].values.copy())

    return FieldSpec(
        high_channels=high,
        low_channels=low,
        attributes=attributes["variables"],
        high_transforms=[transforms.get(n, ValueTransform()) for n in high],
        low_transforms=[transforms.get(n, ValueTransform()) for n in low],
        factor=tuple(config["factor"]),
        interpolation=config["interpolation"],
        lat=tensor("lat"),
        lon=tensor("lon"),
        lat_low=tensor("lat_low"),
        lon_low=tensor("lon_low"),
        static_channels=[str(v) for v in ds.static_channel.values],
        static=tensor("static"),
        **{
            n: tensor(n)
            for n in ("high_mean", "high_std", "low_mean", "low_std", "residual_std", "power_field", "power_residual")
        },
        fingerprint=attributes["fingerprint"],
    )
