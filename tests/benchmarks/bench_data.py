"""How fast shuffled batches come from a store, by this package's readers and by others, as ratios to a memory-mapped array.

    python tests/benchmarks/bench_data.py [--times 2000] [--repeats 9] [--steps 30] [--output FOLDER] [--keep FOLDER]

Three cases, on synthetic fields with a red spectrum, blosc-lz4 with shuffle, one time step a chunk:

fields    whole time steps of (times, 2, 128, 256), 16 at once, shuffled
patches   128 × 128 patches of (times / 32, 2, 721, 1440), 16 at once, 32 of each time step an epoch
training  the share of time that a small U-Net waits for 64 × 64 patches, each of which decodes a whole time step of 128 × 256

All methods take turns in one process, `--repeats` times; a ratio is the median over the turns of the ratio to the memory map
in the same turn. Absolute speeds depend on the machine and on what else it does. Every method's first batch is compared with
the memory map's, bit for bit. The files have just been written, so disks are not measured: they come from the page cache.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from tqdm import tqdm
from zarr.codecs import BloscCodec

from fdsr.data import PairStore, PrepareConfig, WeatherDataModule, prepare
from fdsr.data.serving.cache import StepCache
from fdsr.data.serving.datasets import _copy_patch
from fdsr.data.serving.patches import PatchKey, PatchSampler
from fdsr.data.serving.readers import READERS, open_reader
from fdsr.records import code_version

BATCH, CHANNELS, PATCH = 16, 2, 128
PATCHES_PER_STEP = 32
CACHED_STEPS = 16
TILES = "xbatcher, tiles"  # it knows no patches elsewhere: the same number of cells, from other places
FIELDS = (
    "case",
    "method",
    "samples_per_second",
    "megabytes_per_second",
    "ratio_to_memmap",
    "repeats",
    "times",
    "device",
    "commit",
)

Fetch = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # places of a batch in the epoch → (B, C, H, W)


def red_fields(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Two channels with a spectrum like weather's, and as compressible: 280 ± 10."""
    k = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((CHANNELS, height, width))) * (k**2 + 0.01**2) ** -0.75,
                          s=(height, width))  # fmt: skip
    return (280 + 10 * noise / noise.std()).astype(np.float32)


def write(folder: Path, times: int, height: int, width: int) -> None:
    """The same fields as map.npy, as arrays `high` (lz4) and `plain` (uncompressed) and low (one cell) of fields.zarr."""
    folder.mkdir(parents=True)
    shape = (times, CHANNELS, height, width)
    memory = np.lib.format.open_memmap(folder / "map.npy", mode="w+", dtype=np.float32, shape=shape)
    group = zarr.open_group(folder / "fields.zarr", mode="w")
    arrays = [
        group.create_array(name, shape=shape, chunks=(1, *shape[1:]), dtype="f4", compressors=codec,
                           dimension_names=["time", "channel", "lat", "lon"])
        for name, codec in (("high", BloscCodec(cname="lz4", shuffle="shuffle")), ("plain", None))
    ]  # fmt: skip
    low = group.create_array("low", shape=(times, 1, 1, 1), chunks=(1, 1, 1, 1), dtype="f4",
                             dimension_names=["time", "low_channel", "lat_low", "lon_low"])  # fmt: skip
    low[:] = np.zeros(low.shape, np.float32)
    rng = np.random.default_rng(0)
    for i in tqdm(range(times), desc=f"writing {height} × {width}", unit="step"):
        memory[i] = red_fields(rng, height, width)
        for array in arrays:
            array[i] = memory[i]
    memory.flush()


def field_methods(folder: Path) -> dict[str, Fetch]:
    """Whole time steps; a place is a time step."""
    import xbatcher

    memory = np.load(folder / "map.npy", mmap_mode="r")
    group = zarr.open_group(folder / "fields.zarr", mode="r")
    high, low = group["high"], group["low"]
    shape = memory.shape[1:]
    out = np.empty((BATCH, *shape), np.float32)

    def by_reader(name: str, array: zarr.Array) -> Fetch:
        reader = open_reader(array, name)

        def fetch(steps: NDArray[np.int64]) -> NDArray[np.float32]:
            reader.read(steps.tolist(), out)
            return out

        return fetch

    everything = StepCache(open_reader(high), open_reader(low), memory.shape[0])
    everything.get(range(memory.shape[0]))

    def resident(steps: NDArray[np.int64]) -> NDArray[np.float32]:
        found = everything.kept(steps.tolist())
        for j, i in enumerate(steps.tolist()):
            out[j] = found[i].high
        return out

    lazy = xr.open_zarr(folder / "fields.zarr", consolidated=False, chunks=None).high
    dask = xr.open_zarr(folder / "fields.zarr", consolidated=False, chunks={}).high
    sizes = {"time": 1, "channel": shape[0], "lat": shape[1], "lon": shape[2]}
    generator = xbatcher.BatchGenerator(lazy, input_dims=sizes, preload_batch=False)
    return {
        "memmap": lambda steps: np.asarray(memory[steps]),
        "resident (ours)": resident,
        **{f"{name} (ours)": by_reader(name, high) for name in READERS},
        "direct, uncompressed (ours)": by_reader("direct", group["plain"]),
        "zarr-python per sample": lambda steps: np.stack([high[int(i)] for i in steps]),
        "xarray + dask": lambda steps: dask[steps].values,
        "xbatcher": lambda steps: np.stack([generator[int(i)].values[0] for i in steps]),
    }


