"""Quality against cost: scores against network evaluations, and against seconds where any are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from matplotlib.axes import Axes

from fdsr.drawing.axes import apart, log_axis, show_ticks
from fdsr.drawing.style import Look, Panel
from fdsr.report.figures.figure import Figure, Rows
from fdsr.report.measures import ratio
from fdsr.report.studies import EVERY, Entry, Estimate, Study
from fdsr.scores import AS_VARIABLE, Score

_WIDE = 6.0  # values that differ by more get a logarithmic axis
_NONE = 0.5  # where a logarithmic axis of network evaluations has its zero

Point = tuple[Entry, float, Estimate]

_COSTS: tuple[tuple[str, str, Callable[[Entry], float | None]], ...] = (
    ("NFE", "network evaluations a member (NFE)", lambda entry: float(entry.nfe)),
    ("wall time", "seconds a member", lambda entry: s.value if (s := entry.seconds()) else None),
)


def quality_row(study: Study, metric: str, variable: str, ylabel: str, what: str) -> list[Panel]:
    """`metric` against each cost that is known."""
    panels = []
    for name, xlabel, cost in _COSTS:
        known = [(e, cost(e), study.estimate(e, metric, variable)) for e in study.entries]
        points = [(e, x, y) for e, x, y in known if x is not None and y is not None]
        if points:
            alt = "; ".join(f"{e.label}: {y.value:.4g} at {x:.4g}" for e, x, y in points)
            looks, axes = study.looks, {"xlabel": xlabel, "ylabel": ylabel, "counts": name == "NFE"}
            draw = partial(draw_quality, points=points, looks=looks, **axes)  # type: ignore[arg-type]
            panels.append(Panel(f"{what} against {name}", draw, alt, [looks[e.label] for e, _, _ in points]))
    return panels


def draw_quality(
    ax: Axes, points: Sequence[Point], looks: Mapping[str, Look], xlabel: str, ylabel: str, counts: bool
) -> None:
    """Points with their spread over seeds; hollow where a mean absolute error stands in the CRPS's place.

    Args:
        counts: whether x counts network evaluations, of which there may be none.
    """
    placed = [(e, x or _NONE if counts else x, y) for e, x, y in points]
    lines: dict[tuple[object, ...], list[tuple[float, float, Look]]] = {}
    for entry, x, y in placed:
        look = looks[entry.label]
        # a line joins what differs in its evaluations alone
        others = sorted((axis, value) for axis, value in entry.runs[0].axes.items() if axis != "nfe")
        lines.setdefault((entry.method, *others), []).append((x, y.value, look))
        if y.spread is not None:
            ax.plot([x, x], [y.value - y.spread, y.value + y.spread], lw=1, **look.tint)
        ax.plot([x], [y.value], **replace(look, hollow=bool(y.stand_in)).mark)
    for joined in lines.values():
        xs, ys, looks_ = zip(*sorted(joined, key=lambda point: point[0]), strict=True)
        if len(set(xs)) > 1:
            ax.plot(xs, ys, lw=1, **looks_[0].tint)
    places, values = sorted({x for _, x, _ in placed}), [y.value for _, _, y in placed]
    ax.set(xscale="log", xlim=(places[0] / 1.6, places[-1] * 1.6), xlabel=xlabel, ylabel=ylabel)
    if counts:
        shown = apart(places)
        show_ticks(ax, "x", shown, ["0" if x == _NONE else f"{x:g}" for x in shown])
    else:
        log_axis(ax, "x")
    ax.margins(y=0.12)
    # interpolation's spectrum would press all others onto the axis
    if min(values) > 0 and max(values) > _WIDE * min(values):
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
)
QUALITY_BY_VARIABLE = Figure("Each variable", "", _by_variable, folded=True)
