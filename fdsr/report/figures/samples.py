"""Samples of a sweep: what the pictures beside its table show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.image import imread

from fdsr.drawing.png import picture
from fdsr.report.sweep_table import NAMES, SweepTable


@dataclass(frozen=True)
class Sample:
    """A picture of generated images. place: its row and column in the method's figure. values: its distances, in words."""

    path: Path
    method: str
    divergence: str
    seed: str
    place: tuple[int, int]  # evaluations and T
    title: str
    values: list[str]


def find_samples(table: SweepTable) -> list[Sample]:
    """In the order of the table; rows of the same images are one, with the first of each distance."""
    found = []
    for path, rows in table.rows.groupby("picture", sort=False):
        if path.is_file():
            row: Any = rows.bfill().iloc[0]
            steps = f"T = {row['T']}" + (f", {row.nfe:g} steps" if row["T"] != f"{row.nfe:g}" else "")
            values = [f"{NAMES[n]} {value:.3g}" for n, value in row[table.distances].dropna().items()]
            place = int(row.nfe), int(row["T"] or 0)
            found.append(Sample(path, row.method, row.divergence, row.seed, place, f"{row.label}, {steps}", values))
    return found


def draw_samples(table: SweepTable, output: Path) -> Iterator[Path]:
    """A figure a method, of its first seed."""
    found = find_samples(table)
    for method, rows in table.rows.groupby("method", sort=False):
        own = [s for s in found if s.method == method and s.seed == rows["seed"].iloc[0]]
        if own:
            path = output / f"samples_{method}.png".replace("+", "p")
            rows_, columns = len({s.divergence for s in own}), len({s.place for s in own})
            with picture(path, 2.6 * columns + 0.4, 2.95 * rows_ + 0.4) as figure:
                draw_grid(figure, own)
            yield path


def draw_grid(figure: Figure, samples: list[Sample]) -> None:
    """Samples of one method: a row a divergence, a column a number of evaluations."""
    rows, columns = list(dict.fromkeys(s.divergence for s in samples)), sorted({s.place for s in samples})
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for sample in samples:
        ax = axes[rows.index(sample.divergence), columns.index(sample.place)]
        ax.imshow(imread(sample.path), interpolation="nearest")
        ax.set_title("\n".join([sample.title, *sample.values]))