def patch_methods(folder: Path, keys: list[PatchKey]) -> dict[str, Fetch]:
    """128 × 128 patches; a place is one of `keys`, which come in the sampler's order. Others get their patches lazily."""
    import xbatcher

    memory = np.load(folder / "map.npy", mmap_mode="r")
    group = zarr.open_group(folder / "fields.zarr", mode="r")
    high, low = group["high"], group["low"]
    lazy = xr.open_zarr(folder / "fields.zarr", consolidated=False, chunks=None).high
    dask = xr.open_zarr(folder / "fields.zarr", consolidated=False, chunks={}).high

    def cut(field: NDArray, key: PatchKey) -> NDArray:
        columns = np.arange(key.column, key.column + PATCH) % field.shape[-1]
        rows = field[:, key.row : key.row + PATCH]
        inside = key.column + PATCH <= field.shape[-1]
        return rows[..., key.column : key.column + PATCH] if inside else rows[..., columns]

    def stacked(one: Callable[[PatchKey], NDArray]) -> Fetch:
        return lambda places: np.stack([one(keys[p]) for p in places])

    def cached(name: str, capacity: int) -> Fetch:
        cache = StepCache(open_reader(high, name), open_reader(low, name), capacity)
        out = np.empty((BATCH, CHANNELS, PATCH, PATCH), np.float32)

        def fetch(places: NDArray[np.int64]) -> NDArray[np.float32]:
            steps = cache.get([keys[p].time for p in places])
            for j, p in enumerate(places):
                _copy_patch(steps[keys[p].time].high, keys[p].row, keys[p].column, out[j])
            return out

        return fetch

    everything = cached("auto", memory.shape[0])
    for i in range(0, len(keys), BATCH):
        everything(np.arange(i, min(i + BATCH, len(keys))))

    sizes = {"time": 1, "channel": CHANNELS, "lat": PATCH, "lon": PATCH}
    generator = xbatcher.BatchGenerator(lazy, input_dims=sizes, preload_batch=False)

    def window(array: xr.DataArray, key: PatchKey) -> NDArray:
        columns = np.arange(key.column, key.column + PATCH) % array.shape[-1]
        return array[key.time, :, key.row : key.row + PATCH].isel(lon=columns).values

    return {
        "memmap": stacked(lambda key: cut(memory[key.time], key)),
        "resident (ours)": everything,
        **{f"{name} (ours)": cached(name, CACHED_STEPS) for name in READERS},
        "zarr-python per sample": stacked(lambda key: cut(high[key.time], key)),
        "xarray + dask": stacked(lambda key: window(dask, key)),
        "xarray": stacked(lambda key: window(lazy, key)),
        TILES: lambda places: np.stack([generator[int(p) % len(generator)].values[0] for p in places]),
    }


def turns(methods: dict[str, Fetch], places: Callable[[int], Iterator[NDArray[np.int64]]], repeats: int,
          seconds: float, case: str) -> dict[str, list[float]]:  # fmt: skip
    """Samples per second of each method, in each of `repeats` turns of about `seconds` a method."""
    first = next(places(0))
    reference = methods["memmap"](first).copy()
    for name, fetch in methods.items():
        if name != TILES and not np.array_equal(fetch(first), reference):
            raise AssertionError(f"{case}: {name} returns other values than the memory map")
    streams = {name: places(1) for name in methods}
    speeds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in tqdm(range(repeats), desc=case, unit="turn"):
        for name, fetch in methods.items():
            samples, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                batch = next(streams[name])
                fetch(batch)
                samples += len(batch)
            speeds[name].append(samples / (time.perf_counter() - began))
    return speeds


