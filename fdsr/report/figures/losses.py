"""Losses in training, from the lines that a run leaves as it trains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from fdsr.drawing.axes import log_axis, step_axis
from fdsr.drawing.panels import Panel
from fdsr.drawing.style import Look
from fdsr.records import JSONLines
from fdsr.report.figures.figure import Figure, Rows
from fdsr.report.runs import TestedRun
from fdsr.report.studies import Entry, Study

_NAMES = {"train_loss": "training loss", "val_loss": "validation loss"}
_WINDOW = 10  # logged values that a point of the training loss averages

Curve = tuple[np.ndarray, np.ndarray]  # steps, values


def find_losses(run: TestedRun) -> JSONLines | None:
    """The metrics of the training behind a test: a sweep's lie one folder above. None where nothing was trained."""
    for metrics in (run.folder.metrics, run.folder.above.metrics):
        if any(name in line for line in metrics.read() for name in _NAMES):
            return metrics
    return None


def read_losses(metrics: JSONLines) -> dict[str, Curve]:
    """train_loss and val_loss, as far as they were logged. What a resumed training logged twice counts once."""
    found: dict[str, dict[int, float]] = {name: {} for name in _NAMES}
    for line in metrics.read():
        for name, values in found.items():
            value, step = line.get(name), line.get("step")
            if isinstance(value, int | float) and isinstance(step, int):
                values[step] = float(value)
    return {
        name: (np.array(sorted(values)), np.array([values[step] for step in sorted(values)]))
        for name, values in found.items()
        if values
    }


def loss_curves(study: Study) -> dict[str, dict[str, Curve]]:
    """Loss, in words → label → its curve, a mean over seeds; only losses of two trainings or more."""
    # one training stands behind several tests: the first of them stands for it
    first: dict[tuple[JSONLines, ...], Entry] = {}
    for entry in study.entries:
        first.setdefault(tuple(lines for run in entry.runs if (lines := find_losses(run))), entry)
    read = {entry.label: [read_losses(lines) for lines in own] for own, entry in first.items()}
    found = {}
    for name, words in _NAMES.items():
        means = {label: _mean([of[name] for of in losses if name in of]) for label, losses in read.items()}
        curves = {label: curve for label, curve in means.items() if curve is not None}
        if len(curves) > 1:
            found[words] = curves
    return found


def draw_losses(ax: Axes, curves: Mapping[str, Curve], looks: Mapping[str, Look], ylabel: str) -> None:
    """Label → its curve."""
    for label, (steps, values) in curves.items():
        ax.plot(steps, values, marker=looks[label].marker if len(steps) < 6 else "", **looks[label].line)
    log_axis(ax, "y")
    step_axis(ax, "step")
    ax.set_ylabel(ylabel)


def _rows(study: Study) -> Rows:
    panels = []
    for words, curves in loss_curves(study).items():
        ends = (f"{label}: {values[-1]:.4g} after {steps[-1]} steps" for label, (steps, values) in curves.items())
        draw = partial(draw_losses, curves=curves, looks=study.looks, ylabel=words)
        panels.append(Panel(words, draw, "; ".join(ends)))
    return [panels] if panels else []


def _mean(curves: list[Curve]) -> Curve | None:
    """Over seeds, where all were logged at the same steps; else the first. Long curves are averaged along their steps too."""
    if not curves:
        return None
    steps = curves[0][0]
    alike = [values for own, values in curves if np.array_equal(own, steps)]
    values = np.mean(alike, axis=0)
    if len(values) < 2 * _WINDOW:
        return steps, values
    weights = np.full(_WINDOW, 1 / _WINDOW)
    return steps[_WINDOW - 1 :], np.convolve(values, weights, "valid")


LOSSES = Figure(
    "Losses in training",
    "What each method minimises: other targets, weights or norms have other scales. Means over seeds; a training loss is a running mean.",
    _rows,
    file="losses",
    pairs=True,
)
