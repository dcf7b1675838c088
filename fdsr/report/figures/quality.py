"""Quality against cost: scores against network evaluations, and against seconds where any are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from fdsr.drawing.axes import apart, log_axis, show_ticks
from fdsr.drawing.panels import Panel
from fdsr.drawing.style import Look
from fdsr.report.figures.figure import Figure, Rows
from fdsr.report.measures import ratio
from fdsr.report.studies import EVERY, Entry, Estimate, Study
from fdsr.scores import AS_VARIABLE, Score

_WIDE = 6.0  # values that differ by more get a logarithmic axis
_NONE = 0.5  # where a logarithmic axis of network evaluations has its zero
_COSTS: tuple[tuple[str, str, Callable[[Entry], float | None]], ...] = (
    ("NFE", "network evaluations a member (NFE)", lambda entry: float(entry.nfe)),
    ("wall time", "seconds a member", lambda entry: s.value if (s := entry.seconds()) else None),
)


@dataclass(frozen=True)
class Point:
    """y against x. line: points that have it in common are joined."""

    label: str
    x: float
    y: Estimate
    look: Look
    line: tuple[Any, ...]


def quality_row(study: Study, metric: str, variable: str, ylabel: str, what: str) -> list[Panel]:
    """`metric` against each cost that is known."""
    panels = []
    for name, xlabel, cost in _COSTS:
        points = []
        for entry in study.entries:
            x, y = cost(entry), study.estimate(entry, metric, variable)
            # a line joins what differs in its evaluations alone
            others = tuple(sorted((axis, value) for axis, value in entry.runs[0].axes.items() if axis != "nfe"))
            if x is not None and y is not None:
                points.append(Point(entry.label, x, y, study.looks[entry.label], (entry.method, others)))
        if points:
            alt = "; ".join(f"{p.label}: {p.y.value:.4g} at {p.x:.4g}" for p in points)
            draw = partial(draw_quality, points=points, xlabel=xlabel, ylabel=ylabel, counts=name == "NFE")
            panels.append(Panel(f"{what} against {name}", draw, alt))
    return panels


def draw_quality(ax: Axes, points: Sequence[Point], xlabel: str, ylabel: str, counts: bool) -> None:
    """Points with their spread over seeds; hollow where a mean absolute error stands in the CRPS's place.

    Args:
        counts: whether x counts network evaluations, of which there may be none.
    """

    def place(x: float) -> float:
        return x or _NONE if counts else x

    for line in dict.fromkeys(p.line for p in points):
        joined = sorted((p for p in points if p.line == line), key=lambda p: p.x)
        if len({p.x for p in joined}) > 1:
            ax.plot([place(p.x) for p in joined], [p.y.value for p in joined], lw=1, **joined[0].look.tint)
    for p in points:
        if p.y.spread is not None:
            ax.plot([place(p.x)] * 2, [p.y.value - p.y.spread, p.y.value + p.y.spread], lw=1, **p.look.tint)
        ax.plot([place(p.x)], [p.y.value], **replace(p.look, hollow=bool(p.y.stand_in)).mark)
    xs, ys = sorted({place(p.x) for p in points}), [p.y.value for p in points]
    ax.set(xscale="log", xlim=(xs[0] / 1.6, xs[-1] * 1.6), xlabel=xlabel, ylabel=ylabel)
    if counts:
        shown = apart(xs)
        show_ticks(ax, "x", shown, ["0" if x == _NONE else f"{x:g}" for x in shown])
    else:
        log_axis(ax, "x")
    ax.margins(y=0.12)
    if min(ys) > 0 and max(ys) > _WIDE * min(ys):  # interpolation's spectrum would press all others onto the axis
        log_axis(ax, "y")


def scores_against_cost(study: Study) -> list[Score]:
    """The headline scores that have a lower left."""
    return [score for score in study.headlines() if score.direction == "lower"]


def _means(study: Study) -> Rows:
    rows = []
    for score in scores_against_cost(study):
        metric, ylabel = score.name, score.column
        if score.summary == "ratio":
            metric, ylabel = ratio(score).name, f"{score.title} / {study.yardstick(score)}"
        rows.append(quality_row(study, metric, EVERY, ylabel, f"{score.title}, mean over variables,"))
    return rows


def _by_variable(study: Study) -> Rows:
    rows = []
    for name in study.variables:
        for score in scores_against_cost(study):
            unit = (study.unit(name) or "its unit") if score.unit == AS_VARIABLE else score.unit
            rows.append(quality_row(study, score.name, name, f"{score.title} ({unit})", f"{name}: {score.title}"))
    return rows


QUALITY = Figure(
    "Quality against cost",
    "Lower left is better. Bars are standard deviations over seeds; hollow marks are deterministic methods, whose mean absolute "
    "error stands for the CRPS. Lines join one method's settings.",
    _means,
    pairs=True,
)
QUALITY_BY_VARIABLE = Figure("Each variable", "", _by_variable, pairs=True, folded=True)
