"""Rank histograms of the ensembles: flat when calibrated, a bowl when too narrow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from fdsr.drawing.style import Look, Panel, ink
from fdsr.report.figures.figure import Figure, Rows
from fdsr.report.studies import Study


def draw_ranks(ax: Axes, histograms: Mapping[Look, np.ndarray]) -> None:
    """Frequencies (members + 1) of the truth's rank."""
    for look, frequency in histograms.items():
        bins = frequency.size
        # ensembles of different sizes share an axis: the place of the truth among the members, and a flat 1
        ax.stairs(frequency * bins, np.linspace(0.0, 1.0, bins + 1), baseline=None, **look.line)
    ax.axhline(1, color=ink(), lw=0.8)
    ax.set_ylim(0, 1.08 * max(1.0, *(float(np.nanmax(f)) * f.size for f in histograms.values())))
    ax.set(xlabel="rank of the truth / members", ylabel="frequency / flat")


def _rows(study: Study) -> Rows:
    opened = {e.label: e.scores("rank_histogram") for e in study.entries if e.members > 1}
    found = {label: ds["rank_histogram"] for label, ds in opened.items() if ds is not None}
    panels = []
    for name in study.variables if found else ():
        own = {study.looks[label]: ranks.sel(variable=name).values for label, ranks in found.items()}
        alt = "; ".join(f"{look.label}: {100 * (f[0] + f[-1]):.0f} % of the truth outside" for look, f in own.items())
        panels.append(Panel(name, partial(draw_ranks, histograms=own), alt, own, height=2.3))
    return [panels] if panels else []


RANKS = Figure(
    "Rank histograms",
    "Where the truth stands among the members. Flat is calibrated, a bowl is an ensemble that is too narrow, a slope is biased.",
    _rows,
    file="ranks",
    alone=True,
)