def rows_of(
    case: str, speeds: dict[str, list[float]], sample_bytes: int, facts: dict[str, object]
) -> list[dict[str, object]]:
    return [
        {
            "case": case,
            "method": name,
            "samples_per_second": f"{statistics.median(values):.4g}",
            "megabytes_per_second": f"{statistics.median(values) * sample_bytes / 1e6:.4g}",
            "ratio_to_memmap": f"{statistics.median(v / m for v, m in zip(values, speeds['memmap'], strict=True)):.4f}",
            **facts,
        }
        for name, values in speeds.items()
    ]


def in_epochs(n: int, order: Callable[[int], NDArray[np.int64]]) -> Callable[[int], Iterator[NDArray[np.int64]]]:
    """Whole batches of an epoch's order, epoch after epoch, from a given one on."""

    def stream(epoch: int) -> Iterator[NDArray[np.int64]]:
        while True:
            yield from order(epoch)[: n // BATCH * BATCH].reshape(-1, BATCH)
            epoch += 1

    return stream


def training_share(folder: Path, steps: int, times: int, shape: tuple[int, int]) -> float:
    """Share of time that a small U-Net waits for 64 × 64 patches, each from a time step that is read for it alone."""
    from fdsr.bench.data_speed import waiting
    from fdsr.modules import RegressionModule

    rng = np.random.default_rng(0)
    fields = np.stack([red_fields(rng, *shape) for _ in range(times)])
    height, width = shape
    source = xr.Dataset(
        {name: (("time", "latitude", "longitude"), fields[:, i]) for i, name in enumerate(("t2m", "msl"))},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h"),
            "latitude": 90 - 180 / height * (np.arange(height) + 0.5),
            "longitude": 360 / width * np.arange(width),
        },
    )
    source.to_zarr(folder / "source.zarr", zarr_format=3, consolidated=False)
    config = PrepareConfig(
        source=str(folder / "source.zarr"), variables=["t2m", "msl"], factor=(4, 4), split={"train": times}
    )
    path = str(prepare(config, folder / "pairs.zarr"))
    data = WeatherDataModule(store=path, patch=(64, 64), batch_size=min(BATCH, times), patches_per_step=1)
    data.store = PairStore(path, cached_steps=1, resident_bytes=0)
    network = {"width": 32, "multipliers": [1, 2, 2], "blocks": 1, "time_embedding": False}
    return waiting(RegressionModule(backbone_args=network), data, steps, accelerator="auto").share


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2000)
    parser.add_argument("--fields", type=int, nargs=2, default=(128, 256), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--grid", type=int, nargs=2, default=(721, 1440), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one method's turn")
    parser.add_argument("--steps", type=int, default=12, help="training steps; 0: none")
    parser.add_argument("--training-times", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("experiments/results/data_speed"))
    parser.add_argument("--keep", type=Path, default=None, help="write the stores here, or use those of an earlier run")
    options = parser.parse_args(arguments)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="fdsr-bench-"))
    device = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    rows: list[dict[str, object]] = []
    try:
        n = max(options.times // PATCHES_PER_STEP, 2)
        for name, times, shape in (("fields", options.times, options.fields), ("patches", n, options.grid)):
            if not (folder / name / "map.npy").exists():
                write(folder / name, times, *shape)
        facts = {"repeats": options.repeats, "device": device, "commit": code_version()}

        shuffled = in_epochs(options.times, lambda epoch: np.random.default_rng(epoch).permutation(options.times))
        speeds = turns(field_methods(folder / "fields"), shuffled, options.repeats, options.seconds, "fields")
        rows += rows_of(
            "fields", speeds, 4 * CHANNELS * options.fields[0] * options.fields[1], facts | {"times": options.times}
        )

        rows_, columns = options.grid
        sampler = PatchSampler(
            (0, n), (rows_, columns), (PATCH, PATCH), (1, 1), True, PATCHES_PER_STEP, 0, window=CACHED_STEPS // 2
        )
        keys = list(sampler)
        # the sampler's own order, so that what is decoded for a patch serves the next ones of its step
        speeds = turns(patch_methods(folder / "patches", keys), in_epochs(len(keys), lambda _: np.arange(len(keys))),
                       options.repeats, options.seconds, "patches")  # fmt: skip
        rows += rows_of("patches", speeds, 4 * CHANNELS * PATCH**2, facts | {"times": n})

        if options.steps:
            share = training_share(
                Path(tempfile.mkdtemp(dir=folder)), options.steps, options.training_times, options.fields
            )
            rows.append({"case": "training", "method": "share of time waiting", "ratio_to_memmap": f"{share:.4f}",
                         **facts, "repeats": options.steps, "times": options.training_times})  # fmt: skip
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "data_speed.csv"
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
    for row in rows:
        print(
            f"{row['case']:9} {row['method']:28} {row.get('samples_per_second', ''):>9} samples/s  {row['ratio_to_memmap']:>7}"
        )
    return path


if __name__ == "__main__":
    main()
