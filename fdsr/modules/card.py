"""The model card of a folder to share: what a model is of, how it was made, its scores, and how it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from fdsr.data.field_spec import FieldSpec
from fdsr.modules.downscaling import DownscalingModule
from fdsr.records import code_version
from fdsr.scores import IMAGE_SCORES

Rows = Sequence[Mapping[str, str]]  # of a table test_metrics.csv


def model_card(
    module: DownscalingModule,
    name: str,
    licence: str,
    rows: Rows = (),
    attribution: str = "",
    distances: Mapping[str, Any] | None = None,
) -> str:
    """A README.md with front matter as the Hugging Face hub reads it.

    name: what the model is called; licence: of its weights, by its SPDX name; rows: scores of a test of fields; attribution: what the
    makers of the training data are owed; distances: what a test of images has measured.
    """
    weather = isinstance(module.home, FieldSpec)
    tags = ["weather", "super-resolution", "downscaling", "ensemble"] if weather else ["images"]
    front: dict[str, Any] = {
        "license": licence.lower(),
        "library_name": "fdsr",
        "pipeline_tag": "image-to-image" if weather else "unconditional-image-generation",
        "tags": [*tags, type(module).__name__],
    }
    if rows:
        front["model-index"] = [{"name": name, "results": [_result(name, rows)]}]
    kind = _fields(module.home) if isinstance(module.home, FieldSpec) else [("data", str(module.home.fingerprint))]
    facts = [
        *kind,
        (
            "method",
            f"`{type(module).__name__}`, {module.evaluations_per_member} network evaluations {'a member' if weather else 'an image'}",
        ),
        ("parameters", f"{sum(p.numel() for p in module.parameters()):,}"),
        ("written by", f"fdsr {code_version()}"),
    ]
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {name}",
        _table(("", ""), facts),
        *_results(rows, distances or {}),
        *([_USE.format(name=name)] if weather else []),
        f"Weights: {licence}." + (f" Training data: {attribution}" if attribution else ""),
    ]
    return "\n\n".join(parts) + "\n"


def _results(rows: Rows, distances: Mapping[str, Any]) -> list[str]:
    if rows:
        return [f"Scores of its test, area-weighted ({_about(rows)}):", _scores(rows)]
    found = [(score.title, f"{distances[key]:.4g}") for key, score in IMAGE_SCORES.items() if key in distances]
    if not found:
        return ["It has not been scored."]
    about = f"{distances['n_generated']:,} images, {distances['device']}, commit {distances['commit']}"
    return [f"Distances from the training images, of its test ({about}):", _table(("", ""), found)]


_USE = """```python
import fdsr
import xarray as xr

fine = fdsr.load("{name}").downscale(xr.open_dataset("coarse.nc"), members=8)
```

It serves any place of its kind. What it learnt it learnt from the data above: elsewhere, and in other seasons, nobody has looked until
`fdsr test` has."""


def _fields(home: FieldSpec) -> Iterable[tuple[str, str]]:
    def names(channels: Sequence[str]) -> str:
        units = {n: home.attributes.get(n, {}).get("units", "") for n in channels}
        return ", ".join(f"{n} ({unit})" if unit else n for n, unit in units.items()) or "none"

    def spacing(steps: tuple[float, float]) -> str:
        return " × ".join(f"{s:.4g}" for s in steps) + f" {home.grid.units}"

    yield "fine fields", names(home.high_channels)
    yield "coarse fields", names(home.low_channels)
    yield "static fields", names(home.static_channels)
    yield (
        "spacing",
        f"{spacing(home.low_grid.steps)} to {spacing(home.grid.steps)}, factor {home.factor[0]} × {home.factor[1]}",
    )
    told = {"position": home.position, "season and hour": home.time_channels, "missing values": home.masked}
    yield "is told", ", ".join(name for name, yes in told.items() if yes) or "nothing else"
    yield (
        "trained on",
        f"{home.grid.extent}; data {home.fingerprint}" + (" (synthetic fields, no weather)" if home.synthetic else ""),
    )


def _about(rows: Rows) -> str:
    first = rows[0]
    return f"{first['members']} members, {first['n_times']} times, seed {first['seed']}, {first['device']}, commit {first['commit']}"


def _scores(rows: Rows) -> str:
    variables = list(dict.fromkeys(row["variable"] for row in rows))
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    values = {(row["metric"], row["variable"]): row["value"] for row in rows}
    lines = [(m.replace("_", " "), *(values.get((m, v), "") for v in variables)) for m in metrics]
    return _table(("", *variables), lines)


def _result(name: str, rows: Rows) -> dict[str, Any]:
    """As the hub lists results."""
    return {
        "task": {"type": "image-to-image", "name": "ensemble super-resolution of weather fields"},
        "dataset": {"type": "pair-store", "name": f"test block of {name}"},
        "metrics": [
            {"type": row["metric"], "name": f"{row['metric']} {row['variable']}", "value": float(row["value"])}
            for row in rows
        ],
    }


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
