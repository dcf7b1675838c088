"""Figures of a sweep's table: distance against the number of steps and against time, and distance during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from fdsr.drawing.axes import apart, log_axis, show_ticks, step_axis
from fdsr.drawing.png import save_panels
from fdsr.drawing.style import Look, Panel, dashes, ink, make_looks
from fdsr.report.figures.samples import draw_samples
from fdsr.report.sweep_table import NAMES, TRAINING, SweepTable

AXES = {"nfe": "network evaluations", "seconds_per_image": "seconds an image"}
_FAR = 5.0  # a floor that is lower by more would press everything else onto the top


def draw_sweep(table: SweepTable, output: Path) -> list[Path]:
    """Draw every figure that the table allows and print where they are."""
    looks = legend(table)
    paths = [save_panels([distance_row(table, n)], looks, output / f"{n}_vs_steps.png") for n in table.distances]
    if len(table.curves):
        panels, trainings = curve_row(table)
        paths.append(save_panels([panels], trainings, output / "training_curves.png"))
    paths += draw_samples(table, output)
    for path in paths:
        print(f"figure: {path}")
    return paths


def legend(table: SweepTable) -> dict[str, Look]:
    """What every mark means."""
    return table.looks | {"not shown to have converged": Look(marker="o", dashes="", hollow=True)}


def distance_row(table: SweepTable, name: str) -> list[Panel]:
    """The distance `name` against evaluations and against seconds."""
    measured = table.rows.dropna(subset=[name])
    return [
        Panel(
            f"{NAMES[name]} against {words}",
            partial(draw_distances, table=table, name=name, against=against),
            "; ".join(f"{r.label}, {getattr(r, against):g}: {getattr(r, name):.4g}" for r in measured.itertuples()),
        )
        for against, words in AXES.items()
    ]


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
        for converged, some in points.groupby("converged"):
            ax.plot(some[against], some[name], **replace(look, hollow=not converged).mark)
    ax.set(xscale="log", yscale="log", ylabel=f"{NAMES[name]}\nto the training images")
    ax.legend(handles=[Look(dashes=dashes(i)).sample(images) for i, images in enumerate(counts) if images])
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
    if floor * _FAR < least:
        ax.annotate(
            f"test images: {floor:.2g} ↓", (0.99, 0.01), xycoords="axes fraction", ha="right", va="bottom", fontsize=7.5
        )
        return
    ax.axhline(floor, color=ink(), lw=0.8, ls=":")
    ax.annotate("test images", (0.99, floor), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7.5)


def curve_row(table: SweepTable) -> tuple[list[Panel], dict[str, Look]]:
    """A panel for each distance that was measured during training, and who is who."""
    # tests that share a training share its curve: it is drawn once, by the name of the first
    found: dict[tuple[object, ...], tuple[str, pd.DataFrame]] = {}
    for (*_, steps, seed), points in table.curves.groupby(TRAINING, sort=False):
        name = f"{points['label'].iloc[0]}, T = {steps}" + (f", seed {seed}" if seed else "")
        found.setdefault(tuple(points[["metric", "step", "value"]].itertuples(index=False, name=None)), (name, points))
    curves = dict(found.values())
    looks = make_looks({name: points["label"].iloc[0] for name, points in curves.items()}, order=table.looks)
    panels = []
    for metric in dict.fromkeys(table.curves["metric"]):
        own = {name: points[points["metric"] == metric] for name, points in curves.items()}
        panels.append(Panel(NAMES[metric], partial(draw_curves, curves=own, looks=looks, name=NAMES[metric]), ""))
    return panels, looks


def draw_curves(ax: Axes, curves: Mapping[str, pd.DataFrame], looks: Mapping[str, Look], name: str) -> None:
    """Training → its lines of curves.csv, of one distance."""
    every = pd.concat(curves.values())
    against = "images_seen" if (every["images_seen"] != "").all() else "step"
    for label, points in curves.items():
        ax.plot(
            points[against].astype(float),
            points["value"].astype(float),
            marker=looks[label].marker,
            **looks[label].line,
        )
    log_axis(ax, "y")
    step_axis(ax, "images seen in training" if against == "images_seen" else "training steps")
    ax.set_ylabel(f"{name}\nof {', '.join(dict.fromkeys(every['n_generated']))} images")
