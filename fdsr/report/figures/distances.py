"""Figures of a sweep's table: distance against the number of steps and against time, and distance during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from fdsr.drawing.axes import apart, log_axis, show_ticks, step_axis
from fdsr.drawing.png import save_panels
from fdsr.drawing.style import Look, Panel, dashes, ink, make_looks
from fdsr.report.figures.samples import draw_samples
from fdsr.report.sweep_table import NAMES, TRAINING, SweepTable

AXES = {"nfe": "network evaluations", "seconds_per_image": "seconds an image"}
UNCONVERGED = Look("not shown to have converged", marker="o", dashes="", hollow=True)
_FAR = 5.0  # a floor that is lower by more would press everything else onto the top


def draw_sweep(table: SweepTable, output: Path, mark: str = "") -> list[Path]:
    """Draw every figure that the table allows and print where they are. `mark` ends their names, before .png."""
    paths = [
        save_panels([distance_row(table, name)], output / f"{name}_vs_steps{mark}.png") for name in table.distances
    ]
    if len(table.curves):
        paths.append(save_panels([curve_row(table)], output / f"training_curves{mark}.png"))
    paths += draw_samples(table, output, mark)
    for path in paths:
        print(f"figure: {path}")
    return paths


def distance_row(table: SweepTable, name: str) -> list[Panel]:
    """The distance `name` against evaluations and against seconds."""
    measured = table.rows.dropna(subset=[name])
    looks = [*(table.looks[label] for label in measured["label"]), UNCONVERGED]
    panels = []
    for against, words in AXES.items():
        alt = "; ".join(f"{r.label}, {getattr(r, against):g}: {getattr(r, name):.4g}" for r in measured.itertuples())
        draw = partial(draw_distances, table=table, name=name, against=against)
        panels.append(Panel(f"{NAMES[name]} against {words}", draw, alt, looks))
    return panels


def draw_distances(ax: Axes, table: SweepTable, name: str, against: str) -> None:
    """Distance `name` against one of AXES: a line through the means over seeds for every method and number of images.

    Marks are filled where the training has converged.
    """
    measured = table.rows.dropna(subset=[name])
    # compared are equal numbers of images only, so each has its own line
    counts = list(dict.fromkeys(measured.sort_values("n_generated", key=pd.to_numeric, ascending=False)["images"]))
    for (label, images), points in measured.groupby(["label", "images"], sort=False):
        look = replace(table.looks[label], dashes=dashes(counts.index(images)))
        means = points.groupby(["T", "nfe"]).agg(x=(against, "mean"), y=(name, "mean")).sort_values("x")
        ax.plot(means["x"], means["y"], **look.line)
        for converged, some in points.groupby(f"converged_{name}"):
            ax.plot(some[against], some[name], **replace(look, hollow=not converged).mark)
    ax.set(xscale="log", yscale="log", ylabel=f"{NAMES[name]}\nto the training images")
    ax.legend(handles=[Look(images, dashes=dashes(i)).sample for i, images in enumerate(counts) if images])
    if name in table.floor:
        _draw_floor(ax, table.floor[name], float(measured[name].min()))
    log_axis(ax, "y")
    if against == "nfe":
        show_ticks(ax, "x", apart(sorted(set(measured["nfe"]))))
        ax.set_xlabel("network evaluations an image")
    else:
        log_axis(ax, "x")
        ax.set_xlabel(f"seconds an image ({', '.join(dict.fromkeys(measured['device']))})")


def _draw_floor(ax: Axes, floor: float, least: float) -> None:
    """Where the test images stand; in words alone where that is far below everything else."""
    text: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 7.5}
    if floor * _FAR < least:
        ax.annotate(f"test images: {floor:.2g} ↓", (0.99, 0.01), xycoords="axes fraction", **text)
        return
    ax.axhline(floor, color=ink(), lw=0.8, ls=":")
    ax.annotate("test images", (0.99, floor), xycoords=("axes fraction", "data"), **text)


def curve_row(table: SweepTable) -> list[Panel]:
    """A panel for each distance that was measured during training."""
    # tests that share a training share its curve: it is drawn once, by the name of the first
    found: dict[tuple[object, ...], tuple[str, pd.DataFrame]] = {}
    for (*_, steps, seed), points in table.curves.groupby(TRAINING, sort=False):
        told = (f"T = {steps}" * bool(steps), f"seed {seed}" * bool(seed))
        name = ", ".join([points["label"].iloc[0], *filter(None, told)])
        found.setdefault(tuple(points[["metric", "step", "value"]].itertuples(index=False, name=None)), (name, points))
    looks = make_looks({name: points["label"].iloc[0] for name, points in found.values()}, order=table.looks)
    panels = []
    for metric in dict.fromkeys(table.curves["metric"]):
        own = {looks[name]: points[points["metric"] == metric] for name, points in found.values()}
        ends = (f"{look.label}: {float(p['value'].iloc[-1]):.4g}" for look, p in own.items() if len(p))
        draw = partial(draw_curves, curves=own, name=NAMES[metric])
        panels.append(Panel(f"{NAMES[metric]} in training", draw, "; ".join(ends), own))
    return panels


def draw_curves(ax: Axes, curves: Mapping[Look, pd.DataFrame], name: str) -> None:
    """A training's lines of curves.csv, of one distance."""
    every = pd.concat(curves.values())
    against = "images_seen" if (every["images_seen"] != "").all() else "step"
    for look, points in curves.items():
        ax.plot(points[against].astype(float), points["value"].astype(float), marker=look.marker, **look.line)
    log_axis(ax, "y")
    step_axis(ax, "images seen in training" if against == "images_seen" else "training steps")
    ax.set_ylabel(f"{name}\nof {', '.join(dict.fromkeys(every['n_generated']))} images")
