"""What defines a pair store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fdsr.data.making.sources.channels import Channel, parse_channels
from fdsr.data.making.sources.identity import source_identity
from fdsr.data.values import ValueTransform
from fdsr.errors import FdsrError

STORE_VERSION = 1
DEFAULT_SPLIT: Mapping[str, object] = {"train": 0.7, "val": 0.1, "test": 0.15}


@dataclass(frozen=True)
class PrepareConfig:
    """What defines a pair store. Two equal configurations of one source give the same store.

    source: Zarr store, NetCDF file or glob, or GRIB file; a path or a URL that fsspec knows (s3://, gs://, https://)
    variables: fields to predict, and to coarsen as input: VARIABLE, VARIABLE@LEVEL (`z@500`, `z@500/850`), or
        NAME=VARIABLE@LEVEL to give the channel another name; `z500` alone means z@500 where no variable has that name
    factor: fine cells per coarse cell along latitude and longitude
    split: snapshots (int), fractions (float) or [first, last] dates of 'train', 'val' and 'test'
    gap: snapshots left out between blocks, so that neighbours in time never stand on both sides
    static: fields without time that the network sees at fine resolution (orography, land mask)
    transforms: per variable, see ValueTransform
    interpolation: what the residual is measured against, bilinear or bicubic
    crop: LAT_MIN, LAT_MAX, LON_MIN, LON_MAX in degrees, across the date line too; Y and X of a projected grid
    time_range: first and last date to take, ends included; None takes all
    static_source: another store that holds the static fields, regridded to the fine grid if need be
    low_source: an independent coarse archive, paired by time and regridded to the coarse grid if need be, instead of
        the coarsened fine fields
    low_variables: its fields, as in `variables`; by default the same
    missing: what a missing value is: an `error`, to `fill` with the nearest value of its own field, or to `mask`: it stays
        missing, and training and scores leave it out
    storage_options: what fsspec needs to reach the sources (credentials, endpoint); never written anywhere
    """

    source: str
    variables: Sequence[str]
    factor: tuple[int, int]
    split: Mapping[str, object] = field(default_factory=lambda: dict(DEFAULT_SPLIT))
    gap: int = 1
    static: Sequence[str] = ()
    transforms: Mapping[str, ValueTransform] = field(default_factory=dict)
    interpolation: str = "bicubic"
    crop: Sequence[float] | None = None
    time_range: tuple[str, str] | None = None
    static_source: str | None = None
    low_source: str | None = None
    low_variables: Sequence[str] = ()
    missing: str = "error"
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.low_variables and not self.low_source:
            raise FdsrError("low variables need an archive of their own (--low-source)")

    @property
    def channels(self) -> list[Channel]:
        """The fine channels, in order."""
        return parse_channels(self.variables)

    @property
    def low_channels(self) -> list[Channel]:
        """The coarse channels, in order; the fine ones unless a second archive has its own list."""
        return parse_channels(self.low_variables) if self.low_variables else self.channels

    def key(self) -> str:
        """Short hash that names this configuration, and its sources as they are now, in a cache."""
        described = json.dumps(self.to_dict(), sort_keys=True, default=str)
        digest = hashlib.sha256(f"{STORE_VERSION}:{described}".encode())
        for source in self.sources():
            digest.update(source_identity(source, self.storage_options).encode())
        return digest.hexdigest()[:12]

    def sources(self) -> list[str]:
        """Every store that is read: the fine one, the coarse one, that of the static fields."""
        return [s for s in (self.source, self.low_source, self.static_source) if s]

    def to_dict(self) -> dict[str, Any]:
        """Plain values. Options that stand at their default, and storage options, are left out."""
        described: dict[str, Any] = {
            "source": _absolute(self.source),
            "variables": list(self.variables),
            "factor": list(self.factor),
            "split": {k: list(v) if isinstance(v, (list, tuple)) else v for k, v in self.split.items()},
            "gap": self.gap,
            "static": list(self.static),
            "transforms": {k: t.to_dict() for k, t in self.transforms.items()},
            "interpolation": self.interpolation,
            "crop": None if self.crop is None else list(self.crop),
        }
        later = {
            "time_range": list(self.time_range) if self.time_range else None,
            "static_source": _absolute(self.static_source) if self.static_source else None,
            "low_source": _absolute(self.low_source) if self.low_source else None,
            "low_variables": list(self.low_variables),
            "missing": self.missing if self.missing != "error" else None,
        }
        return described | {k: v for k, v in later.items() if v}

    @classmethod
    def from_dict(cls, described: Mapping[str, Any], storage_options: Mapping[str, Any]) -> PrepareConfig:
        """The configuration that `to_dict` described."""
        values = dict(described)
        values["factor"] = tuple(values["factor"])
        values["transforms"] = {k: ValueTransform(**t) for k, t in values["transforms"].items()}
        if "time_range" in values:
            values["time_range"] = tuple(values["time_range"])
        return cls(**values, storage_options=storage_options)


def _absolute(source: str) -> str:
    return source if "://" in source else str(Path(source).resolve())
