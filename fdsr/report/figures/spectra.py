"""Spectra by wavelength: the power of the members over the truth's, and the power of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from fdsr.drawing.axes import power_axis, wavelength_axis
from fdsr.drawing.style import TRUTH, Look, Panel, ink
from fdsr.report.figures.figure import Figure, Rows
from fdsr.report.studies import Study

_LOWEST = -25.0  # dB

Curve = tuple[np.ndarray, np.ndarray]


def power_ratio(band: xr.Dataset) -> Curve:
    """Wavelengths in km and decibels of the scored rings."""
    scored = band.scored.values.astype(bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        decibel = 10 * np.log10(band.spectrum.values / band.spectrum_reference.values)
    return 1 / band.wavenumber.values[scored], decibel[scored]


def band_near_45(scores: xr.Dataset) -> xr.Dataset:
    """The latitude band nearest to 45° N; the first where bands have no latitude."""
    distance = np.abs(scores.band_latitude.values - 45.0)
    return scores.isel(band=int(np.nanargmin(distance)) if np.isfinite(distance).any() else 0)


def where(band: xr.Dataset) -> str:
    """The band's latitude, in words; empty where it has none."""
    latitude = float(band.band_latitude)
    return f" at {latitude:.0f}°" if np.isfinite(latitude) else ""


def draw_power_ratios(ax: Axes, ratios: Mapping[str, Curve], looks: Mapping[str, Look]) -> None:
    """Label → wavelengths and decibels; see `power_ratio`."""
    for label, (wavelength, decibel) in ratios.items():
        ax.plot(wavelength, np.maximum(decibel, _LOWEST), marker=looks[label].marker, **looks[label].line)
    ax.axhline(0, color=ink(), lw=0.8)
    wavelength_axis(ax)
    ax.set_ylim(_LOWEST, max(4.0, *(1.1 * float(np.max(d, initial=0.0)) for _, d in ratios.values())))
    ax.set_ylabel("power against truth (dB)")


def draw_power(ax: Axes, curves: Sequence[tuple[xr.DataArray, Look]], unit: str) -> None:
    """Power densities (ring) with their wavenumbers, of fields in `unit`."""
    for power, look in curves:
        wavenumber = power.wavenumber.values
        keep = np.isfinite(wavenumber) & (wavenumber > 0)
        ax.plot(1 / wavenumber[keep], power.values[keep], **look.line)
    power_axis(ax)
    wavelength_axis(ax)
    squared = {"1": ""}.get(unit, f"({unit})² " if " " in unit else f"{unit}² ")
    ax.set_ylabel(f"power density\n({squared}km²)")


def _rows(study: Study) -> Rows:
    opened = {e.label: ds for e in study.entries if (ds := e.scores("spectrum")) is not None}
    bands = {label: band_near_45(ds) for label, ds in opened.items()}
    ratios, spectra = [], []
    for name in study.variables if bands else ():
        own = {label: band.sel(variable=name) for label, band in bands.items()}
        found = {label: power_ratio(band) for label, band in own.items()}
        first = next(iter(own.values()))
        alt = "; ".join(f"{label}: {d[-1]:+.1f} dB at {w[-1]:.0f} km" for label, (w, d) in found.items() if len(w))
        ratios.append(
            Panel(
                f"{name}{where(first)}: power ratio", partial(draw_power_ratios, ratios=found, looks=study.looks), alt
            )
        )
        curves = [
            *((band.spectrum, study.looks[label]) for label, band in own.items()),
            (first.spectrum_reference, TRUTH),
        ]
        draw = partial(draw_power, curves=curves, unit=study.unit(name) or "unit")
        alt = f"spectra of {', '.join(own)}, and of the truth (dotted)"
        spectra.append(Panel(f"{name}{where(first)}: power", draw, alt))
    return [row for row in (ratios, spectra) if row]


SPECTRA = Figure(
    "Spectra",
    "Power of the members over the truth's, where rings are scored: below 0 dB a field is too smooth. Then the spectra themselves, the "
    "truth dotted. Averages over members, not the spectrum of the mean.",
    _rows,
    file="spectra",
    also={"truth": TRUTH},
)
