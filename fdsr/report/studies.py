"""Runs that may be compared: the same data, split and times; and of each method, its mean and spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev

import xarray as xr

from fdsr.drawing.style import Look, make_looks
from fdsr.errors import FdsrError
from fdsr.report.measures import SECONDS, ratio
from fdsr.report.runs import TestedRun
from fdsr.scores import Score, find_score, known_name

EVERY = ""  # in place of a variable: the mean over all of them


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds. spread: their sample standard deviation; None of a single seed. stand_in: the score in this one's place."""

    value: float
    spread: float | None
    seeds: int
    stand_in: str = ""


@dataclass(frozen=True)
class Entry:
    """One method in one setting: its runs differ in their seeds alone."""

    method: str
    label: str
    runs: tuple[TestedRun, ...]

    @property
    def members(self) -> int:
        return self.runs[0].members

    @property
    def nfe(self) -> int:
        return self.runs[0].nfe

    def over_seeds(self, value: Callable[[TestedRun], float | None]) -> Estimate | None:
        """None where a run has no such value."""
        found = [v for run in self.runs if (v := value(run)) is not None and not math.isnan(v)]
        if len(found) < len(self.runs):
            return None
        # a resolution that no wavelength reaches is infinite
        spread = stdev(found) if len(found) > 1 and all(map(math.isfinite, found)) else None
        return Estimate(fmean(found), spread, len(found))

    def seconds(self) -> Estimate | None:
        return self.over_seeds(lambda run: run.seconds)

    def scores(self, name: str) -> xr.Dataset | None:
        """The scores of those of its runs that have the score `name`, averaged; None where none has it."""
        found = [ds for run in self.runs if (ds := run.folder.scores.read()) is not None and name in ds]
        with xr.set_options(keep_attrs=True):
            return sum(found[1:], start=found[0]) / len(found) if found else None


@dataclass(frozen=True)
class Study:
    """All that was tested on the same fields. reference: whose mean absolute error relative scores are divided by."""

    title: str
    fingerprint: str
    split: str
    n_times: int
    variables: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def reference(self) -> Entry:
        """Bicubic interpolation if it is there, else the cheapest single forecast, else whoever stands first."""
        single = [e for e in self.entries if e.members == 1]
        named = [e for e in single if e.method == "bicubic"]
        return (named or sorted(single, key=lambda e: e.nfe) or list(self.entries))[0]

    @cached_property
    def looks(self) -> dict[str, Look]:
        """Label → how it is drawn in every figure: methods by colour, their settings by marker and dashes."""
        return make_looks({e.label: e.method for e in self.entries})

    def unit(self, variable: str) -> str:
        """As the first example says; empty where no run has kept one."""
        for run in self.runs:
            ds = run.folder.example.read()
            if ds is not None and variable in ds.variable.values:
                return str(ds.units.sel(variable=variable).item())
        return ""

    @property
    def runs(self) -> list[TestedRun]:
        return [run for entry in self.entries for run in entry.runs]

    @cached_property
    def declared(self) -> dict[str, Score]:
        """What is known of the scores, by name; an ensemble's description goes before that of a single forecast."""
        return {name: s for run in sorted(self.runs, key=lambda run: run.members) for name, s in run.declared.items()}

    @cached_property
    def ratios(self) -> dict[str, Score]:
        """The score that a column of ratios is made of."""
        return {ratio(score).name: score for score in self.declared.values() if score.summary == "ratio"}

    def score(self, metric: str) -> Score:
        """What a column shows; of an unknown one, no value is better than another."""
        if metric in self.ratios:
            return ratio(self.ratios[metric])
        return find_score(metric, self.declared | {SECONDS.name: SECONDS}) or Score(metric, metric, direction="none")

    def yardstick(self, score: Score) -> str:
        """What ratios of the score are to, in words."""
        return f"{(score.stand_in or score.name).upper()} of {self.reference.label}"

    @property
    def metrics(self) -> list[str]:
        """Of any run, in the order of a test's, those first whose ratios are summed up; unknown ones last."""
        found = dict.fromkeys(metric for run in self.runs for metric, _ in run.values)
        order = [*(score.name for score in self.ratios.values()), *self.declared]
        return sorted(found, key=lambda m: order.index(name) if (name := known_name(m, self.declared)) else len(order))

    def headlines(self) -> list[Score]:
        """The scores of the printed comparison, ratios first."""
        found = [score for score in self.declared.values() if score.headline]
        return sorted(found, key=lambda score: score.summary != "ratio")

    def estimate(self, entry: Entry, metric: str, variable: str = EVERY) -> Estimate | None:
        """A metric of one variable, or the mean over variables where that makes sense (see `summary`).

        What stands in a single forecast for its score, as the mean absolute error for the CRPS, says so.
        """
        estimate = entry.over_seeds(lambda run: self.of_run(run, metric, variable))
        score = self.ratios.get(metric) or self.score(metric)
        shown = score.shown(entry.members)
        return replace(estimate, stand_in=shown) if estimate and shown and shown != score.name else estimate

    def of_run(self, run: TestedRun, metric: str, variable: str = EVERY) -> float | None:
        """As `estimate`, of one run alone."""
        if metric == SECONDS.name:
            return run.seconds
        if metric in self.ratios:
            return self._relative(run, self.ratios[metric])
        shown = self.score(metric).shown(run.members)
        if shown is None:
            return None
        if variable:
            return run.values.get((shown, variable))
        return _mean([run.values.get((shown, v)) for v in self.variables])

    def summary(self) -> list[str]:
        """Metrics whose mean over variables, or that of their ratios, has a meaning."""
        means = [name for name, score in self.declared.items() if score.summary == "mean"]
        found = [*self.ratios, *means, SECONDS.name]
        return [metric for metric in found if any(self.estimate(entry, metric) for entry in self.entries)]

    def best(self, metric: str, variable: str = EVERY) -> set[str]:
        """Labels of the best values, all that look alike in the table; none where there is nothing to choose."""
        found = {e.label: estimate for e in self.entries if (estimate := self.estimate(e, metric, variable))}
        bad = {
            e.label: fmean(values)
            for e in self.entries
            if e.label in found
            and (values := [b for run in e.runs if (b := self.badness_of_run(run, metric, variable)) is not None])
        }
        if len(bad) < 2:
            return set()
        least = min(bad.values())
        # the table's own rounding decides what is alike, but for means that come of different values
        alike = {f"{found[label].value:.4g}" for label, b in bad.items() if b == least}
        return {
            label
            for label, b in bad.items()
            if f"{found[label].value:.4g}" in alike and b - least <= 1e-3 * abs(found[label].value)
        }

    def badness_of_run(self, run: TestedRun, metric: str, variable: str = EVERY) -> float | None:
        """How bad a run's value is; of several variables the mean of each one's, since too much here does not mend too little there."""
        badness, value = self.score(metric).badness, self.of_run(run, metric, variable)
        if badness is None or value is None:
            return None
        if variable or metric in self.ratios or metric == SECONDS.name:
            return badness(value)
        each = [of for v in self.variables if (of := self.of_run(run, metric, v)) is not None and math.isfinite(of)]
        return fmean(map(badness, each)) if each else None

    def _relative(self, run: TestedRun, score: Score) -> float | None:
        """Mean over variables of the ratio to the reference's score, or what stands in for it."""
        ratios = []
        for variable in self.variables:
            whose = (score.stand_in or score.name, variable)
            yardstick = self.reference.over_seeds(lambda r, whose=whose: r.values.get(whose))  # type: ignore[misc]
            value = self.of_run(run, score.name, variable)
            ratios.append(value / yardstick.value if value is not None and yardstick and yardstick.value else None)
        return _mean(ratios)


