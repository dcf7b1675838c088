"""Figures of tested runs, drawn from their files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display where runs are made

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from fdsr import maps
from fdsr.errors import FdsrError
from fdsr.records import NetCDF, RunFolder
from fdsr.report import svg
from fdsr.report.losses import loss_curves
from fdsr.report.panels import Series, band_near_45, looks, mean_over_seeds, power_ratio, wavelength_axis
from fdsr.report.studies import Study

_COLOURS = (*matplotlib.color_sequences["tab10"], *matplotlib.color_sequences["Dark2"])


def _open(file: NetCDF) -> xr.Dataset:
    found = file.read()
    if found is None:
        raise FdsrError(f"'{file}' is missing; score the run again with 'fdsr test'")
    return found


def draw_run(run: RunFolder, path: Path) -> Path:
    """Maps of coarse field, truth, two members, mean and spread, and the spectra where they were scored, one row a variable."""
    ds, scores = maps.window(_open(run.example)), _open(run.scores)
    single = int(ds.attrs["members"]) == 1
    names = [str(v) for v in ds.variable.values]
    columns = len(maps.panels(ds)) + ("spectrum" in scores)
    fig, axes = plt.subplots(
        len(names), columns, figsize=(3.1 * columns, 2.3 * len(names) + 0.6), squeeze=False, layout="constrained"
    )
    maps.draw_maps(fig, axes, ds)
    if "spectrum" in scores:
        for ax, name in zip(axes[:, -1], names, strict=True):
            _spectrum(ax, scores.sel(variable=name), "truth", "spectrum_reference", "k")
            _spectrum(ax, scores.sel(variable=name), "members" if not single else "prediction", "spectrum", "C1")
            if not single:
                _spectrum(ax, scores.sel(variable=name), "error of the mean", "spectrum_error", "C0")
        axes[0, -1].set_title(f"spectra at {float(_band(scores).band_latitude):.0f}°")
        axes[0, -1].legend(fontsize=7)
        axes[-1, -1].set_xlabel("wavelength (km)")
    fig.suptitle(maps.title(ds, run.name))
    return _save(fig, path)


def draw_spectra(study: Study, path: Path) -> Path:
    """Power of each method's members over the truth's, by wavelength, one panel a variable; means over seeds."""
    opened = {e.label: ds for e in study.entries if (ds := mean_over_seeds(e, "spectrum")) is not None}
    if not opened:
        raise FdsrError(f"no run of '{study.title}' has kept its spectra; score one again with 'fdsr test'")
    drawn = looks(study)
    fig, axes = _panels(study, opened, height=3.2)
    for ax, name in zip(axes, study.variables, strict=True):
        for label, spectra in opened.items():
            wavelength, decibel = power_ratio(band_near_45(spectra.sel(variable=name)))
            ax.plot(wavelength, decibel, marker=".", **_style(drawn[label]))
        ax.axhline(0, color="k", lw=0.8)
        wavelength_axis(ax)
        ax.tick_params(axis="x", labelsize=7)
        ax.set_ylim(-25, 8)
        ax.set_title(name)
    axes[0].set_ylabel("power against truth (dB)")
    _legend(fig, drawn, opened)
    return _save(fig, path)


def draw_ranks(study: Study, path: Path) -> Path | None:
    """Rank histograms of the ensembles, one panel a variable: flat when calibrated, a bowl when too narrow; means over seeds.

    None when the study has no ensemble, or none was tested with rank histograms.
    """
    ensembles = [e for e in study.entries if e.members > 1]
    opened = {e.label: ds for e in ensembles if (ds := mean_over_seeds(e, "rank_histogram")) is not None}
    if not opened:
        return None
    drawn = looks(study)
    fig, axes = _panels(study, opened, height=2.6)
    for ax, name in zip(axes, study.variables, strict=True):
        for label, ds in opened.items():
            frequency = ds["rank_histogram"].sel(variable=name).values
            bins = frequency.size
            # ensembles of different sizes share one axis: the position of the truth among the members, and a flat 1
            ax.stairs(frequency * bins, np.linspace(0.0, 1.0, bins + 1), baseline=None, **_style(drawn[label]))
        ax.axhline(1, color="k", lw=0.8)
        ax.set_title(name)
        ax.set_xlabel("rank of the truth / members")
    axes[0].set_ylim(bottom=0)  # of all panels, once every histogram is drawn: it ends their scaling
    axes[0].set_ylabel("frequency / flat")
    _legend(fig, drawn, opened)
    return _save(fig, path)


def draw_losses(study: Study, path: Path) -> Path | None:
    """Training and validation losses against steps, means over seeds; None where fewer than two methods were trained."""
    found = loss_curves(study)
    if not found:
        return None
    drawn = looks(study)
    fig, axes = plt.subplots(1, len(found), figsize=(4.2 * len(found) + 2.4, 3.2), squeeze=False, layout="constrained")
    for ax, (words, curves) in zip(axes[0], found.items(), strict=True):
        for label, (steps, values) in curves.items():
            ax.plot(steps, values, marker="." if len(steps) < 6 else None, **_style(drawn[label]))
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
        ax.tick_params(which="both", labelsize=7)
        ax.set_xlabel("step")
        ax.set_ylabel(words)
    _legend(fig, drawn, dict.fromkeys(label for curves in found.values() for label in curves))
    return _save(fig, path)


def _panels(study: Study, opened: dict[str, xr.Dataset], height: float) -> tuple[Figure, list[Axes]]:
    """One panel a variable, and room for as many names at their right."""
    size = (3.4 * len(study.variables) + 2.4, max(height, 0.6 + 0.155 * len(opened)))
    fig, axes = plt.subplots(1, len(study.variables), figsize=size, sharey=True, squeeze=False, layout="constrained")
    return fig, list(axes[0])


def _style(look: Series) -> dict[str, Any]:
    return {"color": _COLOURS[look.colour % len(_COLOURS)], "ls": svg.dashes(look.variant), "lw": 1.4}


def _legend(fig: Figure, drawn: dict[str, Series], labels: Iterable[str]) -> None:
    handles = [Line2D([], [], label=label, **_style(drawn[label])) for label in labels]
    fig.legend(handles=handles, loc="outside right upper", fontsize=7, frameon=False)


def _band(spectra: xr.Dataset) -> xr.Dataset:
    """The latitude band nearest to 45° N."""
    return spectra.isel(band=int(np.abs(spectra.band_latitude.values - 45.0).argmin()))


def _spectrum(ax: Axes, spectra: xr.Dataset, label: str, name: str, colour: str) -> None:
    band = _band(spectra)
    keep = np.isfinite(band.wavenumber.values) & (band.wavenumber.values > 0)
    ax.loglog(band.wavenumber.values[keep], band[name].values[keep], color=colour, label=label)
    ax.set_xticks([5e-4, 1e-3, 2e-3, 5e-3], ["2000 km", "1000", "500", "200"])
    ax.set_xticks([], minor=True)
    ax.set_xlim(band.wavenumber.values[keep][0], band.wavenumber.values[keep][-1])
    ax.tick_params(labelsize=7)


def _save(fig: plt.Figure, path: Path) -> Path:
    maps.save_png(fig, path)
    plt.close(fig)
    return path
