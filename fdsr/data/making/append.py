"""Adding new times to a finished pair store, without touching the old ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from xarray.coding.times import decode_cf_datetime, encode_cf_datetime

from fdsr.atomic import write_text
from fdsr.data.choices import Missing
from fdsr.data.making.config import PrepareConfig
from fdsr.data.making.finished import open_finished
from fdsr.data.making.pairing import Pairs, plan_pairs
from fdsr.data.making.partial import PartialStore
from fdsr.data.making.periods import Dates
from fdsr.data.making.prepare import BlockWork, write_blocks, write_errors_in_one_line
from fdsr.data.making.running import open_runner
from fdsr.data.making.sources import source_identity
from fdsr.data.making.writing import Layout, create_store
from fdsr.data.zarr_groups import array_of, consolidate
from fdsr.errors import FdsrError
from fdsr.grids.cf import read_coordinates


def append(
    target: str | Path,
    source: str,
    *,
    low_source: str | None = None,
    time_range: Dates | None = None,
    missing: Missing | None = None,
    storage_options: Mapping[str, Any] | None = None,
    scheduler: str | None = None,
    threads: int | None = None,
    steps_per_block: int | None = None,
    **expected: Any,
) -> int:
    """Add the times of `source` that lie after the last of `target`; returns how many these are.

    Variables, factor and the rest are those the store was prepared with. Statistics, splits and fingerprint stay: they are
    of the training block, so that models trained before still fit; the new times belong to no split. The attribute
    `appended` lists what came from where. Resumable: new chunks grow beside the store, and move in when all are there.

    `expected` are settings of PrepareConfig that the store must have been prepared with.

    Raises FdsrError if the store is missing or was prepared otherwise, its grid is another one, or the source has no new time.
    """
    target = Path(target).expanduser()
    attributes: dict[str, Any] = dict(open_finished(str(target)).attrs)
    stored, layout = PrepareConfig.from_dict(attributes["config"], storage_options or {}), Layout.of(attributes)
    if layout.shard > 1:
        raise FdsrError(
            f"'{target}' keeps {layout.shard} time steps a file, to which none can be added; prepare the store anew, or without "
            "--shard where it is to grow"
        )
    config = replace(stored, source=source, time_range=time_range, static=(), static_source=None)
    config = replace(config, low_source=low_source or stored.low_source, missing=missing or stored.missing)
    _require_settings(stored, expected, target)
    if config.missing == "mask" != stored.missing:
        raise FdsrError(f"'{target}' was prepared without --missing mask, and can hold none of them; leave that out")
    partial = PartialStore(target)
    if (partial.folder / _COMMIT).exists():  # all was there, and the moving in was interrupted
        with write_errors_in_one_line(target), partial.locked():
            return _move_in(partial)
    pairs = plan_pairs(config, {name: about.get("units") for name, about in attributes["variables"].items()})
    _same_grid(pairs, target, source)
    old, encoding = _old_times(target)
    if pairs.times.dtype.kind != old.dtype.kind:
        raise FdsrError(
            f"'{source}' and '{target}' do not both have dates; give the times of both the same kind of axis"
        )
    new = np.flatnonzero(pairs.times > old[-1])
    if new.size == 0:
        raise FdsrError(f"'{source}' has no time after {old[-1]}, the last of '{target}'; there is nothing to append")
    pairs.keep(new)
    times = pairs.times
    encoded = _encoded(times, encoding, target)
    length = steps_per_block or pairs.block_length()
    plan = {
        "append_to": [int(old.size), str(old[-1])],
        "config": config.to_dict(),
        "sources": [source_identity(s, config.storage_options) for s in config.sources()],
        "steps_per_block": length,
    }
    with write_errors_in_one_line(target), partial.locked(), open_runner(scheduler, threads) as runner:
        if _old_times(target)[0].size != old.size:
            partial.discard()
            raise FdsrError(f"another process has just appended to '{target}'; run the command again for what is left")
        progress = partial.progress(plan, lambda store: create_store(store, pairs, layout))
        write_blocks(BlockWork(pairs.reader, None, partial.store), partial, progress, runner, times.size, length)
        added = {"source": config.to_dict()["source"], "first": str(times[0]), "last": str(times[-1])}
        added["times"] = int(times.size)
        commit = {"old": int(old.size), "encoded": encoded.tolist(), "appended": added}
        write_text(partial.folder / _COMMIT, json.dumps(commit))
        return _move_in(partial)


_COMMIT = "commit.json"


def _move_in(partial: PartialStore) -> int:
    """Move the finished chunks behind the store's last, then say so in its metadata. May be repeated at any point."""
    commit = json.loads((partial.folder / _COMMIT).read_text())
    old, encoded = commit["old"], np.array(commit["encoded"])
    group = zarr.open_group(str(partial.target), mode="r+", use_consolidated=False)
    for name in ("high", "low"):
        array = array_of(group, name)
        for i in range(encoded.size):
            new_chunk = partial.store / name / "c" / str(i)
            if new_chunk.exists():
                place = partial.target / name / "c" / str(old + i)
                shutil.rmtree(place, ignore_errors=True)
                new_chunk.rename(place)
        array.resize((old + encoded.size, *array.shape[1:]))
    time = array_of(group, "time")
    time.resize((old + encoded.size,))
    time[old:] = encoded.astype(time.dtype)
    appended = [a for a in group.attrs.get("appended", []) if a != commit["appended"]]  # type: ignore[union-attr]
    group.attrs["appended"] = [*appended, commit["appended"]]
    consolidate(str(partial.target))
    partial.discard()
    return int(encoded.size)


def _require_settings(stored: PrepareConfig, expected: Mapping[str, Any], target: Path) -> None:
    """Raise FdsrError at the first setting that is none, or not the one the store was prepared with."""
    for name in expected:
        if name not in PrepareConfig.__dataclass_fields__:
            raise FdsrError(f"'{target}' is finished, and takes no {name}; leave that option out")
    stored.require(expected, str(target), "leave that option out")


def _same_grid(pairs: Pairs, target: Path, source: str) -> None:
    with xr.open_zarr(target, chunks=None, consolidated=False) as ds:
        stored = read_coordinates(ds, str(target))
    if not pairs.grid.fine.in_units(stored.units).lies_on(stored, 1e-3):
        raise FdsrError(
            f"'{source}' has other values of {' or '.join(stored.names)} than '{target}'; append only what lies on the same grid"
        )


def _old_times(target: Path) -> tuple[NDArray, dict[str, Any]]:
    with xr.open_zarr(target, chunks=None, consolidated=False) as ds:
        return ds.time.values, dict(ds.time.encoding)


def _encoded(times: NDArray, encoding: Mapping[str, Any], target: Path) -> NDArray:
    """`times` as the store writes them. Raises FdsrError if they are no whole multiples of its unit."""
    if not np.issubdtype(times.dtype, np.datetime64):
        return times
    units, calendar = encoding["units"], encoding.get("calendar", "proleptic_gregorian")
    numbers = np.asarray(encode_cf_datetime(times, units, calendar)[0])
    whole = np.round(numbers).astype(np.int64)
    if not (decode_cf_datetime(whole, units, calendar) == times).all():
        raise FdsrError(f"'{target}' counts time in {units}, which cannot say the new times; prepare the store anew")
    return whole
