"""One static HTML page of a comparison: it loads nothing, so it can be mailed, archived, and opened from a disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from fdsr import __version__
from fdsr.atomic import write_text
from fdsr.drawing import svg
from fdsr.drawing.style import PALETTE
from fdsr.report.figures import FIGURES
from fdsr.report.figures.atlas import data_uri, gradient, make_atlas
from fdsr.report.figures.distances import UNCONVERGED, distance_row
from fdsr.report.figures.samples import find_samples
from fdsr.report.measures import SECONDS
from fdsr.report.pairs import Difference, differences
from fdsr.report.runs import TestedRun, labels
from fdsr.report.studies import EVERY, Estimate, Study
from fdsr.report.sweep_table import SweepTable
from fdsr.scores import IMAGE_SCORES

PAGE = "report.html"
_FEW = 30  # times: fewer say nothing of skill in general
_SETTING = (
    ("M", "members of the ensemble"),
    ("NFE", "network evaluations a member"),
    ("seeds", "runs that differ in their seed alone"),
)
_TEMPLATES = resources.files("fdsr.report") / "templates"


def write_page(studies: Sequence[Study], sweeps: Sequence[SweepTable], output: Path) -> Path:
    """Write `output`/report.html, whole or not at all, and return its path.

    Args:
        studies: what was tested on weather fields; see `make_studies`.
        sweeps: image studies.
    """
    path = output / PAGE
    write_text(path, render(studies, sweeps))
    return path


def render(studies: Sequence[Study], sweeps: Sequence[SweepTable]) -> str:
    """The page's HTML. Whatever comes from runs (names, configurations) is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"inline": svg.inline, "sample_line": svg.sample_line}
    template = environment.from_string((_TEMPLATES / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title="Comparison of methods" if studies else "Distance against steps",
        version=__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        n_runs=sum(len(study.runs) for study in studies),
        methods=list(dict.fromkeys(e.method for s in studies for e in s.entries)),
        studies=[_study(study) for study in studies],
        sweeps=[_sweep(sweep) for sweep in sweeps],
        gradient=gradient(),
        palette=PALETTE,
        css=(_TEMPLATES / "report.css").read_text(encoding="utf-8"),
        js=(_TEMPLATES / "report.js").read_text(encoding="utf-8"),
    ) + "\n"  # fmt: skip


# -- one study ---------------------------------------------------------------------------------------------------------


def _study(study: Study) -> dict[str, Any]:
    atlas = make_atlas(study)
    return {
        "title": study.title,
        "about": f"{study.n_times} time{'s' if study.n_times != 1 else ''} of the split “{study.split}”: {', '.join(study.variables)}.",
        "notes": study_notes(study),
        "tables": [study_table(study, v) for v in (EVERY, *study.variables)],
        "pairs": pairs_table(study),
        "legend": study.looks.values(),
        "figures": [(figure, rows) for figure in FIGURES if (rows := figure.rows(study))],
        "atlas": atlas,
        # a script ends at the first "</", whatever stands around it
        "atlas_json": json.dumps(atlas).replace("<", "\\u003c") if atlas else "",
        "records": _records(study),
    }  # fmt: skip


def study_notes(study: Study) -> list[str]:
    """What must be said of the numbers."""
    runs = study.runs
    notes = []
    if any(run.synthetic for run in runs):
        notes.append("These fields are synthetic and no weather: how methods rank on them is no claim about weather.")
    if study.n_times < _FEW:
        few = f"{study.n_times} times are few"
        notes.append(f"{few}: the numbers compare methods on these fields and support no general claim of skill.")
    if all(len(e.runs) == 1 for e in study.entries):
        notes.append("One seed a method: how much of a difference is chance, this page cannot say.")
    else:
        notes.append("Means over seeds ± their sample standard deviation; the column “seeds” says how many. A difference "
                     "within the spread is no difference.")  # fmt: skip
    if any(e.members == 1 for e in study.entries):
        notes.append("A deterministic method's mean absolute error stands in the column of the CRPS, marked MAE.")
    notes.append("Best values of a column are marked, also where they differ by less than chance. RMSE and MAE are of the "
                 "ensemble mean; a single member's would be larger.")  # fmt: skip
    if len(commits := list(dict.fromkeys(r.facts["commit"] for r in runs))) > 1:
        notes.append(f"The runs were tested with {len(commits)} versions of the code: {', '.join(commits)}.")
    if len(devices := list(dict.fromkeys(r.facts["device"] for r in runs))) > 1:
        notes.append(f"Wall times are of different devices: {'; '.join(devices)}.")
    if study.fingerprint:
        notes.append(f"Fingerprint of the data: {study.fingerprint}.")
    return notes


class Cell(NamedTuple):
    """Of a table. spread: as text; mark: a word beside the value; best: of its column."""

    value: str
    spread: str = ""
    mark: str = ""
    best: bool = False


def study_table(study: Study, variable: str) -> dict[str, Any]:
    """Caption, columns (heading, in words) and rows of cells of one variable's table, or of means over all where it is EVERY."""
    metrics = [m for m in study.metrics if any(study.estimate(e, m, variable) for e in study.entries)]
    columns = metrics if variable else study.summary()
    best = {metric: study.best(metric, variable) for metric in columns}
    rows = []
    for entry in study.entries:
        cells = [_cell(study.estimate(entry, m, variable), entry.label in best[m]) for m in columns]
        cells += [Cell(str(n)) for n in (entry.members, entry.nfe, len(entry.runs))]
        rows.append({"label": entry.label, "colour": study.looks[entry.label].colour, "cells": cells})
    ratios = [f"; the {s.title} ratio is to the {study.yardstick(s)}" for s in study.ratios.values()]
    unit = study.unit(variable) or "its unit"
    of_one = f"{variable}, in {unit} where nothing else is said"
    caption = of_one if variable else "Means over variables" + "".join(ratios)
    headings = [*_headings(study, columns), *_SETTING]
    return {"name": variable or "all", "caption": caption, "columns": headings, "rows": rows}


def pairs_table(study: Study) -> dict[str, Any] | None:
    """Columns and rows of cells of the differences from the baselines, means over variables; None where no two have two seeds."""
    columns = [m for m in study.summary() if m != SECONDS.name]
    by_metric = {m: {(d.entry.label, d.against.label): d for d in differences(study, m)} for m in columns}
    counts: dict[tuple[str, str], int] = {}
    for key, difference in ((k, d) for found in by_metric.values() for k, d in found.items()):
        counts[key] = max(counts.get(key, 0), len(difference.values))
    if max(counts.values(), default=0) < 2:
        return None
    rows = []
    for (entry, against), count in sorted(counts.items(), key=lambda item: -item[1]):  # what says most comes first
        cells = [*(_difference(by_metric[m].get((entry, against))) for m in columns), Cell(str(count))]
        rows.append({"label": f"{entry} − {against}", "colour": study.looks[entry].colour, "cells": cells})
    return {"columns": [*_headings(study, columns), ("pairs", "seeds that both have")], "rows": rows}


def _cell(estimate: Estimate | None, best: bool) -> Cell:
    if estimate is None:
        return Cell("–")
    return Cell(f"{estimate.value:.4g}", _spread(estimate.spread), estimate.stand_in.upper(), best)


def _difference(found: Difference | None) -> Cell:
    if found is None:
        return Cell("–")
    mark = "" if found.verdict == "too few pairs" else found.verdict
    return Cell(f"{found.mean:+.3g}", _spread(found.error), mark, found.verdict == "better")


def _spread(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _headings(study: Study, columns: Sequence[str]) -> list[tuple[str, str]]:
    return [(score.column, score.what) for score in map(study.score, columns)]


def _records(study: Study) -> list[dict[str, Any]]:
    runs = study.runs
    named = labels([r.folder.path for r in runs])
    return [{"name": named[run.folder.path], "facts": _facts(run), "config": run.config} for run in runs]


def _facts(run: TestedRun) -> list[tuple[str, str]]:
    test, fit = run.record.get("test", {}), run.record.get("fit", {})
    packages = ", ".join(f"{name} {version}" for name, version in test.get("packages", {}).items())
    networks = ", ".join(f"{name} {n:,}" for name, n in test.get("networks", {}).items())
    facts = [
        ("folder", str(run.folder)),
        ("seed", run.seed),
        ("members, NFE", f"{run.facts['members']}, {run.facts['nfe']}"),
        ("split, times", f"{run.facts['split']}, {run.facts['n_times']}"),
        ("tested", f"{test.get('started', '')}, commit {run.facts['commit']}"),
        ("trained", _training(fit)),
        ("device", f"{run.facts['device']}, precision {test.get('precision', 'unknown')}"),
        ("processes", str(test.get("processes", 1))),
        ("seconds a member", "" if run.seconds is None else f"{run.seconds:g}"),
        ("data fingerprint", run.fingerprint),
        ("parameters", networks or f"{test.get('parameters', 0):,}"),
        ("packages", f"fdsr {test['fdsr']}, python {test['python']}, {packages}" if packages else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _training(fit: dict[str, Any]) -> str:
    if not fit:
        return ""
    words = [fit.get("started", ""), f"commit {fit.get('commit', 'unknown')}", f"seed {fit.get('seed', 'unknown')}"]
    words += [f"{fit[key]:,} {key.replace('_', ' ')}" for key in ("steps", "samples_seen") if key in fit]
    return ", ".join(words)


# -- a sweep's table ---------------------------------------------------------------------------------------------------


def _sweep(table: SweepTable) -> dict[str, Any]:
    return {
        "title": f"{table.name}: distance against steps",
        "notes": [
            "Lines join means over seeds; each number of generated images has its own. A filled mark is a training whose "
            "distance fell by less than 5 % in its last quarter; a hollow one is not shown to have converged.",
            *(f"{IMAGE_SCORES[name].title}: {IMAGE_SCORES[name].long_name}; lower is better." for name in table.distances),
        ],
        "legend": [*table.looks.values(), UNCONVERGED],
        "rows": [distance_row(table, name) for name in table.distances],
        "samples": [
            {"title": ", ".join([s.title, *([f"seed {s.seed}"] if s.seed else []), *s.values]), "uri": data_uri(s.picture.read_bytes())}
            for s in find_samples(table).itertuples()
        ],
    }  # fmt: skip
