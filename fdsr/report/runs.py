"""Finished runs as a report sees them: found in folders, read from the files that a test leaves."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from fdsr.errors import FdsrError

TABLE = "test_metrics.csv"
# what a sweep calls its folders: the method, and the value of each axis
_AXIS = re.compile(r"-([A-Za-z]\w*)=([^-]*(?:-\d+)?)")
_SEED = re.compile(r"[-_]?seed[=_-]?\d+$")


@dataclass(frozen=True)
class TestedRun:
    """The directory of a run that `fdsr test` has scored.

    method: the name of its configuration, without what tells apart the runs of a sweep (`ddpm-seed=0` is `ddpm`).
    axes: what the folders' names say of a sweep's axes other than the seed.
    facts: split, members, nfe, seed, n_times, device and commit, as the table has them.
    values: (metric, variable) → value in physical units.
    """

    folder: Path
    method: str
    axes: dict[str, str]
    facts: dict[str, str]
    values: dict[tuple[str, str], float]

    @property
    def seed(self) -> str:
        return self.facts["seed"]

    @property
    def members(self) -> int:
        return int(self.facts["members"])

    @property
    def nfe(self) -> int:
        return int(self.facts["nfe"])

    @property
    def variables(self) -> list[str]:
        return list(dict.fromkeys(variable for _, variable in self.values))

    @cached_property
    def record(self) -> dict[str, Any]:
        """`run.json`; what a sweep trained lies one folder above what it tested."""
        own = _json(self.folder / "run.json")
        return own if "fit" in own else _json(self.folder.parent / "run.json") | own

    @cached_property
    def config(self) -> str:
        """The configuration of the test, or of the training where that is all there is."""
        for name in ("config-test.yaml", "config.yaml"):
            if (self.folder / name).is_file():
                return (self.folder / name).read_text()
        return ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """`config` as values; empty where it cannot be read."""
        try:
            found = yaml.safe_load(self.config)
        except yaml.YAMLError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def fingerprint(self) -> str:
        return str(self.record.get("test", {}).get("data_fingerprint", ""))

    @property
    def synthetic(self) -> bool:
        """Whether the fields are recorded as no weather."""
        return bool(self.record.get("test", {}).get("synthetic", False))

    @property
    def seconds(self) -> float | None:
        """Seconds that one member of one field took; None for runs from before it was recorded."""
        value = self.record.get("test", {}).get("seconds_per_member")
        return None if value is None else float(value)

    def dataset(self, name: str) -> xr.Dataset | None:
        """One of the test's NetCDF files, in memory; None where it was not written."""
        path = self.folder / name
        if not path.is_file():
            return None
        with xr.open_dataset(path, engine="scipy") as ds:
            return ds.load()


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """The run directories among `paths`, and those below the others: a sweep's folder stands for all its tests.

    Raises FdsrError for a path that has none.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.name == TABLE:  # of a sweep, or of a run
            path = path.parent
        below = [path] if _is_run(path) else sorted(p.parent for p in path.glob(f"**/{TABLE}") if _is_run(p.parent))
        if not below:
            raise FdsrError(f"run '{path}' has no {TABLE}; score it first with 'fdsr test'")
        found |= dict.fromkeys(below)
    return list(found)


def read_run(folder: Path) -> TestedRun:
    """Raises FdsrError if the run has not been tested, or its table cannot be read."""
    path = folder / TABLE
    if not path.is_file():
        raise FdsrError(f"run '{folder}' has no {TABLE}; score it first with 'fdsr test'")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        values = {(r["metric"], r["variable"]): float(r["value"]) for r in rows}
        facts = {name: rows[0][name] for name in ("split", "members", "nfe", "seed", "n_times", "device", "commit")}
        int(facts["members"]), int(facts["nfe"])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise FdsrError(f"'{path}' is not the table of a test ({error}); make it again with 'fdsr test'") from error
    axes = dict(_AXIS.findall(folder.parent.name) + _AXIS.findall(folder.name))
    axes.pop("seed", None)
    return TestedRun(folder, method_name(folder.name), axes, facts, values)


def method_name(folder: str) -> str:
    """The configuration's name in a run's: without axes of a sweep, and without a seed at its end."""
    return _SEED.sub("", _AXIS.sub("", folder)) or folder


def labels(runs: Sequence[Path]) -> dict[Path, str]:
    """Each run's folder by as many of its last parts as tell it from the others."""
    found = {}
    for run in runs:
        parts = run.absolute().parts
        depth = 1
        while depth < len(parts) and any(
            other.absolute().parts[-depth:] == parts[-depth:] for other in runs if other != run
        ):
            depth += 1
        found[run] = "/".join(parts[-depth:])
    return found


def _is_run(folder: Path) -> bool:
    """A sweep's folder has a table as well, the joint one; but only a run has spectra."""
    return (folder / TABLE).is_file() and any((folder / n).is_file() for n in ("run.json", "test_spectra.nc"))


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except json.JSONDecodeError as error:
        raise FdsrError(f"'{path}' is not JSON ({error.msg}, line {error.lineno}); test the run again") from error
