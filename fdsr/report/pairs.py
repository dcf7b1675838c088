"""Is one method better than another? Differences in pairs of runs that share their seed, and with it data, batches and fields."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from fdsr.records import Table
from fdsr.report.studies import EVERY, Entry, Study

Names = Sequence[str]

TABLE = "differences.csv"
BASELINES = ("ddpm", "ddpm_ddim", "ddpm_sr")  # what methods are held against where the reader names none
_PAIRS = 3  # fewer show nothing


@dataclass(frozen=True)
class Difference:
    """Of a metric: `entry` minus `against`, seed by seed. error: standard error of the mean; None of a single pair.

    badness: the same in what is to be small, as |ratio − 1| of a spread–skill ratio; its signs decide.
    """

    entry: Entry
    against: Entry
    metric: str
    variable: str
    values: tuple[float, ...]
    badness: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def error(self) -> float | None:
        return _error(self.values)

    @property
    def verdict(self) -> str:
        """`better` or `worse` if three pairs or more all agree and their mean exceeds two standard errors; else `undecided`.

        `too few pairs` of less than three. Three pairs that agree are a convention, not a test: one in four that differ by
        chance alone do.
        """
        if len(self.badness) < _PAIRS:
            return "too few pairs"
        error = _error(self.badness)
        alike = all(v < 0 for v in self.badness) or all(v > 0 for v in self.badness)
        if not alike or error is None or abs(fmean(self.badness)) <= 2 * error:
            return "undecided"
        return "better" if self.badness[0] < 0 else "worse"


def differences(study: Study, metric: str, variable: str = EVERY, baselines: Names = BASELINES) -> list[Difference]:
    """Every ensemble of the study against each baseline method, where they share a seed.

    Methods are compared at equal numbers of network evaluations; one whose number no baseline has (a GAN of four steps) is
    compared with the largest of each. Metrics without a better or worse give none.
    """
    if study.score(metric).badness is None:
        return []
    found = []
    for entry, against in _matches(study, baselines):
        other = {run.seed: run for run in against.runs}
        pairs = [(run, other[run.seed]) for run in entry.runs if run.seed in other]
        known = [pair for pair in pairs if all(_finite(study.of_run(run, metric, variable)) for run in pair)]
        if known:
            values, worse = (
                tuple(of(a, metric, variable) - of(b, metric, variable) for a, b in known)  # type: ignore[operator]
                for of in (study.of_run, study.badness_of_run)
            )
            found.append(Difference(entry, against, metric, variable, values, worse))
    return found


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def write_differences(studies: Sequence[Study], path: Path, baselines: Names = BASELINES) -> Path | None:
    """A line for every pair of methods, variable and metric of the page's first table; None where nothing can be paired."""
    rows = []
    for study in studies:
        summary = study.summary()
        wanted = {*summary, *(name for score in study.ratios.values() for name in (score.name, score.stand_in))}
        asked = [(m, EVERY) for m in summary]
        asked += [(m, v) for v in study.variables for m in study.metrics if m in wanted]
        for metric, variable in asked:
            for d in differences(study, metric, variable, baselines):
                rows.append(
                    {"data": study.title, "method": d.entry.label, "against": d.against.label, "metric": metric,
                     "variable": variable or "all", "pairs": len(d.values), "mean_difference": f"{d.mean:.6g}",
                     "standard_error": "" if d.error is None else f"{d.error:.3g}", "verdict": d.verdict}
                )  # fmt: skip
    if not rows:
        return None
    Table(path).write(rows)
    return path


def _matches(study: Study, baselines: Names) -> Iterator[tuple[Entry, Entry]]:
    own = [[e for e in study.entries if e.method == name and e.members > 1] for name in baselines]
    held = [entries for entries in own if entries]
    for entry in study.entries:
        if entry.members == 1:
            continue
        others = [against for entries in held for against in entries if against.method != entry.method]
        alike = [against for against in others if against.nfe == entry.nfe]
        # two baselines differ in their sampler alone, and so in what they spend
        if entry.method not in baselines:
            alike = alike or [max(entries, key=lambda e: e.nfe) for entries in held]
        yield from ((entry, against) for against in alike)


def _error(values: Sequence[float]) -> float | None:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
