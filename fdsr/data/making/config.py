"""What defines a pair store."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fdsr.data.choices import Interpolation, Missing, require_choice
from fdsr.data.making.periods import Dates, Period
from fdsr.data.making.regions import Region, is_region
from fdsr.data.making.sources.channels import Channel, parse_channels
from fdsr.data.making.sources.checksum import require_sha256
from fdsr.data.making.sources.identity import source_identity
from fdsr.data.values import Identity, ValueTransform, make_transform
from fdsr.errors import FdsrError

STORE_VERSION = 1
Split = Mapping[str, int | float | Dates]


def _default_split() -> Split:
    return {"train": 0.7, "val": 0.1, "test": 0.15}


@dataclass(frozen=True)
class PrepareConfig:
    """What defines a pair store. Two equal configurations of one source give the same store.

    Args:
        source: Zarr store, NetCDF file or glob, or GRIB file; a path or a URL that fsspec knows (s3://, gs://, https://)
        variables: fields to predict, and to coarsen as input: VARIABLE, VARIABLE@LEVEL (`z@500`, `z@500/850`), or
            NAME=VARIABLE@LEVEL to give the channel another name; `z500` alone means z@500 where no variable has that name
        factor: fine cells per coarse cell along rows and columns, one number or two
        split: snapshots (int), fractions (float), or first and last date of 'train', 'val' and 'test', dates as in `time_range`; or
            regions, at all times: lon:-125/-100, least and largest coordinate of an axis (lat, lon; y, x of a projected grid), of
            which the whole coarse cells inside are taken
        gap: snapshots left out between blocks, so that neighbours in time never stand on both sides; null: 1, and none where
            the blocks are dates, which say themselves what lies between them. Between regions: coarse cells, at least 1; null: 2
        static: fields without time that the network sees at fine resolution (orography, land mask)
        transforms: per variable its name and settings, {tp: {name: cbrt, lower: 0}}; see fdsr.data.values
        units: per variable the unit that it is read in, {pr: mm h-1}, where that of the source can be converted; it is the source's
            unit where the source says none
        thresholds: per variable those that its events are scored at, in its unit, {pr: [0.1, 1, 5]}; by default what the source's
            attribute `thresholds` says
        interpolation: what the residual is measured against
        crop: LAT_MIN, LAT_MAX, LON_MIN, LON_MAX in degrees, across the date line too; Y and X of a projected grid
        time_range: first and last date to take, each the whole of what it names: 2020/2020 is that year, 2020-06-30 has all
            its hours; null takes all
        static_source: another store that holds the static fields, regridded to the fine grid if need be
        low_source: an independent coarse archive, paired by time and regridded to the coarse grid if need be, instead of
            the coarsened fine fields
        low_variables: its fields, as in `variables`; by default the same
        axes: what axes are called that are not known by themselves, {time: TIME, lat: FNOCY, lon: FNOCX}; y and x of a
            projected grid
        select: the value to take of an axis that is none of time, level, row and column, {number: 0}
        trim: cut the last rows and columns that make no whole coarse cell, instead of refusing them
        missing: what a missing value is: an `error`, to `fill` with the nearest value of its own field, or to `mask`: it
            stays missing, and training and scores leave it out
        sha256: checksum of the file `source`, which must be the one that is meant
        origin: where that is to be had, for whoever lacks it: said when the checksum is another
        storage_options: what fsspec needs to reach the sources (credentials, endpoint); never written anywhere

    Raises FdsrError for settings that no source can meet.
    """

    source: str
    variables: Sequence[str] = ()
    factor: int | tuple[int, int] = 4
    split: Split = field(default_factory=_default_split)
    gap: int | None = None
    static: Sequence[str] = ()
    transforms: Mapping[str, Any] = field(default_factory=dict)
    interpolation: Interpolation = "bicubic"
    crop: tuple[float, float, float, float] | None = None
    time_range: Dates | None = None
    static_source: str | None = None
    low_source: str | None = None
    low_variables: Sequence[str] = ()
    axes: Mapping[str, str] = field(default_factory=dict)
    select: Mapping[str, Any] = field(default_factory=dict)
    trim: bool = False
    missing: Missing = "error"
    units: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    sha256: str | None = None
    origin: str = ""
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        transforms = {name: make_transform(described) for name, described in self.transforms.items()}
        object.__setattr__(self, "transforms", transforms)
        split = {name: _block(value, f"split {name}") for name, value in self.split.items()}
        object.__setattr__(self, "split", split)
        if self.sha256 is not None:
            object.__setattr__(self, "sha256", require_sha256(self.sha256))
        if self.time_range is not None:
            object.__setattr__(self, "time_range", _dates(self.time_range, "time range"))
        require_choice(self.interpolation, Interpolation, "interpolation")
        require_choice(self.missing, Missing, "missing values")
        if not self.variables:
            raise FdsrError(f"no variables are asked for of '{self.source}'; name some (variables, or --variables)")
        if self.by_region and self.apart < 1:
            raise FdsrError(
                f"gap {self.gap} lets regions of the split touch; leave out at least 1 coarse cell between them"
            )
        if self.apart < 0:
            raise FdsrError(f"gap {self.gap} would let the blocks of the split overlap; give at least 0")
        if min(self.factors) < 1:
            raise FdsrError(f"factor {self.factor} is no number of fine cells in a coarse one; give at least 1")
        for setting in ("transforms", "units", "thresholds"):
            self._require_known(setting)
        thresholds = {name: [float(t) for t in own] for name, own in self.thresholds.items()}
        object.__setattr__(self, "thresholds", thresholds)
        if self.low_variables and not self.low_source:
            raise FdsrError("low variables need an archive of their own (--low-source)")
        if self.static_source and not self.static:
            raise FdsrError(f"no field is asked for of '{self.static_source}'; name some (static, or --static)")
        names = {c.name for c in (*self.channels, *self.low_channels)}
        if twice := next((c.name for c in parse_channels(self.static) if c.name in names), ""):
            raise FdsrError(
                f"'{twice}' is the name of a variable and of a static field; give the field another, --static NAME={twice}"
            )

    def _require_known(self, setting: str) -> None:
        """Raise FdsrError where one of the settings of single variables is of no channel."""
        channels = [*self.channels, *self.low_channels]
        for name in (n for n in getattr(self, setting) if n not in {c.name for c in channels}):
            renamed = [c.name for c in channels if c.variable == name]
            known = (
                f"it is called {renamed[0]} here"
                if renamed
                else f"there are {', '.join(dict.fromkeys(c.name for c in channels))}"
            )
            raise FdsrError(f"{setting} of '{name}', which is no channel: {known}")

    @property
    def factors(self) -> tuple[int, int]:
        """Fine cells per coarse cell along rows and along columns."""
        return (self.factor, self.factor) if isinstance(self.factor, int) else (self.factor[0], self.factor[1])

    @property
    def by_region(self) -> bool:
        """Whether the blocks of the split are regions and not times."""
        return any(is_region(block) for block in self.split.values())

    @property
    def apart(self) -> int:
        """Snapshots, or coarse cells, between the blocks of the split."""
        if self.gap is not None:
            return self.gap
        if self.by_region:
            return 2
        return 0 if all(isinstance(block, list) for block in self.split.values()) else 1

    @property
    def channels(self) -> list[Channel]:
        """The fine channels, in order."""
        return parse_channels(self.variables)

    @property
    def low_channels(self) -> list[Channel]:
        """The coarse channels, in order; the fine ones unless a second archive has its own list."""
        return parse_channels(self.low_variables) if self.low_variables else self.channels

    def transforms_of(self, channels: Sequence[str]) -> list[ValueTransform]:
        """The transform of each channel; the identity where none is asked for."""
        return [self.transforms.get(name, Identity()) for name in channels]

    def require(self, expected: Mapping[str, Any], where: str, mend: str) -> None:
        """Raise FdsrError at the first of the `expected` settings that is not this one, of the store `where`."""
        for name, value in expected.items():
            if name == "transforms":  # what is left to be measured is as it was
                made = {n: make_transform(described) for n, described in value.items()}
                value = {n: t.completed(self.transforms.get(n)) for n, t in made.items()}
            have, want = (config.to_dict().get(name) for config in (self, replace(self, **{name: value})))
            if have != want:
                raise FdsrError(f"'{where}' was prepared with {name} {have}, not {want}; {mend}")

    def key(self) -> str:
        """Short hash that names this configuration, and its sources as they are now, in a cache."""
        described = json.dumps(self.to_dict(), sort_keys=True, default=str)
        if any(isinstance(value, list) for value in self.split.values()):
            described += "whole dates"  # a cache may hold stores whose blocks end where their last date begins
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
            "factor": list(self.factors),
            "split": dict(self.split),
            "gap": self.apart,
            "static": list(self.static),
            "transforms": {k: t.to_dict() for k, t in self.transforms.items()},
            "interpolation": self.interpolation,
            "crop": None if self.crop is None else list(self.crop),
        }
        later = {
            "time_range": self.time_range,
            "static_source": _absolute(self.static_source) if self.static_source else None,
            "low_source": _absolute(self.low_source) if self.low_source else None,
            "low_variables": list(self.low_variables),
            "axes": dict(self.axes),
            "select": dict(self.select),
            "trim": self.trim,
            "missing": self.missing if self.missing != "error" else None,
            "units": dict(self.units),
            "thresholds": dict(self.thresholds),
            "sha256": self.sha256,
            "origin": self.origin,
        }
        return described | {k: v for k, v in later.items() if v}

    @classmethod
    def given(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `settings` that say something: that are not empty, and not what holds without them."""
        usual = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields(cls)}
        return {n: v for n, v in settings.items() if v not in (None, usual.get(n)) and (v or v is False or v == 0)}

    @classmethod
    def from_dict(cls, described: Mapping[str, Any], storage_options: Mapping[str, Any]) -> PrepareConfig:
        """The configuration that `to_dict` described."""
        values = dict(described)
        for name in ("factor", "crop"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        return cls(**values, storage_options=storage_options)


def _dates(value: Dates, what: str) -> list[str]:
    period = Period.parse(value, what)
    return [period.first, period.last]


def _block(value: int | float | Dates, what: str) -> int | float | str | list[str]:
    if is_region(value):
        return str(Region.parse(str(value), what))
    if not isinstance(value, (int, float)):
        return _dates(value, what)
    if not math.isfinite(value):
        raise FdsrError(
            f"{what} is {value}; give a number of snapshots, a fraction of them, dates FIRST/LAST, or a region"
        )
    return value


def _absolute(source: str) -> str:
    return source if "://" in source else str(Path(source).expanduser().resolve())
