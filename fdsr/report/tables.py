"""Metric tables in plain text."""

from __future__ import annotations

from fdsr.report.runs import TestedRun
from fdsr.report.studies import Estimate, Study


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
    """Every method of a study: the CRPS of each variable, then means over variables; means over seeds.

    A deterministic method's CRPS is its mean absolute error, marked `*`. The relative column divides each variable's CRPS
    by the mean absolute error of the study's reference before averaging.
    """

    def cell(estimate: Estimate | None, digits: str, mark: str = "") -> str:
        return "-" if estimate is None else f"{estimate.value:{digits}}{mark}"

    repeated = any(len(e.runs) > 1 for e in study.entries)
    lines = []
    for e in study.entries:
        mark = "*" if e.members == 1 else " "
        about = [e.label, str(e.members), str(e.nfe), *([str(len(e.runs))] if repeated else [])]
        crps = [cell(study.estimate(e, "crps", v), ".4g", mark) for v in study.variables]
        relative = cell(study.estimate(e, "crps_relative"), ".3f", mark)
        lines.append([*about, *crps, relative, *(cell(study.estimate(e, m), ".2f") for m in ("spread_skill", "lsd"))])
    header = [
        "method",
        "M",
        "NFE",
        *(["seeds"] if repeated else []),
        *(f"CRPS {v} " for v in study.variables),
        f"/ MAE {study.reference.label} ",
        "spread/skill",
        "LSD (dB)",
    ]
    return _layout(header, lines) + "\n* one member: the mean absolute error stands for the CRPS"
