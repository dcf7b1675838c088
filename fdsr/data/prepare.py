"""From a gridded source to a pair store: coarsen, split, and measure the train block."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray
from tqdm import tqdm
from zarr.codecs import BloscCodec

from fdsr.data.arrays import array_of, consolidate
from fdsr.data.coarsen import block_means, coarsen, rows_kept
from fdsr.data.interpolate import add_halo, upsample
from fdsr.data.source import crop_region, open_source, require_variables
from fdsr.data.splits import split_blocks
from fdsr.data.statistics import Moments, cosine_power, tile_size
from fdsr.data.values import ValueTransform, apply_forward
from fdsr.errors import FdsrError
from fdsr.geometry import is_periodic_longitude, latitude_weights

STORE_VERSION = 1


@dataclass(frozen=True)
class PrepareConfig:
    """What defines a pair store. Two equal configurations of one source give the same store.

    source: Zarr store or NetCDF file with dimensions time, latitude, longitude under their usual names
    variables: fields to predict, and to coarsen as input
    factor: fine cells per coarse cell along latitude and longitude
    split: snapshots (int), fractions (float) or [first, last] dates of 'train', 'val' and 'test'
    gap: snapshots left out between blocks, so that neighbours in time never stand on both sides
    static: fields without time that the network sees at fine resolution (orography, land mask)
    transforms: per variable, see ValueTransform
    interpolation: what the residual is measured against, bilinear or bicubic
    crop: LAT_MIN, LAT_MAX, LON_MIN, LON_MAX in the source's degrees
    """

    source: str
    variables: Sequence[str]
    factor: tuple[int, int]
    split: Mapping[str, object] = field(default_factory=lambda: {"train": 0.7, "val": 0.1, "test": 0.15})
    gap: int = 1
    static: Sequence[str] = ()
    transforms: Mapping[str, ValueTransform] = field(default_factory=dict)
    interpolation: str = "bicubic"
    crop: Sequence[float] | None = None

    def key(self) -> str:
        """Short hash that names this configuration in a cache."""
        text = json.dumps(self.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(f"{STORE_VERSION}:{text}".encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": str(Path(self.source).resolve()) if "://" not in self.source else self.source,
            "variables": list(self.variables),
            "factor": list(self.factor),
            "split": {k: list(v) if isinstance(v, (list, tuple)) else v for k, v in self.split.items()},
            "gap": self.gap,
            "static": list(self.static),
            "transforms": {k: t.to_dict() for k, t in self.transforms.items()},
            "interpolation": self.interpolation,
            "crop": None if self.crop is None else list(self.crop),
        }


def prepare(config: PrepareConfig, target: str | Path) -> Path:
    """Write the pair store of `config` to `target` and return its path.

    Atomic: the store is built beside the target and renamed when it is whole. Raises FdsrError if the target exists, the
    source lacks something, the grid does not divide, or the train block holds a NaN.
    """
    target = Path(target)
    if target.exists():
        raise FdsrError(f"target '{target}' exists already; remove it or choose another (it is never overwritten)")
    source = crop_region(open_source(config.source), config.crop)
    require_variables(source, [*config.variables, *config.static], config.source)
    for name in config.variables:
        if set(source[name].dims) != {"time", "lat", "lon"}:
            raise FdsrError(
                f"'{config.source}': variable '{name}' has dimensions {source[name].dims}; time, lat, lon are needed"
            )

    latitude, longitude = source.lat.values.astype(np.float64), source.lon.values.astype(np.float64)
    fy, fx = config.factor
    rows, dropped = rows_kept(latitude, fy)
    if longitude.size % fx:
        raise FdsrError(
            f"the longitude axis has {longitude.size} columns, not divisible by the factor {fx}; crop it "
            f"(--crop LAT_MIN,LAT_MAX,LON_MIN,LON_MAX) to a multiple, for instance {longitude.size // fx * fx} columns"
        )
    # areas come from the whole axis, so that the cell of a pole stays a cap when its neighbour row is dropped
    row_weights = latitude_weights(latitude)[:rows]
    source, latitude = source.isel(lat=slice(0, rows)), latitude[:rows]
    times = source.time.values
    if times.size > 1 and not (np.diff(times) > np.timedelta64(0)).all():
        raise FdsrError(f"'{config.source}' has unsorted or duplicate times; sort it and drop duplicates first")
    blocks = split_blocks(times, config.split, config.gap)

    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        group = _create(partial, config, source, latitude, longitude)
        _write_fields(group, config, source, row_weights)
        statistics = _train_statistics(group, config, blocks["train"], is_periodic_longitude(longitude))
        for name, values in statistics.items():
            group.create_array(name, data=values, dimension_names=_STATISTIC_DIMS[name])
        group.attrs.update(
            {
                "title": "fdsr pair store",
                "version": STORE_VERSION,
                "config": config.to_dict(),
                "method": "area-weighted block mean",
                "splits": {k: list(v) for k, v in blocks.items()},
                "dropped_rows": dropped,
                "fingerprint": _fingerprint(group, config, blocks, latitude, longitude, statistics),
            }
        )
        consolidate(str(partial))
        partial.rename(target)
    except OSError as error:
        raise FdsrError(
            f"pair store '{target}' cannot be written: {error.strerror or error}; choose a writable place"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


_STATISTIC_DIMS: dict[str, list[str]] = {
    "high_mean": ["high_channel"],
    "high_std": ["high_channel"],
    "low_mean": ["low_channel"],
    "low_std": ["low_channel"],
    "residual_std": ["high_channel"],
    "power_field": ["high_channel", "wavenumber_lat", "wavenumber_lon"],
    "power_residual": ["high_channel", "wavenumber_lat", "wavenumber_lon"],
}


def _create(path: Path, config: PrepareConfig, source: xr.Dataset, lat: NDArray, lon: NDArray) -> zarr.Group:
    """Write coordinates and static fields, and make the empty arrays `high` and `low`."""
    fy, fx = config.factor
    degrees_north = {"standard_name": "latitude", "units": "degrees_north"}
    degrees_east = {"standard_name": "longitude", "units": "degrees_east"}
    tile = tile_size((lat.size, lon.size))
    static = (
        np.stack([_plane(source, name) for name in config.static])
        if config.static
        else np.zeros((0, lat.size, lon.size))
    )
    names = np.array(list(config.variables), dtype=object)
    xr.Dataset(
        {"static": (("static_channel", "lat", "lon"), static.astype(np.float32))},
        coords={
            "time": ("time", source.time.values, {"standard_name": "time", "axis": "T"}),
            "lat": ("lat", lat, degrees_north | {"axis": "Y"}),
            "lon": ("lon", lon, degrees_east | {"axis": "X"}),
            "lat_low": ("lat_low", block_means(lat, fy), degrees_north),
            "lon_low": ("lon_low", block_means(lon, fx), degrees_east),
            "high_channel": ("high_channel", names),
            "low_channel": ("low_channel", names),
            "static_channel": ("static_channel", np.array(list(config.static), dtype=object)),
            "wavenumber_lat": ("wavenumber_lat", np.arange(tile[0]) / (2 * tile[0]), {"units": "cycles per point"}),
            "wavenumber_lon": ("wavenumber_lon", np.arange(tile[1]) / (2 * tile[1]), {"units": "cycles per point"}),
        },
    ).to_zarr(path, mode="w", zarr_format=3, consolidated=False)
    group = zarr.open_group(str(path), mode="a")
    attributes = {n: {k: str(v) for k, v in source[n].attrs.items() if k in ("units", "standard_name", "long_name")}
                  for n in [*config.variables, *config.static]}  # fmt: skip
    group.attrs["variables"] = attributes
    shape = (source.time.size, len(names), lat.size, lon.size)
    for name, sizes, dims in (
        ("high", shape, ["time", "high_channel", "lat", "lon"]),
        ("low", (*shape[:2], shape[2] // fy, shape[3] // fx), ["time", "low_channel", "lat_low", "lon_low"]),
    ):
        group.create_array(
            name,
            shape=sizes,
            chunks=(1, *sizes[1:]),
            dtype="float32",
            fill_value=float("nan"),
            compressors=BloscCodec(cname="lz4", shuffle="shuffle"),
            dimension_names=dims,
            attributes={"units": [attributes[n].get("units", "1") for n in config.variables]},
        )
    return group


def _plane(source: xr.Dataset, name: str) -> NDArray:
    values = source[name]
    if "time" in values.dims:
        raise FdsrError(f"static field '{name}' varies with time; list it among the variables instead")
    return values.transpose("lat", "lon").values


def _write_fields(group: zarr.Group, config: PrepareConfig, source: xr.Dataset, row_weights: NDArray) -> None:
    """Fill `high` and `low`, a time step at a time; a NaN anywhere is an error that names its variable and time."""
    high_array, low_array = array_of(group, "high"), array_of(group, "low")
    for i in tqdm(range(source.time.size), desc="preparing pairs", unit="step"):
        step = source[list(config.variables)].isel(time=i).load()
        high = np.stack([step[n].transpose("lat", "lon").values for n in config.variables]).astype(np.float32)
        for name, plane in zip(config.variables, high, strict=True):
            if not np.isfinite(plane).all():
                when = np.datetime_as_string(source.time.values[i], unit="m")
                raise FdsrError(
                    f"'{config.source}': variable '{name}' has {int((~np.isfinite(plane)).sum())} missing or infinite values "
                    f"at {when}; fill them or leave that time out"
                )
        high_array[i] = high
        low_array[i] = coarsen(high, row_weights, config.factor)


def _train_statistics(
    group: zarr.Group, config: PrepareConfig, block: tuple[int, int], periodic: bool
) -> dict[str, NDArray[np.float64]]:
    """Moments and power of fields and residuals over the train block, after each variable's transform."""
    transforms = [config.transforms.get(n, ValueTransform()) for n in config.variables]

    def transformed(array: str, i: int) -> torch.Tensor:
        return apply_forward(transforms, torch.from_numpy(np.asarray(array_of(group, array)[i])))

    steps = range(*block)
    high = sum(
        (Moments.of(transformed("high", i).numpy()) for i in steps[1:]),
        Moments.of(transformed("high", steps[0]).numpy()),
    )
    low = sum(
        (Moments.of(transformed("low", i).numpy()) for i in steps[1:]), Moments.of(transformed("low", steps[0]).numpy())
    )
    if not (high.std > 0).all():
        name = config.variables[int(np.argmin(high.std > 0))]
        raise FdsrError(f"'{config.source}': variable '{name}' is constant over the train block; leave it out")

    mean, std = high.mean[:, None, None], high.std[:, None, None]
    height, width = array_of(group, "high").shape[-2:]
    tile = tile_size((height, width))
    residual_square = np.zeros(len(transforms))
    power_field = np.zeros((len(transforms), *tile))
    power_residual = np.zeros_like(power_field)
    for i in tqdm(steps, desc="measuring the train block", unit="step"):
        fine = (transformed("high", i).numpy() - mean) / std
        coarse = add_halo(transformed("low", i)[None], periodic)
        base = upsample(coarse, config.factor, config.interpolation)[0].numpy()
        residual = fine - (base - mean) / std
        residual_square += (residual**2).mean((1, 2)) / len(steps)
        power_field += cosine_power(fine, tile) / len(steps)
        power_residual += cosine_power(residual, tile) / len(steps)
    residual_std = np.sqrt(residual_square)
    power_residual /= residual_square[:, None, None]
    return {
        "high_mean": high.mean,
        "high_std": high.std,
        "low_mean": low.mean,
        "low_std": low.std,
        "residual_std": residual_std,
        "power_field": power_field,
        "power_residual": power_residual,
    }


def _fingerprint(
    group: zarr.Group,
    config: PrepareConfig,
    blocks: Mapping[str, tuple[int, int]],
    lat: NDArray,
    lon: NDArray,
    statistics: Mapping[str, NDArray],
) -> str:
    """Hash over all that a model depends on; the source's place does not count, its values do through the statistics."""
    described = {k: v for k, v in config.to_dict().items() if k != "source"}
    digest = hashlib.sha256(json.dumps([STORE_VERSION, described, blocks], sort_keys=True, default=str).encode())
    for values in (lat, lon, np.asarray(array_of(group, "static")[:])):
        digest.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    for name in sorted(statistics):
        # rounded: summation order may differ between machines in the last bits
        digest.update(np.char.mod("%.6e", statistics[name]).tobytes())
    return digest.hexdigest()[:16]
