"""One tidy CSV of a sweep's results, and beside it what figures need besides: training curves and sample pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdsr.atomic import written_whole
from fdsr.errors import FdsrError
from fdsr.records import FLOOR, RunFolder, SweepFolder, join_tables
from fdsr.scores import IMAGE_SCORES
from fdsr.sweep.grid import Axes

Row = dict[str, Any]

FID_FIELDS = (
    "method", "divergence", "T", "nfe", "seed", "fid", "fid_test", "kid", "classifier_frechet", "n_generated",
    "n_reference", "seconds_per_image", "images_seen", "n_parameters", "device", "commit",
)  # fmt: skip
CURVE_FIELDS = ("method", "divergence", "T", "seed", "step", "images_seen", "metric", "value", "n_generated")


@dataclass(frozen=True)
class Result:
    """A finished test: `trained` is the folder of the training, `tested` that of the test; they may be the same."""

    method: str
    axes: Axes
    trained: RunFolder
    tested: RunFolder


def fid_vs_steps(results: Sequence[Result], axes: Sequence[str], output: Path) -> None:
    """Write distances, curves and samples, see `SweepFolder`. A distance that was not computed is an empty cell."""
    folder = SweepFolder(output)
    rows: list[Row] = []
    curves: list[Row] = []
    floor: Row = {}
    for result in results:
        last = result.tested.tested_distances()
        if last is None:
            raise FdsrError(f"'{result.tested}' has no image distances; add fdsr.callbacks.FIDCallback to its test")
        fit, test = result.trained.record.read().get("fit", {}), result.tested.record.read().get("test", {})
        told = {"method": result.method, **{axis: result.axes.get(axis) for axis in ("divergence", "T")},
                "seed": result.axes.get("seed", test.get("seed"))}  # fmt: skip
        n_parameters = test.get("networks", {}).get("network")
        facts = {"nfe": test.get("nfe"), "images_seen": fit.get("samples_seen"), "n_parameters": n_parameters}
        rows.append({name: last.get(name) for name in FID_FIELDS} | told | facts)
        floors = {name: last[f"{name}_floor"] for name in IMAGE_SCORES if f"{name}_floor" in last}
        if floors:
            # tests may have measured different distances
            floor |= {"method": FLOOR, **floors, "n_generated": last.get("n_floor")}
            floor |= {name: last[name] for name in ("device", "commit")}
        if picture := result.tested.last_picture("test"):
            with written_whole(folder.sample(rows[-1])) as partial:
                shutil.copyfile(picture, partial)
        curves += _curve(result.trained, told, fit)
    folder.distances.write([*([floor] if floor else []), *rows], FID_FIELDS)
    # tests that differ in nothing but their evaluations share a curve
    folder.curves.write(list({json.dumps(c): c for c in curves}.values()), CURVE_FIELDS)


def test_metrics(results: Sequence[Result], axes: Sequence[str], output: Path) -> None:
    """Write the tables of all tests, joined, with a column for each axis that they lack."""
    for result in results:
        if not result.tested.table.exists():
            raise FdsrError(f"'{result.tested.table}' is missing; the method is not one of weather fields")
    join_tables([(r.tested.table, r.method, r.axes) for r in results], axes, RunFolder(output).table)


TABLES: dict[str, Callable[[Sequence[Result], Sequence[str], Path], None]] = {
    "fid_vs_steps": fid_vs_steps,
    "test_metrics": test_metrics,
}


def _curve(trained: RunFolder, told: Row, fit: Row) -> Iterable[Row]:
    """The distances measured during training; a step that was repeated after an interruption counts once."""
    known = {line["step"]: line for line in trained.distances.read() if line["stage"] == "fit"}
    each = fit["samples_seen"] / fit["steps"] if fit.get("steps") else None
    for step, line in sorted(known.items()):
        for name in IMAGE_SCORES:
            if name in line:
                seen = None if each is None else round(each * step)
                facts = {"step": step, "images_seen": seen, "metric": name, "value": line[name]}
                yield told | facts | {"n_generated": line["n_generated"]}
