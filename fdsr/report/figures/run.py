"""The picture of one tested run: maps of its first time, and the spectra of every variable."""

from __future__ import annotations

from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from fdsr.drawing import maps
from fdsr.drawing.png import picture
from fdsr.drawing.style import TRUTH, Look
from fdsr.errors import FdsrError
from fdsr.records import RunFolder
from fdsr.report.figures.spectra import band_near_45, draw_power, where


def save_run(run: RunFolder, path: Path) -> Path:
    """Raises FdsrError where the run has not kept what is drawn."""
    example, scores = run.example.read(), run.scores.read()
    if example is None or scores is None:
        missing = run.example if example is None else run.scores
        raise FdsrError(f"'{missing}' is missing; score the run again with 'fdsr test'")
    ds = maps.window(example)
    with picture(path, *maps.size(ds, more="spectrum" in scores)) as figure:
        draw_run(figure, ds, scores, run.name)
    return path


def draw_run(figure: Figure, ds: xr.Dataset, scores: xr.Dataset, name: str) -> None:
    """Coarse field, truth, two members, mean and spread, and the spectra where they were scored, one row a variable."""
    columns = maps.draw_maps(figure, ds, name, more="spectrum" in scores)
    if "spectrum" not in scores:
        return
    axes, bands, looks = columns[:, 0], band_near_45(scores), {}
    for ax, variable in zip(axes, map(str, ds.variable.values), strict=True):
        band = bands.sel(variable=variable)
        if int(ds.attrs["members"]) == 1:
            curves = {"prediction": (band.spectrum, Look(1))}
        else:
            curves = {
                "members": (band.spectrum, Look(1)),
                "error of the mean": (band.spectrum_error, Look(0, dashes="--")),
            }
        curves["truth"] = (band.spectrum_reference, TRUTH)
        draw_power(ax, list(curves.values()), str(ds.units.sel(variable=variable).item()))
        looks = {label: look for label, (_, look) in curves.items()}
        if ax is not axes[-1]:
            ax.set_xlabel("")
    axes[0].set_title(f"spectra{where(bands)}")
    figure.legend(
        handles=[look.sample(label) for label, look in looks.items()], loc="outside lower right", ncols=len(looks)
    )
