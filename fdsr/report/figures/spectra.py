"""Spectra by wavelength: the power of the members over the truth's, and the power of both."""

from __future__ import annotations

from collections.abc import Mapping
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


def draw_power_ratios(ax: Axes, ratios: Mapping[Look, Curve]) -> None:
    """Wavelengths and decibels; see `power_ratio`."""
    for look, (wavelength, decibel) in ratios.items():
        ax.plot(wavelength, np.maximum(decibel, _LOWEST), marker=look.marker, **look.line)
    ax.axhline(0, color=ink(), lw=0.8)
    wavelength_axis(ax)
    highest = (1.1 * float(np.max(d[np.isfinite(d)], initial=0.0)) for _, d in ratios.values())
    ax.set_ylim(_LOWEST, max(4.0, *highest))
    ax.set_ylabel("power against truth (dB)")


def draw_power(ax: Axes, powers: Mapping[Look, xr.DataArray], unit: str) -> None:
    """Power densities (ring) with their wavenumbers, of fields in `unit`."""
    for look, power in powers.items():
        wavenumber = power.wavenumber.values
        keep = np.isfinite(wavenumber) & (wavenumber > 0)
        ax.plot(1 / wavenumber[keep], power.values[keep], **look.line)
    power_axis(ax)
    wavelength_axis(ax)
    squared = {"1": ""}.get(unit, f"({unit})² " if " " in unit else f"{unit}² ")
    ax.set_ylabel(f"power density\n({squared}km²)")


def _rows(study: Study) -> Rows:
    opened = {study.looks[e.label]: ds for e in study.entries if (ds := e.scores("spectrum")) is not None}
    bands = {look: band_near_45(ds) for look, ds in opened.items()}
    ratios, spectra = [], []
    for name in study.variables if bands else ():
        own = {look: band.sel(variable=name) for look, band in bands.items()}
        first = next(iter(own.values()))
        found = {look: power_ratio(band) for look, band in own.items()}
        ends = (f"{look.label}: {d[-1]:+.1f} dB at {w[-1]:.0f} km" for look, (w, d) in found.items() if len(w))
        title, draw = f"{name}{where(first)}: power", partial(draw_power_ratios, ratios=found)
        ratios.append(Panel(f"{title} ratio", draw, "; ".join(ends), found))
        powers = {look: band.spectrum for look, band in own.items()} | {TRUTH: first.spectrum_reference}
        alt = f"spectra of {', '.join(look.label for look in own)}, and of the truth (dotted)"
        spectra.append(Panel(title, partial(draw_power, powers=powers, unit=study.unit(name) or "unit"), alt, powers))
    return [row for row in (ratios, spectra) if row]


SPECTRA = Figure(
    "Spectra",
    "Power of the members over the truth's, where rings are scored: below 0 dB a field is too smooth. Then the spectra themselves, the "
    "truth dotted. Averages over members, not the spectrum of the mean.",
    _rows,
    file="spectra",
)
