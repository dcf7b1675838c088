"""Reliability diagrams: how often an event happens where a share of the members has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from fdsr.drawing.style import Look, Panel, ink
from fdsr.report.figures.figure import Figure, Rows
from fdsr.report.studies import Study

FEWEST = 1e-4  # of the cells: what is rarer is chance


def draw_reliability(ax: Axes, found: Mapping[Look, np.ndarray]) -> None:
    """Frequency of the event (members + 1) by the share of the members that have it."""
    for look, frequency in found.items():
        ax.plot(np.linspace(0.0, 1.0, frequency.size), frequency, marker=".", **look.line)
    ax.plot([0, 1], [0, 1], color=ink(), lw=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of the members", ylabel="frequency in the truth")


def _rows(study: Study) -> Rows:
    found = {e.label: ds for e in study.entries if e.members > 1 and (ds := e.scores("reliability")) is not None}
    rows = []
    for name in study.variables if found else ():
        some = next(iter(found.values())).sel(variable=name)
        unit = some.units.item()
        panels = []
        for i, threshold in enumerate(some.threshold.values):
            if np.isnan(threshold):
                continue
            own = {
                study.looks[label]: np.where(of.reliability_cells[i] > FEWEST, of.reliability[i], np.nan)
                for label, of in ((label, ds.sel(variable=name)) for label, ds in found.items())
            }
            if not any(np.isfinite(frequency[1:]).any() for frequency in own.values()):  # no member ever has it
                continue
            alt = "; ".join(f"{look.label}: {np.round(f, 2).tolist()}" for look, f in own.items())
            panels.append(
                Panel(f"{name} ≥ {threshold:g} {unit}", partial(draw_reliability, found=own), alt, own, height=2.6)
            )
        if panels:
            rows.append(panels)
    return rows


RELIABILITY = Figure(
    "Reliability",
    "How often an event happens in the truth where a share of the members has it. On the diagonal the share is the probability; flatter "
    "curves are of ensembles that are too sure. What fewer than one cell in ten thousand has is left out.",
    _rows,
    file="reliability",
    alone=True,
)
