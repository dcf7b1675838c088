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
    axes, bands, powers = columns[:, 0], band_near_45(scores), dict[Look, xr.DataArray]()
    for ax, variable in zip(axes, map(str, ds.variable.values), strict=True):
        band = bands.sel(variable=variable)
        if int(ds.attrs["members"]) == 1:
            powers = {Look("prediction", 1): band.spectrum}
        else:
            powers = {Look("members", 1): band.spectrum, Look("error of the mean", 0, dashes="--"): band.spectrum_error}
        powers[TRUTH] = band.spectrum_reference
        draw_power(ax, powers, str(ds.units.sel(variable=variable).item()))
        if ax is not axes[-1]:
            ax.set_xlabel("")
    axes[0].set_title(f"spectra{where(bands)}")
    figure.legend(handles=[look.sample for look in powers], loc="outside lower right", ncols=len(powers))
