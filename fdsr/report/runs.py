"""Finished runs as a report sees them: found in folders, read from the files that a test leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fdsr.errors import FdsrError
from fdsr.records import RunFolder
from fdsr.records.run_folder import TABLE
from fdsr.report.measures import described
from fdsr.scores import Score

# of a trainer's settings those that make another training
_LENGTH = ("max_steps", "max_epochs", "max_time", "accumulate_grad_batches", "precision")


@dataclass(frozen=True)
class TestedRun:
    """The directory of a run that `fdsr test` has scored.

    method: what its sweep calls it, or the name of its configuration.
    axes: its place in a sweep, other than the seed.
    facts: split, members, nfe, seed, n_times, device and commit, as the table has them.
    values: (metric, variable) → value in physical units.
    """

    folder: RunFolder
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
    def declared(self) -> dict[str, Score]:
        """What is known of the scores, by name."""
        return described(self.folder.scores.read(), [metric for metric, _ in self.values])

    @cached_property
    def record(self) -> dict[str, Any]:
        return self.folder.history()

    @cached_property
    def config(self) -> str:
        return self.folder.config()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """`config` as values; empty where it cannot be read."""
        return read_settings(self.config)

    @cached_property
    def setting(self) -> str:
        """What else than the seed tells apart runs of one method: of a sweep's point its settings, else model, data and training."""
        if self.folder.point:
            marker = self.folder.tested.read()
            named = [a.replace(f"seed={self.seed}", "") for part in ("arguments", "test") for a in marker.get(part, ())]
            return repr([marker.get("config"), [a for a in named if not a.startswith("--seed_everything")]])
        parts = [p for p in map(self.settings.get, ("model", "data")) if isinstance(p, dict)]
        training = read_settings(self.folder.training_config())
        length = [(training.get("trainer") or {}).get(name) for name in _LENGTH]
        return repr(
            [(p.get("class_path"), (p.get("init_args") or {}) | {"seed": None}) for p in parts]
            + [length, training.get("ema")]
        )

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


def read_settings(text: str) -> dict[str, Any]:
    """A configuration as values; empty where it cannot be read."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """The run directories among `paths`, and those below the others: a sweep's folder stands for all its tests.

    Raises FdsrError for a path that has none.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.name == TABLE:  # of a sweep, or of a run
            path = path.parent
        # a sweep's folder has a table as well, the joint one, but no record
        below = [run.path for run in RunFolder.below(path) if run.table.exists()]
        if not below:
            raise FdsrError(f"run '{path}' has no {TABLE}; score it first with 'fdsr test'")
        found |= dict.fromkeys([path] if path in below else below)
    return list(found)


def read_run(path: str | Path) -> TestedRun:
    """Raises FdsrError if the run has not been tested, or its table cannot be read."""
    folder = RunFolder(path)
    if not folder.table.exists():
        raise FdsrError(f"run '{folder}' has no {TABLE}; score it first with 'fdsr test'")
    rows = folder.table.read()
    try:
        values = {(r["metric"], r["variable"]): float(r["value"]) for r in rows}
        facts = {name: rows[0][name] for name in ("split", "members", "nfe", "seed", "n_times", "device", "commit")}
        int(facts["members"]), int(facts["nfe"])
        method = rows[0]["method"]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise FdsrError(f"'{folder.table}' is not the table of a test ({error}); repeat 'fdsr test'") from error
    axes = {axis: str(value) for axis, value in folder.point.get("axes", {}).items() if axis != "seed"}
    return TestedRun(folder, method, axes, facts, values)


def labels(runs: Sequence[Path]) -> dict[Path, str]:
    """Each run's folder by as many of its last parts as tell it from the others."""
    found, parts = {}, {run: run.absolute().parts for run in runs}
    for run, own in parts.items():
        depth = 1
        while depth < len(own) and any(own[-depth:] == parts[other][-depth:] for other in parts if other != run):
            depth += 1
        found[run] = "/".join(own[-depth:])
    return found