def make_studies(runs: Sequence[TestedRun]) -> list[Study]:
    """Runs by what they were tested on, in the order of their first appearance, each with its methods.

    Raises FdsrError if there is no run.
    """
    if not runs:
        raise FdsrError("there is no run to report; give directories that 'fdsr test' has scored")
    groups: dict[tuple[object, ...], list[TestedRun]] = {}
    for run in runs:
        key = (run.fingerprint, run.facts["split"], run.facts["n_times"], tuple(run.variables))
        groups.setdefault(key, []).append(run)
    return [
        Study(_title(own[0]), own[0].fingerprint, own[0].facts["split"], int(own[0].facts["n_times"]),
              tuple(own[0].variables), _entries(own))
        for own in groups.values()
    ]  # fmt: skip


def _entries(runs: Sequence[TestedRun]) -> tuple[Entry, ...]:
    groups: dict[tuple[object, ...], list[TestedRun]] = {}
    for run in runs:
        key: tuple[object, ...] = (run.method, tuple(sorted(run.axes.items())), run.members, run.nfe)
        groups.setdefault(key, []).append(run)
    # runs of one name that have a seed in common, or differ in more than it, are no seeds of a method: folders tell them apart
    for same, own in list(groups.items()):
        if len({r.seed for r in own}) < len(own) or len({r.setting for r in own}) > 1:
            del groups[same]
            for run in own:
                groups[(*same, run.folder.path)] = [run]
    named = list(groups.items())
    entries = []
    for key, own in named:
        siblings = [other[0] for _, other in named if other[0].method == own[0].method]
        entries.append(Entry(own[0].method, _label(own[0], siblings, placed=len(key) > 4), tuple(own)))
    return _distinct(entries)


def _label(run: TestedRun, siblings: Sequence[TestedRun], placed: bool) -> str:
    """The method, and what tells this setting from its others: an axis on which they agree is not worth a word."""
    if placed:
        return f"{run.folder.above.name}/{run.folder.name}"
    told = [axis for axis in run.axes if len({other.axes.get(axis) for other in siblings}) > 1]
    words = [f"{axis} {run.axes[axis]}" for axis in told if axis not in ("nfe", "steps")]
    # a GAN's T is the number of its evaluations
    if len({other.nfe for other in siblings}) > 1 and run.axes.get("T") != str(run.nfe):
        words.insert(0, f"{run.nfe} NFE")
    return ", ".join([run.method, *words])


def _distinct(entries: list[Entry]) -> tuple[Entry, ...]:
    """Labels are keys of tables and figures: alike ones get the size of the ensemble, or their folder, as well."""
    for more in (lambda e: f"M {e.members}", lambda e: str(e.runs[0].folder)):
        labels = [e.label for e in entries]
        entries = [replace(e, label=f"{e.label}, {more(e)}") if labels.count(e.label) > 1 else e for e in entries]
    return tuple(entries)


def _title(run: TestedRun) -> str:
    arguments = run.settings.get("data", {})
    arguments = arguments.get("init_args", {}) if isinstance(arguments, dict) else {}
    store = arguments.get("store") or arguments.get("source") or "unnamed data"
    factor = arguments.get("factor")
    by = "×".join(map(str, factor)) if isinstance(factor, list) else factor
    return Path(str(store)).name + (f", ×{by}" if by else "") + (", synthetic" if run.synthetic else "")


def _mean(values: Sequence[float | None]) -> float | None:
    found = [v for v in values if v is not None and not math.isnan(v)]
    return fmean(found) if found and len(found) == len(values) else None
