"""The pair store on disk: its coordinates, its two arrays, its statistics and attributes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from fdsr.data.choices import Compression, require_choice
from fdsr.data.making.config import STORE_VERSION, PrepareConfig
from fdsr.data.making.local_scale import LocalScale, write_local_scale
from fdsr.data.making.pairing import Pairs
from fdsr.data.making.statistics import STATISTICS, tile_size
from fdsr.data.zarr_groups import array_of, consolidate
from fdsr.errors import FdsrError
from fdsr.grids.cf import MAPPING, coordinates, low_coordinates, low_names, mapped
from fdsr.grids.names import axis_names

COMPRESSIONS: dict[str, BloscCodec | None] = {
    "lz4": BloscCodec(cname="lz4", shuffle="shuffle"),
    "zstd": BloscCodec(cname="zstd", shuffle="shuffle"),
    "none": None,
}


@dataclass(frozen=True)
class Layout:
    """How fields lie in their files; their values do not depend on it, nor does the fingerprint.

    compression: `lz4` (fast to read), `zstd` (smaller), or `none`. Blosc with shuffle either way.
    shard: time steps a file, each a chunk of its own inside it; 1: a file a step, the fastest on a disk. In an object store,
        where every file costs a request, 64 to 256 MB a file are usual.

    Raises FdsrError for an unknown compression or a shard of no steps.
    """

    compression: Compression = "lz4"
    shard: int = 1

    def __post_init__(self) -> None:
        require_choice(self.compression, Compression, "compression")
        if self.shard < 1:
            raise FdsrError(f"a shard of {self.shard} time steps cannot hold one; give at least 1")

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Layout:
        """That of a finished store, from its attributes."""
        return cls(**attributes.get("layout", {}))

    def described(self) -> dict[str, Any]:
        """The attribute that says it; nothing where all is as usual."""
        return {} if self == Layout() else {"layout": asdict(self)}

    def block_length(self, steps: int) -> int:
        """`steps`, rounded up to whole shards: two blocks must not write to one file."""
        return -(-steps // self.shard) * self.shard

    def arguments(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """What zarr needs to create an array of `shape` (time, channel, rows, columns)."""
        chunk = (1, *shape[1:])
        shards = (self.shard, *shape[1:]) if self.shard > 1 else None
        return {"shape": shape, "chunks": chunk, "shards": shards, "compressors": COMPRESSIONS[self.compression]}


def create_store(path: Path, pairs: Pairs, layout: Layout) -> None:
    """Write coordinates and static fields, and make the empty arrays `high` and `low`.

    A projected grid has the axes y and x, with the true latitude and longitude of every point beside them.
    """
    grid, times, static = pairs.grid, pairs.times, pairs.static
    tile = tile_size(pairs.train.shape)
    planes = np.stack(list(static.values())) if static else np.zeros((0, *grid.fine.shape))
    time = {"standard_name": "time", "axis": "T"}
    coords: dict[str, Any] = {
        "time": ("time", times, time),
        **coordinates(grid.fine),
        **low_coordinates(grid.low),
        "high_channel": ("high_channel", np.array(pairs.high_channels, dtype=object)),
        "low_channel": ("low_channel", np.array(pairs.low_channels, dtype=object)),
        "static_channel": ("static_channel", np.array(list(static), dtype=object)),
        "wavenumber_lat": ("wavenumber_lat", np.arange(tile[0]) / (2 * tile[0]), {"units": "cycles per point"}),
        "wavenumber_lon": ("wavenumber_lon", np.arange(tile[1]) / (2 * tile[1]), {"units": "cycles per point"}),
    }
    # seconds hold any time that is appended later, which hours since the first might not
    dated = np.issubdtype(times.dtype, np.datetime64)
    encoding = {"time": {"units": "seconds since 1970-01-01", "dtype": "int64"}} if dated else {}
    xr.Dataset({"static": (("static_channel", *grid.fine.names), planes.astype(np.float32))}, coords=coords).to_zarr(
        path, mode="w", zarr_format=3, consolidated=False, encoding=encoding
    )
    group = zarr.open_group(str(path), mode="a")
    group.attrs.update(pairs.owed | {"variables": pairs.attributes})
    for name, channels, shape, axes in (
        ("high", pairs.high_channels, grid.fine.shape, grid.fine.names),
        ("low", pairs.low_channels, grid.low.shape, low_names(grid.low)),
    ):
        group.create_array(
            name,
            **layout.arguments((times.size, len(channels), *shape)),
            dtype="float32",
            fill_value=float("nan"),
            dimension_names=["time", f"{name}_channel", *axes],
            attributes={"units": [pairs.attributes[n].get("units", "1") for n in channels], **mapped(grid.fine)},
        )


def write_block(path: Path, first: int, high: NDArray[np.float32], low: NDArray[np.float32]) -> None:
    """Write time steps first… of both arrays; blocks of whole chunks, or whole shards, never share a file."""
    group = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    for name, values in (("high", high), ("low", low)):
        array_of(group, name)[first : first + len(values)] = values


def finish_store(
    path: Path,
    config: PrepareConfig,
    pairs: Pairs,
    blocks: Mapping[str, tuple[int, int]],
    statistics: Mapping[str, NDArray],
    local: LocalScale,
    filled: Mapping[str, int],
    layout: Layout,
    present: NDArray[np.bool_] | None = None,
) -> None:
    """Add statistics and attributes; `version` is among them, without which a store does not count as finished.

    present (C, H, W): which points any train step has, where values may be missing; None: all of them always.
    """
    grid, group = pairs.grid, zarr.open_group(str(path), mode="r+", use_consolidated=False)
    if present is not None:
        whole = np.broadcast_to(present, (len(present), *grid.fine.shape)).astype(np.int8)
        names = ["high_channel", *grid.fine.names]
        group.create_array("present", data=whole, dimension_names=names, overwrite=True)
    for name, values in statistics.items():
        group.create_array(name, data=values, dimension_names=STATISTICS[name], overwrite=True)
    write_local_scale(group, local, grid.fine.names)
    attributes: dict[str, Any] = {
        "title": "fdsr pair store",
        "version": STORE_VERSION,
        "config": config.to_dict(),
        "method": "conservative remapping of an independent archive"
        if config.low_source
        else "area-weighted block mean",
        "splits": {k: list(v) for k, v in blocks.items()},
        **({"windows": {k: list(v) for k, v in pairs.windows.items()}} if pairs.windows else {}),
        "dropped_rows": grid.dropped,
        **({"dropped_columns": grid.dropped_columns} if grid.dropped_columns else {}),
        "fingerprint": fingerprint(group, config.to_dict(), blocks, statistics),
        **layout.described(),
    }
    if any(filled.values()):
        attributes["filled_values"] = {k: v for k, v in filled.items() if v}
    group.attrs.update(attributes)
    consolidate(str(path))


# settings that say where the data come from, and not what they are
_OF_A_PLACE = ("source", "static_source", "low_source", "sha256", "origin")


def fingerprint(
    group: zarr.Group, config: Mapping[str, Any], blocks: Mapping[str, Sequence[int]], statistics: Mapping[str, NDArray]
) -> str:
    """Hash over all that a model depends on; the sources' places do not count, their values do through the statistics."""
    described = {k: v for k, v in config.items() if k not in _OF_A_PLACE}
    if "low_source" in config:
        described["independent_low"] = True
    blocks = {k: tuple(v) for k, v in blocks.items()}
    digest = hashlib.sha256(json.dumps([STORE_VERSION, described, blocks], sort_keys=True, default=str).encode())
    for name in (*axis_names(MAPPING in group), "static", *(["present"] if "present" in group else [])):
        digest.update(np.ascontiguousarray(array_of(group, name)[:], dtype=np.float64).tobytes())
    if MAPPING in group:
        digest.update(json.dumps(dict(array_of(group, MAPPING).attrs), sort_keys=True, default=str).encode())
    for name in sorted(statistics):
        # rounded: summation order may differ between machines in the last bits
        digest.update(np.char.mod("%.6e", statistics[name]).tobytes())
    return digest.hexdigest()[:16]
