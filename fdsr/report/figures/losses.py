"""Losses in training, from the lines that a run leaves as it trains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from fdsr.drawing.axes import log_axis, step_axis
from fdsr.drawing.style import Look, Panel
from fdsr.records import JSONLines
from fdsr.report.figures.figure import Figure, Rows
from fdsr.report.runs import TestedRun
from fdsr.report.studies import Study

_NAMES = {"train_loss": "training loss", "val_loss": "validation loss"}
_WINDOW = 10  # logged values that a point of the training loss averages


def find_losses(run: TestedRun) -> JSONLines | None:
    """The metrics of the training behind a test: a sweep's lie one folder above. None where nothing was trained."""
    for metrics in (run.folder.metrics, run.folder.above.metrics):
        if any(name in line for line in metrics.read() for name in _NAMES):
            return metrics
    return None


def read_losses(metrics: JSONLines, name: str) -> pd.Series:
    """A loss by step, as far as it was logged. What a resumed training logged twice counts once."""
    lines = pd.DataFrame(metrics.read()).reindex(columns=["step", name]).dropna()
    return lines.astype({"step": int}).groupby("step")[name].last()


def loss_curves(study: Study) -> dict[str, dict[Look, pd.Series]]:
    """Loss, in words → its curves, means over seeds; only losses of two trainings or more."""
    # one training stands behind several tests: the first of them stands for it
    first: dict[tuple[JSONLines, ...], Look] = {}
    for entry in study.entries:
        lines = tuple(lines for run in entry.runs if (lines := find_losses(run)))
        first.setdefault(lines, study.looks[entry.label])
    found = {}
    for name, words in _NAMES.items():
        read = {look: [read_losses(lines, name) for lines in of] for of, look in first.items()}
        curves = {look: _mean(own) for look, losses in read.items() if (own := [loss for loss in losses if len(loss)])}
        if len(curves) > 1:
            found[words] = curves
    return found


def draw_losses(ax: Axes, curves: Mapping[Look, pd.Series], ylabel: str) -> None:
    """Curves by step."""
    for look, curve in curves.items():
        ax.plot(curve.index, curve, marker=look.marker if len(curve) < 6 else "", **look.line)
    if all(curve.min() > 0 for curve in curves.values()):  # a likelihood's are not
        log_axis(ax, "y")
    step_axis(ax, "step")
    ax.set_ylabel(ylabel)


def _rows(study: Study) -> Rows:
    panels = []
    for words, curves in loss_curves(study).items():
        ends = (f"{look.label}: {c.iloc[-1]:.4g} after {c.index[-1]} steps" for look, c in curves.items())
        panels.append(Panel(words, partial(draw_losses, curves=curves, ylabel=words), "; ".join(ends), curves))
    return [panels] if panels else []


def _mean(curves: list[pd.Series]) -> pd.Series:
    """Over seeds, where all were logged at the same steps; else the first. Long curves are averaged along their steps too."""
    alike = [curve for curve in curves if curve.index.equals(curves[0].index)]
    mean = sum(alike[1:], start=alike[0]) / len(alike)
    return mean if len(mean) < 2 * _WINDOW else mean.rolling(_WINDOW).mean().dropna()


LOSSES = Figure(
    "Losses in training",
    "What each method minimises: other targets, weights or norms have other scales. Means over seeds; a training loss is a running mean.",
    _rows,
    file="losses",
)
