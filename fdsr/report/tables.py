"""Metric tables in plain text."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One fact of a test."""

    method: str
    variable: str
    metric: str
    value: float
    members: int
    nfe: int


def _layout(header: list[str], lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]

    def text(line: list[str]) -> str:
        return "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()

    return "\n".join([text(header), "  ".join("-" * w for w in widths), *map(text, lines)])


def metric_table(rows: list[Row]) -> str:
    """One run: metrics down, variables across, in physical units."""
    variables = list(dict.fromkeys(r.variable for r in rows))
    values = {(r.metric, r.variable): r.value for r in rows}
    metrics = list(dict.fromkeys(r.metric for r in rows))
    first = rows[0]
    title = f"{first.method}: {first.members} member{'s' if first.members > 1 else ''}, {first.nfe} network evaluations each"
    lines = [[m, *(f"{values[m, v]:.4g}" if (m, v) in values else "-" for v in variables)] for m in metrics]
    return title + "\n" + _layout(["metric", *variables], lines)


def comparison_table(rows: list[Row]) -> str:
    """Several runs: methods down; the CRPS of each variable, then means over variables across.

    A deterministic method's CRPS is its mean absolute error, marked `*`. The relative column divides each variable's CRPS
    by the mean absolute error of the first method before averaging.
    """
    variables = list(dict.fromkeys(r.variable for r in rows))
    methods = list(dict.fromkeys(r.method for r in rows))
    values = {(r.method, r.metric, r.variable): r.value for r in rows}
    about = {r.method: (r.members, r.nfe) for r in rows}
    reference = methods[0]

    def crps(method: str, variable: str) -> float:
        return values[method, "crps" if about[method][0] > 1 else "mae", variable]

    def mean(method: str, metric: str) -> str:
        found = [values[method, metric, v] for v in variables if (method, metric, v) in values]
        return f"{sum(found) / len(found):.2f}" if found else "-"

    lines = []
    for method in methods:
        members, nfe = about[method]
        relative = sum(crps(method, v) / values[reference, "mae", v] for v in variables) / len(variables)
        mark = "*" if members == 1 else " "
        lines.append(
            [method, str(members), str(nfe), *(f"{crps(method, v):.4g}{mark}" for v in variables), f"{relative:.3f}{mark}",
             mean(method, "spread_skill"), mean(method, "lsd")]
        )  # fmt: skip
    header = [
        "method",
        "M",
        "NFE",
        *(f"CRPS {v} " for v in variables),
        f"/ MAE {reference} ",
        "spread/skill",
        "LSD (dB)",
    ]
    return _layout(header, lines) + "\n* one member: the mean absolute error stands for the CRPS"
