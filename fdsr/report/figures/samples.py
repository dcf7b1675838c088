"""Samples of a sweep: what the pictures beside its table show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from fdsr.drawing.png import picture
from fdsr.report.sweep_table import NAMES, SweepTable


def find_samples(table: SweepTable) -> pd.DataFrame:
    """Rows of the table whose picture is there, with a `title`, and `values`, its distances in words.

    Rows of the same images are one, with the first of each distance.
    """
    rows = table.rows.groupby("picture", sort=False, as_index=False).first()
    steps = ["" if f"{nfe:g}" == T else f", {nfe:g} steps" for T, nfe in zip(rows["T"], rows["nfe"], strict=True)]
    # of one training for every number of steps the table may have no T
    rows["title"] = rows["label"] + (", T = " + rows["T"]).where(rows["T"] != "", "") + steps
    rows["values"] = [
        [f"{NAMES[name]} {row[name]:.3g}" for name in table.distances if pd.notna(row[name])]
        for row in rows.to_dict("records")
    ]
    return rows[[path.is_file() for path in rows["picture"]]]


def draw_samples(table: SweepTable, output: Path, mark: str = "") -> Iterator[Path]:
    """A figure a method, of its first seed. `mark` ends their names, before .png."""
    seeds = table.rows.groupby("method")["seed"].first()
    found = find_samples(table)
    for method, own in found[found["seed"] == found["method"].map(seeds)].groupby("method", sort=False):
        path = output / f"samples_{method}{mark}.png".replace("+", "p")
        rows, columns = own["divergence"].nunique(), len(own[["nfe", "T"]].drop_duplicates())
        with picture(path, 2.6 * columns + 0.4, 2.95 * rows + 0.4) as figure:
            draw_grid(figure, own)
        yield path


def draw_grid(figure: Figure, samples: pd.DataFrame) -> None:
    """Samples of one method: a row a divergence, a column a number of evaluations."""
    rows = samples["divergence"].drop_duplicates().tolist()
    places = list(zip(samples["nfe"], pd.to_numeric(samples["T"]).fillna(-1), strict=True))
    axes = figure.subplots(len(rows), len(columns := sorted(set(places))), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for sample, place in zip(samples.itertuples(), places, strict=True):
        ax = axes[rows.index(sample.divergence), columns.index(place)]
        ax.imshow(imread(sample.picture), interpolation="nearest")
        ax.set_title("\n".join([sample.title, *sample.values]))
