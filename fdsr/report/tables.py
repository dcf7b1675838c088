"""Metric tables in plain text."""

from __future__ import annotations

from fdsr.report.measures import ratio
from fdsr.report.runs import TestedRun
from fdsr.report.studies import EVERY, Estimate, Study


def _layout(header: list[str], lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]

    def text(line: list[str]) -> str:
        return "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()

    return "\n".join([text(header), "  ".join("-" * w for w in widths), *map(text, lines)])


def metric_table(run: TestedRun) -> str:
    """One run: metrics down, variables across, in physical units."""
    metrics = list(dict.fromkeys(metric for metric, _ in run.values))
    members = f"{run.members} member{'s' if run.members > 1 else ''}"
    title = f"{run.folder.name}: {members}, {run.nfe} network evaluations each"
    lines = [[m, *(f"{run.values[m, v]:.4g}" if (m, v) in run.values else "-" for v in run.variables)] for m in metrics]
    return title + "\n" + _layout(["metric", *run.variables], lines)


def comparison_table(study: Study) -> str:
    """Every method of a study by its headline scores: the CRPS of each variable, then means over variables; means over seeds.

    A deterministic method's CRPS is its mean absolute error, marked `*`. The relative column divides each variable's CRPS
    by the mean absolute error of the study's reference before averaging.
    """
    columns: list[tuple[str, str, str, str]] = []  # heading, metric, variable, digits
    for score in study.headlines():
        if score.summary == "ratio":
            columns += [(f"{score.title} {v} ", score.name, v, ".4g") for v in study.variables]
            whose = (score.stand_in or score.name).upper()
            columns.append((f"/ {whose} {study.reference.label} ", ratio(score).name, EVERY, ".3f"))
        else:
            columns.append((score.column, score.name, EVERY, ".2f"))

    def cell(estimate: Estimate | None, heading: str, digits: str) -> str:
        mark = " " if heading.endswith(" ") else ""  # room for one
        return "-" if estimate is None else f"{estimate.value:{digits}}{'*' if estimate.stand_in else mark}"

    repeated = any(len(e.runs) > 1 for e in study.entries)
    lines = []
    for e in study.entries:
        about = [e.label, str(e.members), str(e.nfe), *([str(len(e.runs))] if repeated else [])]
        lines.append([*about, *(cell(study.estimate(e, m, v), heading, digits) for heading, m, v, digits in columns)])
    header = ["method", "M", "NFE", *(["seeds"] if repeated else []), *(heading for heading, *_ in columns)]
    return _layout(header, lines) + "\n* one member: the mean absolute error stands for the CRPS"
