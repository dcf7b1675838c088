"""Looking through a pair store: what is in it, and whether that is whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from tqdm import tqdm

from fdsr.data.field_spec import STATISTICS, FieldSpec
from fdsr.data.making.partial import PartialStore
from fdsr.data.making.statistics import Measure, Moments
from fdsr.data.making.writing import fingerprint
from fdsr.data.serving.store import PairStore
from fdsr.data.zarr_groups import array_of
from fdsr.errors import FdsrError


@dataclass
class ArraySummary:
    """What reading every step of `high` or `low` found, per channel."""

    least: NDArray
    most: NDArray
    missing: NDArray[np.int64]
    train: Moments  # of transformed values, as the store's own statistics are
    unreadable: list[int] = field(default_factory=list)  # steps whose chunk is absent or damaged


def check_store(path: str | Path) -> str:
    """Read every chunk of a pair store and describe it as a table.

    Raises FdsrError if it is no finished pair store, or after printing the table if something in it is wrong: a chunk that
    is absent or damaged, a missing value, statistics that are not those of the train block, a fingerprint of other contents.
    """
    store = PairStore(path)
    spec, attributes = store.spec, dict(store.group.attrs)
    window = store.windows.get("train")
    measure = Measure(
        spec.high_transforms, spec.low_transforms, spec.base_index, spec.factor, spec.interpolation, False, masked=True, window=window,
        independent=spec.independent_low,
    )  # fmt: skip
    high, low = (_summary(store.group, name, measure, store.splits["train"]) for name in ("high", "low"))
    problems = [*_problems(store, high, "high"), *_problems(store, low, "low")]
    stated = {n: getattr(spec, n).numpy() for n in STATISTICS}
    renewed = fingerprint(store.group, attributes["config"], attributes["splits"], stated)  # type: ignore[arg-type]
    if renewed != spec.fingerprint:
        problems.append(f"its fingerprint {spec.fingerprint} is not that of its contents, {renewed}")
    for part, found in (("high", high.train), ("low", low.train)):
        for name, measured in (("mean", found.mean), ("std", found.std)):
            if not (np.abs(measured - stated[f"{part}_{name}"]) <= 1e-4 * stated[f"{part}_std"]).all():
                problems.append(f"its {part}_{name} is not that of the train block")
    if PartialStore(Path(path)).folder.exists():
        problems.append("a preparation or an append beside it was interrupted: run that command again")
    channels = _channel_table(spec, high, low, attributes.get("filled_values", {}))  # type: ignore[arg-type]
    table = "\n".join([*_overview(store, attributes, renewed == spec.fingerprint), "", *channels])
    if problems:
        print(table)
        raise FdsrError(f"pair store '{path}': {'; '.join(problems)}")
    return table


def _summary(group: zarr.Group, name: str, measure: Measure, train: tuple[int, int]) -> ArraySummary:
    array, coarse = array_of(group, name), array_of(group, "low")
    channels = array.shape[1]
    least, most = np.full(channels, np.inf), np.full(channels, -np.inf)
    missing, moments, unreadable = np.zeros(channels, np.int64), None, []
    for i in tqdm(range(array.shape[0]), desc=f"reading {name}", unit="step"):
        try:
            step = np.asarray(array[i])
        except Exception:  # whatever a codec makes of damaged bytes
            unreadable.append(i)
            continue
        absent = ~np.isfinite(step)
        missing += absent.sum((1, 2))
        least = np.minimum(least, np.where(absent, np.inf, step).min((1, 2)))
        most = np.maximum(most, np.where(absent, -np.inf, step).max((1, 2)))
        if absent.all():
            unreadable.append(i)
        elif train[0] <= i < train[1]:
            values = measure.fine(step, np.asarray(coarse[i])) if name == "high" else measure.coarse(step)
            of_step = Moments.of(values)
            moments = of_step if moments is None else moments + of_step
    empty = np.full(channels, np.nan)
    return ArraySummary(least, most, missing, moments or Moments(empty, empty, empty, empty, empty), unreadable)


def _problems(store: PairStore, summary: ArraySummary, name: str) -> Iterable[str]:
    if summary.unreadable:
        yield f"{len(summary.unreadable)} chunks of {name} are absent or damaged, the first at step {summary.unreadable[0]}"
    elif summary.missing.any() and not store.spec.masked:
        channels = store.spec.high_channels if name == "high" else store.spec.low_channels
        counts = zip(channels, summary.missing, strict=True)
        yield "missing values in " + ", ".join(f"{name} {channel} ({count})" for channel, count in counts if count)


def _overview(store: PairStore, attributes: dict, sound: bool) -> list[str]:
    spec, times, config = store.spec, store.times, attributes["config"]
    grid, (fy, fx) = spec.grid, spec.factor
    (height, width), (rows, columns) = grid.shape, grid.names
    kind = f"projected ({grid.projection}, {grid.units})" if grid.projected else "latitude-longitude"
    axes = f"{rows} {_span(grid.rows)}, {columns} {_span(grid.columns)}"
    # the bytes on disk matter where there is a disk
    size = sum(f.stat().st_size for f in Path(store.path).rglob("*") if f.is_file()) if Path(store.path).exists() else 0
    entries = [
        ("pair store", store.path),
        ("source", config["source"]),
        ("coarse fields", config.get("low_source", attributes["method"])),
        ("grid", f"{kind}, {height} × {width} ({axes}), {attributes['dropped_rows']} rows dropped in the south"),
        ("coarse grid", f"{height // fy} × {width // fx}, factor {fy} × {fx}"),
        ("times", f"{times.size}, {_date(times[0])} … {_date(times[-1])}, {_steps(times)}"),
        *_blocks(store),
        ("static fields", ", ".join(spec.static_channels) or "none"),
        ("on disk", f"{size / 1e6:.1f} MB"),
        ("fingerprint", f"{spec.fingerprint} ({'that of its contents' if sound else 'of other contents'})"),
    ]
    return [f"{name:<15}{value}" for name, value in entries]


def _blocks(store: PairStore) -> Iterable[tuple[str, str]]:
    """The blocks of the split: regions at all times, or times."""
    if store.windows:
        for name, window in store.windows.items():
            yield f"  {name}", window.part(store.spec.grid).extent
        return
    for name, (first, last) in store.splits.items():
        yield f"  {name}", f"{last - first}, {_date(store.times[first])} … {_date(store.times[last - 1])}"
    yield "  in no split", str(store.times.size - sum(last - first for first, last in store.splits.values()))


def _channel_table(spec: FieldSpec, high: ArraySummary, low: ArraySummary, filled: dict[str, int]) -> list[str]:
    head = ("channel", "units", "transform", "mean", "std", "residual", "minimum", "maximum", "missing", "filled")
    rows: list[Sequence[str]] = [head]
    for part, names, transforms, means, stds, summary in (
        ("high", spec.high_channels, spec.high_transforms, spec.high_mean, spec.high_std, high),
        ("low", spec.low_channels, spec.low_transforms, spec.low_mean, spec.low_std, low),
    ):
        for i, name in enumerate(names):
            row = [f"{part} {name}", spec.attributes.get(name, {}).get("units", "1"), transforms[i].name]
            row += [f"{float(means[i]):.6g}", f"{float(stds[i]):.4g}"]
            row += [f"{float(spec.residual_std[i]):.3f}" if part == "high" else ""]
            row += [f"{summary.least[i]:.6g}", f"{summary.most[i]:.6g}"]
            rows.append([*row, str(int(summary.missing[i])), str(filled.get(name, 0))])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _span(values: NDArray) -> str:
    return f"{values[0]:g} … {values[-1]:g}"


def _date(time: np.generic) -> str:
    return str(np.datetime_as_string(time, unit="m")) if isinstance(time, np.datetime64) else str(time)


def _steps(times: NDArray) -> str:
    steps = np.diff(times)
    if steps.size == 0 or not np.issubdtype(times.dtype, np.datetime64):
        return "one time" if steps.size == 0 else "undated"
    hours = steps / np.timedelta64(1, "h")
    return f"every {hours[0]:g} h" if (hours == hours[0]).all() else f"{hours.min():g} to {hours.max():g} h apart"
